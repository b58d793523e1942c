/*
 * options.c - the environment and the command line, read into struct options.
 *
 * Main thread, before any other exists. One table describes every option; getopt_long(3), the environment, --help and
 * the defaults are all made from it, and a test compares it with the man page. Values are collected first and read
 * afterwards, so that what the command line overrides is never looked at, and --help works whatever the environment
 * holds.
 */
#include "loom/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "loom/listen.h"
#include "option_rows.h"

#define DEFAULT_PORT 8080

/* Memory for connections is taken at start, and in a container the limit may be a billion descriptors. */
#define CONNECTIONS_DEFAULT 65536

#define STREAMS_MAX (1000 * 1000)

/* Descriptors that are neither connections nor streamed files: the reloader's, what a build has open, each worker's own. */
#define RESERVE_PROCESS 64
#define RESERVE_WORKER  8

/* getopt_long() returns this plus a row's index; above every letter. */
#define LONG_BASE 256

/* A value before it is read, and where it is from. Later sources win over earlier ones. */
enum source {
	SOURCE_NONE,
	SOURCE_DEFAULT,
	SOURCE_ENVIRONMENT,
	SOURCE_COMMAND_LINE,
};

struct given {
	const char *text; /* "1" for a flag on the command line */
	enum source source;
};

/* Text that is neither argv's nor the environment's: the default address, and the pieces of variables that are lists. */
static char default_address[sizeof("[::]:65535")];
static char listen_pieces[4096], immutable_pieces[4096];

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

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	}
	return NULL;
}

/* "LOOM_KEEPALIVE_TIMEOUT" of "keepalive-timeout". */
static void variable_name(const char *name, char *out, size_t size)
{
	snprintf(out, size, "LOOM_%s", name);
	for (; *out; out++)
		*out = *out == '-' ? '_' : (char)toupper((unsigned char)*out);
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

/* For getopt_long(3): the short options, silent, and the long ones. */
static void make_tables(char shorts[2 * ROWS + 2], struct option longs[ROWS + 1])
{
	*shorts++ = ':';
	for (size_t i = 0; i < ROWS; i++) {
		longs[i] = (struct option){
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
	longs[ROWS] = (struct option){ 0 };
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

/* Whether the option may be repeated, each time with one more value. */
static bool adds_up(const struct row *row)
{
	return row->set == option_set_listen || row->set == option_set_immutable;
}

static enum options_action collect_command_line(struct options *options, struct given given[ROWS], int argc,
                                                char *argv[], struct complaint *complaint)
{
	enum options_action action = OPTIONS_RUN;
	struct option longs[ROWS + 1];
	char shorts[2 * ROWS + 2];
	int c;

	make_tables(shorts, longs);
	optind = 0; /* glibc: begin anew, whoever called getopt() before */
	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		size_t i;

		if (c == '?') {
			bad_option(argc, argv, complaint);
			return OPTIONS_ERROR;
		}
		i = row_of(c == ':' ? optopt : c);
		if (c == ':') {
			option_complain(complaint, "--%s needs a value (%s)", rows[i].name, rows[i].argument);
			return OPTIONS_ERROR;
		}
		if (rows[i].action == OPTIONS_HELP || rows[i].action == OPTIONS_VERSION)
			return rows[i].action;
		if (!rows[i].set)
			action = rows[i].action;
		given[i] = (struct given){ optarg ? optarg : "1", SOURCE_COMMAND_LINE };
		if (adds_up(&rows[i])) {
			char subject[64];

			snprintf(subject, sizeof(subject), "--%s", rows[i].name);
			complaint->subject = subject;
			if (rows[i].set(&rows[i], options, optarg, complaint) < 0)
				return OPTIONS_ERROR;
			complaint->subject = "";
		}
	}
	if (argc - optind > 1) {
		option_complain(complaint, "'%s' and '%s': only one ROOT can be served", argv[optind],
		                argv[optind + 1]);
		return OPTIONS_ERROR;
	}
	if (optind < argc)
		options->root = argv[optind];
	return action;
}

static void collect_environment(struct options *options, struct given given[ROWS])
{
	for (size_t i = 0; i < ROWS; i++) {
		char name[64];
		const char *text;

		if (!rows[i].set || given[i].source != SOURCE_NONE)
			continue;
		variable_name(rows[i].name, name, sizeof(name));
		text = variable(name);
		if (text)
			given[i] = (struct given){ text, SOURCE_ENVIRONMENT };
		else if (rows[i].standard)
			given[i] = (struct given){ rows[i].standard, SOURCE_DEFAULT };
	}
	if (!options->root)
		options->root = variable("LOOM_ROOT");
	if (!options->root)
		options->root = ".";
}

/* Of two options that cannot be given together, the one from the command line wins over the one from the environment. */
static int settle_rivals(struct given given[ROWS], struct complaint *complaint)
{
	for (size_t i = 0; i < ROWS; i++) {
		size_t j;

		if (!rows[i].rival || given[i].source == SOURCE_NONE)
			continue;
		j = (size_t)(find_row(rows[i].rival) - rows);
		if (given[j].source == SOURCE_NONE || given[j].source > given[i].source)
			continue;
		if (given[j].source < given[i].source) {
			given[j].source = SOURCE_NONE;
			continue;
		}
		if (given[i].source == SOURCE_ENVIRONMENT) {
			char one[64], other[64];

			variable_name(rows[i].name, one, sizeof(one));
			variable_name(rows[j].name, other, sizeof(other));
			return option_complain(complaint, "%s and %s exclude each other: set one of them", one, other);
		}
		return option_complain(complaint, "--%s and --%s exclude each other: give one of them", rows[i].name,
		                       rows[j].name);
	}
	return 0;
}

/* The variable of an option that adds up: several values, with commas between them. */
static int set_pieces(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	char *rest = row->set == option_set_listen ? listen_pieces : immutable_pieces, *piece;

	static_assert(sizeof(listen_pieces) == sizeof(immutable_pieces), "both hold as much");
	if (strlen(text) >= sizeof(listen_pieces))
		return option_complain(complaint, "longer than %zu bytes", sizeof(listen_pieces) - 1);
	memcpy(rest, text, strlen(text) + 1);
	while ((piece = strsep(&rest, ",")) != NULL) {
		int error = row->set(row, options, piece, complaint);

		if (error)
			return error;
	}
	return 0;
}

static int read_given(struct options *options, const struct given given[ROWS], struct complaint *complaint)
{
	for (size_t i = 0; i < ROWS; i++) {
		char subject[64];
		int error;

		if (given[i].source == SOURCE_NONE || !rows[i].set)
			continue;
		if (given[i].source == SOURCE_ENVIRONMENT)
			variable_name(rows[i].name, subject, sizeof(subject));
		else
			snprintf(subject, sizeof(subject), "--%s", rows[i].name);
		complaint->subject = subject;
		if (!adds_up(&rows[i]))
			error = rows[i].set(&rows[i], options, given[i].text, complaint);
		else if (given[i].source == SOURCE_ENVIRONMENT)
			error = set_pieces(&rows[i], options, given[i].text, complaint);
		else
			error = 0; /* done as they came */
		complaint->subject = "";
		if (error)
			return error;
	}
	return 0;
}

static bool was_given(const struct given given[ROWS], const char *name)
{
	return given[find_row(name) - rows].source != SOURCE_NONE;
}

/* What the default of --gate stands for. Whoever asks for a check asks for all that one tree can be checked for. */
static void settle_gate(struct options *options, const struct given given[ROWS], enum options_action action)
{
	options->gate.chosen = given[find_row("gate") - rows].source > SOURCE_DEFAULT;
	if (action == OPTIONS_CHECK && !options->gate.chosen)
		options->gate = (struct gate_rules){ .chosen = true, .index = true, .links = true };
}

/* The default, or a check, of max_connections; and what it leaves for streamed files. */
static int fit_descriptors(struct options *options, struct complaint *complaint)
{
	uint64_t limit = options_descriptor_limit();
	uint64_t reserve = RESERVE_PROCESS + (uint64_t)options->workers * (RESERVE_WORKER + options->listens - 1);
	uint64_t most = limit > reserve ? limit - reserve : 0;

	if (most == 0)
		return option_complain(complaint,
		                       "the limit of %" PRIu64 " open files leaves none for connections: %" PRIu64
		                       " are for loom itself with %u workers (raise it: ulimit -n, LimitNOFILE=)",
		                       limit, reserve, options->workers);
	if (options->max_connections == 0)
		options->max_connections = most - most / 8 < CONNECTIONS_DEFAULT ? (unsigned)(most - most / 8)
		                                                                 : CONNECTIONS_DEFAULT;
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

enum options_action options_parse(struct options *options, int argc, char *argv[], char *error, size_t size)
{
	struct complaint complaint = { .text = error, .size = size, .subject = "" };
	struct given given[ROWS] = { 0 };
	enum options_action action;

	assert(argc > 0 && size > 0);
	*error = '\0';
	*options = (struct options){
		.compress = true,
		.nosniff = true,
	};
	action = collect_command_line(options, given, argc, argv, &complaint);
	if (action == OPTIONS_HELP || action == OPTIONS_VERSION || action == OPTIONS_ERROR)
		return action;
	collect_environment(options, given);
	if (settle_rivals(given, &complaint) || read_given(options, given, &complaint))
		return OPTIONS_ERROR;
	if (options->listens == 0) {
		snprintf(default_address, sizeof(default_address), "[::]:%d", DEFAULT_PORT);
		options->listen[options->listens++] = default_address;
	}
	if (!was_given(given, "immutable"))
		options->immutable_auto = true;
	if (options->limits.request_line >= options->limits.head) {
		option_complain(&complaint,
		                "--max-request-line must be smaller than --max-head, of which it is a part");
		return OPTIONS_ERROR;
	}
	settle_gate(options, given, action);
	/* A check and a plan answer as the server would. */
	if (fit_descriptors(options, &complaint))
		return OPTIONS_ERROR;
	return action;
}

#define HELP_COLUMN 33

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
	fputs("Usage: loom [OPTIONS] [ROOT]\n"
	      "Serves the files under ROOT (the current directory) over HTTP, from memory.\n",
	      out);
	for (size_t i = 0; i < ROWS; i++)
		help_row(&rows[i], out);
	fputs("\nDurations: 500ms, 5s, 2m, 1h. Sizes: 65536, 512K, 512M, 2G.\n"
	      "Every option is also a variable of the environment: LOOM_PORT=80, LOOM_HIDDEN=1,\n"
	      "LOOM_LISTEN and LOOM_IMMUTABLE with commas; and LOOM_ROOT. The command line wins.\n"
	      "Signals: TERM and INT drain and end, a second one ends at once; HUP reads ROOT again.\n",
	      out);
}
