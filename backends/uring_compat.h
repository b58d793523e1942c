/*
 * uring_compat.h - io_uring constants that are newer than the oldest liburing that loom builds with (2.3), each with
 * the kernel that brought it. They are part of the kernel's ABI, so defining them here is safe; using one takes a
 * kernel that has it.
 */
#ifndef LOOM_URING_COMPAT_H
#define LOOM_URING_COMPAT_H

#include <liburing.h>

/* Linux 6.15: a ring that waits for clients is idle, and need not be accounted as a processor waiting for a disk. */
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

#endif
