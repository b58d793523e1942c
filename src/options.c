/*
 * options.c - the configuration file, the environment and the command line, read into struct options.
 *
 * Main thread, before any other exists. One table describes every option; getopt_long(3), the environment, names in a
 * file, --help, --dump-config and the defaults are all made from it, and a test compares it with the man pages.
 * Values are collected first and read afterwards, so that of the environment what the command line overrides is never
 * looked at, and --help works whatever it holds. A file is looked at as a whole.
 */
#include "loom/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "loom/listen.h"
#include "loom/log.h"
#include "option_rows.h"

/* Memory for connections is taken at start, and in a container the limit may be a billion descriptors. */
#define CONNECTIONS_DEFAULT 65536

#define STREAMS_MAX (1000 * 1000)

/* Descriptors that are neither connections nor streamed files: the reloader's, what a build has open, each worker's own. */
#define RESERVE_PROCESS 64
#define RESERVE_WORKER  8

/* getopt_long() returns this plus a row's index; above every letter. */
#define LONG_BASE 256

#define SUBJECT_SIZE 320 /* "FILE:12: settle" */

/* A string that the store owns. */
struct option_string {
	struct option_string *next;
	char text[];
};

uint64_t options_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0; /* cannot happen for one's own process; 0 lets nothing be promised */
	if (limit.rlim_cur < limit.rlim_max) {
		rlim_t soft = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = soft;
	}
	return limit.rlim_cur;
}

const struct row *option_row(size_t index)
{
	return index < ROWS ? &rows[index] : NULL;
}

const struct row *option_find(const char *name, size_t len)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (strncmp(rows[i].name, name, len) == 0 && rows[i].name[len] == '\0')
			return &rows[i];
	}
	return NULL;
}

size_t option_index(const struct row *row)
{
	assert(row >= rows && row < rows + ROWS);
	return (size_t)(row - rows);
}

static struct given *given_of(const struct option_store *store, const char *name)
{
	return &store->given[option_index(option_find(name, strlen(name)))];
}

bool option_adds_up(const struct row *row)
{
	return row->set == option_set_listen || row->set == option_set_immutable || row->set == option_set_proxy_from ||
	       row->set == option_set_sandbox_read;
}

char *option_keep(struct option_store *store, const char *text, size_t len)
{
	struct option_string *string = malloc(sizeof(*string) + len + 1);

	if (!string)
		return NULL;
	memcpy(string->text, text, len);
	string->text[len] = '\0';
	string->next = store->strings;
	store->strings = string;
	return string->text;
}

static void free_store(struct option_store *store)
{
	while (store && store->strings) {
		struct option_string *string = store->strings;

		store->strings = string->next;
		free(string);
	}
	if (store)
		free(store->given);
	free(store);
}

static struct option_store *make_store(void)
{
	struct option_store *store = calloc(1, sizeof(*store));

	if (store)
		store->given = calloc(ROWS, sizeof(*store->given));
	if (store && !store->given) {
		free(store);
		store = NULL;
	}
	return store;
}

void option_give(struct given *given, enum source source, const char *text, unsigned line)
{
	if (given->source != source)
		given->values = 0;
	given->source = source;
	if (given->values == VALUES_MAX)
		return; /* one too many already, which is an error when they are read */
	given->text[given->values] = text;
	given->line[given->values++] = line;
}

/*
 * A variable's value; NULL when it is not set, or empty, which is how a compose file or a unit unsets one. For a
 * Service that is called loom Kubernetes puts LOOM_PORT=tcp://10.1.2.3:80 into every container of the namespace: that
 * is an address of somebody else, not a setting.
 */
static const char *variable(const char *name)
{
	const char *text = getenv(name);

	if (!text || *text == '\0')
		return NULL;
	if (strcmp(name, "LOOM_PORT") == 0 && strstr(text, "://"))
		return NULL;
	return text;
}

static int bad_option(int argc, char *argv[], struct complaint *complaint)
{
	const char *typed = optind > 0 && optind <= argc ? argv[optind - 1] : "";

	if (optopt >= LONG_BASE)
		return option_complain(complaint, "--%s takes no value", rows[optopt - LONG_BASE].name);
	if (optopt)
		return option_complain(complaint, "unknown option '-%c' (see loom --help)", optopt);
	return option_complain(complaint, "unknown or ambiguous option '%s' (see loom --help)", typed);
}

/* For getopt_long(3): the short options, silent, and the long ones; room for 2 * ROWS + 2, and for ROWS + 1. */
static void make_tables(char *shorts, struct option *longs)
{
	*shorts++ = ':';
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].positional)
			continue;
		*longs++ = (struct option){
			.name = rows[i].name,
			.has_arg = rows[i].argument ? required_argument : no_argument,
			.val = LONG_BASE + (int)i,
		};
		if (rows[i].letter) {
			*shorts++ = rows[i].letter;
			if (rows[i].argument)
				*shorts++ = ':';
		}
	}
	*shorts = '\0';
	*longs = (struct option){ 0 };
}

static size_t row_of(int c)
{
	if (c >= LONG_BASE)
		return (size_t)(c - LONG_BASE);
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].letter == c)
			return i;
	}
	assert(!"getopt_long() returned what is not in the table");
	return 0;
}

static int exclude(struct complaint *complaint, const struct row *one, const struct row *other)
{
	return option_complain(complaint, "--%s and --%s exclude each other: give one of them",
	                       one < other ? one->name : other->name, one < other ? other->name : one->name);
}

static enum options_action collect_command_line(struct option_store *store, int argc, char *argv[],
                                                struct complaint *complaint)
{
	struct option longs[ROWS + 1];
	const struct row *action = NULL;
	bool version = false;
	char shorts[2 * ROWS + 2];
	int c;

	make_tables(shorts, longs);
	optind = 0; /* glibc: begin anew, whoever called getopt() before */
	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct row *row;
		struct given *given;

		if (c == '?') {
			bad_option(argc, argv, complaint);
			return OPTIONS_ERROR;
		}
		row = &rows[row_of(c == ':' ? optopt : c)];
		if (c == ':') {
			option_complain(complaint, "--%s needs a value (%s)", row->name, row->argument);
			return OPTIONS_ERROR;
		}
		if (row->action == OPTIONS_HELP)
			return row->action;
		if (row->action == OPTIONS_VERSION) {
			version = true;
			continue;
		}
		if (!row->set && action && action != row) {
			exclude(complaint, action, row);
			return OPTIONS_ERROR;
		}
		if (!row->set)
			action = row;
		given = &store->given[option_index(row)];
		if (!option_adds_up(row))
			given->values = 0; /* the last one wins */
		option_give(given, SOURCE_COMMAND_LINE, optarg ? optarg : "1", 0);
	}
	if (version)
		return OPTIONS_VERSION;
	if (argc - optind > 1) {
		option_complain(complaint, "'%s' and '%s': only one ROOT can be served", argv[optind],
		                argv[optind + 1]);
		return OPTIONS_ERROR;
	}
	if (optind < argc)
		option_give(given_of(store, "root"), SOURCE_COMMAND_LINE, argv[optind], 0);
	return action ? action->action : OPTIONS_RUN;
}

/* The variable of an option that adds up has several values, with commas between them. */
static int collect_environment(struct option_store *store, struct complaint *complaint)
{
	for (size_t i = 0; i < ROWS; i++) {
		struct given *given = &store->given[i];
		char name[64], *rest, *piece;
		const char *text;

		if (!rows[i].set || given->source != SOURCE_NONE)
			continue;
		option_variable(rows[i].name, name, sizeof(name));
		text = variable(name);
		if (!text)
			continue;
		if (!option_adds_up(&rows[i])) {
			option_give(given, SOURCE_ENVIRONMENT, text, 0);
			continue;
		}
		rest = option_keep(store, text, strlen(text));
		if (!rest)
			return option_complain(complaint, "%s", strerror(ENOMEM));
		while ((piece = strsep(&rest, ",")) != NULL) {
			/* The options of an address have commas, too. */
			if (rows[i].set == option_set_listen && given->values > 0 && listen_is_option(piece))
				piece[-1] = ',';
			else
				option_give(given, SOURCE_ENVIRONMENT, piece, 0);
		}
	}
	return 0;
}

/* What the file says, where nothing else does, and then the defaults. */
static int collect_file(struct option_store *store, const struct options *options, struct complaint *complaint)
{
	const struct given *config = given_of(store, "config");
	struct given *file;
	int err = 0;

	file = calloc(ROWS, sizeof(*file));
	if (!file)
		return option_complain(complaint, "%s", strerror(ENOMEM));
	if (config->source != SOURCE_NONE)
		err = option_read_file(store, config->text[0], options, file, complaint);
	for (size_t i = 0; i < ROWS && !err; i++) {
		if (store->given[i].source == SOURCE_NONE && file[i].source != SOURCE_NONE)
			store->given[i] = file[i];
		if (store->given[i].source == SOURCE_NONE && rows[i].standard)
			option_give(&store->given[i], SOURCE_DEFAULT, rows[i].standard, 0);
	}
	free(file);
	return err;
}

/* A flag that says no stands in nobody's way. */
static bool is_given(const struct option_store *store, size_t i)
{
	const struct given *given = &store->given[i];

	return given->source != SOURCE_NONE && (rows[i].argument || option_is_on(given->text[0]));
}

/* Of two options that cannot be given together, the one from the later source wins: the command line, say. */
static int settle_rivals(struct option_store *store, struct complaint *complaint)
{
	for (size_t i = 0; i < ROWS; i++) {
		struct given *one = &store->given[i], *other;
		size_t j;

		if (!rows[i].rival || !is_given(store, i))
			continue;
		j = option_index(option_find(rows[i].rival, strlen(rows[i].rival)));
		other = &store->given[j];
		if (!is_given(store, j) || other->source > one->source)
			continue;
		if (other->source < one->source) {
			other->source = SOURCE_NONE;
			continue;
		}
		if (one->source == SOURCE_COMMAND_LINE)
			return exclude(complaint, &rows[i], &rows[j]);
		if (one->source == SOURCE_FILE) {
			bool first = one->line[0] < other->line[0];

			return option_complain(
				complaint, "%s:%u: %s and %s (line %u) exclude each other: take one of them out",
				store->file, first ? other->line[0] : one->line[0], rows[first ? j : i].name,
				rows[first ? i : j].name, first ? one->line[0] : other->line[0]);
		}
		{
			char a[64], b[64];

			option_variable(rows[i].name, a, sizeof(a));
			option_variable(rows[j].name, b, sizeof(b));
			return option_complain(complaint, "%s and %s exclude each other: set one of them", a, b);
		}
	}
	return 0;
}

/*
 * -v and -q are short for a level. Of these and --log-level the one from the later source wins, and is what a dump shows; of
 * the same source, the short ones.
 */
static void settle_level(struct option_store *store)
{
	struct given *level = given_of(store, "log-level");
	const char *const shorts[] = { "verbose", "quiet" };

	for (size_t i = 0; i < 2; i++) {
		struct given *one = given_of(store, shorts[i]);

		if (!is_given(store, option_index(option_find(shorts[i], strlen(shorts[i])))))
			continue;
		if (one->source >= level->source)
			level->source = SOURCE_NONE;
		else
			one->source = SOURCE_NONE;
	}
}

static int read_given(struct options *options, struct complaint *complaint)
{
	const struct option_store *store = options->store;

	for (size_t i = 0; i < ROWS; i++) {
		const struct given *given = &store->given[i];
		char subject[SUBJECT_SIZE];

		if (given->source == SOURCE_NONE || !rows[i].set)
			continue;
		for (unsigned j = 0; j < given->values; j++) {
			int error;

			complaint->subject = option_subject(store, &rows[i], j, subject, sizeof(subject));
			error = rows[i].set(&rows[i], options, given->text[j], complaint);
			complaint->subject = "";
			if (error)
				return error;
		}
	}
	return 0;
}

/* What --version tells more by: -v, and features of the command line. All else does not matter, and need not be right. */
static int read_for_version(struct options *options, struct complaint *complaint)
{
	static const char *const names[] = { "verbose", "uring", "epoll" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct row *row = option_find(names[i], strlen(names[i]));
		const struct given *given = &options->store->given[option_index(row)];
		char subject[SUBJECT_SIZE];
		int error = 0;

		if (given->source == SOURCE_NONE)
			continue;
		complaint->subject = option_subject(options->store, row, 0, subject, sizeof(subject));
		error = row->set(row, options, given->text[0], complaint);
		complaint->subject = "";
		if (error)
			return error;
	}
	return 0;
}

/* Names the line of a file, or the variable, in a complaint that names the option itself. */
static void blame(struct complaint *complaint, const struct option_store *store, const char *name, char *subject)
{
	complaint->subject = "";
	if (given_of(store, name)->source == SOURCE_FILE || given_of(store, name)->source == SOURCE_ENVIRONMENT)
		complaint->subject = option_subject(store, option_find(name, strlen(name)), 0, subject, SUBJECT_SIZE);
}

/* What the default of --gate stands for. Whoever asks for a check asks for all that one tree can be checked for. */
static void settle_gate(struct options *options, enum options_action action)
{
	options->gate.chosen = given_of(options->store, "gate")->source > SOURCE_DEFAULT;
	if (action == OPTIONS_CHECK && !options->gate.chosen)
		options->gate = (struct gate_rules){ .chosen = true, .index = true, .links = true };
}

/* The default, or a check, of max_connections; and what it leaves for streamed files. */
static int fit_descriptors(struct options *options, struct complaint *complaint)
{
	uint64_t limit = options_descriptor_limit();
	uint64_t refusals = options->when_full == WHEN_FULL_503 ? OPTIONS_REFUSALS : 0;
	uint64_t reserve = RESERVE_PROCESS + (uint64_t)options->workers * (RESERVE_WORKER + options->listens +
	                                                                   listen_passed_count() - 1 + refusals);
	uint64_t most = limit > reserve ? limit - reserve : 0;
	char subject[SUBJECT_SIZE];

	if (most == 0)
		return option_complain(complaint,
		                       "the limit of %" PRIu64 " open files leaves none for connections: %" PRIu64
		                       " are for loom itself with %u workers (raise it: ulimit -n, LimitNOFILE=)",
		                       limit, reserve, options->workers);
	if (options->max_connections == 0)
		options->max_connections = most - most / 8 < CONNECTIONS_DEFAULT ? (unsigned)(most - most / 8)
		                                                                 : CONNECTIONS_DEFAULT;
	blame(complaint, options->store, "max-connections", subject);
	if (options->max_connections > most)
		return option_complain(complaint,
		                       "--max-connections: %u is more than the limit of %" PRIu64
		                       " open files allows: at most "
		                       "%" PRIu64 " beside loom's own %" PRIu64 " (raise it: ulimit -n, LimitNOFILE=)",
		                       options->max_connections, limit, most, reserve);
	options->max_streams = most - options->max_connections < STREAMS_MAX
	                               ? (unsigned)(most - options->max_connections)
	                               : STREAMS_MAX;
	return 0;
}

/* What one value alone cannot tell. */
static int check_together(struct options *options, enum options_action action, struct complaint *complaint)
{
	const struct option_store *store = options->store;
	char subject[SUBJECT_SIZE];

	if (options->limits.request_line >= options->limits.head) {
		bool line = given_of(store, "max-request-line")->source >= given_of(store, "max-head")->source;

		blame(complaint, store, line ? "max-request-line" : "max-head", subject);
		return option_complain(complaint,
		                       "--max-request-line must be smaller than --max-head, of which it is a part");
	}
	settle_gate(options, action);
	/* A check and a plan answer as the server would. */
	return fit_descriptors(options, complaint);
}

enum options_action options_parse(struct options *options, int argc, char *argv[], char *error, size_t size)
{
	struct complaint complaint = { .text = error, .size = size, .subject = "" };
	struct option_store *store = make_store();
	enum options_action action = OPTIONS_ERROR;

	assert(argc > 0 && size > 0);
	*error = '\0';
	*options = (struct options){
		.compress = true,
		.nosniff = true,
		.log_level = LOG_LEVEL_INFO,
		.features = features_standard,
		.store = store,
	};
	if (!store)
		option_complain(&complaint, "%s", strerror(ENOMEM));
	else
		action = collect_command_line(store, argc, argv, &complaint);
	if (action == OPTIONS_VERSION && read_for_version(options, &complaint))
		action = OPTIONS_ERROR;
	if (action == OPTIONS_HELP || action == OPTIONS_VERSION || action == OPTIONS_ERROR) {
		options_free(options);
		return action;
	}
	if (collect_environment(store, &complaint) || collect_file(store, options, &complaint) ||
	    settle_rivals(store, &complaint))
		goto fail;
	settle_level(store);
	if (read_given(options, &complaint))
		goto fail;
	if (options->listens == 0)
		options->listen[options->listens++] = listen_passed_count() > 0
		                                              ? "systemd:*"
		                                              : option_find("listen", strlen("listen"))->implied;
	if (given_of(store, "immutable")->source == SOURCE_NONE)
		options->immutable_auto = true;
	if (check_together(options, action, &complaint))
		goto fail;
	return action;

fail:
	options_free(options);
	return OPTIONS_ERROR;
}

void options_free(struct options *options)
{
	free_store(options->store);
	options->store = NULL;
}
