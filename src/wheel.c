/*
 * wheel.c - see wheel.h. A hashed wheel (Varghese and Lauck, 1987, scheme 6) with lazy re-linking: a node's place is
 * where its deadline was when it was linked, and the deadline is looked at when that place comes round.
 */
#include "loom/wheel.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>

static uint64_t wheel_tick_of(uint64_t deadline)
{
	/* Rounded up: a node must not be looked at before its deadline, or it would be linked again in the same slot. */
	return (deadline + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
}

void wheel_init(struct wheel *wheel, uint64_t now)
{
	*wheel = (struct wheel){ .tick = now / WHEEL_TICK_MS };
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		wheel->slot[i].next = wheel->slot[i].prev = &wheel->slot[i];
}

static void wheel_link(struct wheel *wheel, struct wheel_node *node)
{
	uint64_t tick = wheel_tick_of(node->deadline);
	struct wheel_node *before;
	unsigned slot;

	if (tick < wheel->tick)
		tick = wheel->tick; /* already past: due the next time that anybody looks */
	slot = tick % WHEEL_SLOTS;
	node->tick = tick;
	/* Those of later turns come last, so that nobody has to pass them on the way to one that is due. */
	before = tick < wheel->tick + WHEEL_SLOTS ? wheel->slot[slot].next : &wheel->slot[slot];
	node->next = before;
	node->prev = before->prev;
	node->prev->next = node;
	before->prev = node;
	wheel->used[slot / 64] |= UINT64_C(1) << (slot % 64);
	wheel->nodes++;
}

void wheel_cancel(struct wheel *wheel, struct wheel_node *node)
{
	if (!node->next)
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
	wheel->nodes--;
}

void wheel_set(struct wheel *wheel, struct wheel_node *node, uint64_t deadline)
{
	node->deadline = deadline;
	if (node->next) {
		if (wheel_tick_of(deadline) >= node->tick)
			return;
		wheel_cancel(wheel, node);
	}
	wheel_link(wheel, node);
}

struct wheel_node *wheel_expire(struct wheel *wheel, uint64_t now)
{
	uint64_t now_tick = now / WHEEL_TICK_MS;

	/* After a long sleep (or a jump of the clock) one turn of the wheel sees every node. */
	if (now_tick > wheel->tick + WHEEL_SLOTS)
		wheel->tick = now_tick - WHEEL_SLOTS;

	while (wheel->tick <= now_tick) {
		unsigned slot = wheel->tick % WHEEL_SLOTS;
		struct wheel_node *head = &wheel->slot[slot], *next;

		if (wheel->used[slot / 64] & (UINT64_C(1) << (slot % 64))) {
			for (struct wheel_node *node = head->next; node != head; node = next) {
				next = node->next;
				if (node->tick > now_tick)
					continue; /* of a later turn */
				wheel_cancel(wheel, node);
				if (node->deadline <= now)
					return node;
				wheel_link(wheel, node);
			}
			if (head->next == head)
				wheel->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
		}
		wheel->tick++;
	}
	return NULL;
}

int wheel_timeout(const struct wheel *wheel, uint64_t now)
{
	uint64_t at;

	if (wheel->nodes == 0)
		return -1;

	/* The next slot in use, at most one turn away. It may hold only nodes of later turns: one wake-up too many. */
	for (unsigned ahead = 0; ahead < WHEEL_SLOTS;) {
		unsigned slot = (wheel->tick + ahead) % WHEEL_SLOTS;
		uint64_t bits = wheel->used[slot / 64] >> (slot % 64);

		if (bits == 0) {
			ahead += 64 - slot % 64;
			continue;
		}
		at = (wheel->tick + ahead + (unsigned)__builtin_ctzll(bits)) * WHEEL_TICK_MS;
		return at <= now ? 0 : at - now > INT_MAX ? INT_MAX : (int)(at - now);
	}
	assert(!"a linked node is in a slot in use");
	return 0;
}
