/*
 * epoll_setup.c - creates the epoll backend, with the features that were asked for, tries it, and takes it down. On the thread
 * that will wait; the probe on any.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "epoll.h"

/* Linux 6.9, in <linux/eventpoll.h> since: struct epoll_params and EPIOCSPARAMS. The sandbox has the number, too. */
struct ep_params {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget; /* packets at a time */
	uint8_t prefer_busy_poll;
	uint8_t pad;
};
#define EP_SET_PARAMS _IOW(0x8A, 0x01, struct ep_params)

void ep_destroy(struct io *io)
{
	struct io_epoll *ep = ep_of(io);

	assert(ep->conns == 0 && ep->listeners == 0);
	ep_files_destroy(ep);
	file_splicer_destroy(&ep->sender.splicer);
	close(ep->wake_fd);
	close(ep->fd);
	free(ep);
}

static const char *create_advice(int err)
{
	switch (err) {
	case EMFILE:
	case ENFILE:
		return " (raise the limit of open files, ulimit -n)";
	case EPERM:
	case ENOSYS:
		return " (does a seccomp filter deny it?)";
	case ENOSPC:
		return " (raise fs.epoll.max_user_watches)";
	default:
		return "";
	}
}

/* epoll_wait(2) looks at the network card, before it sleeps. 0, or -1 with errno. */
static int ep_busy_poll(struct io_epoll *ep)
{
	struct ep_params params = { .busy_poll_usecs = ep->io.features.epoll.busy_poll, .busy_poll_budget = 8 };

	return ioctl(ep->fd, EP_SET_PARAMS, &params);
}

int ep_create(struct io **io, const struct io_config *config, char *why, size_t size)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	const char *what;
	struct io_epoll *ep;
	int err;

	assert(config->conns >= 1 && config->listeners >= 1);
	ep = aligned_alloc(_Alignof(struct io_epoll), sizeof(*ep));
	if (!ep) {
		snprintf(why, size, "epoll: no memory for %zu bytes", sizeof(*ep));
		return -ENOMEM;
	}
	memset(ep, 0, sizeof(*ep));
	ep->io.ops = &io_epoll_ops;
	ep->config = *config;
	ep->io.features = config->features ? *config->features : features_standard;
	ep->config.features = NULL;
	ep->level = ep->io.features.epoll.trigger == TRIGGER_LEVEL;
	ep->full_read = ep->io.features.epoll.read == READ_DRAIN ? 0 : sizeof(ep->scratch);
	ep->waits_first = ep->io.features.epoll.write == WRITE_WAIT;
	ep->wake_fd = -1;

	what = "epoll_create1";
	ep->fd = epoll_create1(EPOLL_CLOEXEC);
	if (ep->fd < 0)
		goto fail;
	what = "busy-poll";
	if (ep->io.features.epoll.busy_poll && ep_busy_poll(ep) < 0)
		goto fail;
	what = "eventfd";
	ep->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ep->wake_fd < 0)
		goto fail;
	what = "epoll_ctl";
	if (epoll_ctl(ep->fd, EPOLL_CTL_ADD, ep->wake_fd, &event) < 0)
		goto fail;
	errno = -ep_files_create(ep, &what);
	if (errno)
		goto fail;
	if (config->sealed)
		file_splicer_create(&ep->sender.splicer, &ep->io.figures[EPOLL_SPLICED]);
	*io = &ep->io;
	return 0;

fail:
	err = errno;
	if (strcmp(what, "busy-poll") == 0) {
		snprintf(why, size, "--epoll: busy-poll cannot be had here: EPIOCSPARAMS: %s (it needs Linux %s)",
		         strerror(err), feature_find(FEATURE_EPOLL, what, strlen(what))->since);
		err = IO_EFEATURE;
	} else {
		snprintf(why, size, "epoll: %s: %s%s", what, strerror(err), create_advice(err));
	}
	if (ep->wake_fd >= 0)
		close(ep->wake_fd);
	if (ep->fd >= 0)
		close(ep->fd);
	free(ep);
	return -err;
}

/* Serves a byte to a connection of our own: all the calls that serving makes but accept4. */
int ep_probe(const struct features *features, char *why, size_t size)
{
	struct iovec iov = { .iov_base = (char[]){ '!' }, .iov_len = 1 };
	struct io_conn conn = { 0 };
	struct io_event event;
	struct io *io = NULL;
	int err, fd[2] = { -1, -1 };

	err = ep_create(&io, &(struct io_config){ .conns = 1, .listeners = 1, .features = features }, why, size);
	if (err)
		return err;
	assert(io);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0) {
		err = -errno;
		snprintf(why, size, "epoll: socketpair: %s", strerror(-err));
		ep_destroy(io);
		return err;
	}

	io_open(io, &conn, fd[0]);
	io_send(io, &conn, &iov, 1);
	err = conn.result;
	if (!err)
		err = io_wait(io, 0);
	if (!err && !(io_next(io, &event) && event.op == IO_SENT))
		err = -EPROTO;
	if (!err && (recv(fd[1], (char[]){ 0 }, 1, MSG_DONTWAIT) != 1 || send(fd[1], "?", 1, MSG_NOSIGNAL) != 1))
		err = -EPROTO;
	if (!err) {
		io_recv(io, &conn);
		err = io_wait(io, 0);
		if (!err && !(io_next(io, &event) && event.op == IO_RECV && event.res == 1))
			err = -EPROTO;
	}
	if (err)
		snprintf(why, size, "epoll: sending a byte to itself: %s", strerror(-err));

	io_close(io, &conn);
	io_wait(io, 0);
	io_next(io, &event);
	ep_destroy(io);
	close(fd[1]);
	return err;
}
