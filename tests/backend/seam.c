/*
 * seam.c - see seam.h. The linker sends the backends' calls here (--wrap).
 */
#include "seam.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEAM_CACHESTAT 451

static int seam_nowait(void)
{
	int cold = seam.cold, n = ++seam.reads;
	void (*before)(void *) = seam.before;

	seam.before = NULL;
	if (before)
		before(seam.context);
	if (seam.nowait)
		return seam.nowait;
	return cold && (cold == INT_MAX || n % cold) ? EAGAIN : 0;
}

static int seam_splice(size_t *len)
{
	seam.splices++;
	if (seam.splice_max && *len > (size_t)seam.splice_max)
		*len = (size_t)seam.splice_max;
	return seam.spliced;
}

#define SEAM_PREADV(name, offset_type)                                                            \
	ssize_t __real_##name(int, const struct iovec *, int, offset_type, int);                  \
	ssize_t __wrap_##name(int fd, const struct iovec *iov, int n, offset_type at, int flags); \
	ssize_t __wrap_##name(int fd, const struct iovec *iov, int n, offset_type at, int flags)  \
	{                                                                                         \
		errno = flags & RWF_NOWAIT ? seam_nowait() : 0;                                   \
		return errno ? -1 : __real_##name(fd, iov, n, at, flags);                         \
	}

ssize_t __real_vmsplice(int, const struct iovec *, size_t, unsigned);
ssize_t __wrap_vmsplice(int, const struct iovec *, size_t, unsigned);
ssize_t __wrap_vmsplice(int fd, const struct iovec *iov, size_t n, unsigned flags)
{
	errno = seam.referred;
	return errno ? -1 : __real_vmsplice(fd, iov, n, flags);
}

ssize_t __real_splice(int, off64_t *, int, off64_t *, size_t, unsigned);
ssize_t __wrap_splice(int, off64_t *, int, off64_t *, size_t, unsigned);
ssize_t __wrap_splice(int in, off64_t *at, int out, off64_t *to, size_t len, unsigned flags)
{
	seam.moves++;
	if (seam.move_max && len > (size_t)seam.move_max)
		len = (size_t)seam.move_max;
	errno = seam.moved;
	return errno ? -1 : __real_splice(in, at, out, to, len, flags);
}

/* Of the backends' own, that of a pipe alone is so long. */
ssize_t __real_read(int, void *, size_t);
ssize_t __wrap_read(int, void *, size_t);
ssize_t __wrap_read(int fd, void *bytes, size_t len)
{
	errno = len > sizeof(uint64_t) ? seam.stuck : 0;
	return errno ? -1 : __real_read(fd, bytes, len);
}

#define SEAM_SENDFILE(name, offset_type)                                     \
	ssize_t __real_##name(int, int, offset_type *, size_t);              \
	ssize_t __wrap_##name(int out, int in, offset_type *at, size_t len); \
	ssize_t __wrap_##name(int out, int in, offset_type *at, size_t len)  \
	{                                                                    \
		errno = seam_splice(&len);                                   \
		return errno ? -1 : __real_##name(out, in, at, len);         \
	}

long __real_syscall(long, long, long, long, long, long, long);
long __wrap_syscall(long, long, long, long, long, long, long);

/* Declared as it is called by the backends' own calls, whose arguments all go into registers. */
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SEAM_CACHESTAT && seam.counted) {
		errno = seam.counted;
		return -1;
	}
	return __real_syscall(number, a, b, c, d, e, f);
}

#ifdef __GLIBC__
SEAM_PREADV(preadv64v2, off_t)
SEAM_SENDFILE(sendfile64, off_t)
#else
SEAM_PREADV(preadv2, off_t)
SEAM_SENDFILE(sendfile, off_t)
#endif
