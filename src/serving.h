/*
 * serving.h - a running server's state, shared by server.c (its threads, its beginning and end), server_listen.c and server_passed.c
 * (its addresses), server_life.c (what happens to it while it serves) and server_upgrade.c (its replacement). Private to these. The main thread's, but for what
 * is said to be under a lock.
 */
#ifndef LOOM_SERVING_H
#define LOOM_SERVING_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "loom/admin.h"
#include "loom/inherit.h"
#include "loom/io.h"
#include "loom/listen.h"
#include "loom/live.h"
#include "loom/logs.h"
#include "loom/notify.h"
#include "loom/reload.h"
#include "loom/server.h"
#include "loom/upgrade.h"
#include "loom/worker.h"
#include "server_metrics.h"
#include "server_notices.h"

#define WHY_SIZE 512

#define HANDED_MAX (OPTIONS_LISTEN_MAX + 2)

enum thread_state {
	THREAD_STARTING,
	THREAD_READY,  /* created; waits for the word */
	THREAD_FAILED, /* not created; err and why say so */
	THREAD_ENDED,  /* has run, and has given everything back */
};

struct server;

struct worker_thread {
	struct server *server;
	pthread_t thread;
	struct worker_config config;
	int *fds;              /* of all addresses: those that this worker accepts from */
	uint8_t *listen_flags; /* of each */
	struct worker *worker; /* valid while READY */
	enum thread_state state;
	int err;
	char why[WHY_SIZE];
	char features[WHY_SIZE];
	unsigned lent; /* sends whose memory the kernel was still reading when it ended */
	enum io_limits limits;
	struct conn_stats stats;
	struct server_told told;
};

/* An address, and the sockets that are bound to it: at least one a worker. */
struct listening {
	struct listen_address address;
	const char *text; /* the option's, which stands for several where it is "systemd:*" */
	int *fds;
	unsigned n;
	bool inherited; /* a predecessor's too, until we have its place */
};

/* Settings that were published to the workers once; kept, since one may be using them. */
struct published {
	struct published *next;
	struct worker_settings settings;
};

/* An upgrade, as it was asked for: lock. */
struct upgrade_request {
	uint64_t asked, answered; /* tickets; different: one is under way */
	pid_t successor;          /* of the last answer; 0: it came to nothing, and why says so */
	char why[WHY_SIZE];
};

struct server {
	const struct server_start *start;
	const struct options *options;
	struct listening listening[OPTIONS_LISTEN_MAX];
	unsigned bound;
	struct reload *reload;
	struct admin *admin;       /* NULL without --admin */
	struct access_log *access; /* NULL without --access-log */
	struct server_metrics metrics;
	const char *listeners[OPTIONS_LISTEN_MAX];
	struct snapshot_inbox *inboxes;
	struct peer_count *peers; /* NULL without --max-connections-per-ip */
	struct worker_thread *workers;
	const struct io_ops *ops;
	char backend[3 * WHY_SIZE];   /* which, and why */
	char described[8 * WHY_SIZE]; /* the same with what it uses */
	int signals;                  /* signalfd */
	int events;                   /* eventfd: a worker or the reloader has something to say, or somebody asks */
	sigset_t mask;                /* of signals, as we were started with */

	/* server_life.c's */
	struct live live;
	struct published *published;
	struct notify notify;
	struct watchdog watchdog;
	uint64_t watchdog_at; /* milliseconds: the next look; UINT64_MAX: none */
	bool hung;            /* a worker does not turn, and that was logged */
	struct upgrade upgrade;
	struct upgrade_sockets kept[HANDED_MAX]; /* that a successor uses; ours are duplicates */
	unsigned keeps;
	/* When the successor was started, and since then; it has to hear of both. */
	uint64_t asked;              /* the last ticket for a reload, of SIGHUP or loomctl */
	bool reopened;               /* SIGUSR1 */
	uint64_t keep_until;         /* milliseconds */
	bool managed;                /* there is a service manager, which starts what has died */
	enum worker_command command; /* that the workers have */
	uint64_t drain_at;           /* milliseconds: the end of --drain-delay; UINT64_MAX: none */
	bool has_place;              /* no predecessor is in it any more: admin socket, pid file and notices are ours */
	bool reloading;              /* a service manager waits for READY=1, */
	uint64_t reload_ticket;      /* until this is answered */
	struct reload_outcome told;  /* the reload that was put into STATUS= */

	pthread_mutex_t lock; /* states of the threads, go, and: */
	struct upgrade_request request;
	pthread_cond_t changed;
	enum { GO_WAIT, GO_SERVE, GO_QUIT } go;
};

/* server.c */

/* Gives a command to all that have not ended. How many those are; WORKER_RUN counts alone. */
unsigned server_command(struct server *server, enum worker_command command);

/* Puts what the workers count into words. */
void server_log_notices(struct server *server);

/* What needs the place of the predecessor: the admin's thread, the pid file. 0 or -errno, logged. */
int server_take_place(struct server *server);

/* server_listen.c: each 0, or -errno and logged. */

int server_bind(struct server *server);
int server_bind_admin(struct server *server);
int server_listen(struct server *server);

/* "listening on ..." for each. */
void server_log_listening(const struct server *server);

/* The sockets of one worker, dealt out like cards: n, in arrays of the thread's own. 0 or -ENOMEM. */
int server_deal(const struct server *server, struct worker_thread *thread, unsigned worker, unsigned *n);

/* The next of server->listening, which server->bound does not count yet; NULL with one line in why: there is none. */
struct listening *server_next_listening(struct server *server, const struct listen_address *like, const char *text,
                                        char *why, size_t size);

/* The same with room for a descriptor a worker, and what becomes of it: err 0 counts it, otherwise it is freed. Returns err. */
struct listening *server_new_listening(struct server *server, const struct listen_address *like, const char *text,
                                       char *why, size_t size);
int server_keep_listening(struct server *server, struct listening *listening, int err);

/* server_passed.c */

/* Takes the sockets over that a value of --listen names. 0, or -errno with one line in why. */
int server_take_passed(struct server *server, const struct listen_address *like, const char *text,
                       struct listen_passed passed[], unsigned n, char *why, size_t size);

/* Says what was passed and is not listened on. */
void server_warn_of_passed(const struct server *server, const struct listen_passed passed[], unsigned n);

/*
 * What a successor is handed: the addresses, the admin socket, and that of metrics, as far as there are any. room for
 * HANDED_MAX; how many. admin, metrics: where their descriptors go.
 */
unsigned server_hand_over(const struct server *server, struct upgrade_sockets *sockets, int *admin, int *metrics);

/* Removes Unix sockets' files, but for those that a successor, or a predecessor, uses. */
void server_unlink(struct server *server);

/* sockets: they are still ours, and not the workers'. */
void server_close(struct server *server, bool sockets);

/* server_life.c */

int life_begin(struct server *server);
void life_end(struct server *server);

/* Sleeps until every worker has ended. */
void life_supervise(struct server *server);

#define NEVER UINT64_MAX

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t life_now(void);

/* Wakes the main thread. Any thread. */
void life_wake(struct server *server);

/* No more clients, from now on; by WORKER_YIELD, WORKER_DRAIN or WORKER_ABORT. */
void life_drain(struct server *server, enum worker_command command);

/* server_upgrade.c */

/* Begins what was asked for, and looks what has become of what was begun. */
void upgrade_supervise(struct server *server, uint64_t now);

/* There is no successor, and why; whoever has asked for one is told. */
void upgrade_go_on(struct server *server, const char *why);

/* When the workers have ended: a successor that is still starting then has our place with our end. */
void upgrade_end(struct server *server);

/* For the admin's thread: see admin_config. */
uint64_t life_ask_upgrade(void *context, char *why, size_t size);
int life_upgraded(void *context, uint64_t ticket, int *pid, char *why, size_t size);

#endif
