/*
 * build_choose.c - which variants a snapshot has, when there is not room for all of them: those that are asked for
 * most. The builder's thread.
 *
 * A variant that was let go of has left its size behind. It is made again when it would be taken; and for that its
 * file must be used twice as much as those whose variants it drives out, and leave some memory free, so that two of
 * them do not take turns, and none is made that turns out not to fit.
 */
#include <assert.h>
#include <stdlib.h>

#include "builder.h"
#include "loom/memory.h"
#include "loom/variants.h"

/* Of the memory that is allowed this part must stay free for one that has to be made again. */
#define MARGIN 64

static uint64_t worth(const struct build_choice *choice)
{
	return choice->body ? 2 * (uint64_t)choice->uses : choice->uses;
}

static int by_worth(const void *a, const void *b)
{
	const struct build_choice *left = a, *right = b;

	if (worth(left) != worth(right))
		return worth(left) > worth(right) ? -1 : 1;
	if (left->memory != right->memory)
		return left->memory < right->memory ? -1 : 1;
	if (left->entry != right->entry)
		return left->entry < right->entry ? -1 : 1;
	return left->coding < right->coding ? -1 : 1;
}

/* References each body once. The memory of those that nobody but the store and this build refers to. */
static uint64_t hold_bodies(struct build_choice *choices, size_t count)
{
	uint32_t stamp = build_stamp();
	uint64_t spare = 0;

	for (size_t i = 0; i < count; i++) {
		struct build_choice *choice = &choices[i];

		if (!choice->body || choice->body->stamp == stamp)
			continue;
		choice->body->stamp = stamp;
		body_reference(choice->body);
		choice->held = true;
	}
	for (size_t i = 0; i < count; i++) {
		struct build_choice *choice = &choices[i];

		/* Bodies of files beside this one are referred to by their assets. */
		choice->spare = choice->body && choice->memory && choice->body->references == 2;
		spare += choice->spare && choice->held ? choice->memory : 0;
	}
	return spare;
}

/* Takes as many as fit, those first that come first. */
static void take_some(struct builder *builder, struct build_choice *choices, size_t count, uint64_t spare)
{
	const uint64_t max = builder->request->options->max_memory, limit = builder->owner->limit;
	uint64_t own = build_holds(builder), held = memory_held() - spare, room = held < max ? max - held : 0;
	uint32_t stamp = build_stamp();

	for (size_t i = 0; i < count; i++) {
		struct build_choice *choice = &choices[i];
		bool counted = choice->body && choice->body->stamp == stamp;
		uint64_t memory = counted ? 0 : choice->memory;
		uint64_t alone = memory + (choice->old ? choice->old->memory : choice->head);
		uint64_t fresh = choice->head + (choice->spare || !choice->body ? memory : 0);
		uint64_t margin = choice->body ? 0 : max / MARGIN;

		if (own + alone + margin > limit)
			continue;
		if (fresh + margin > room) {
			builder->squeezed = true;
			continue;
		}
		choice->taken = true;
		own += alone;
		room -= fresh;
		if (choice->body)
			choice->body->stamp = stamp;
	}
}

void build_choose(struct builder *builder, struct build_choice *choices, size_t count)
{
	const uint64_t max = builder->request->options->max_memory;
	uint64_t spare = hold_bodies(choices, count), heads = 0;
	bool all = builder->owner->limit == max;

	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		heads += choices[i].head + sizeof(struct snapshot_variants);
		all &= choices[i].body != NULL;
	}
	if ((!all || memory_held() + heads > max) && builder->request->variants)
		variants_shed(builder->request->variants, false); /* of contents that are gone */
	if (all && memory_held() + heads <= max) {
		for (size_t i = 0; i < count; i++)
			choices[i].taken = true;
		return;
	}
	qsort(choices, count, sizeof(*choices), by_worth);
	take_some(builder, choices, count, spare);
}

void build_chosen(struct builder *builder, struct build_choice *choices, size_t count)
{
	bool all = true;

	for (size_t i = 0; i < count; i++) {
		if (choices[i].held)
			body_release(choices[i].body);
		all &= choices[i].taken;
	}
	if (!all && builder->request->variants)
		variants_shed(builder->request->variants, false);
}
