/*
 * uring_compat.h - io_uring constants and structures that are newer than the oldest liburing that loom builds with
 * (2.3), each with the kernel that brought it. They are part of the kernel's ABI, so defining them here is safe; using
 * one takes a kernel that has it.
 */
#ifndef LOOM_URING_COMPAT_H
#define LOOM_URING_COMPAT_H

#include <liburing.h>
#include <stdint.h>

/* Linux 6.15: a ring that waits for clients is idle, and need not be accounted as a processor waiting for a disk. */
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

/* Linux 6.6: the submission queue is taken in its order, without an array of indices. */
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

/* Linux 6.12: the least time of a wait for several completions. liburing's struct io_uring_getevents_arg may lack it. */
#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15)
#endif
struct uring_wait_arg {
	uint64_t sigmask;
	uint32_t sigmask_size;
	uint32_t min_wait_usec;
	uint64_t ts;
};
_Static_assert(sizeof(struct uring_wait_arg) == sizeof(struct io_uring_getevents_arg), "the kernel's layout");

/* Linux 6.10: a receive fills several provided buffers, and completes once. */
#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4)
#endif
#ifndef IORING_FEAT_RECVSEND_BUNDLE
#define IORING_FEAT_RECVSEND_BUNDLE (1U << 14)
#endif

/*
 * Linux 6.12: a provided buffer is consumed piece by piece; the flag of a completion that leaves some of it. And liburing's
 * struct io_uring_buf_reg, whose flags have another name in 2.3.
 */
struct uring_buf_reg {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t bgid;
	uint16_t flags;
	uint64_t resv[3];
};
_Static_assert(sizeof(struct uring_buf_reg) == sizeof(struct io_uring_buf_reg), "the kernel's layout");
#define URING_BUF_RING_INC   2
#define URING_CQE_F_BUF_MORE (1U << 4)

/* Linux 6.17: an iovec array without a struct msghdr; and, in the place of sqe.file_index, the length of a multishot. */
#ifndef IORING_SEND_VECTORIZED
#define IORING_SEND_VECTORIZED (1U << 5)
#endif

/* Linux 6.2: a notification says whether it was zero copy after all. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* Linux 6.9: waits poll the network card. */
#define URING_REGISTER_NAPI 27
struct uring_napi {
	uint32_t busy_poll_to; /* microseconds */
	uint8_t prefer_busy_poll;
	uint8_t opcode;
	uint8_t pad[2];
	uint32_t op_param;
	uint32_t resv;
};

#endif
