/*
 * launcher.h - starts a program for a process that no longer can: sandbox.h. A helper process, forked before anything is
 * given up, with the rights, the environment and the working directory of the start.
 *
 * It takes no words from inside but the least, as whoever asks may not be who it was: what is started, and its arguments,
 * are told when the launcher is made; afterwards only which descriptors go along, and the value of one variable, which
 * the program must read as what it is, a stranger's text.
 *
 * Main thread. The launcher ends when its other end is closed, by launcher_destroy() or by the end of the process; signals
 * do not reach it, but SIGKILL.
 */
#ifndef LOOM_LAUNCHER_H
#define LOOM_LAUNCHER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct launcher;

struct launcher_config {
	const char *binary; /* a path, looked up anew each time; where it cannot be executed, this process's own */
	char **argv;
	const sigset_t *mask;       /* signals that are blocked in it */
	const char *variable;       /* the name of the one that is told later */
	const char *const *dropped; /* names of the environment that it does not get; ended by NULL */
};

/*
 * Before any other thread, and before sandbox_enter(). config is read now. Waits until the
 * launcher has closed what is open here, listeners above all. 0, or -errno with one line in why.
 */
int launcher_create(struct launcher **launcher, const struct launcher_config *config, char *why, size_t size);

/*
 * Starts it, or with own the binary that this process runs, as a child of this process: waitpid(2) tells of its end. Of the descriptors of this process it has 0 to 2, and
 * these, under the same numbers, each 3 or more. Waits for the exec. 0 with *pid set; or -errno: of the exec, or -EPIPE
 * when the launcher is gone.
 */
int launcher_start(struct launcher *launcher, bool own, const int fds[], unsigned n, const char *value, pid_t *pid);

/* Sends SIGTERM or SIGKILL to what was started last, which nobody inside Landlock could. 0 or -errno. */
int launcher_kill(struct launcher *launcher, int signal);

/* Also waits for the launcher's end. NULL is allowed. */
void launcher_destroy(struct launcher *launcher);

#endif
