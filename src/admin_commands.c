/*
 * admin_commands.c - see admin_commands.h: the commands of docs/admin.md.
 */
#include "admin_commands.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loom/generations.h"
#include "loom/log.h"
#include "loom/memory.h"

#define WORDS_MAX    4
#define TOP_STANDARD 20
#define TOP_MAX      1000
#define RETIRED_MAX  100   /* that are listed */
#define DIFF_KEYS    20000 /* that are compared before others have their turn */

static struct generations *generations_of(const struct admin_view *view)
{
	return reload_generations(view->config->reload);
}

static void run_help(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	(void)view;
	(void)task;
	(void)words;
	admin_say(output, "status          what loom is, has and does");
	admin_say(output, "snapshots       the generations, and what workers still hold");
	admin_say(output, "diff A [B]      files that differ from generation A to B, or to the current one");
	admin_say(output, "reload          read the tree again, and say what came of it");
	admin_say(output, "pin [ID]        serve a generation, or the current one, and hold it");
	admin_say(output, "rollback [ID]   the same for the generation before the current one, or with this id");
	admin_say(output, "unpin           go back to what the tree holds");
	admin_say(output, "metrics         all figures, in the text format of Prometheus");
	admin_say(output, "top [N]         the paths that are asked for most");
	admin_say(output, "upgrade         start the binary anew, and give it this loom's place");
	admin_say(output, "help            this");
	admin_say(output, "An id may be cut to its first %d characters or more.", GENERATION_PREFIX_MIN);
	admin_ok(output);
}

struct status {
	const struct admin_view *view;
	struct admin_output *output;
	const struct conn_stats *total; /* of all workers */
	unsigned kept, retired;
};

static bool status_generation(void *context, const struct generation *generation)
{
	struct status *status = context;

	switch (generation->state) {
	case GENERATION_CURRENT:
	case GENERATION_PINNED:
		admin_say(status->output, "snapshot: %s, %" PRIu64 " s old", generation->id, generation->age / 1000);
		admin_say(status->output, "files: %" PRIu64 ", %" PRIu64 " bytes", generation->files,
		          generation->bytes);
		admin_say(status->output, "variants: %" PRIu64 ", %" PRIu64 " bytes", generation->coded,
		          generation->coded_bytes);
		admin_say(status->output, "pinned: %s", generation->state == GENERATION_PINNED ? "yes" : "no");
		break;
	case GENERATION_KEPT:
		status->kept++;
		break;
	case GENERATION_RETIRED:
		status->retired++;
		break;
	}
	return true;
}

static const char *const results[] = {
	[RELOAD_LIVE] = "a new snapshot went live", [RELOAD_SAME] = "nothing had changed",
	[RELOAD_REFUSED] = "refused by the gate",   [RELOAD_FAILED] = "failed",
	[RELOAD_PINNED] = "not published",
};

static void status_reload(const struct admin_view *view, struct admin_output *output)
{
	struct reload_status status;
	char at[32];
	struct tm tm;

	reload_status(view->config->reload, &status);
	admin_say(output, "watching: %s", status.watching);
	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&status.last.at, &tm));
	admin_say(output, "reload: %s, at %s, in %" PRIu64 " ms%s%s", results[status.last.result], at, status.last.ms,
	          status.last.why[0] ? ": " : "", status.last.why);
	if (status.building)
		admin_say(output, "building: yes");
}

static void status_figures(struct admin_output *output, const char *name, const struct conn_stats *stats)
{
	admin_say(output, "%s: connections %" PRIu64 " accepted %" PRIu64 " requests %" PRIu64 " timeouts %" PRIu64,
	          name, conn_stats_open(stats), stats->accepted, stats->requests, stats->timeouts);
}

/* What is gone from the tree and still served, and whether anybody wants it. */
static void status_kept(void *context, const struct snapshot *snapshot, uint64_t since)
{
	const struct status *status = context;

	(void)since;
	admin_say(status->output,
	          "kept: %" PRIu64 " files that are gone, %" PRIu64 " bytes, served %" PRIu64 " times so far",
	          snapshot->kept, snapshot->kept_bytes, status->total->kept);
}

static void status_workers(const struct admin_view *view, const struct conn_stats *total, struct admin_output *output)
{
	for (unsigned i = 0; i < view->config->options->workers; i++) {
		struct conn_stats worker = { 0 };
		char name[32];

		view->config->metrics->worker(view->config->metrics->context, i, &worker);
		snprintf(name, sizeof(name), "worker %u", i);
		status_figures(output, name, &worker);
	}
	status_figures(output, "workers", total);
}

static void run_status(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	const struct admin_config *config = view->config;
	struct conn_stats total = { 0 };
	struct status status = { .view = view, .output = output, .total = &total };
	struct timespec now;

	(void)task;
	(void)words;
	for (unsigned i = 0; i < config->options->workers; i++)
		config->metrics->worker(config->metrics->context, i, &total);
	clock_gettime(CLOCK_MONOTONIC, &now);
	admin_say(output, "version: %s", config->version);
	admin_say(output, "pid: %d", (int)getpid());
	admin_say(output, "uptime: %" PRIu64 " s", (uint64_t)now.tv_sec - view->began);
	admin_say(output, "state: %s", atomic_load(&view->draining) ? "draining" : "serving");
	admin_say(output, "backend: %s", config->backend);
	for (unsigned i = 0; i < config->listens; i++)
		admin_say(output, "listening: %s", config->listeners[i]);
	admin_say(output, "root: %s", config->options->root);
	generations_list(generations_of(view), status_generation, &status);
	generations_visit(generations_of(view), status_kept, &status);
	admin_say(output, "generations: %u earlier kept, of at most %u; %u more held by workers", status.kept,
	          config->options->keep_generations, status.retired);
	admin_say(output, "memory: %" PRIu64 " of %" PRIu64 " bytes", memory_held(), config->options->max_memory);
	status_reload(view, output);
	status_workers(view, &total, output);
	admin_ok(output);
}

static bool list_generation(void *context, const struct generation *generation)
{
	static const char *const states[] = {
		[GENERATION_CURRENT] = "current",
		[GENERATION_PINNED] = "pinned",
		[GENERATION_KEPT] = "kept",
		[GENERATION_RETIRED] = "retired",
	};
	struct status *status = context;
	char changes[80] = "-", age[24] = "-";

	if (generation->state == GENERATION_RETIRED && status->retired++ == RETIRED_MAX) {
		admin_say(status->output, "... and more that are retired");
		return false;
	}
	if (generation->compared)
		snprintf(changes, sizeof(changes), "+%" PRIu64 " ~%" PRIu64 " -%" PRIu64, generation->added,
		         generation->changed, generation->removed);
	if (generation->state != GENERATION_RETIRED)
		snprintf(age, sizeof(age), "%" PRIu64 "s", generation->age / 1000);
	admin_say(status->output, "%-*s %-8s %8s %9" PRIu64 " %14" PRIu64 " %4u  %s", GENERATION_ID_LEN, generation->id,
	          states[generation->state], age, generation->files, generation->bytes, generation->shares, changes);
	return true;
}

static void run_snapshots(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	struct status status = { .view = view, .output = output };

	(void)task;
	(void)words;
	admin_say(output, "%-*s %-8s %8s %9s %14s %4s  %s", GENERATION_ID_LEN, "id", "state", "age", "files", "bytes",
	          "pins", "changes");
	generations_list(generations_of(view), list_generation, &status);
	admin_ok(output);
}

static void explain_id(struct admin_output *output, const char *id, int err)
{
	if (err == -EINVAL)
		admin_error(output, "'%s' is too short: at least %d characters of an id", id, GENERATION_PREFIX_MIN);
	else if (err == -ENOENT)
		admin_error(output, "there is no generation '%s' (snapshots lists those that there are)", id);
	else if (err == -ENOTUNIQ)
		admin_error(output, "'%s' is the beginning of several ids: write more of it", id);
	else
		admin_error(output, "%s", strerror(-err));
}

static void told_switch(struct admin_output *output, const struct generations_switch *result)
{
	if (result->switched) {
		admin_say(output, "switched to %s in %" PRIu64 " us; pinned until unpin", result->id,
		          (result->nanoseconds + 999) / 1000);
		log_info("switched to snapshot %s, and pinned it (loomctl)", result->id);
	} else {
		admin_say(output, "%s is served, and is pinned until unpin", result->id);
		log_info("pinned snapshot %s (loomctl)", result->id);
	}
	admin_ok(output);
}

static void run_pin(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	struct generations_switch result;
	int err = generations_pin(generations_of(view), words[1], &result);

	(void)task;
	if (err)
		explain_id(output, words[1] ? words[1] : "", err);
	else
		told_switch(output, &result);
}

static void run_rollback(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	struct generations_switch result;
	int err;

	if (words[1]) {
		run_pin(view, task, words, output);
		return;
	}
	err = generations_rollback(generations_of(view), &result);
	if (err == -ENOENT)
		admin_error(output, "there is no earlier generation (at most %u are kept: --keep-generations)",
		            view->config->options->keep_generations);
	else if (err)
		admin_error(output, "%s", strerror(-err));
	else
		told_switch(output, &result);
}

static void ask_reload(struct admin_view *view, struct admin_task *task)
{
	task->kind = TASK_RELOAD;
	task->ticket = reload_ask(view->config->reload);
}

static void run_reload(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	char id[GENERATION_ID_SIZE];

	(void)words;
	if (generations_pinned(generations_of(view), id))
		admin_error(output, "generation %s is pinned: unpin goes back to the tree", id);
	else
		ask_reload(view, task);
}

static void run_unpin(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	(void)words;
	if (!generations_unpin(generations_of(view))) {
		admin_error(output, "nothing is pinned");
		return;
	}
	log_info("unpinned: back to what the tree holds (loomctl)");
	ask_reload(view, task);
}

static void resume_reload(struct admin_view *view, struct admin_task *task, struct admin_output *output)
{
	struct reload_outcome outcome;

	if (!reload_answer(view->config->reload, task->ticket, &outcome))
		return;
	task->kind = TASK_NONE;
	switch (outcome.result) {
	case RELOAD_LIVE:
		admin_say(output, "snapshot %s is live: %" PRIu64 " files, %" PRIu64 " bytes, in %" PRIu64 " ms",
		          outcome.id, outcome.files, outcome.bytes, outcome.ms);
		admin_ok(output);
		break;
	case RELOAD_SAME:
		admin_say(output, "nothing has changed: snapshot %s stays (%" PRIu64 " ms)", outcome.id, outcome.ms);
		admin_ok(output);
		break;
	case RELOAD_REFUSED:
		admin_error(output, "refused, the old snapshot stays: %s", outcome.why);
		break;
	case RELOAD_FAILED:
	case RELOAD_PINNED:
		admin_error(output, "the old snapshot stays: %s", outcome.why);
		break;
	}
}

static bool tell_change(void *context, enum build_change change, const char *key, size_t key_len)
{
	static const char signs[] = { [BUILD_ADDED] = '+', [BUILD_REMOVED] = '-', [BUILD_CHANGED] = '~' };
	struct admin_output *output = context;
	char *path = admin_path(key, key_len);

	if (path)
		admin_say(output, "%c %s", signs[change], path);
	else
		output->cut = true;
	free(path);
	return output->len < ADMIN_PIECE && !output->cut;
}

static void resume_diff(struct admin_view *view, struct admin_task *task, struct admin_output *output)
{
	bool over = build_diff(task->old, task->new, &task->position, DIFF_KEYS, tell_change, output);

	if (!over && !output->cut)
		return;
	admin_abandon(view, task);
	admin_ok(output);
}

static void run_diff(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	int err;

	if (!words[1]) {
		admin_error(output, "diff needs the id of a generation (snapshots lists them)");
		return;
	}
	err = generations_hold(generations_of(view), words[1], &task->old);
	if (err) {
		explain_id(output, words[1], err);
		return;
	}
	err = generations_hold(generations_of(view), words[2], &task->new);
	task->kind = TASK_DIFF;
	task->position = (struct build_position){ 0 };
	if (err) {
		admin_abandon(view, task);
		explain_id(output, words[2] ? words[2] : "", err);
	}
}

struct top_row {
	uint64_t hits;
	const struct snapshot_slot *slot;
};

struct top {
	struct admin_output *output;
	size_t most, count;
	struct top_row rows[TOP_MAX]; /* a heap: the fewest hits on top */
};

/* Whether a stands before b in the answer: more hits, and among equals, for no reason but order, by key. */
static bool before(const struct top_row *a, const struct top_row *b)
{
	return a->hits != b->hits ? a->hits > b->hits : strcmp(a->slot->key, b->slot->key) < 0;
}

static int by_hits(const void *a, const void *b)
{
	return before(a, b) ? -1 : 1;
}

static void top_add(struct top *top, struct top_row row)
{
	struct top_row *rows = top->rows;
	size_t at;

	if (top->count < top->most) {
		at = top->count++;
		for (; at > 0 && before(&rows[(at - 1) / 2], &row); at = (at - 1) / 2)
			rows[at] = rows[(at - 1) / 2];
		rows[at] = row;
		return;
	}
	if (!before(&row, &rows[0]))
		return;
	for (at = 0; 2 * at + 1 < top->count;) {
		size_t child = 2 * at + 1;

		if (child + 1 < top->count && before(&rows[child], &rows[child + 1]))
			child++;
		if (!before(&row, &rows[child]))
			break;
		rows[at] = rows[child];
		at = child;
	}
	rows[at] = row;
}

static void top_snapshot(void *context, const struct snapshot *snapshot, uint64_t since)
{
	struct top *top = context;
	uint64_t requests = 0, paths = 0;

	for (uint64_t i = 0; snapshot->hits && i <= snapshot->mask; i++) {
		struct top_row row = { .slot = &snapshot->slots[i] };

		if (!row.slot->hash)
			continue;
		for (unsigned worker = 0; worker < snapshot->workers; worker++)
			row.hits += __atomic_load_n(&snapshot->share[worker].hits[i], __ATOMIC_RELAXED);
		if (row.hits == 0)
			continue;
		requests += row.hits;
		paths++;
		top_add(top, row);
	}
	qsort(top->rows, top->count, sizeof(top->rows[0]), by_hits);
	admin_say(top->output, "snapshot %s since %" PRIu64 " requests %" PRIu64 " paths %" PRIu64, snapshot->id, since,
	          requests, paths);
	for (size_t i = 0; i < top->count; i++) {
		char *path = admin_path(top->rows[i].slot->key, top->rows[i].slot->key_len);

		admin_say(top->output, "%" PRIu64 " %s", top->rows[i].hits, path ? path : "?");
		free(path);
	}
}

static void run_top(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	unsigned long most = TOP_STANDARD;
	struct top *top;
	char *end;

	(void)task;
	if (words[1]) {
		errno = 0;
		most = strtoul(words[1], &end, 10);
		if (words[1][0] < '0' || words[1][0] > '9' || *end || errno || most < 1 || most > TOP_MAX) {
			admin_error(output, "'%s' is no number of paths (1 to %d)", words[1], TOP_MAX);
			return;
		}
	}
	top = malloc(sizeof(*top));
	if (!top) {
		admin_error(output, "%s", strerror(ENOMEM));
		return;
	}
	top->output = output;
	top->most = most;
	top->count = 0;
	generations_visit(generations_of(view), top_snapshot, top);
	free(top);
	admin_ok(output);
}

static void run_metrics(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	char *text, *rest, *line;
	size_t len;

	(void)task;
	(void)words;
	if (metrics_write(view->config->metrics, METRICS_TEXT, &text, &len) < 0) {
		admin_error(output, "%s", strerror(ENOMEM));
		return;
	}
	text[len - 1] = '\0'; /* the last line's end */
	rest = text;
	while ((line = strsep(&rest, "\n")))
		admin_say(output, "%s", line);
	free(text);
	admin_ok(output);
}

static void run_upgrade(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output)
{
	char why[512];

	(void)words;
	task->ticket = view->config->upgrade(view->config->context, why, sizeof(why));
	if (task->ticket == 0)
		admin_error(output, "%s", why);
	else
		task->kind = TASK_UPGRADE;
}

static void resume_upgrade(struct admin_view *view, struct admin_task *task, struct admin_output *output)
{
	char why[512];
	int pid, result = view->config->upgraded(view->config->context, task->ticket, &pid, why, sizeof(why));

	if (result == 0)
		return;
	task->kind = TASK_NONE;
	if (result < 0) {
		admin_error(output, "%s", why);
		return;
	}
	admin_say(output, "pid %d has taken over from pid %d", pid, (int)getpid());
	admin_ok(output);
}

static const struct command {
	const char *name;
	int words; /* the most, behind the name */
	void (*run)(struct admin_view *view, struct admin_task *task, char *words[], struct admin_output *output);
} commands[] = {
	{ "help", 0, run_help },         { "status", 0, run_status },   { "snapshots", 0, run_snapshots },
	{ "diff", 2, run_diff },         { "reload", 0, run_reload },   { "pin", 1, run_pin },
	{ "rollback", 1, run_rollback }, { "unpin", 0, run_unpin },     { "top", 1, run_top },
	{ "metrics", 0, run_metrics },   { "upgrade", 0, run_upgrade },
};

void admin_begin(struct admin_view *view, struct admin_task *task, char *line, struct admin_output *output)
{
	char *words[WORDS_MAX + 1] = { NULL }, *rest = line, *word;
	int count = 0;

	assert(task->kind == TASK_NONE);
	for (const char *at = line; *at; at++) {
		if (*at < 0x20 || *at > 0x7e) {
			admin_error(output, "a command is a line of printable ASCII (help lists them)");
			return;
		}
	}
	while (count < WORDS_MAX && (word = strsep(&rest, " ")))
		if (*word)
			words[count++] = word;
	if (count == 0) {
		admin_error(output, "the line is empty (help lists the commands)");
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, words[0]) != 0)
			continue;
		if (count - 1 > commands[i].words) {
			admin_error(output, "%s takes no '%s'", words[0], words[commands[i].words + 1]);
			return;
		}
		commands[i].run(view, task, words, output);
		return;
	}
	admin_error(output, "there is no command '%.40s' (help lists them)", words[0]);
}

void admin_resume(struct admin_view *view, struct admin_task *task, struct admin_output *output)
{
	switch (task->kind) {
	case TASK_NONE:
		break;
	case TASK_RELOAD:
		resume_reload(view, task, output);
		break;
	case TASK_DIFF:
		resume_diff(view, task, output);
		break;
	case TASK_UPGRADE:
		resume_upgrade(view, task, output);
		break;
	}
}

void admin_abandon(struct admin_view *view, struct admin_task *task)
{
	generations_release(generations_of(view), task->old);
	generations_release(generations_of(view), task->new);
	*task = (struct admin_task){ .kind = TASK_NONE };
}
