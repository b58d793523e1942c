/*
 * check.c - see check.h. Main thread, which is the builder's here. It owns the snapshot for the time of the check.
 */
#include "loom/check.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "loom/build.h"
#include "loom/gate.h"
#include "loom/log.h"

#define PAUSE_MS  100
#define TRIES_MAX 100 /* ten seconds */

int check_build(const struct options *options, struct snapshot **snapshot, char *why, size_t size)
{
	const struct build_request request = { .options = options, .workers = options->workers };
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	int err;

	for (int tries = 0; (err = build_snapshot(&request, snapshot, why, size)) == -EAGAIN && tries < TRIES_MAX;
	     tries++)
		nanosleep(&pause, NULL);
	return err;
}

static void tell(void *context, const struct gate_violation *violation)
{
	(void)context;
	log_error("%s", violation->text);
}

int check_run(const struct options *options)
{
	const struct gate_rules *rules = &options->gate;
	struct snapshot *snapshot;
	uint64_t violations;
	char why[512];

	if (check_build(options, &snapshot, why, sizeof(why)) < 0) {
		log_error("%s", why);
		return 1;
	}
	if (rules->vanished)
		log_debug("the rule vanished compares with what is being served, and is not applied here");
	violations = gate_inspect(options, snapshot, NULL, tell, NULL);
	if (violations == 0)
		log_info("%s passes: %" PRIu64 " files; rules:%s%s%s", options->root, snapshot->files,
		         rules->index ? " index" : "", rules->links ? " links" : "",
		         rules->index || rules->links ? "" : " none");
	build_free(snapshot);
	return violations > 0;
}
