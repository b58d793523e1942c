/*
 * fault.c - see fault.h. Any thread.
 */
#include "fault.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fault_state fault;
struct seam seam;
_Thread_local bool fault_exempt;

const char *const fault_names[FAULT_CALLS] = {
	[FAULT_NONE] = "none",
#define CALL(type, name, how, parameters, arguments) [FAULT_##name] = #name,
#include "calls.h"
#undef CALL
	[FAULT_recv] = "recv",
	[FAULT_send] = "send",
	[FAULT_sendmsg] = "sendmsg",
	[FAULT_sendto] = "sendto",
	[FAULT_sendfile64] = "sendfile64",
	[FAULT_vmsplice] = "vmsplice",
	[FAULT_splice] = "splice",
	[FAULT_preadv64v2] = "preadv64v2",
	[FAULT_pread64] = "pread64",
	[FAULT_read] = "read",
	[FAULT_write] = "write",
	[FAULT_eventfd_write] = "eventfd_write",
	[FAULT_epoll_wait] = "epoll_wait",
	[FAULT_sched_setscheduler] = "sched_setscheduler",
	[FAULT_nice] = "nice",
	[FAULT_epoll_ctl] = "epoll_ctl",
	[FAULT_epoll_ctl_del] = "epoll_ctl_del",
	[FAULT_cachestat] = "cachestat",
	[FAULT_sched_getattr] = "sched_getattr",
	[FAULT_sched_setattr] = "sched_setattr",
	[FAULT_openat2] = "openat2",
	[FAULT_io_uring_register] = "io_uring_register",
	[FAULT_landlock] = "landlock",
	[FAULT_seccomp] = "seccomp",
	[FAULT_io_uring_setup] = "io_uring_setup",
	[FAULT_io_uring_enter] = "io_uring_enter",
	[FAULT_RING_ACCEPT] = "ring:accept",
	[FAULT_RING_RECV] = "ring:recv",
	[FAULT_RING_SEND] = "ring:send",
	[FAULT_RING_SENDMSG] = "ring:sendmsg",
	[FAULT_RING_SEND_ZC] = "ring:send_zc",
	[FAULT_RING_READ] = "ring:read",
	[FAULT_RING_WAKE] = "ring:wake",
	[FAULT_RING_POLL] = "ring:poll",
	[FAULT_RING_CLOSE] = "ring:close",
	[FAULT_RING_CANCEL] = "ring:cancel",
};

enum fault_call fault_by_name(const char *name)
{
	for (int call = 1; call < FAULT_CALLS; call++)
		if (strcmp(fault_names[call], name) == 0)
			return (enum fault_call)call;
	return FAULT_NONE;
}

void fault_arm(const struct fault *plan)
{
	fault.plan = *plan;
	atomic_store(&fault.seen, 0);
	atomic_store(&fault.fired, 0);
	atomic_store(&fault.armed, true);
}

void fault_disarm(void)
{
	atomic_store(&fault.armed, false);
}

bool fault_hits(enum fault_call call)
{
	unsigned seen;

	if (fault_exempt || !atomic_load_explicit(&fault.armed, memory_order_relaxed))
		return false;
	__atomic_fetch_add(&seam.calls[call], 1, __ATOMIC_RELAXED);
	if (call != fault.plan.call)
		return false;
	seen = atomic_fetch_add(&fault.seen, 1) + 1;
	if (seen < fault.plan.at || seen - fault.plan.at >= (fault.plan.how == FAULT_PERSISTS ? FAULT_TIMES : 1))
		return false;
	atomic_fetch_add(&fault.fired, 1);
	if (seam.told > 0)
		syscall(SYS_write, seam.told, "!", 1);
	return true;
}
