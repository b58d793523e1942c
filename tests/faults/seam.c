/*
 * seam.c - where the linker sends system calls and allocations of the objects under test (--wrap). Any thread; hands on to
 * the C library all that is not the fault that is planned.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fault.h"

#define MINUS(type)    (errno = (int)fault.plan.value, (type)-1)
#define NOTHING(type)  (errno = (int)fault.plan.value, (type)NULL)
#define CODE(type)     ((type)fault.plan.value)
#define NEGATIVE(type) ((type)-fault.plan.value)
#define UNMAPPED(type) (errno = (int)fault.plan.value, (type)MAP_FAILED)

#define CALL(type, name, fails, parameters, arguments)  \
	type __real_##name parameters;                  \
	type __wrap_##name parameters;                  \
	type __wrap_##name parameters                   \
	{                                               \
		if (!fault_hits(FAULT_##name))          \
			return __real_##name arguments; \
		if (fault.plan.how == FAULT_DONE)       \
			(void)__real_##name arguments;  \
		return fails(type);                     \
	}
#include "calls.h"
#undef CALL

/* A call that is hit and moves n bytes: true when it is made with less, otherwise what it returns instead. */
static bool falls_short(size_t *n, ssize_t *result)
{
	*result = fault.plan.how == FAULT_SHORT ? 0 : MINUS(ssize_t);
	if (fault.plan.how != FAULT_SHORT || fault.plan.value == 0)
		return false;
	if (*n > (size_t)fault.plan.value)
		*n = (size_t)fault.plan.value;
	return true;
}

/* A call that moves bytes, `n` of them at most. */
#define MOVES(name, parameters, arguments, n)                              \
	ssize_t __real_##name parameters;                                  \
	ssize_t __wrap_##name parameters;                                  \
	ssize_t __wrap_##name parameters                                   \
	{                                                                  \
		ssize_t result;                                            \
                                                                           \
		if (fault_hits(FAULT_##name) && !falls_short(&n, &result)) \
			return result;                                     \
		return __real_##name arguments;                            \
	}

MOVES(recv, (int a, void *b, size_t n, int d), (a, b, n, d), n)
MOVES(send, (int a, const void *b, size_t n, int d), (a, b, n, d), n)
MOVES(sendto, (int a, const void *b, size_t n, int d, const struct sockaddr *e, socklen_t f), (a, b, n, d, e, f), n)
MOVES(pread64, (int a, void *b, size_t n, off_t d), (a, b, n, d), n)
MOVES(read, (int a, void *b, size_t n), (a, b, n), n)

/* What read() becomes where the compiler does not know that the buffer is large enough, with the buffer's size. */
ssize_t __real___read_chk(int, void *, size_t, size_t);
ssize_t __wrap___read_chk(int, void *, size_t, size_t);
ssize_t __wrap___read_chk(int fd, void *buffer, size_t n, size_t size)
{
	if (n > size)
		return __real___read_chk(fd, buffer, n, size);
	return __wrap_read(fd, buffer, n);
}

ssize_t __real_write(int, const void *, size_t);
ssize_t __wrap_write(int, const void *, size_t);
ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
	if (fault_hits(n == sizeof(uint64_t) ? FAULT_eventfd_write : FAULT_write)) {
		ssize_t result;

		if (!falls_short(&n, &result))
			return result;
	}
	return __real_write(fd, bytes, n);
}

/*
 * Of what sends without copying. Whether the call is made, of *n bytes at most: it fails or falls short as is planned, and with
 * seam.narrow one of so many takes a part only.
 */
static bool is_made(enum fault_call call, int *count, size_t *n, ssize_t *result)
{
	if (fault_hits(call))
		return falls_short(n, result);
	if (seam.narrow && ++*count % seam.narrow == 0 && *n > 8192)
		*n = 8192;
	return true;
}

ssize_t __real_sendfile64(int, int, off_t *, size_t);
ssize_t __wrap_sendfile64(int, int, off_t *, size_t);
ssize_t __wrap_sendfile64(int out, int in, off_t *offset, size_t n)
{
	ssize_t result;

	return is_made(FAULT_sendfile64, &seam.narrow_count, &n, &result) ? __real_sendfile64(out, in, offset, n)
	                                                                  : result;
}

ssize_t __real_vmsplice(int, const struct iovec *, size_t, unsigned);
ssize_t __wrap_vmsplice(int, const struct iovec *, size_t, unsigned);
ssize_t __wrap_vmsplice(int fd, const struct iovec *iov, size_t n, unsigned flags)
{
	struct iovec part = iov[0];
	ssize_t result;

	if (!fault_hits(FAULT_vmsplice))
		return __real_vmsplice(fd, iov, n, flags);
	if (!falls_short(&part.iov_len, &result))
		return result;
	return __real_vmsplice(fd, &part, 1, flags);
}

ssize_t __real_splice(int, off_t *, int, off_t *, size_t, unsigned);
ssize_t __wrap_splice(int, off_t *, int, off_t *, size_t, unsigned);
ssize_t __wrap_splice(int in, off_t *from, int out, off_t *to, size_t n, unsigned flags)
{
	ssize_t result;

	return is_made(FAULT_splice, &seam.narrow_splices, &n, &result) ? __real_splice(in, from, out, to, n, flags)
	                                                                : result;
}

ssize_t __real_sendmsg(int, const struct msghdr *, int);
ssize_t __wrap_sendmsg(int, const struct msghdr *, int);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct iovec iov;

	if (!fault_hits(FAULT_sendmsg))
		return __real_sendmsg(fd, message, flags);
	if (fault.plan.how != FAULT_SHORT)
		return MINUS(ssize_t);
	iov = message->msg_iov[0];
	if (iov.iov_len > (size_t)fault.plan.value)
		iov.iov_len = (size_t)fault.plan.value;
	return __real_sendmsg(fd, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 }, flags);
}

ssize_t __real_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	struct iovec part = iov[0];

	if (fault_hits(FAULT_preadv64v2)) {
		ssize_t result;

		if (!falls_short(&part.iov_len, &result))
			return result;
		return __real_preadv64v2(fd, &part, 1, offset, flags);
	}
	if (seam.cold && ++seam.cold_count % seam.cold == 0) {
		errno = EAGAIN;
		return -1;
	}
	return __real_preadv64v2(fd, iov, n, offset, flags);
}

int __real_epoll_wait(int, struct epoll_event *, int, int);
int __wrap_epoll_wait(int, struct epoll_event *, int, int);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
	bool waits = timeout != 0;
	int n;

	if (seam.sleepless)
		timeout = 0;
	seam.would_sleep = false;
	if (fault_hits(FAULT_epoll_wait)) {
		if (fault.plan.how != FAULT_SHORT)
			return MINUS(int);
		most = (int)fault.plan.value;
	}
	n = __real_epoll_wait(fd, events, most, timeout);
	seam.would_sleep = waits && n == 0;
	return n;
}

int __real_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (!fault_hits(op == EPOLL_CTL_DEL ? FAULT_epoll_ctl_del : FAULT_epoll_ctl))
		return __real_epoll_ctl(epoll, op, fd, event);
	if (fault.plan.how == FAULT_DONE)
		__real_epoll_ctl(epoll, op, fd, event);
	return MINUS(int);
}

int __real_sched_setscheduler(pid_t, int, const struct sched_param *);
int __wrap_sched_setscheduler(pid_t, int, const struct sched_param *);
int __wrap_sched_setscheduler(pid_t pid, int policy, const struct sched_param *param)
{
	if (fault_hits(FAULT_sched_setscheduler))
		return MINUS(int);
	return seam.urgent ? 0 : __real_sched_setscheduler(pid, policy, param);
}

int __real_nice(int);
int __wrap_nice(int);
int __wrap_nice(int more)
{
	if (fault_hits(FAULT_nice))
		return MINUS(int);
	return seam.urgent ? 0 : __real_nice(more);
}

int __real_pthread_setschedparam(pthread_t, int, const struct sched_param *);
int __wrap_pthread_setschedparam(pthread_t, int, const struct sched_param *);
int __wrap_pthread_setschedparam(pthread_t thread, int policy, const struct sched_param *param)
{
	return seam.urgent ? 0 : __real_pthread_setschedparam(thread, policy, param);
}

__attribute__((format(printf, 3, 4))) int __wrap___asprintf_chk(char **, int, const char *, ...);
int __wrap___asprintf_chk(char **out, int flag, const char *format, ...)
{
	va_list args;
	int n;

	(void)flag;
	if (fault_hits(FAULT_strdup)) {
		*out = NULL;
		return MINUS(int);
	}
	va_start(args, format);
	n = vasprintf(out, format, args);
	va_end(args);
	return n;
}

long __real_syscall(long, long, long, long, long, long, long);
long __wrap_syscall(long, long, long, long, long, long, long);

static enum fault_call call_of(long number)
{
	switch (number) {
	case 451:
		return FAULT_cachestat;
	case SYS_sched_getattr:
		return FAULT_sched_getattr;
	case SYS_sched_setattr:
		return FAULT_sched_setattr;
	case SYS_openat2:
		return FAULT_openat2;
	case SYS_io_uring_setup:
		return FAULT_io_uring_setup;
	case SYS_io_uring_register:
		return FAULT_io_uring_register;
	case SYS_landlock_create_ruleset:
	case SYS_landlock_add_rule:
	case SYS_landlock_restrict_self:
		return FAULT_landlock;
	case SYS_seccomp:
		return FAULT_seccomp;
	default:
		return FAULT_NONE;
	}
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	switch (number) { /* backends/direct.h */
	case SYS_recvfrom:
		return __wrap_recv((int)a, (void *)b, (size_t)c, (int)d);
	case SYS_sendto:
		return __wrap_send((int)a, (void *)b, (size_t)c, (int)d);
	case SYS_epoll_pwait:
		return __wrap_epoll_wait((int)a, (void *)b, (int)c, (int)d);
	}
	if (fault_hits(call_of(number)))
		return MINUS(long);
	return __real_syscall(number, a, b, c, d, e, f);
}
