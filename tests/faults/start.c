/*
 * start.c - the fault of loom-faults, which is the server with the seam in front of it: FAULT=CALL=ERRNO=AT in the environment
 * arms it before main(); what has been told to fail is said to the descriptor FAULT_TOLD with one byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

static void __attribute__((constructor)) arm(void)
{
	const char *text = getenv("FAULT"), *told = getenv("FAULT_TOLD");
	struct fault plan = { .how = FAULT_FAILS };
	char name[64];

	if (!text || sscanf(text, "%63[^=]=%ld=%u", name, &plan.value, &plan.at) != 3) {
		fprintf(stderr, "FAULT=CALL=ERRNO=AT must be set\n");
		exit(3);
	}
	plan.call = fault_by_name(name);
	if (plan.call == FAULT_close)
		plan.how = FAULT_DONE; /* the descriptor is gone whatever close(2) says */
	if (!plan.call && strcmp(name, "none") != 0) {
		fprintf(stderr, "FAULT: no call %s\n", name);
		exit(3);
	}
	seam.told = told ? atoi(told) : -1;
	unsetenv("FAULT");
	unsetenv("FAULT_TOLD");
	fault_arm(&plan);
}
