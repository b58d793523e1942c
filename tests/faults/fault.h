/*
 * fault.h - one fault, planned: which call fails, at which time that it is made, and how. The linker sends the calls of the
 * objects under test to seam.c and seam_ring.c, which ask here. The objects are those of the production binary.
 */
#ifndef LOOM_TESTS_FAULT_H
#define LOOM_TESTS_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>

enum fault_call {
	FAULT_NONE,
#define CALL(type, name, how, parameters, arguments) FAULT_##name,
#include "calls.h"
#undef CALL
	/* Those that can fall short, too. */
	FAULT_recv,
	FAULT_send,
	FAULT_sendmsg,
	FAULT_sendto,
	FAULT_sendfile64,
	FAULT_vmsplice,
	FAULT_splice,
	FAULT_preadv64v2,
	FAULT_pread64,
	FAULT_read,
	FAULT_write,         /* but for what follows */
	FAULT_eventfd_write, /* write(2) of the 8 bytes of an eventfd: a wake is lost */
	FAULT_epoll_wait,
	FAULT_sched_setscheduler,
	FAULT_nice,
	FAULT_epoll_ctl, /* but for what follows */
	FAULT_epoll_ctl_del,
	/* By syscall(2). */
	FAULT_cachestat,
	FAULT_sched_getattr,
	FAULT_sched_setattr,
	FAULT_openat2,
	FAULT_io_uring_register,
	FAULT_landlock,
	FAULT_seccomp,
	/* liburing's. */
	FAULT_io_uring_setup,
	FAULT_io_uring_enter,
	/* Operations of the ring. */
	FAULT_RING_ACCEPT,
	FAULT_RING_RECV,
	FAULT_RING_SEND,
	FAULT_RING_SENDMSG,
	FAULT_RING_SEND_ZC,
	FAULT_RING_READ,
	FAULT_RING_WAKE,
	FAULT_RING_POLL,
	FAULT_RING_CLOSE,
	FAULT_RING_CANCEL,
	FAULT_CALLS,
};

enum fault_how {
	FAULT_FAILS,     /* with the errno value, and nothing was done */
	FAULT_PERSISTS,  /* likewise, and so FAULT_TIMES times in a row */
	FAULT_DONE,      /* it was done, and says that it failed with the errno value */
	FAULT_SHORT,     /* does no more than value: bytes, events, submissions */
	FAULT_LAST,      /* a multishot: the first completion is the last */
	FAULT_CUT,       /* a multishot: a completion is followed by a last one, of the errno value */
	FAULT_REWRITTEN, /* what the ring has completed, and did not succeed, has the errno value */
};

#define FAULT_TIMES 30

struct fault {
	enum fault_call call;
	enum fault_how how;
	long value;
	unsigned at; /* 1: the first time */
};

struct fault_state {
	struct fault plan;
	atomic_bool armed;
	atomic_uint seen;  /* calls that the plan is about, since it was armed */
	atomic_uint fired; /* so often */
};

extern struct fault_state fault;

/* Set on a thread whose calls are not the server's. */
extern _Thread_local bool fault_exempt;

extern const char *const fault_names[FAULT_CALLS];

enum fault_call fault_by_name(const char *name);

/* From here on calls are counted. */
void fault_arm(const struct fault *plan);
void fault_disarm(void);

/* Whether this call, or this use of it, is the one. Counts it. */
bool fault_hits(enum fault_call call);

/* What the seams tell, and are told, besides. */
struct seam {
	bool sleepless;   /* no wait waits: the driver of the scenario has the only thread */
	bool would_sleep; /* told: the last wait found nothing, and would have waited */
	bool urgent;      /* no thread lowers its priority: idle ones would wait for the rest of the machine */
	int told;         /* a descriptor that gets a byte when the fault has happened; 0: none */
	int cold;         /* of so many reads that do not wait, one says that it would have to; 0: as it is */
	int cold_count;
	int narrow; /* of so many sendfile(2), and of so many splice(2), one takes a part only */
	int narrow_count, narrow_splices;
	unsigned cuts; /* told: multishots that were cancelled for FAULT_CUT, and have ended by that */
	unsigned long calls[FAULT_CALLS]; /* so often each was made while armed, whatever the plan; driver's thread */
};

extern struct seam seam;

/* seam_ring.c: whether all buffers of a group are the kernel's; -1: it cannot be asked. */
int seam_ring_buffers(int ring_fd, unsigned group, unsigned tail, unsigned entries);

#endif
