/*
 * main.c - the program: reads the options, and does what they ask for: help, the version, a check, a plan, or the server.
 */
#include <malloc.h>
#include <stdio.h>

#include "loom/check.h"
#include "loom/io.h"
#include "loom/log.h"
#include "loom/options.h"
#include "loom/plan.h"
#include "loom/request.h"
#include "loom/server.h"

static int print_version(void)
{
	char versions[1024];

	io_versions(versions, sizeof(versions));
	printf("loom %s\n%s\n%s\n", LOOM_VERSION, request_library(), versions);
	return 0;
}

int main(int argc, char *argv[])
{
	struct options options;
	char error[512];

#ifdef M_MMAP_THRESHOLD
	/*
	 * Bodies, and what compressing them takes, go back to the system when they are freed. glibc would raise this
	 * threshold after the first large one, and keep the next ones in its arenas: a third more memory, measured on
	 * python3-doc.
	 */
	mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
#endif
	switch (options_parse(&options, argc, argv, error, sizeof(error))) {
	case OPTIONS_RUN:
		log_verbosity(options.verbosity);
		return server_run(&options);
	case OPTIONS_CHECK:
		log_verbosity(options.verbosity);
		return check_run(&options);
	case OPTIONS_PLAN:
		log_verbosity(options.verbosity);
		return plan_run(&options);
	case OPTIONS_HELP:
		options_help(stdout);
		return 0;
	case OPTIONS_VERSION:
		return print_version();
	case OPTIONS_ERROR:
		break;
	}
	log_error("%s (loom --help lists the options)", error);
	return 2;
}
