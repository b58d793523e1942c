/*
 * main.c - the program: reads the options, and does what they ask for: help, the version, a check, a plan, a test,
 *          the settings in effect, or the server.
 */
#include <malloc.h>
#include <stdio.h>

#include "loom/check.h"
#include "loom/inherit.h"
#include "loom/io.h"
#include "loom/log.h"
#include "loom/options.h"
#include "loom/plan.h"
#include "loom/request.h"
#include "loom/server.h"
#include "loom/verify.h"

/* -v: all that there is to switch on, and whether it can be had here. */
static int print_version(const struct options *options)
{
	char versions[2048];

	io_versions(versions, sizeof(versions));
	printf("loom %s\n%s\n%s\n", LOOM_VERSION, request_library(), versions);
	if (options->log_level != LOG_LEVEL_DEBUG)
		return 0;
	return io_feature_report(&options->features, stdout) ? 1 : 0;
}

static int print_settings(const struct options *options)
{
	char error[512];

	printf("# What is in effect, as loom --dump-config tells it.\n");
	if (options_dump(options, stdout, error, sizeof(error)) == 0)
		return 0;
	log_error("%s", error);
	return 1;
}

static int run(enum options_action action, const struct options *options, const struct server_start *start)
{
	switch (action) {
	case OPTIONS_RUN:
		return server_run(options, start);
	case OPTIONS_CHECK:
		return check_run(options);
	case OPTIONS_PLAN:
		return plan_run(options);
	case OPTIONS_TEST:
		return verify_run(options);
	case OPTIONS_DUMP:
		return print_settings(options);
	case OPTIONS_HELP:
		options_help(stdout);
		return 0;
	case OPTIONS_VERSION:
		return print_version(options);
	case OPTIONS_ERROR:
		break;
	}
	return 2;
}

int main(int argc, char *argv[])
{
	struct server_start start = { .argc = argc, .argv = argv };
	enum options_action action = OPTIONS_ERROR;
	struct options options = { 0 };
	char error[512];
	int status;

#ifdef M_MMAP_THRESHOLD
	/*
	 * Bodies, and what compressing them takes, go back to the system when they are freed. glibc would raise this
	 * threshold after the first large one, and keep the next ones in its arenas: a third more memory, measured on
	 * python3-doc.
	 */
	mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
#endif
	if (inherit_open(&start.inherited, error, sizeof(error)) < 0) {
		log_error("%s", error);
		return 1;
	}
	action = options_parse(&options, argc, argv, error, sizeof(error));
	if (action == OPTIONS_ERROR)
		log_error("%s (loom --help lists the options)", error);
	else
		log_set_level((enum log_level)options.log_level);
	status = run(action, &options, &start);
	options_free(&options);
	log_last_error(error, sizeof(error));
	inherit_close(start.inherited, error);
	return status;
}
