/*
 * direct.h - the three system calls that a request on epoll is made of, without what makes the C library's functions
 * cancellation points (pthreads(7)): in a process with threads that is two locked instructions and some fifty others a
 * call, and a worker is never cancelled. Arguments, results and errno are those of recv(2), send(2) and epoll_wait(2).
 */
#ifndef LOOM_DIRECT_H
#define LOOM_DIRECT_H

#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Of the kernel's signal sets. */
#define DIRECT_SIGSET_SIZE (_NSIG / 8)

static inline ssize_t direct_recv(int fd, void *bytes, size_t len, int flags)
{
	return syscall(SYS_recvfrom, fd, bytes, len, flags, (void *)NULL, (void *)NULL);
}

static inline ssize_t direct_send(int fd, const void *bytes, size_t len, int flags)
{
	return syscall(SYS_sendto, fd, bytes, len, flags, (void *)NULL, (size_t)0);
}

static inline int direct_epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
	return (int)syscall(SYS_epoll_pwait, fd, events, most, timeout_ms, (void *)NULL, (size_t)DIRECT_SIGSET_SIZE);
}

#endif
