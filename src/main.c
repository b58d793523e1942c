/*
 * main.c - the program: reads the options, and does what they ask for: help, the version, a check, a plan, a test,
 *          the settings in effect, or the server.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

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

/*
 * Memory that is freed goes back to the system: bodies, and what compressing them takes, at once, and the rest when a snapshot
 * goes (build_snapshot.c).
 */
static void set_up_malloc(void)
{
#ifdef __GLIBC__
	/* Otherwise it is raised after the first large one, and arenas keep the next: a third more memory for python3-doc. */
	mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
	/*
	 * Otherwise each thread has an arena, whose end malloc_trim(3) leaves alone, and what one thread frees of another's is
	 * lost to it: 0.6 MiB more with a hundred files, and growing with every deploy. The loop never allocates; who builds
	 * has a lock to take, some times a file.
	 */
	mallopt(M_ARENA_MAX, 1);
#endif
}

/*
 * Otherwise the next thing that is opened, a listening socket say, would be standard input, or get what is meant for the
 * standard streams. Nobody can read from it or write to it (O_PATH), as if it were closed still.
 */
static void take_standard_streams(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) < 0)
			return;
}

int main(int argc, char *argv[])
{
	struct server_start start = { .argc = argc, .argv = argv };
	enum options_action action = OPTIONS_ERROR;
	struct options options = { 0 };
	char error[512];
	int status;

	take_standard_streams();
	set_up_malloc();
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
