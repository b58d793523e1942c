/*
 * option_file.c - reads a configuration file into values of options. Main thread. config.c knows the format; here is
 * what the names in it mean, and what is wrong with them.
 */
#include "option_values.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/config.h"

#define NAME_LEN_MAX 40 /* of what a suggestion is looked for */
#define SHOWN_MAX    200

struct file_reading {
	struct option_store *store;
	struct given *given; /* of the file alone, a row's at the row's index */
	struct options scratch;
};

/* "keep_for", "KEEP-FOR" and "--keep-for" as options are written. */
static void normalize(const char *name, char *out, size_t size)
{
	size_t n = 0;

	name += strspn(name, "-");
	for (; *name && n + 1 < size; name++)
		out[n++] = *name == '_' ? '-' : (char)tolower((unsigned char)*name);
	out[n] = '\0';
}

/* How many letters have to be put in, taken out or changed to make one name of the other. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_LEN_MAX + 1], len = strlen(b);

	assert(len <= NAME_LEN_MAX);
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 1; *a; a++, i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= len; j++) {
			size_t change = corner + (*a != b[j - 1]);
			size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			corner = row[j];
			row[j] = change < best ? change : best;
		}
	}
	return row[len];
}

static bool is_setting(const struct row *row)
{
	return row->set && !row->not_in_file;
}

/* Whether the one name is the other behind "no-". */
static bool is_negation(const char *name, const char *other)
{
	return strncmp(name, "no-", 3) == 0 && strcmp(name + 3, other) == 0;
}

/* The setting whose name may have been meant, or NULL. */
static const char *suggestion(const char *typed)
{
	size_t best = SIZE_MAX, len, prefixes = 0;
	const char *name = NULL, *longer = NULL;
	char text[NAME_LEN_MAX + 2];
	const struct row *row;

	normalize(typed, text, sizeof(text));
	len = strlen(text);
	if (len == 0 || len > NAME_LEN_MAX)
		return NULL;
	for (size_t i = 0; (row = option_row(i)) != NULL; i++) {
		size_t far;

		if (!is_setting(row))
			continue;
		if (is_negation(text, row->name) || is_negation(row->name, text))
			return row->name;
		far = distance(text, row->name);
		if (far < best)
			best = far, name = row->name;
		if (len >= 3 && strncmp(text, row->name, len) == 0)
			prefixes++, longer = row->name;
	}
	if (best <= 1 || best <= len / 3)
		return name;
	return prefixes == 1 ? longer : NULL;
}

static int refuse_name(const struct config_line *line, char *why, size_t size)
{
	const struct row *row = option_find(line->name, strlen(line->name));
	const char *meant = suggestion(line->name);

	if (row)
		snprintf(why, size, "%s is for the command line%s, and no setting of a file", row->name,
		         row->set ? " and the environment" : "");
	else if (meant)
		snprintf(why, size, "unknown setting '%.*s' (did you mean %s?)", SHOWN_MAX, line->name, meant);
	else
		snprintf(why, size, "unknown setting '%.*s' (settings are named like the long options of loom --help)",
		         SHOWN_MAX, line->name);
	return -EINVAL;
}

/* "Event loops", "event loops" and "event-loops" are one. */
static bool is_heading(const char *name, const char *group)
{
	for (; *name && *group; name++, group++) {
		int c = *name == '-' ? ' ' : tolower((unsigned char)*name);

		if (c != tolower((unsigned char)*group))
			return false;
	}
	return *name == '\0' && *group == '\0';
}

/*
 * A heading groups settings for people, and has no meaning of its own. But one that is not loom's is refused: who
 * writes [example.com] expects what follows to be for that host alone.
 */
static int check_heading(const struct config_line *line, char *why, size_t size)
{
	const char *group = "";
	const struct row *row;
	int used;

	for (size_t i = 0; (row = option_row(i)) != NULL; i++) {
		if (row->group)
			group = row->group;
		if (is_setting(row) && *group && is_heading(line->name, group))
			return 0;
	}
	used = snprintf(why, size, "unknown section [%.*s] (sections only group, and are", SHOWN_MAX, line->name);
	group = "";
	for (size_t i = 0; (row = option_row(i)) != NULL; i++) {
		if (row->group)
			group = row->group;
		if (!is_setting(row) || *group == '\0' || used < 0 || (size_t)used >= size)
			continue;
		used += snprintf(why + used, size - (size_t)used, " [%s]", group);
		group = "";
	}
	if (used > 0 && (size_t)used < size)
		snprintf(why + used, size - (size_t)used, ")");
	return -EINVAL;
}

static int take(void *context, const struct config_line *line, char *why, size_t size)
{
	struct file_reading *reading = context;
	struct complaint complaint = { .text = why, .size = size, .subject = line->name };
	const struct row *row;
	struct given *given;
	const char *text;

	if (!line->value)
		return check_heading(line, why, size);
	row = option_find(line->name, strlen(line->name));
	if (!row || !is_setting(row))
		return refuse_name(line, why, size);
	if (*line->value == '\0')
		return option_complain(&complaint, "no value (take the line out for the default)");
	given = &reading->given[option_index(row)];
	if (given->source == SOURCE_FILE && !option_adds_up(row))
		return option_complain(&complaint, "given before, in line %u (take one of the two out)",
		                       given->line[0]);
	text = option_keep(reading->store, line->value, strlen(line->value));
	if (text)
		text = option_absolute(reading->store, row, reading->store->base, text);
	if (!text)
		return option_complain(&complaint, "%s", strerror(errno));
	option_give(given, SOURCE_FILE, text, line->number);
	return row->set(row, &reading->scratch, text, &complaint);
}

/*
 * The directory of the file as it is named, absolute: where a link to it lies, not where that leads. NULL: errno says
 * why.
 */
static const char *directory_of(struct option_store *store, const char *path)
{
	static const struct row whole = { .path = PATH_WHOLE };
	const char *slash = strrchr(path, '/');
	const char *name = option_keep(store, path, slash ? (size_t)(slash - path) + (slash == path) : 0);

	return name ? option_absolute(store, &whole, NULL, slash ? name : ".") : NULL;
}

int option_read_file(struct option_store *store, const char *path, const struct options *options, struct given *given,
                     struct complaint *complaint)
{
	struct file_reading reading = { .store = store, .given = given, .scratch = *options };
	unsigned number;
	char why[512];
	size_t len;
	char *text;
	int err;

	store->file = path;
	store->base = NULL;
	if (config_load(path, &text, &len, &store->is_pipe, why, sizeof(why)) < 0)
		return option_complain(complaint, "%s", why);
	if (!store->is_pipe) {
		store->base = directory_of(store, path);
		if (!store->base) {
			free(text);
			return option_complain(complaint, "cannot find the way to %s: %s", path, strerror(errno));
		}
	}
	err = config_parse(text, len, take, &reading, &number, why, sizeof(why));
	free(text);
	if (err == -ENOMEM)
		return option_complain(complaint, "%s", strerror(ENOMEM));
	if (err)
		return option_complain(complaint, "%s:%u: %s", path, number, why);
	return 0;
}

const char *option_absolute(struct option_store *store, const struct row *row, const char *base, const char *text)
{
	const char *path = text, *result = NULL;
	char *cwd = NULL, *joined = NULL;
	int n;

	if (row->path == PATH_UNIX && strncmp(text, "unix:", 5) == 0)
		path = text + 5;
	else if (row->path != PATH_WHOLE && (row->path != PATH_LOG || option_is_log_word(text)))
		return text;
	if (*path == '/' || *path == '\0')
		return text;
	if (!base) {
		base = cwd = getcwd(NULL, 0);
		if (!cwd)
			return NULL;
	}
	while (path[0] == '.' && path[1] == '/')
		path += 1 + strspn(path + 1, "/");
	if (strcmp(path, ".") == 0)
		path = "";
	n = asprintf(&joined, "%s%s%s%s", row->path == PATH_UNIX ? "unix:" : "", base,
	             *path && base[strlen(base) - 1] != '/' ? "/" : "", path);
	if (n >= 0) {
		result = option_keep(store, joined, (size_t)n);
		free(joined);
	}
	free(cwd);
	if (!result)
		errno = ENOMEM;
	return result;
}
