/*
 * option_values.c - reads the values of options, as text, into struct options, and says what is wrong with them: values of
 * a kind, which are durations, sizes, numbers, switches, and words of a few. option_texts.c has the others. Main thread,
 * before any other exists.
 */
#include "option_values.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "loom/access_format.h"
#include "loom/units.h"

#define BODY_MAX (UINT64_C(1) << 40) /* so that sizes of chunks can be added up */

int option_complain(struct complaint *complaint, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(complaint->text, complaint->size, "%s%s%s", complaint->subject, *complaint->subject ? ": " : "", text);
	return -EINVAL;
}

static const char *duration_text(uint32_t ms, char *text, size_t size)
{
	if (ms % HOUR == 0 && ms > 0)
		snprintf(text, size, "%" PRIu32 "h", ms / HOUR);
	else if (ms % 1000 == 0)
		snprintf(text, size, "%" PRIu32 "s", ms / 1000);
	else
		snprintf(text, size, "%" PRIu32 "ms", ms);
	return text;
}

int option_set_duration(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	int64_t ms = units_duration(text);
	char min[16], max[16];

	if (ms == -EINVAL)
		return option_complain(complaint, "'%s' is no duration (write it as 500ms, 5s, 2m or 1h)", text);
	if (ms < row->min || ms > row->max)
		return option_complain(complaint, "'%s' is out of range (from %s to %s)", text,
		                       duration_text(row->min, min, sizeof(min)),
		                       duration_text(row->max, max, sizeof(max)));
	*(uint32_t *)((char *)options + row->offset) = (uint32_t)ms;
	return 0;
}

static int parse_size(const char *text, uint64_t *size, struct complaint *complaint)
{
	int64_t bytes = units_size(text);

	if (bytes == -EINVAL)
		return option_complain(complaint, "'%s' is no size (write it as 65536, 512K, 512M or 2G)", text);
	if (bytes < 0)
		return option_complain(complaint, "'%s' is out of range (below 8 million T)", text);
	*size = (uint64_t)bytes;
	return 0;
}

int option_set_memory(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (parse_size(text, &options->max_memory, complaint))
		return -EINVAL;
	if (options->max_memory == 0)
		return option_complain(complaint, "'%s' is out of range (at least 1 byte, below 8 million T)", text);
	return 0;
}

int option_set_stream_above(const struct row *row, struct options *options, const char *text,
                            struct complaint *complaint)
{
	(void)row;
	options->stream_above = UINT64_MAX;
	return strcmp(text, "off") == 0 ? 0 : parse_size(text, &options->stream_above, complaint);
}

int option_set_splice_above(const struct row *row, struct options *options, const char *text,
                            struct complaint *complaint)
{
	(void)row;
	options->splice_above = UINT64_MAX;
	return strcmp(text, "off") == 0 ? 0 : parse_size(text, &options->splice_above, complaint);
}

int option_set_body(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (parse_size(text, &options->limits.body, complaint))
		return -EINVAL;
	if (options->limits.body > BODY_MAX)
		return option_complain(complaint, "'%s' is out of range (at most 1T)", text);
	return 0;
}

int option_set_size(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	uint64_t size = 0;

	if (parse_size(text, &size, complaint))
		return -EINVAL;
	if (size < row->min || size > row->max)
		return option_complain(complaint, "'%s' is out of range (from %" PRIu32 " to %" PRIu32 " bytes)", text,
		                       row->min, row->max);
	*(uint32_t *)((char *)options + row->offset) = (uint32_t)size;
	return 0;
}

/* A whole number within the row's bounds; alternative: what else the option takes, for the complaint. */
static int parse_bounded(const struct row *row, const char *text, const char *alternative, unsigned *value,
                         struct complaint *complaint)
{
	const char *end;
	uint64_t number;
	int error;

	error = units_number(text, &end, &number);
	if (!error && *end != '\0')
		error = -EINVAL;
	if (error || number < row->min || number > row->max)
		return option_complain(complaint, "'%s' is %s (%" PRIu32 " to %" PRIu32 "%s)", text,
		                       error == -EINVAL ? "no number" : "out of range", row->min, row->max,
		                       alternative);
	*value = (unsigned)number;
	return 0;
}

int option_set_connections(const struct row *row, struct options *options, const char *text,
                           struct complaint *complaint)
{
	return parse_bounded(row, text, "", &options->max_connections, complaint);
}

int option_set_number(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	return parse_bounded(row, text, "", (uint32_t *)((char *)options + row->offset), complaint);
}

static unsigned usable_cpus(void)
{
	cpu_set_t set[8]; /* 8192 CPUs, as many as any kernel is built for; one cpu_set_t would be refused on these */
	int count;

	if (sched_getaffinity(0, sizeof(set), set) < 0)
		return 1;
	count = CPU_COUNT_S(sizeof(set), set);
	return count > WORKERS_MAX ? WORKERS_MAX : (unsigned)count;
}

int option_set_workers(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	if (strcmp(text, "auto") == 0) {
		options->workers = usable_cpus();
		return 0;
	}
	return parse_bounded(row, text, ", or auto", &options->workers, complaint);
}

/* The index of the text among the choices that the row's argument shows, or -EINVAL. */
static int parse_choice(const struct row *row, const char *text, struct complaint *complaint)
{
	const char *choice = row->argument;

	for (int i = 0;; i++) {
		size_t len = strcspn(choice, "|");

		if (strlen(text) == len && memcmp(choice, text, len) == 0)
			return i;
		if (choice[len] == '\0')
			return option_complain(complaint, "'%s' is not one of %s", text, row->argument);
		choice += len + 1;
	}
}

int option_set_backend(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	int choice = parse_choice(row, text, complaint);

	if (choice < 0)
		return choice;
	options->backend = text;
	return 0;
}

int option_set_symlinks(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const enum symlinks choices[] = { SYMLINKS_CONTAIN, SYMLINKS_FOLLOW, SYMLINKS_DENY };
	int choice = parse_choice(row, text, complaint);

	if (choice < 0)
		return choice;
	options->symlinks = choices[choice];
	return 0;
}

int option_set_watch(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const enum watch_mode choices[] = { WATCH_AUTO, WATCH_INOTIFY, WATCH_POLL, WATCH_OFF };
	int choice = parse_choice(row, text, complaint);

	if (choice < 0)
		return choice;
	options->watch = choices[choice];
	return 0;
}

int option_set_when_full(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const enum when_full choices[] = { WHEN_FULL_WAIT, WHEN_FULL_503, WHEN_FULL_CLOSE };
	int choice = parse_choice(row, text, complaint);

	if (choice < 0)
		return choice;
	options->when_full = choices[choice];
	return 0;
}

int option_set_sandbox(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const enum sandbox_mode choices[] = { SANDBOX_AUTO, SANDBOX_ON, SANDBOX_OFF };
	int choice = parse_choice(row, text, complaint);

	if (choice < 0)
		return choice;
	assert((size_t)choice < sizeof(choices) / sizeof(choices[0]));
	options->sandbox = choices[choice];
	return 0;
}

/* 1, 0 or -EINVAL. The command line's flags are "1"; the environment and a file have to say it. */
static int switch_value(const char *text)
{
	static const char *const words[] = { "0", "1", "no", "yes", "off", "on", "false", "true" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i]) == 0)
			return i & 1;
	}
	return -EINVAL;
}

bool option_is_on(const char *text)
{
	return switch_value(text) == 1;
}

static int parse_switch(const char *text, struct complaint *complaint)
{
	int on = switch_value(text);

	return on < 0 ? option_complain(complaint, "'%s' is neither 1 nor 0 (nor yes, no, on, off)", text) : on;
}

int option_set_switch(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	int on = parse_switch(text, complaint);

	if (on < 0)
		return on;
	*(bool *)((char *)options + row->offset) = on ? row->flag : !row->flag;
	return 0;
}

int option_set_access_format(const struct row *row, struct options *options, const char *text,
                             struct complaint *complaint)
{
	(void)row;
	if (strcmp(text, "combined") == 0)
		options->access_format = ACCESS_COMBINED;
	else if (strcmp(text, "json") == 0)
		options->access_format = ACCESS_JSON;
	else
		return option_complain(complaint, "'%s' is neither combined nor json", text);
	return 0;
}

int option_set_log_level(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };

	(void)row;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			options->log_level = (uint8_t)i;
			return 0;
		}
	}
	return option_complain(complaint, "'%s' is none of error, warn, info, debug", text);
}

int option_set_verbosity(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	int on = parse_switch(text, complaint);

	if (on > 0)
		options->log_level = (uint8_t)row->flag;
	return on < 0 ? on : 0;
}

int option_set_port(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	char address[sizeof("[::]:65535")];
	unsigned port = 0;
	int error;

	error = parse_bounded(row, text, "", &port, complaint);
	if (error)
		return error;
	snprintf(address, sizeof(address), "[::]:%u", port & 0xffff);
	options->listen[0] = option_keep(options->store, address, strlen(address));
	if (!options->listen[0])
		return option_complain(complaint, "%s", strerror(ENOMEM));
	options->listens = 1;
	return 0;
}
