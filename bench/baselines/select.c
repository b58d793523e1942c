/*
 * select.c - the baseline on select(2): two bit sets, which the kernel reads, scans and overwrites at each call, and the
 * program scans again. glibc's fd_set ends at 1,024 descriptors, and so does this, by closing what is beyond; the kernel's
 * does not, and with --beyond the sets are as large as the descriptor limit. Level-triggered by nature. One thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "site.h"

#define WORD (8 * (int)sizeof(unsigned long))

static struct site site;
static struct exchange exchange;
static struct client *clients; /* by descriptor */
static unsigned long *reading, *writing, *readable, *writable;
static int limit, top; /* descriptors are below both; top: those that are in use */

static void set(unsigned long *bits, int fd, bool on)
{
	unsigned long bit = 1UL << fd % WORD;

	bits[fd / WORD] = on ? bits[fd / WORD] | bit : bits[fd / WORD] & ~bit;
}

static void accept_all(void)
{
	int fd;

	while ((fd = site_accept(&site, SOCK_NONBLOCK)) >= 0) {
		if (fd >= limit) {
			close(fd);
			continue;
		}
		set(reading, fd, true);
		if (fd >= top)
			top = fd + 1;
	}
}

static void turn(int fd)
{
	enum want want = client_turn(&site, &exchange, &clients[fd], fd, false);

	set(reading, fd, want == WANT_READ);
	set(writing, fd, want == WANT_WRITE);
	if (want == WANT_CLOSE)
		client_close(&clients[fd], fd);
}

int main(int argc, char *argv[])
{
	size_t words;

	site_open(&site, argc, argv, true, "beyond");
	limit = site.flag ? (int)site.conns : FD_SETSIZE;
	words = (size_t)(limit + WORD - 1) / WORD;
	clients = calloc((size_t)limit, sizeof(*clients));
	reading = calloc(4 * words, sizeof(*reading));
	if (!clients || !reading)
		site_die("calloc");
	writing = reading + words;
	readable = writing + words;
	writable = readable + words;
	set(reading, site.listener, true);
	top = site.listener + 1;

	while (!site_stopping()) {
		int used = (top + WORD - 1) / WORD;
		int n;

		memcpy(readable, reading, (size_t)used * sizeof(*reading));
		memcpy(writable, writing, (size_t)used * sizeof(*writing));
		n = select(top, (fd_set *)readable, (fd_set *)writable, NULL, NULL);
		exchange.waits++;
		if (n < 0 && errno != EINTR)
			site_die("select");
		for (int word = 0; n > 0 && word < used; word++) {
			unsigned long bits = readable[word] | writable[word];

			while (bits) {
				int fd = word * WORD + __builtin_ctzl(bits);

				bits &= bits - 1;
				if (fd == site.listener)
					accept_all();
				else
					turn(fd);
			}
		}
	}
	site_tell(&exchange);
	return 0;
}
