/*
 * sandbox_filter.c - which system calls a thread may make: seccomp(2), one allow-list for each kind of thread, made from
 * one table. Runs on the thread that takes its filter; owns nothing.
 *
 * A filter is of the thread that takes it and of those that it starts afterwards, and filters add up: the strictest answer
 * counts. So the process takes SANDBOX_ALL while it has one thread, and each thread its own on top of that.
 *
 * What is not in the table is answered with an error, EPERM: a C library that comes upon it, in a version that nobody has
 * tried yet, copes or fails at that place, and loom goes on serving. What is newer than the table gets ENOSYS, as on an
 * older kernel, so that the library falls back. Only what loom never does, and what no library does behind its back, ends
 * the process: who starts a program in a worker, or traces another process, is not loom any more. Refusals are told
 * to the kernel's audit log.
 *
 * Most of it costs nothing: for a system call whose answer does not depend on its arguments Linux 5.11 or newer looks at one
 * bit, and does not run the filter.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_parts.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#endif

/* Linux 6.5, the newest in the table; the same number everywhere, as all of the last years are. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#define NEWEST SYS_cachestat

/* EPIOCSPARAMS, Linux 6.9: 8 bytes to be written, of epoll's type 0x8A, number 1. */
#define EPOLL_SET_PARAMS 0x40088A01

#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define FUTEX_CMD  0x7f /* without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME */
#define FUTEX_WAKE 1

/* Kinds of threads, as bits. */
enum {
	S = 1 << SANDBOX_ALL,
	M = 1 << SANDBOX_MAIN,
	W = 1 << SANDBOX_WORKER,
	D = 1 << SANDBOX_DISK,
	R = 1 << SANDBOX_RELOADER,
	B = 1 << SANDBOX_READER,
	V = 1 << SANDBOX_VARIANTS,
	A = 1 << SANDBOX_ADMIN | 1 << SANDBOX_METRICS, /* both answer on a socket of their own, and tell the same */
	L = 1 << SANDBOX_LOG,
	EVERY = S | M | W | D | R | B | V | A | L,
	FILES = S | M | R | B | V | L, /* who opens files to read them; which ones is Landlock's to say */
};

/* An argument that must have a value, when some of its bits are looked at. The lower half of it, which is all that counts. */
enum check {
	ANY,
	NOT_EXECUTABLE, /* memory */
	UNIX,           /* sockets */
	THREAD,         /* what is started: not a process, in no namespace of its own */
	ITSELF,         /* who gets the signal */
	ITS_NAME,       /* what is set of a thread */
	NO_PATH,        /* an open descriptor is looked at: fstat(3) */
	NO_PATH_EITHER, /* the same by statx(2) */
	BUSY_POLL,      /* of an event loop, and nothing else of ioctl(2) */
};

static const struct {
	unsigned argument;
	uint32_t mask, value;
} checks[] = {
	[NOT_EXECUTABLE] = { 2, PROT_EXEC, 0 },
	[UNIX] = { 0, UINT32_MAX, AF_UNIX },
	[THREAD] = { 0, CLONE_THREAD | NAMESPACES, CLONE_THREAD },
	[ITSELF] = { 0, UINT32_MAX, 0 }, /* the value is the process's id */
	[ITS_NAME] = { 0, UINT32_MAX, PR_SET_NAME },
	[NO_PATH] = { 3, AT_EMPTY_PATH, AT_EMPTY_PATH },
	[NO_PATH_EITHER] = { 2, AT_EMPTY_PATH, AT_EMPTY_PATH },
	[BUSY_POLL] = { 1, UINT32_MAX, EPOLL_SET_PARAMS },
};

/*
 * The first row of a number counts, of those that a thread has. What is checked and often called stands in front, since the
 * filter is run for it.
 */
static const struct row {
	int number;
	int kinds;
	enum check check;
} rows[] = {
	{ SYS_statx, FILES, ANY },
	{ SYS_statx, W, NO_PATH_EITHER }, /* in each turn of a streamed file */

	/* Memory. Workers allocate nothing, but they free it all when they end. */
	{ SYS_mmap, EVERY, NOT_EXECUTABLE },
	{ SYS_mprotect, EVERY, NOT_EXECUTABLE },
	{ SYS_munmap, EVERY, ANY },
	{ SYS_mremap, EVERY, ANY },
	{ SYS_madvise, EVERY, ANY },
	{ SYS_brk, EVERY, ANY },

	/* Threads, time, and the C library's own. */
	{ SYS_futex, EVERY, ANY }, /* workers: see quiet_answers() */
	{ SYS_sched_yield, EVERY, ANY },
	{ SYS_nanosleep, EVERY, ANY },
	{ SYS_clock_nanosleep, EVERY, ANY },
	{ SYS_clock_gettime, EVERY, ANY },
	{ SYS_clock_getres, EVERY, ANY },
	{ SYS_gettimeofday, EVERY, ANY },
#ifdef SYS_time
	{ SYS_time, EVERY, ANY }, /* where the kernel has no vDSO, as are the ones before */
#endif
	{ SYS_restart_syscall, EVERY, ANY },
	{ SYS_rt_sigreturn, EVERY, ANY },
	{ SYS_rt_sigprocmask, EVERY, ANY },
	{ SYS_rt_sigaction, EVERY, ANY },
	{ SYS_sigaltstack, EVERY, ANY },
	{ SYS_tgkill, EVERY, ITSELF }, /* abort(3) */
	{ SYS_getpid, EVERY, ANY },
	{ SYS_gettid, EVERY, ANY },
	{ SYS_getrandom, EVERY, ANY },
	{ SYS_set_robust_list, EVERY, ANY },
	{ SYS_rseq, EVERY, ANY },
	{ SYS_membarrier, EVERY, ANY },
	{ SYS_exit, EVERY, ANY },
	{ SYS_exit_group, EVERY, ANY },
	{ SYS_prctl, EVERY, ITS_NAME },
	{ SYS_clone, S | M | R, THREAD },
	{ SYS_clone3, S | M | R, ANY }, /* see quiet_answers() */
	{ SYS_seccomp, S | M | R, ANY },
	{ SYS_set_tid_address, S, ANY },
	{ SYS_sched_setscheduler, S | M | R, ANY },
	{ SYS_sched_getscheduler, S | M | R, ANY },
	{ SYS_sched_getparam, S | M | R, ANY },
	{ SYS_sched_getaffinity, S | M | R, ANY },
	{ SYS_sched_getattr, S | W, ANY }, /* its slice, when others read for it */
	{ SYS_sched_setattr, S | W, ANY },
	{ SYS_setpriority, S | M | R, ANY },
	{ SYS_getpriority, S | M | R, ANY },
	{ SYS_ioprio_set, S | M | R, ANY },
	{ SYS_prlimit64, S | M | R | A, ANY },
	{ SYS_uname, EVERY, ANY },
	{ SYS_sysinfo, S | M | R | V | A, ANY },
	{ SYS_getuid, S | M | R | A, ANY },
	{ SYS_geteuid, S | M | R | A, ANY },
	{ SYS_getgid, S | M | R | A, ANY },
	{ SYS_getegid, S | M | R | A, ANY },
	{ SYS_getppid, S | M, ANY },
	{ SYS_umask, S | M, ANY },
	{ SYS_wait4, S | M, ANY },
	{ SYS_waitid, S | M, ANY },

	/* What is open. */
	{ SYS_read, EVERY, ANY },
	{ SYS_readv, EVERY, ANY },
	{ SYS_write, EVERY, ANY }, /* eventfds, and lines of the log */
	{ SYS_writev, EVERY, ANY },
	{ SYS_close, EVERY, ANY },
	{ SYS_fstat, EVERY, ANY },
	{ SYS_fcntl, EVERY, ANY },
	{ SYS_lseek, EVERY & ~(W | D), ANY },
	{ SYS_pread64, EVERY, ANY },
	{ SYS_preadv, S | W | D, ANY },
	{ SYS_preadv2, S | W | D, ANY },
	{ SYS_fadvise64, FILES | W | D, ANY },
	{ SYS_cachestat, S | W | D, ANY },
	{ SYS_sendfile, S | W, ANY },
	{ SYS_vmsplice, S | W, ANY },
	{ SYS_splice, S | W, ANY },
	{ SYS_newfstatat, FILES, ANY },
	{ SYS_newfstatat, EVERY, NO_PATH },
	{ SYS_ppoll, S | M | W | R | A | L, ANY }, /* W: whether a socket is full */
	{ SYS_pselect6, S | M, ANY },
	{ SYS_dup, S | M, ANY },
	{ SYS_dup3, S | M, ANY },
	{ SYS_pipe2, S | M, ANY },
	{ SYS_eventfd2, S | M, ANY },
	{ SYS_signalfd4, S | M, ANY },
	{ SYS_timerfd_create, S | M, ANY },
	{ SYS_timerfd_settime, S | M, ANY },
	{ SYS_ftruncate, S | M, ANY },
	{ SYS_fsync, S | M, ANY },
	{ SYS_fdatasync, S | M, ANY },
	{ SYS_flock, S | M, ANY },
	{ SYS_pwrite64, S | M, ANY },
#ifdef SYS_poll
	{ SYS_poll, S | M | W | R | A | L, ANY },
	{ SYS_dup2, S | M, ANY },
#endif

	/* Event loops, and what they are made of at the start. */
	{ SYS_epoll_ctl, S | W, ANY },
	{ SYS_epoll_pwait, S | W, ANY },
	{ SYS_epoll_pwait2, S | W, ANY },
#ifdef SYS_epoll_wait
	{ SYS_epoll_wait, S | W, ANY },
#endif
	{ SYS_epoll_create1, S, ANY },
	{ SYS_ioctl, S, BUSY_POLL },        /* --epoll busy-poll=N */
	{ SYS_io_uring_enter, S | W, ANY }, /* what it does is limited by the ring itself: uring_setup.c */
	{ SYS_io_uring_setup, S, ANY },
	{ SYS_io_uring_register, S, ANY },

	/* Sockets. */
	{ SYS_accept4, S | M | W | A, ANY }, /* main: for the admin thread, which a successor starts late */
	{ SYS_recvfrom, S | M | W | A, ANY },
	{ SYS_recvmsg, S | M | W | A, ANY },
	{ SYS_sendto, EVERY, ANY }, /* lines of the log, when it goes to syslog */
	{ SYS_sendmsg, EVERY, ANY },
	{ SYS_shutdown, S | M | W | A, ANY },
	{ SYS_getsockopt, S | M | W | A, ANY },
	{ SYS_setsockopt, S | M | W | A, ANY },
	{ SYS_getsockname, S | M | W | A, ANY },
	{ SYS_getpeername, S | M | W | A, ANY },
	{ SYS_socket, S | M | L, UNIX }, /* systemd, syslog; and the self-test of a ring */
	{ SYS_socketpair, S | M, UNIX },
	{ SYS_connect, S | M | L, ANY },
	{ SYS_bind, S, ANY },
	{ SYS_listen, S | M, ANY }, /* the admin socket, when a successor takes its place */

	/* Files by their names. */
	{ SYS_openat, FILES, ANY },
	{ SYS_openat2, FILES, ANY },
	{ SYS_readlinkat, FILES, ANY },
	{ SYS_getdents64, FILES | A, ANY }, /* A: of /proc/self/fd, which is open */
	{ SYS_faccessat, FILES, ANY },
	{ SYS_faccessat2, FILES, ANY },
	{ SYS_getcwd, FILES, ANY },
	{ SYS_statfs, FILES, ANY },
	{ SYS_fstatfs, FILES, ANY },
#ifdef SYS_open
	{ SYS_open, FILES, ANY },
	{ SYS_stat, FILES, ANY },
	{ SYS_lstat, FILES, ANY },
	{ SYS_readlink, FILES, ANY },
	{ SYS_access, FILES, ANY },
#endif
	{ SYS_inotify_init1, S, ANY },
	{ SYS_inotify_add_watch, S | R, ANY },
	{ SYS_inotify_rm_watch, S | R, ANY },
	{ SYS_mkdirat, S | M | V, ANY },
	{ SYS_unlinkat, S | M | V, ANY },
	{ SYS_renameat2, S | M | V, ANY },
	{ SYS_utimensat, S | M | V, ANY },
#ifdef SYS_renameat
	{ SYS_renameat, S | M | V, ANY },
#endif
#ifdef SYS_unlink
	{ SYS_mkdir, S | M | V, ANY },
	{ SYS_unlink, S | M | V, ANY },
	{ SYS_rename, S | M | V, ANY },
#endif
};

/* A program is started: an error on the main thread, which would have to say so, the end of the process elsewhere. */
static const int programs[] = {
	SYS_execve,
	SYS_execveat,
#ifdef SYS_fork
	SYS_fork,
	SYS_vfork,
#endif
};

/* Nothing that serves does this, on any thread. */
static const int crimes[] = {
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_reboot,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_unshare,
	SYS_setns,
	SYS_userfaultfd,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_personality,
	SYS_swapon,
	SYS_swapoff,
	SYS_open_by_handle_at,
};

/* What a worker tries and does without: giving back what it has registered, at the end of a ring. */
static const int excused[] = {
	SYS_io_uring_register,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Three for the machine, six a row with a check, two for any other number. */
#define PROGRAM_MAX (16 + 6 * COUNT(rows) + 2 * (COUNT(programs) + COUNT(crimes) + COUNT(excused)))

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned short len;
};

static void emit(struct program *program, uint16_t code, uint8_t yes, uint8_t no, uint32_t value)
{
	if (program->len < PROGRAM_MAX)
		program->code[program->len] = (struct sock_filter){ code, yes, no, value };
	program->len++;
}

static void emit_return(struct program *program, uint32_t action)
{
	emit(program, BPF_RET | BPF_K, 0, 0, action);
}

static void emit_load(struct program *program, size_t offset)
{
	emit(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* The answer for one number; others go on behind it. */
static void emit_answer(struct program *program, int number, uint32_t action)
{
	emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)number);
	emit_return(program, action);
}

/* Little-endian machines: the lower half of an argument is in front. */
static void emit_check(struct program *program, int number, unsigned argument, uint32_t mask, uint32_t value,
                       uint32_t otherwise)
{
	emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 5, (uint32_t)number);
	emit_load(program, offsetof(struct seccomp_data, args) + argument * sizeof(uint64_t));
	emit(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
	emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
	emit_return(program, SECCOMP_RET_ALLOW);
	emit_return(program, otherwise);
}

#ifdef MACHINE

static void begin(struct program *program)
{
	program->len = 0;
	emit_load(program, offsetof(struct seccomp_data, arch));
	emit(program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, MACHINE);
	emit_return(program, SECCOMP_RET_KILL_PROCESS);
	emit_load(program, offsetof(struct seccomp_data, nr));
}

/*
 * For tests (meson's option sandbox_guard, and SANDBOX_GUARD in the environment): what a list lacks ends the process. Otherwise
 * the failure of a call that was forgotten here can look like something else, and the call be told to the audit log each time.
 */
static bool is_guarded(void)
{
#ifdef LOOM_SANDBOX_GUARD
	return getenv("SANDBOX_GUARD") != NULL;
#else
	return false;
#endif
}

static void allow_list(struct program *program, enum sandbox_thread kind)
{
	const uint32_t no = SECCOMP_RET_ERRNO | EPERM;
	bool may_tell = kind == SANDBOX_ALL || kind == SANDBOX_MAIN;

	begin(program);
	for (size_t i = 0; i < COUNT(rows); i++) {
		enum check check = rows[i].check;

		if (!(rows[i].kinds & 1 << kind))
			continue;
		if (check == ANY)
			emit_answer(program, rows[i].number, SECCOMP_RET_ALLOW);
		else
			emit_check(program, rows[i].number, checks[check].argument, checks[check].mask,
			           check == ITSELF ? (uint32_t)getpid() : checks[check].value, no);
	}
	for (size_t i = 0; i < COUNT(programs); i++)
		emit_answer(program, programs[i], may_tell ? no : SECCOMP_RET_KILL_PROCESS);
	for (size_t i = 0; i < COUNT(crimes); i++)
		emit_answer(program, crimes[i], SECCOMP_RET_KILL_PROCESS);
	for (size_t i = 0; kind == SANDBOX_WORKER && i < COUNT(excused); i++)
		emit_answer(program, excused[i], no);
	emit(program, BPF_JMP | BPF_JGT | BPF_K, 0, 1, NEWEST);
	emit_return(program, SECCOMP_RET_ERRNO | ENOSYS);
	emit_return(program, is_guarded() ? SECCOMP_RET_KILL_PROCESS : no);
}

/*
 * Answers that are no refusals but part of how the C library goes on, and are not told to the audit log each time. So they
 * are filters of their own; the lists allow the calls.
 *
 * clone3(2): its flags are in memory, which a filter cannot read. Without it the C library takes clone(2).
 *
 * Waiting, of workers: a worker waits for nobody. Its event loop takes no lock; at its very end, when it frees what it had,
 * the C library may come upon one that another thread holds, and takes an error for the end of the world. EAGAIN is the
 * answer that says "it has changed, look again" (futex(2)), so whoever waits asks until it has.
 */
static void quiet_answers(struct program *program, enum sandbox_thread kind)
{
	begin(program);
	if (kind == SANDBOX_ALL)
		emit_answer(program, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
	else
		emit_check(program, SYS_futex, 1, FUTEX_CMD, FUTEX_WAKE, SECCOMP_RET_ERRNO | EAGAIN);
	emit_return(program, SECCOMP_RET_ALLOW);
}

static int put_into_force(struct program *program, unsigned flags)
{
	const struct sock_fprog fprog = { .len = program->len, .filter = program->code };

	if (program->len > PROGRAM_MAX)
		return -E2BIG; /* PROGRAM_MAX is wrong */
	/*
	 * SPEC_ALLOW: loom runs no code of others, and without the flag kernels before 5.16 slow down whoever has a filter,
	 * for the sake of sandboxes that do.
	 */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &fprog) < 0)
		return -errno;
	return 0;
}

int filter_enter(enum sandbox_thread kind)
{
	struct program program;
	int err;

	/* Before the list: no worker may make the call. */
	if (kind == SANDBOX_ALL || kind == SANDBOX_WORKER) {
		quiet_answers(&program, kind);
		err = put_into_force(&program, 0);
		if (err)
			return err;
	}
	allow_list(&program, kind);
	return put_into_force(&program, SECCOMP_FILTER_FLAG_LOG);
}

int filter_try(char *why, size_t size)
{
	/* No filter at all is EFAULT where filters are known, and EINVAL where they are not (seccomp(2)). */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
	            NULL) < 0 &&
	    errno == EFAULT)
		return 0;
	switch (errno) {
	case EINVAL:
	case ENOSYS:
		snprintf(why, size, "this kernel is built without it (Linux 4.17, CONFIG_SECCOMP_FILTER)");
		return -ENOSYS;
	default:
		snprintf(why, size, "%s (a filter of the container's denies seccomp(2))", strerror(errno));
		return errno ? -errno : -ENOSYS;
	}
}

#else

int filter_enter(enum sandbox_thread kind)
{
	(void)kind;
	return -ENOSYS;
}

int filter_try(char *why, size_t size)
{
	snprintf(why, size, "there is no list of system calls for this machine (sandbox_filter.c)");
	return -ENOSYS;
}

#endif
