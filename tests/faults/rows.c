/*
 * rows.c - see rows.h. The lists of errors are those of the man pages of Debian 12 (man-pages 6.03, liburing 2.3), in their
 * order, and what Linux is known to say besides: ECONNRESET, ETIMEDOUT, EPIPE of TCP, EINTR, ENOMEM.
 */
#include "rows.h"

#include <errno.h>

/* clang-format off */
#define P(e) { e, PASSES }
#define H(e) { e, HARMS }
#define S(e) { e, STOPS }
#define VALUES(...) (const struct value[]){ __VA_ARGS__, { -1, PASSES } }

#define ACCEPT_ERRORS P(EAGAIN), P(EBADF), P(ECONNABORTED), P(EFAULT), P(EINTR), P(EINVAL), P(EMFILE), P(ENFILE), P(ENOBUFS), \
	P(ENOMEM), P(ENOTSOCK), P(EOPNOTSUPP), P(EPERM), P(EPROTO), P(ENOSR), P(ESOCKTNOSUPPORT), P(EPROTONOSUPPORT), \
	P(ETIMEDOUT), P(ENETDOWN), P(ENOPROTOOPT), P(EHOSTDOWN), P(ENONET), P(EHOSTUNREACH), P(ENETUNREACH)

#define RECV_ERRORS H(EBADF), H(ECONNREFUSED), H(EFAULT), P(EINTR), H(EINVAL), H(ENOMEM), H(ENOTCONN), H(ENOTSOCK), \
	H(ECONNRESET), H(ETIMEDOUT), H(EPIPE), H(EHOSTUNREACH), H(ENETUNREACH), H(EIO)

#define SEND_ERRORS H(EACCES), H(EALREADY), H(EBADF), H(ECONNRESET), H(EDESTADDRREQ), H(EFAULT), P(EINTR), H(EINVAL), \
	H(EISCONN), H(EMSGSIZE), H(ENOBUFS), H(ENOMEM), H(ENOTCONN), H(ENOTSOCK), H(EOPNOTSUPP), H(EPIPE), H(ETIMEDOUT)

#define READ_ERRORS H(EBADF), H(EFAULT), P(EINTR), H(EIO), H(EISDIR), H(ENXIO), H(EOVERFLOW), H(ESPIPE)

#define CLOSE_ERRORS P(EBADF), P(EINTR), P(EIO), P(ENOSPC), P(EDQUOT)

#define OPTION_ERRORS P(EBADF), P(EFAULT), P(EINVAL), P(ENOPROTOOPT), P(ENOTSOCK), P(ENOMEM), P(ENOBUFS)

const struct row rows[] = {
	/* epoll */
	{ FAULT_accept4, FAULT_FAILS, VALUES(ACCEPT_ERRORS), true, true, "accept4(2)" },
	{ FAULT_accept4, FAULT_PERSISTS, VALUES(P(EMFILE), P(ENFILE), P(ENOBUFS), P(ENOMEM), P(ECONNABORTED)), true, false,
		"accept4(2)" },
	{ FAULT_recv, FAULT_FAILS, VALUES(RECV_ERRORS, H(EAGAIN)), true, false, "recv(2)" },
	{ FAULT_recv, FAULT_SHORT, VALUES(H(0), H(1), H(7)), true, false, "recv(2)" },
	{ FAULT_send, FAULT_FAILS, VALUES(SEND_ERRORS, H(EAGAIN)), true, false, "send(2)" },
	{ FAULT_send, FAULT_SHORT, VALUES(H(1), H(100)), true, false, "send(2)" },
	{ FAULT_sendmsg, FAULT_FAILS, VALUES(SEND_ERRORS, H(EAGAIN)), true, true, "sendmsg(2)" },
	{ FAULT_sendmsg, FAULT_SHORT, VALUES(H(1), H(100)), true, true, "sendmsg(2)" },
	{ FAULT_sendto, FAULT_FAILS, VALUES(SEND_ERRORS, H(EAGAIN)), true, true, "sendto(2)" },
	{ FAULT_sendto, FAULT_SHORT, VALUES(H(1), H(5000)), true, true, "sendto(2)" },
	{ FAULT_sendfile64, FAULT_FAILS, VALUES(H(EAGAIN), H(EBADF), H(EFAULT), P(EINVAL), H(EIO), H(ENOMEM), H(EOVERFLOW),
		H(ESPIPE), P(EINTR), P(ENOSYS), H(EPIPE), H(ECONNRESET)), true, true, "sendfile(2)" },
	{ FAULT_sendfile64, FAULT_SHORT, VALUES(H(0), P(1), P(4095)), true, true, "sendfile(2)" },
	/* The one pipe of the event loop: what cannot be had of it is copied. */
	{ FAULT_vmsplice, FAULT_FAILS, VALUES(P(EAGAIN), P(EBADF), P(EINVAL), P(ENOMEM), P(EFAULT), P(EINTR), P(ENOSYS),
		P(EPERM)), true, true, "vmsplice(2)" },
	{ FAULT_vmsplice, FAULT_PERSISTS, VALUES(P(EAGAIN), P(EINTR)), true, true, "vmsplice(2)" },
	{ FAULT_vmsplice, FAULT_SHORT, VALUES(P(0), P(1), P(4095)), true, true, "vmsplice(2)" },
	{ FAULT_splice, FAULT_FAILS, VALUES(H(EAGAIN), H(EBADF), P(EINVAL), H(ENOMEM), H(ESPIPE), P(EINTR), H(EFAULT), H(EIO),
		P(ENOSYS), P(EPERM), H(EPIPE), H(ECONNRESET), H(ETIMEDOUT), H(ENOBUFS)), true, true, "splice(2)" },
	{ FAULT_splice, FAULT_PERSISTS, VALUES(P(EINTR), P(EINVAL)), true, true, "splice(2)" },
	{ FAULT_splice, FAULT_SHORT, VALUES(P(0), P(1), P(4095)), true, true, "splice(2)" },
	{ FAULT_read, FAULT_FAILS, VALUES(P(EAGAIN), P(EBADF), P(EFAULT), P(EINTR), P(EINVAL), P(EIO), P(EISDIR)), true, true,
		"read(2) of what a socket did not take" },
	{ FAULT_read, FAULT_PERSISTS, VALUES(P(EINTR)), true, true, "read(2) of what a socket did not take" },
	{ FAULT_read, FAULT_SHORT, VALUES(P(0), P(1), P(4095)), true, true, "read(2) of what a socket did not take" },
	{ FAULT_preadv64v2, FAULT_FAILS, VALUES(READ_ERRORS, P(EAGAIN), P(EINVAL), P(EOPNOTSUPP), P(ENOSYS)), true, true,
		"preadv2(2)" },
	{ FAULT_preadv64v2, FAULT_PERSISTS, VALUES(P(EAGAIN), P(EOPNOTSUPP)), true, true, "preadv2(2)" },
	{ FAULT_preadv64v2, FAULT_SHORT, VALUES(H(0), P(1), P(4095)), true, true, "preadv2(2)" },
	{ FAULT_pread64, FAULT_FAILS, VALUES(READ_ERRORS, H(EAGAIN), H(EINVAL)), true, false, "pread(2), disk thread" },
	{ FAULT_pread64, FAULT_SHORT, VALUES(H(0), P(1), P(4095)), true, false, "pread(2), disk thread" },
	{ FAULT_cachestat, FAULT_FAILS, VALUES(P(EFAULT), P(EINVAL), P(EBADF), P(EOPNOTSUPP), P(EPERM), P(ENOSYS)), true, true,
		"cachestat(2)" },
	{ FAULT_sched_getattr, FAULT_FAILS, VALUES(P(E2BIG), P(EINVAL), P(EPERM), P(ESRCH)), true, true, "sched_getattr(2)" },
	{ FAULT_sched_setattr, FAULT_FAILS, VALUES(P(E2BIG), P(EBUSY), P(EINVAL), P(EPERM), P(ESRCH)), true, true,
		"sched_setattr(2)" },
	{ FAULT_statx, FAULT_FAILS, VALUES(H(EACCES), H(EBADF), H(EFAULT), H(EINVAL), H(ELOOP), H(ENAMETOOLONG), H(ENOENT),
		H(ENOMEM), H(ENOTDIR), H(EIO)), true, true, "statx(2)" },
	{ FAULT_posix_fadvise64, FAULT_FAILS, VALUES(P(EBADF), P(EINVAL), P(ESPIPE)), true, true, "posix_fadvise(2)" },
	{ FAULT_poll, FAULT_FAILS, VALUES(P(EFAULT), P(EINTR), P(EINVAL), P(ENOMEM)), true, true, "poll(2)" },
	{ FAULT_setsockopt, FAULT_FAILS, VALUES(OPTION_ERRORS), true, true, "setsockopt(2)" },
	{ FAULT_getsockopt, FAULT_FAILS, VALUES(OPTION_ERRORS), true, true, "getsockopt(2)" },
	{ FAULT_fcntl64, FAULT_FAILS, VALUES(H(EACCES), H(EAGAIN), H(EBADF), H(EINTR), H(EINVAL), H(ENOLCK), H(EPERM)), true,
		true, "fcntl(2)" },
	{ FAULT_shutdown, FAULT_DONE, VALUES(P(EBADF), P(EINVAL), P(ENOTCONN), P(ENOTSOCK)), true, true, "shutdown(2)" },
	{ FAULT_close, FAULT_DONE, VALUES(CLOSE_ERRORS), true, true, "close(2)" },
	{ FAULT_eventfd_write, FAULT_FAILS, VALUES(P(EAGAIN), P(EINVAL), P(EINTR)), true, true, "write(2) to an eventfd" },
	{ FAULT_epoll_wait, FAULT_FAILS, VALUES(S(EBADF), S(EFAULT), P(EINTR), S(EINVAL)), true, false, "epoll_wait(2)" },
	{ FAULT_epoll_wait, FAULT_PERSISTS, VALUES(P(EINTR)), true, false, "epoll_wait(2)" },
	{ FAULT_epoll_wait, FAULT_SHORT, VALUES(P(1), P(2)), true, false, "epoll_wait(2)" },
	{ FAULT_epoll_ctl, FAULT_FAILS, VALUES(H(EBADF), H(EEXIST), H(EINVAL), H(ELOOP), H(ENOENT), H(ENOMEM), H(ENOSPC),
		H(EPERM)), true, false, "epoll_ctl(2), ADD" },
	{ FAULT_epoll_ctl_del, FAULT_DONE, VALUES(P(EBADF), P(EINVAL), P(ENOENT), P(ENOMEM), P(EPERM)), true, false,
		"epoll_ctl(2), DEL" },

	/* io_uring */
	{ FAULT_io_uring_enter, FAULT_FAILS, VALUES(P(EAGAIN), S(EBADF), S(EBADFD), S(EBADR), P(EBUSY), S(EEXIST), S(EFAULT),
		S(EINVAL), S(ENXIO), S(EOPNOTSUPP), P(EINTR), P(ETIME), P(ENOMEM)), false, true, "io_uring_enter(2)" },
	{ FAULT_io_uring_enter, FAULT_PERSISTS, VALUES(P(EAGAIN), P(EBUSY), P(EINTR), P(ENOMEM)), false, true,
		"io_uring_enter(2)" },
	{ FAULT_io_uring_enter, FAULT_SHORT, VALUES(P(0), P(1), P(2)), false, true, "io_uring_enter(2)" },
	{ FAULT_RING_ACCEPT, FAULT_FAILS, VALUES(ACCEPT_ERRORS, P(ECANCELED)), false, true, "ACCEPT" },
	{ FAULT_RING_ACCEPT, FAULT_PERSISTS, VALUES(P(EMFILE), P(ENFILE), P(ENOBUFS), P(ENOMEM), P(ECONNABORTED)), false, true,
		"ACCEPT" },
	{ FAULT_RING_ACCEPT, FAULT_LAST, VALUES(P(0)), false, true, "ACCEPT, multishot" },
	{ FAULT_RING_ACCEPT, FAULT_CUT, VALUES(P(ECANCELED), P(EMFILE), P(ENFILE), P(ENOBUFS), P(ENOMEM), P(ECONNABORTED),
		P(EINTR)), false, true, "ACCEPT, multishot" },
	{ FAULT_RING_RECV, FAULT_FAILS, VALUES(RECV_ERRORS, P(ENOBUFS), P(ECANCELED), H(EAGAIN)), false, true, "RECV" },
	{ FAULT_RING_RECV, FAULT_PERSISTS, VALUES(P(ENOBUFS), P(EINTR), P(ECANCELED)), false, true, "RECV" },
	{ FAULT_RING_RECV, FAULT_SHORT, VALUES(P(1), P(7)), false, true, "RECV" },
	{ FAULT_RING_RECV, FAULT_LAST, VALUES(P(0)), false, true, "RECV, multishot" },
	{ FAULT_RING_RECV, FAULT_CUT, VALUES(P(ECANCELED), P(ENOBUFS), P(EINTR), H(ENOMEM), H(ECONNRESET), H(ETIMEDOUT)), false,
		true, "RECV, multishot" },
	{ FAULT_RING_RECV, FAULT_REWRITTEN, VALUES(P(ENOBUFS), P(ECANCELED), P(EINTR), H(ENOMEM), H(ECONNRESET), H(ETIMEDOUT)),
		false, true, "RECV, the last completion" },
	{ FAULT_RING_SEND, FAULT_FAILS, VALUES(SEND_ERRORS, H(EAGAIN), H(ECANCELED)), false, true, "SEND" },
	{ FAULT_RING_SEND, FAULT_DONE, VALUES(H(EPIPE), H(ECONNRESET), H(ECANCELED)), false, true, "SEND" },
	{ FAULT_RING_SEND, FAULT_SHORT, VALUES(P(1), P(100)), false, true, "SEND" },
	{ FAULT_RING_SENDMSG, FAULT_FAILS, VALUES(SEND_ERRORS, H(EAGAIN), H(ECANCELED)), false, true, "SENDMSG" },
	{ FAULT_RING_SENDMSG, FAULT_DONE, VALUES(H(EPIPE), H(ECONNRESET), H(ECANCELED)), false, true, "SENDMSG" },
	{ FAULT_RING_SENDMSG, FAULT_SHORT, VALUES(P(1), P(100)), false, true, "SENDMSG" },
	{ FAULT_RING_READ, FAULT_FAILS, VALUES(READ_ERRORS, P(EAGAIN), H(EINVAL), H(ECANCELED)), false, true, "READ of a file" },
	{ FAULT_RING_READ, FAULT_PERSISTS, VALUES(P(EAGAIN), P(EINTR)), false, true, "READ of a file" },
	{ FAULT_RING_READ, FAULT_SHORT, VALUES(P(1), P(4095)), false, true, "READ of a file" },
	{ FAULT_RING_POLL, FAULT_FAILS, VALUES(P(EBADF), P(EFAULT), P(EINTR), P(EINVAL), P(ENOMEM), P(ECANCELED)), false, true,
		"POLL_ADD" },
	{ FAULT_RING_POLL, FAULT_DONE, VALUES(P(EBADF), P(EFAULT), P(EINTR), P(EINVAL), P(ENOMEM), P(ECANCELED)), false, true,
		"POLL_ADD" },
	{ FAULT_RING_CLOSE, FAULT_DONE, VALUES(CLOSE_ERRORS, P(EAGAIN), P(ECANCELED)), false, true, "CLOSE" },
	{ FAULT_RING_CANCEL, FAULT_DONE, VALUES(P(ENOENT), P(EALREADY), P(EINVAL), P(ENOMEM)), false, true, "ASYNC_CANCEL" },
	{ FAULT_RING_WAKE, FAULT_FAILS, VALUES(P(EAGAIN), P(EBADF), P(EFAULT), P(EINTR), P(EINVAL), P(EIO), P(ENOMEM),
		P(ECANCELED)), false, true, "READ of the eventfd" },
};

/* What cannot be lent is copied; and a head that send(2) does not take goes with the rest. */
const struct row zc_rows[] = {
	{ FAULT_RING_SEND_ZC, FAULT_FAILS, VALUES(H(EACCES), H(EALREADY), H(EBADF), H(ECONNRESET), H(EDESTADDRREQ), H(EFAULT),
		P(EINTR), H(EINVAL), H(EISCONN), H(EMSGSIZE), P(ENOBUFS), P(ENOMEM), H(ENOTCONN), H(ENOTSOCK), P(EOPNOTSUPP),
		H(EPIPE), H(ETIMEDOUT), H(EAGAIN), H(ECANCELED)), false, true, "SEND_ZC" },
	{ FAULT_RING_SEND_ZC, FAULT_PERSISTS, VALUES(P(ENOBUFS), P(ENOMEM), P(EOPNOTSUPP), P(EINTR)), false, true, "SEND_ZC" },
	{ FAULT_RING_SEND_ZC, FAULT_DONE, VALUES(H(EPIPE), H(ECONNRESET), H(ECANCELED)), false, true, "SEND_ZC" },
	{ FAULT_RING_SEND_ZC, FAULT_SHORT, VALUES(P(1), P(100)), false, true, "SEND_ZC" },
	{ FAULT_send, FAULT_FAILS, VALUES(P(EACCES), P(EAGAIN), P(EBADF), P(ECONNRESET), P(EFAULT), P(EINTR), P(EINVAL),
		P(EMSGSIZE), P(ENOBUFS), P(ENOMEM), P(ENOTCONN), P(EOPNOTSUPP), P(EPIPE), P(ETIMEDOUT)), false, true,
		"send(2) of a head" },
	{ FAULT_send, FAULT_SHORT, VALUES(P(1), P(100)), false, true, "send(2) of a head" },
};
/* clang-format on */

const unsigned rows_count = sizeof(rows) / sizeof(rows[0]);
const unsigned zc_rows_count = sizeof(zc_rows) / sizeof(zc_rows[0]);
