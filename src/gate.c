/*
 * gate.c - see gate.h. Builder's thread, at its low priority; it reads snapshots and owns nothing. The rule about links
 * reads every HTML page of the snapshot each time, since what has vanished may be named by a page that has not changed.
 */
#include "loom/gate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "loom/build.h"
#include "loom/links.h"
#include "loom/log.h"

#define NAME_MAX_SHOWN 80 /* bytes of a name in a message; of a longer one its end, which tells most */
#define EXAMPLES       3
#define TEXT_MAX       512 /* of a violation */
#define HINT_MAX       160 /* of what to do about it */

struct inspection {
	const struct options *options;
	const struct snapshot *snapshot;
	const struct snapshot *previous;
	gate_tell_fn *tell;
	void *context;
	uint64_t violations;
};

struct name {
	char text[NAME_MAX_SHOWN + 4];
};

static struct name show(const char *text, size_t len)
{
	struct name name;

	if (len <= NAME_MAX_SHOWN)
		snprintf(name.text, sizeof(name.text), "%.*s", (int)len, text);
	else
		snprintf(name.text, sizeof(name.text), "...%.*s", NAME_MAX_SHOWN, text + len - NAME_MAX_SHOWN);
	return name;
}

/* Tells the text, of which the first bytes are the subject. */
static void tell(struct inspection *inspection, bool compares, const char *text, size_t subject)
{
	const struct gate_violation violation = { .text = text, .subject = subject, .compares = compares };

	inspection->violations++;
	inspection->tell(inspection->context, &violation);
}

static bool has_index(const struct snapshot *snapshot)
{
	const struct snapshot_slot *slot = snapshot_find(snapshot, "/", 1);

	return slot && slot->representation->body_len > 0;
}

static void check_index(struct inspection *inspection)
{
	const struct options *options = inspection->options;
	char text[TEXT_MAX];

	if (has_index(inspection->snapshot))
		return;
	if (!options->gate.chosen && !(inspection->previous && has_index(inspection->previous)))
		return;
	snprintf(text, sizeof(text), "index: /%s is %s", show(options->index, strlen(options->index)).text,
	         snapshot_find(inspection->snapshot, "/", 1) ? "empty" : "missing");
	tell(inspection, !options->gate.chosen, text, strlen(text));
}

/* The first names of what has vanished. */
struct examples {
	const struct snapshot *snapshot;
	unsigned count;
	char text[EXAMPLES * (NAME_MAX_SHOWN + 20) + 16];
};

static int find_example(void *context, const struct build_file *file)
{
	struct examples *examples = context;
	const struct snapshot_slot *slot = snapshot_find(examples->snapshot, file->key, file->key_len);
	size_t len = strlen(examples->text);

	if (slot && slot->gone)
		slot = NULL; /* still served, but not there */
	if (file->len == 0 || (slot && slot->representation->body_len > 0))
		return 0;
	snprintf(examples->text + len, sizeof(examples->text) - len, "%s%s%s", len ? ", " : "; among them ",
	         show(file->key, file->key_len).text, slot ? " (now empty)" : "");
	return ++examples->count == EXAMPLES;
}

/* A file that has become empty is as good as gone: so does a full disk end a deploy. */
static int count_file(void *context, const struct build_file *file)
{
	uint64_t *files = context;

	*files += file->len > 0;
	return 0;
}

static bool too_many(uint64_t were, uint64_t are, unsigned percent)
{
	return are < were && (double)(were - are) * 100 > (double)were * percent;
}

static void check_vanished(struct inspection *inspection)
{
	const struct gate_rules *rules = &inspection->options->gate;
	const struct snapshot *old = inspection->previous, *new = inspection->snapshot;
	struct examples examples = { .snapshot = new };
	uint64_t were = 0, are = 0;
	char text[TEXT_MAX];
	bool files, bytes;

	if (!old)
		return;
	build_files(old, count_file, &were);
	build_files(new, count_file, &are);
	if (!rules->chosen && were < GATE_FILES_MIN)
		return;
	files = too_many(were, are, rules->percent);
	bytes = rules->chosen && too_many(old->bytes, new->bytes, rules->percent);
	if (!files && !bytes)
		return;
	build_files(old, find_example, &examples);
	snprintf(text, sizeof(text),
	         "vanished: more than %u %% of the %s: %" PRIu64 " files of %" PRIu64 " bytes were served, and %" PRIu64
	         " of %" PRIu64 " are there now%s",
	         rules->percent,
	         files && bytes ? "files and bytes"
	         : files        ? "files"
	                        : "bytes",
	         were, old->bytes, are, new->bytes, examples.text);
	tell(inspection, true, text, strlen("vanished"));
}

/* A file that is not there, and who names it. */
struct missing {
	uint64_t hash; /* of its key, or of its URL when it has none */
	struct name name;
	struct name page;      /* the first one */
	const char *last_page; /* the key of the last one */
	uint64_t more_pages;
};

struct search {
	struct inspection *inspection;
	const struct build_file *page;
	unsigned count;
	uint64_t unread;    /* pages that are not in memory */
	uint64_t uncounted; /* links to files beyond those that are told by name */
	struct missing missing[GATE_NAMES_MAX];
};

static int check_link(void *context, const struct links_link *link)
{
	struct search *search = context;
	const struct snapshot_slot *slot;
	const char *key = link->key ? link->key : link->url;
	size_t len = link->key ? link->key_len : link->url_len;
	struct missing *missing = search->missing;
	uint64_t hash;

	slot = link->key ? snapshot_find(search->inspection->snapshot, key, len) : NULL;
	if (slot && !slot->gone)
		return 0;
	hash = snapshot_hash(key, len);
	while (missing < search->missing + search->count && missing->hash != hash)
		missing++;
	if (missing == search->missing + GATE_NAMES_MAX) {
		search->uncounted++;
	} else if (missing == search->missing + search->count) {
		*missing = (struct missing){
			.hash = hash,
			.name = show(key, len),
			.page = show(search->page->key, search->page->key_len),
			.last_page = search->page->key,
		};
		search->count++;
	} else if (missing->last_page != search->page->key) {
		missing->last_page = search->page->key;
		missing->more_pages++;
	}
	return 0;
}

static int check_page(void *context, const struct build_file *file)
{
	struct search *search = context;

	search->page = file;
	if (strncmp(file->type, "text/html", strlen("text/html")) != 0)
		return 0;
	if (!file->bytes)
		search->unread++;
	else
		links_scan(file->key, file->key_len, (const char *)file->bytes, file->len, check_link, search);
	return 0;
}

static void tell_missing(struct inspection *inspection, const struct missing *missing)
{
	char text[TEXT_MAX], more[64] = "";
	size_t subject;

	if (missing->more_pages)
		snprintf(more, sizeof(more), " and %" PRIu64 " more page%s", missing->more_pages,
		         missing->more_pages == 1 ? "" : "s");
	subject = (size_t)snprintf(text, sizeof(text), "links: %s is missing", missing->name.text);
	snprintf(text + subject, sizeof(text) - subject, ", named by %s%s", missing->page.text, more);
	tell(inspection, false, text, subject);
}

static void check_links(struct inspection *inspection)
{
	struct search search = { .inspection = inspection };
	char text[TEXT_MAX];

	build_files(inspection->snapshot, check_page, &search);
	if (search.unread)
		log_warn("links: %" PRIu64 " HTML file%s not looked at, being streamed (see --stream-above)",
		         search.unread, search.unread == 1 ? " was" : "s were");
	for (unsigned i = 0; i < search.count; i++)
		tell_missing(inspection, &search.missing[i]);
	if (search.uncounted) {
		snprintf(text, sizeof(text), "links: %" PRIu64 " more links to other files that are missing",
		         search.uncounted);
		tell(inspection, false, text, strlen("links"));
	}
}

uint64_t gate_inspect(const struct options *options, const struct snapshot *snapshot, const struct snapshot *previous,
                      gate_tell_fn *told, void *context)
{
	struct inspection inspection = {
		.options = options,
		.snapshot = snapshot,
		.previous = previous,
		.tell = told,
		.context = context,
	};

	if (options->gate.index)
		check_index(&inspection);
	if (options->gate.vanished)
		check_vanished(&inspection);
	if (options->gate.links)
		check_links(&inspection);
	return inspection.violations;
}

/* A line in the making, with room kept for what to do. */
struct line {
	char *text;
	size_t size;
	uint64_t reason; /* a hash of the subjects in it */
	uint64_t untold;
	bool compares; /* the first violation does */
	bool any;
};

static void join(void *context, const struct gate_violation *violation)
{
	struct line *line = context;
	size_t len = strlen(line->text);

	if (line->any && (line->untold || len + strlen(violation->text) + 2 >= line->size)) {
		line->untold++;
		return;
	}
	if (!line->any)
		line->compares = violation->compares;
	snprintf(line->text + len, line->size - len, "%s%s", line->any ? "; " : "", violation->text);
	line->any = true;
	line->reason = line->reason * 31 + snapshot_hash(violation->text, violation->subject);
}

int gate_check(const struct options *options, const struct snapshot *snapshot, const struct snapshot *previous,
               uint64_t *reason, char *why, size_t size)
{
	struct line line = { .text = why, .size = size > 2 * HINT_MAX ? size - HINT_MAX : size };
	size_t len;

	snprintf(why, size, "the gate refuses %s: ", show(options->root, strlen(options->root)).text);
	if (gate_inspect(options, snapshot, previous, join, &line) == 0) {
		*why = '\0';
		return 0;
	}
	*reason = line.reason;
	len = strlen(why);
	if (line.untold)
		len += (size_t)snprintf(why + len, size - len, "; and %" PRIu64 " more like %s", line.untold,
		                        line.untold == 1 ? "this" : "these");
	if (len < size)
		snprintf(why + len, size - len, " (%s, or choose other rules with --gate)",
		         line.compares ? "if that is meant, restart loom: a first snapshot is compared with nothing"
		                       : "mend what is served");
	return -EPERM;
}
