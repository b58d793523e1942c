/*
 * tree_rows.c - see rows.h: what the reloader and its threads ask of the system and of the allocator. PASSES: the old
 * snapshot or the whole new one. HARMS: the error says of a file that it is not there, or not to be had, so that the new one
 * may be without it.
 */
#include <errno.h>

#include "tree_show.h"

/* clang-format off */
#define P(e) { e, PASSES }
#define H(e) { e, HARMS }
#define VALUES(...) (const struct value[]){ __VA_ARGS__, { -1, PASSES } }
#define ROW(call, ...) { FAULT_##call, FAULT_FAILS, VALUES(__VA_ARGS__), true, true, #call }

#define OPEN_ERRORS H(EACCES), P(EINTR), P(EINVAL), P(EISDIR), H(ELOOP), P(EMFILE), H(ENAMETOOLONG), P(ENFILE), H(ENODEV), \
	H(ENOENT), P(ENOMEM), H(ENOTDIR), H(ENXIO), P(EOVERFLOW), H(EPERM), P(EIO), P(EAGAIN), P(EBUSY), P(ETXTBSY)

#define STAT_ERRORS H(EACCES), P(EBADF), P(EFAULT), P(EINVAL), H(ELOOP), H(ENAMETOOLONG), H(ENOENT), P(ENOMEM), H(ENOTDIR), \
	P(EOVERFLOW), P(EIO)

#define NO_MEMORY P(ENOMEM)

const struct row tree_rows[] = {
	ROW(openat2, OPEN_ERRORS, H(EXDEV), P(E2BIG), P(ENOSYS)),
	ROW(open64, OPEN_ERRORS),
	ROW(openat64, OPEN_ERRORS, P(ENOSPC), P(EDQUOT), P(EROFS), P(EEXIST)),
	ROW(read, P(EAGAIN), P(EBADF), P(EFAULT), P(EINTR), P(EINVAL), P(EIO), P(EISDIR)),
	/* 0: a file that ends before it should, and did not change, is taken for one of /proc, and left out. */
	{ FAULT_read, FAULT_SHORT, VALUES(H(0), P(1), P(2000)), true, true, "read" },
	ROW(fstat64, STAT_ERRORS),
	ROW(stat64, STAT_ERRORS),
	ROW(fstatat64, STAT_ERRORS),
	ROW(fstatfs64, P(EBADF), P(EFAULT), P(EINTR), P(EIO), P(ENOMEM), P(ENOSYS), P(EOVERFLOW)),
	ROW(fdopendir, P(EBADF), P(EMFILE), P(ENFILE), H(ENOENT), P(ENOMEM), H(ENOTDIR)),
	ROW(readdir64, P(EBADF), P(EFAULT), P(EINVAL), H(ENOENT), H(ENOTDIR), P(EIO)),
	{ FAULT_close, FAULT_DONE, VALUES(P(EBADF), P(EINTR), P(EIO), P(ENOSPC), P(EDQUOT)), true, true, "close" },
	ROW(inotify_add_watch, P(EACCES), P(EBADF), P(EEXIST), P(EFAULT), P(EINVAL), P(ENAMETOOLONG), P(ENOENT), P(ENOMEM),
		P(ENOSPC), P(ENOTDIR)),
	ROW(inotify_rm_watch, P(EBADF), P(EINVAL)),
	ROW(poll, P(EFAULT), P(EINTR), P(EINVAL), P(ENOMEM)),
	ROW(write, P(EAGAIN), P(EBADF), P(EDQUOT), P(EFAULT), P(EFBIG), P(EINTR), P(EINVAL), P(EIO), P(ENOSPC), P(EPERM)),
	{ FAULT_write, FAULT_SHORT, VALUES(P(0), P(1)), true, true, "write" },
	ROW(mkdirat, P(EACCES), P(EBADF), P(EDQUOT), P(EEXIST), P(EFAULT), P(ENOENT), P(ENOMEM), P(ENOSPC), P(EPERM), P(EROFS)),
	ROW(renameat, P(EACCES), P(EBUSY), P(EDQUOT), P(EINVAL), P(ENOENT), P(ENOMEM), P(ENOSPC), P(EPERM), P(EROFS), P(EXDEV)),
	ROW(malloc, NO_MEMORY),
	ROW(calloc, NO_MEMORY),
	ROW(realloc, NO_MEMORY),
	ROW(reallocarray, NO_MEMORY),
	ROW(aligned_alloc, NO_MEMORY),
	ROW(libdeflate_alloc_compressor, NO_MEMORY),
	ROW(BrotliEncoderCreateInstance, NO_MEMORY),
	ROW(ZSTD_createCCtx, NO_MEMORY),
	/* Of threads that read, which a large tree has: tree_show.c. Each of them has pages of its own for bodies: body_pages.c. */
	ROW(mmap64, P(EACCES), P(EAGAIN), P(EBADF), P(EINVAL), P(ENFILE), P(ENODEV), P(ENOMEM), P(EOVERFLOW), P(EPERM)),
	ROW(mprotect, P(EACCES), P(EINVAL), P(ENOMEM)),
	ROW(madvise, P(EACCES), P(EAGAIN), P(EBADF), P(EINVAL), P(EIO), P(ENOMEM), P(EPERM)),
	ROW(munmap, P(EINVAL), P(ENOMEM)),
	ROW(pthread_create, P(EAGAIN), P(EINVAL), P(EPERM)),
	ROW(sched_setscheduler, P(EINVAL), P(EPERM), P(ESRCH)),
	ROW(fcntl64, P(EACCES), P(EAGAIN), P(EBADF), P(EINTR), P(EINVAL), P(EMFILE)),
};
/* clang-format on */

const unsigned tree_rows_count = sizeof(tree_rows) / sizeof(tree_rows[0]);
