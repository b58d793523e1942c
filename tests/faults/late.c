/*
 * late.c - for LD_PRELOAD: whatever is forked gets to run a second later, as on a machine that has other things to do.
 */
#include <pthread.h>
#include <unistd.h>

static void sleep_a_second(void)
{
	sleep(1);
}

static void __attribute__((constructor)) begin(void)
{
	pthread_atfork(NULL, NULL, sleep_a_second);
}
