/*
 * file_compat.h - what file_send.c asks of the kernel and the C library may not know yet. It is the kernel's ABI, so
 * defining it here is safe; an older kernel says ENOSYS.
 */
#ifndef LOOM_FILE_COMPAT_H
#define LOOM_FILE_COMPAT_H

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.5: cachestat(2). New system calls have one number on every architecture but alpha. */
#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif

struct compat_cachestat_range {
	uint64_t offset;
	uint64_t len;
};

struct compat_cachestat {
	uint64_t cached; /* pages that are there, and perhaps still being read */
	uint64_t dirty;
	uint64_t writeback;
	uint64_t evicted;
	uint64_t recently_evicted;
};

static inline int compat_cachestat(int fd, const struct compat_cachestat_range *range, struct compat_cachestat *stat)
{
	return (int)syscall(__NR_cachestat, fd, range, stat, 0);
}

/* sched_setattr(2), which glibc has since 2.41: the first version of its argument, which every kernel knows. */
struct compat_sched_attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime; /* nanoseconds; of SCHED_OTHER since Linux 6.12: the length of a slice */
	uint64_t deadline;
	uint64_t period;
};

/* The calling thread's. Both: 0, or -1 and errno. */
static inline int compat_sched_getattr(struct compat_sched_attr *attr)
{
	return (int)syscall(SYS_sched_getattr, 0, attr, sizeof(*attr), 0);
}

static inline int compat_sched_setattr(const struct compat_sched_attr *attr)
{
	return (int)syscall(SYS_sched_setattr, 0, attr, 0);
}

#endif
