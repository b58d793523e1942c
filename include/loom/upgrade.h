/*
 * upgrade.h - the predecessor's side of an upgrade: starts the binary anew, hands it the listening sockets (inherit.h says
 * how), and waits until it serves. Main thread; nothing here waits but upgrade_begin(), for the time of an exec.
 *
 * The binary is what lies at the path that this process was started by, found once, at start: by argv[0] as the shell
 * has it, links not followed, so that a link which was moved to another version is the upgrade. Where it is gone, the
 * running one is started again, from /proc/self/exe. Arguments, environment and standard error are the same.
 *
 * A successor that says that it is ready is looked at for a moment more (UPGRADE_PROBATION_MS), in which both accept:
 * one that dies of its first requests has then taken nothing with it but those.
 */
#ifndef LOOM_UPGRADE_H
#define LOOM_UPGRADE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define UPGRADE_PROBATION_MS 500

/* What is handed over for one address. */
struct upgrade_sockets {
	char kind;        /* INHERIT_LISTEN, INHERIT_ADMIN, INHERIT_METRICS */
	const char *text; /* as options have it */
	dev_t device;     /* of a Unix socket's file; otherwise 0 */
	ino_t inode;
	const int *fds;
	unsigned n;
};

enum upgrade_state {
	UPGRADE_NONE,
	UPGRADE_STARTING,  /* it has been started, and is not ready yet */
	UPGRADE_PROBATION, /* it serves, beside this process */
	UPGRADE_FAILED,    /* told once; then NONE */
	UPGRADE_READY,     /* told once: this process may go; then GONE */
	UPGRADE_GONE,      /* there is a successor */
	UPGRADE_LOST, /* told once: it has ended, and not by itself, while this process is still there; then GONE */
};

struct launcher;

struct upgrade {
	struct launcher *launcher; /* where this process could start nothing itself (sandbox.h); or NULL */
	char **argv;
	char *binary;   /* NULL: not found */
	bool running;   /* start what runs, not what lies there now */
	sigset_t *mask; /* of signals, as this process was started with */
	enum upgrade_state state;
	pid_t pid;      /* of the successor; 0: none */
	int channel;    /* to it; -1 */
	uint64_t until; /* milliseconds of CLOCK_MONOTONIC */
	bool *taken;    /* while READY and after: which of the sockets it uses */
	unsigned sockets;
	char said[600]; /* on the channel, so far */
	size_t len;
};

/* argv and mask must live as long as the upgrade. The working directory is the one of the start. */
void upgrade_init(struct upgrade *upgrade, char *argv[], sigset_t *mask);

/*
 * From now on a launcher starts it, which is made here: for a process that is about to give up what that takes. Before any
 * other thread. 0, or -errno with one line in why.
 */
int upgrade_launch(struct upgrade *upgrade, char *why, size_t size);

void upgrade_free(struct upgrade *upgrade);

/*
 * Starts a successor, which has until then (ms) to be ready. The sockets are looked at now alone. 0, or -errno with one
 * line in why. Only in the state NONE.
 */
int upgrade_begin(struct upgrade *upgrade, const struct upgrade_sockets sockets[], unsigned n, uint64_t until,
                  char *why, size_t size);

/* For poll(2): -1 when there is nothing to be read. And when to call upgrade_look() at the latest; UINT64_MAX: never. */
int upgrade_fd(const struct upgrade *upgrade);
uint64_t upgrade_time(const struct upgrade *upgrade);

/*
 * Whether something has become of it: the state. FAILED: why gets one line, and the successor has ended, or has been
 * ended. READY: this process may give up its place, and then says so by upgrade_leave(). Call it also after SIGCHLD.
 */
enum upgrade_state upgrade_look(struct upgrade *upgrade, uint64_t now, char *why, size_t size);

/* In the state GONE, after LOST: as upgrade_init() left it, but for the binary, which is the running one from now on. */
void upgrade_reset(struct upgrade *upgrade);

/* Sends the successor SIGHUP, SIGUSR1, SIGTERM or SIGKILL. There is one, that said that it is ready, or it is to end. */
void upgrade_tell(const struct upgrade *upgrade, int signal);

/* Tells the successor that the place is its own. In the state READY. */
void upgrade_leave(struct upgrade *upgrade);

/* Leaves a successor that is starting to itself: with the end of this process the place is its own. */
void upgrade_forget(struct upgrade *upgrade);

/* Ends a successor that is not in its place yet, if there is one; one that serves already ends by draining. */
void upgrade_abort(struct upgrade *upgrade);

#endif
