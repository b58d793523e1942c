/*
 * option_print.c - what people read about options: --help, --dump-config, and where a value is from. Main thread.
 */
#include "option_values.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "loom/config.h"

#define HELP_COLUMN 33

#define FILE_SHOWN_MAX 200 /* bytes of a file's name in a complaint */

static void help_row(const struct row *row, FILE *out)
{
	const char *line = row->help;
	int used;

	if (row->group)
		fprintf(out, "\n%s:\n", row->group);
	used = row->letter ? fprintf(out, "  -%c, ", row->letter) : fprintf(out, "      ");
	used += fprintf(out, "--%s", row->name);
	if (row->argument)
		used += fprintf(out, " %s", row->argument);
	if (used > HELP_COLUMN - 2) {
		fputc('\n', out);
		used = 0;
	}
	for (;;) {
		int len = (int)strcspn(line, "\n");

		fprintf(out, "%*s%.*s", HELP_COLUMN - used, "", len, line);
		line += len;
		if (*line == '\0')
			break;
		fputc('\n', out);
		line++;
		used = 0;
	}
	if (row->standard)
		fprintf(out, " [%s]", row->standard);
	fputc('\n', out);
}

void options_help(FILE *out)
{
	const struct row *row;

	fputs("Usage: loom [OPTIONS] [ROOT]\n"
	      "Serves the files under ROOT (the current directory) over HTTP, from memory.\n",
	      out);
	for (size_t i = 0; (row = option_row(i)) != NULL; i++)
		if (!row->positional)
			help_row(row, out);
	features_help(out);
	fputs("\nDurations: 500ms, 5s, 2m, 1h. Sizes: 65536, 512K, 512M, 2G.\n"
	      "Every option is also a variable of the environment: LOOM_PORT=80, LOOM_HIDDEN=1,\n"
	      "LOOM_LISTEN and LOOM_IMMUTABLE with commas; and LOOM_ROOT. In a file (--config) it is\n"
	      "a line: port = 80, hidden = yes, root = DIR. The command line wins, then the environment.\n"
	      "Signals: TERM and INT drain and end, a second one ends at once; HUP reads ROOT again;\n"
	      "USR1 opens the logs anew.\n",
	      out);
}

void option_variable(const char *name, char *out, size_t size)
{
	snprintf(out, size, "LOOM_%s", name);
	for (; *out; out++)
		*out = *out == '-' ? '_' : *out >= 'a' && *out <= 'z' ? (char)(*out - 'a' + 'A') : *out;
}

/* "FILE:12", the end of the name when it is very long. */
static void place(const struct option_store *store, unsigned line, char *out, size_t size)
{
	size_t len = strlen(store->file), cut = len > FILE_SHOWN_MAX ? len - FILE_SHOWN_MAX : 0;

	snprintf(out, size, "%s%s:%u", cut ? "..." : "", store->file + cut, line);
}

const char *option_subject(const struct option_store *store, const struct row *row, unsigned value, char *out,
                           size_t size)
{
	const struct given *given = &store->given[option_index(row)];
	char where[FILE_SHOWN_MAX + 32];

	switch (given->source) {
	case SOURCE_FILE:
		place(store, given->line[value < given->values ? value : 0], where, sizeof(where));
		snprintf(out, size, "%s: %s", where, row->name);
		break;
	case SOURCE_ENVIRONMENT:
		option_variable(row->name, out, size);
		break;
	case SOURCE_COMMAND_LINE:
		snprintf(out, size, "%s%s", row->positional ? "" : "--", row->positional ? "ROOT" : row->name);
		break;
	default:
		snprintf(out, size, "%s", "");
	}
	return out;
}

const char *options_origin(const struct options *options, const char *name, unsigned value, char *out, size_t size)
{
	const struct row *row = option_find(name, strlen(name));

	assert(row && options->store);
	return option_subject(options->store, row, value, out, size);
}

const char *options_file(const struct options *options)
{
	return options->store ? options->store->file : NULL;
}

struct dump {
	const struct options *options;
	FILE *out;
	char *error;
	size_t size;
	int err;
};

/* A line, or a comment when it would not be read back as it is. */
static void dump_value(struct dump *dump, const struct row *row, const char *text)
{
	struct options scratch = { .store = dump->options->store };
	char why[256];
	struct complaint complaint = { .text = why, .size = sizeof(why), .subject = "" };
	const char *problem;

	if (!row->argument)
		text = option_is_on(text) ? "yes" : "no";
	text = option_absolute(scratch.store, row, NULL, text);
	problem = text ? config_unwritable(row->name, text) : strerror(errno);
	if (!problem && row->set(row, &scratch, text, &complaint) < 0)
		problem = why; /* a Unix socket's path that is short enough as long as it is relative */
	if (!problem) {
		fprintf(dump->out, "%s = %s\n", row->name, text);
		return;
	}
	fprintf(dump->out, "#%s: %s\n", row->name, problem);
	if (!dump->err)
		snprintf(dump->error, dump->size, "the value of %s cannot be written in a file: %s", row->name,
		         problem);
	dump->err = -EINVAL;
}

/* What nobody has said. */
static void dump_default(struct dump *dump, const struct row *row)
{
	const struct option_store *store = dump->options->store;
	const struct row *rival = row->rival ? option_find(row->rival, strlen(row->rival)) : NULL;
	const char *text = row->standard ? row->standard : row->implied;

	if (rival && row->argument && store->given[option_index(rival)].source != SOURCE_NONE) {
		fprintf(dump->out, "# not given: %s is\n#%s = %s\n", rival->name, row->name, row->argument);
	} else if (!row->argument) {
		fprintf(dump->out, "# default\n");
		dump_value(dump, row, "no");
	} else if (row->set == option_set_connections) {
		fprintf(dump->out, "# default, by the limit of open files\n#%s = %u\n", row->name,
		        dump->options->max_connections);
	} else if (row->set == option_set_listen) {
		fprintf(dump->out, "# default\n");
		dump_value(dump, row, dump->options->listen[0]);
	} else if (!text) {
		fprintf(dump->out, "# default: none\n#%s = %s\n", row->name, row->argument);
	} else if (row->unsaid) {
		fprintf(dump->out, "# default, which is milder than the same said\n#%s = %s\n", row->name, text);
	} else if (row->set == option_set_workers) {
		fprintf(dump->out, "# default: %u here\n", dump->options->workers);
		dump_value(dump, row, text);
	} else {
		fprintf(dump->out, "# default\n");
		dump_value(dump, row, text);
	}
}

static void dump_row(struct dump *dump, const struct row *row)
{
	const struct option_store *store = dump->options->store;
	const struct given *given = &store->given[option_index(row)];

	if (given->source <= SOURCE_DEFAULT) {
		dump_default(dump, row);
		return;
	}
	for (unsigned i = 0; i < given->values; i++) {
		char variable[64];

		option_variable(row->name, variable, sizeof(variable));
		if (given->source == SOURCE_FILE) {
			char where[FILE_SHOWN_MAX + 32];

			place(store, given->line[i], where, sizeof(where));
			for (char *at = where; *at; at++)
				if ((unsigned char)*at < 0x20)
					*at = '?';
			fprintf(dump->out, "# %s\n", where);
		} else if (i == 0 && given->source == SOURCE_ENVIRONMENT) {
			fprintf(dump->out, "# environment: %s\n", variable);
		} else if (i == 0) {
			fprintf(dump->out, "# command line\n");
		}
		dump_value(dump, row, given->text[i]);
	}
}

int options_dump(const struct options *options, FILE *out, char *error, size_t size)
{
	struct dump dump = { .options = options, .out = out, .error = error, .size = size };
	const char *group = NULL;
	const struct row *row;

	assert(options->store);
	for (size_t i = 0; (row = option_row(i)) != NULL; i++) {
		if (row->group)
			group = row->group;
		if (!row->set || row->not_in_file)
			continue;
		if (group)
			fprintf(out, "\n[%s]\n", group);
		group = NULL;
		dump_row(&dump, row);
	}
	if (!dump.err && (fflush(out) != 0 || ferror(out))) {
		snprintf(error, size, "cannot write the settings: %s", strerror(errno));
		dump.err = -EIO;
	}
	return dump.err;
}
