/*
 * threads.c - the baseline that needs no events: a thread a connection, which sleeps in recv(2) and in send(2). The stacks are
 * as large as the system makes them (ulimit -s), and what is not touched of them costs address space alone.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "site.h"

static struct site site;

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	struct client client = { 0 };
	struct exchange exchange;

	/* Not zeroed as a whole: pages that no request needs are not touched. */
	exchange.waits = exchange.recvs = exchange.sends = exchange.requests = 0;
	exchange.parser = (struct request_parser){ 0 };
	exchange.now = 0;
	while (client_turn(&site, &exchange, &client, fd, true) != WANT_CLOSE)
		;
	client_close(&client, fd);
	return NULL;
}

int main(int argc, char *argv[])
{
	pthread_attr_t detached;
	int fd;

	site_open(&site, argc, argv, false, NULL);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	while ((fd = site_accept(&site, 0)) >= 0) {
		pthread_t thread;

		errno = pthread_create(&thread, &detached, serve, (void *)(intptr_t)fd);
		if (errno)
			site_die("one more thread");
	}
	return 0;
}
