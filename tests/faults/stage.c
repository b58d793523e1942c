/*
 * stage.c - see stage.h. All on one thread, but for the backend's own (disk).
 *
 * No wait of the worker waits: the seam says whether it would have. So turns are what is counted, and a loop that spins is
 * one that does not come to a turn in which it would sleep. When neither the worker nor a client has anything to do, real
 * time is given to the kernel first, and then the worker's clock is put forward, until deadlines end what hangs.
 */
#include "stage.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "loom/alloc_guard.h"
#include "loom/build.h"
#include "inside.h"

#define LISTENS   3
#define CONNS     12           /* fewer than the parties: accepting is turned off and on again */
#define WINDOW    (256 * 1024) /* of files, so that more than the window is sent by reference */
#define COLD      5            /* one of so many looks into the page cache says that a page is not there */
#define NARROW    2 /* one of so many sendfile(2) and splice(2) takes a part, as if there were no room for more */
#define QUEUE     (100 * 1024) /* of sockets of the narrow port; the kernel makes twice as much of it: less than the disc */
#define UNSENT    (64 * 1024) /* --max-unsent: less than a send by reference may have */
#define STEP_MS   250         /* of the worker's clock, when all wait */
#define PAUSES    4           /* of real time before that, of */
#define PAUSE_US  50
#define QUIET     3   /* turns in a row that would sleep: it is quiet */
#define SPIN      200 /* turns without one that would sleep, and without a client that has done something */
#define TURNS_MAX 20000

const char *const act_names[ACTS] = { [ACT_SERVE] = "serving", [ACT_DRAIN] = "draining" };

static struct {
	const struct io_ops *ops;
	char dir[64];
	char path[96]; /* of the Unix socket */
	struct options options;
	struct snapshot *snapshot;
	struct snapshot_inbox inbox;
	struct worker *worker;
	struct venue venue;
	uint64_t now; /* the worker's clock, milliseconds */
	struct party model[ACTS][PARTIES_MAX];
	char *memory;
} stage;

/* Memory of what one party hears. */
static char *heard_by(unsigned set, unsigned party)
{
	return stage.memory + ((size_t)set * PARTIES_MAX + party) * PARTY_HEARS;
}

static void die(const char *what)
{
	perror(what);
	_exit(3);
}

static void put(const char *name, unsigned char seed, size_t size)
{
	char path[128], *bytes = malloc(size);
	uint64_t state = seed;
	int fd;

	snprintf(path, sizeof(path), "%s/root/%s", stage.dir, name);
	for (size_t i = 0; i < size; i++) {
		state = state * 6364136223846793005U + 1442695040888963407U;
		bytes[i] = (char)(state >> 56);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		die(path);
	/* At rest for long: a build need not wait for it. */
	futimens(fd, (struct timespec[]){ { .tv_sec = 1700000000 }, { .tv_sec = 1700000000 } });
	close(fd);
	free(bytes);
}

static void clock_of_stage(void *context, uint64_t *monotonic_ms, time_t *real)
{
	(void)context;
	*monotonic_ms = stage.now;
	*real = 1800000000;
}

void stage_prepare(const struct io_ops *ops, enum feature_zc zc)
{
	struct build_request request = { .options = &stage.options, .workers = 1 };
	char why[512] = "", root[96];

	fault_exempt = true;
	signal(SIGPIPE, SIG_IGN);
	stage.ops = ops;
	snprintf(stage.dir, sizeof(stage.dir), "/tmp/loom-faults-XXXXXX");
	if (!mkdtemp(stage.dir))
		die("mkdtemp");
	snprintf(root, sizeof(root), "%s/root", stage.dir);
	mkdir(root, 0755);
	put("index.html", 1, 300);
	put("page.txt", 2, 3000);
	put("big.bin", 3, 150000);
	put("film.bin", 4, 700000);
	put("disc.bin", 5, 350000);
	stage.options = (struct options){
		.features = features_standard,
		.root = strdup(root),
		.index = "index.html",
		.max_memory = 1 << 30,
		.stream_above = 400000,
		.splice_above = 300000,
		.max_streams = 10,
		.workers = 1,
		.max_connections = CONNS,
		.limits = { .request_line = 4000, .head = 8000, .fields = 50, .body = 1 << 20 },
		.timeouts = { .keepalive = 2000, .header = 3000, .send = 3000, .grace = 5000, .recv_window = 1000 },
	};
	stage.options.features.uring.zc = zc;
	if (build_snapshot(&request, &stage.snapshot, why, sizeof(why)) < 0) {
		fprintf(stderr, "%s\n", why);
		_exit(3);
	}
	stage.memory = mmap(NULL, (size_t)(ACTS + 1) * PARTIES_MAX * PARTY_HEARS, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stage.memory == MAP_FAILED)
		die("mmap");
}

void stage_dismantle(void)
{
	static const char *const files[] = { "root/index.html", "root/page.txt", "root/big.bin", "root/film.bin",
		                             "root/disc.bin" };
	char path[128];

	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", stage.dir, files[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/root", stage.dir);
	rmdir(path);
	rmdir(stage.dir);
}

__attribute__((format(printf, 2, 3))) static void complain(struct verdict *verdict, const char *format, ...)
{
	va_list args;

	if (verdict->wrong[0])
		return;
	va_start(args, format);
	vsnprintf(verdict->wrong, sizeof(verdict->wrong), format, args);
	va_end(args);
}

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/*
 * A socket that listens on any port; -1: the one that was chosen is taken. So many places leave more ports behind (TIME_WAIT)
 * than there are, hence SO_REUSEADDR; and with that others may choose the same one at the same time.
 */
static int try_to_listen(bool narrow)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* What is accepted inherits both. */
	if (narrow) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ QUEUE }, sizeof(int));
		setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){ UNSENT }, sizeof(int));
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 64) == 0)
		return fd;
	if (fd < 0 || errno != EADDRINUSE)
		die("a listening socket");
	close(fd);
	return -1;
}

/* narrow: for what is sent by reference from memory. What is sent from files would be read from the disk again and again. */
static int listen_tcp(bool narrow, unsigned short *port)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	int fd = try_to_listen(narrow);

	for (unsigned i = 0; fd < 0 && i < 1000; i++) {
		usleep(10000);
		fd = try_to_listen(narrow);
	}
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		die("a listening socket");
	*port = ntohs(address.sin_port);
	return fd;
}

static int listen_local(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* One a process: several play at a time. */
	snprintf(stage.path, sizeof(stage.path), "%s/sock-%d", stage.dir, (int)getpid());
	unlink(stage.path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", stage.path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
		die("a listening Unix socket");
	stage.venue.path = stage.path;
	return fd;
}

static void set_up(void)
{
	const uint8_t flags[LISTENS] = { 0, 0, WORKER_LISTEN_SHARED };
	const int fds[LISTENS] = { listen_tcp(false, &stage.venue.port), listen_tcp(true, &stage.venue.narrow_port),
		                   listen_local() };
	struct worker_config config = {
		.ops = stage.ops,
		.options = &stage.options,
		.inbox = &stage.inbox,
		.conns = CONNS,
		.listen_fds = fds,
		.listen_flags = flags,
		.listens = LISTENS,
		.clock = clock_of_stage,
	};
	char why[512] = "";

	stage.now = 1000000;
	atomic_store(&stage.snapshot->shares, 1);
	snapshot_publish(stage.snapshot, &stage.inbox, 1);
	seam = (struct seam){ .sleepless = true, .cold = COLD, .narrow = NARROW };
	if (worker_create(&stage.worker, &config, why, sizeof(why)) < 0) {
		fprintf(stderr, "%s\n", why);
		_exit(3);
	}
	inside_epoll_window(worker_context(stage.worker)->io, WINDOW);
	inside_uring_window(worker_context(stage.worker)->io, WINDOW);
}

/* False when the worker's loop has ended. */
static bool turn(struct verdict *verdict)
{
	bool more;

	verdict->turns++;
	fault_exempt = false;
	alloc_guard(true);
	more = worker_turn(stage.worker);
	alloc_guard(false);
	fault_exempt = true;
	return more;
}

/* Turns until all parties have ended, or forever is over. False when the loop has ended before. */
static bool play(struct party *parties, unsigned n, unsigned patience, struct verdict *verdict)
{
	unsigned quiet = 0, busy = 0;
	bool more = true;

	for (unsigned turns = 0;; turns++) {
		bool moved = false;
		unsigned left = 0;

		for (unsigned i = 0; i < n; i++) {
			moved |= party_step(&parties[i]);
			left += !parties[i].done;
		}
		if (!left)
			return more;
		if (more)
			more = turn(verdict);
		if (!more && !moved && ++busy > SPIN)
			return false;
		if (!more)
			continue;
		if (moved || !seam.would_sleep) {
			quiet = 0;
			busy = moved ? 0 : busy + 1;
			if (busy > SPIN * patience) {
				complain(verdict, "spins: %u turns in which it would not sleep", busy);
				return more;
			}
			if (turns < TURNS_MAX * patience)
				continue;
			complain(verdict, "no end after %u turns", turns);
			return more;
		}
		busy = 0;
		if (++quiet <= PAUSES * patience) {
			usleep(PAUSE_US);
		} else {
			stage.now += STEP_MS;
			quiet = 0;
		}
		if (turns >= TURNS_MAX * patience) {
			complain(verdict, "no end after %u turns", turns);
			return more;
		}
	}
}

/* The parties have gone: the worker sees to what they leave behind, and then it sleeps. */
static bool settle(struct verdict *verdict, unsigned patience)
{
	const struct conn_context *context = worker_context(stage.worker);
	unsigned quiet = 0, waited = 0;

	for (unsigned turns = 0; quiet < QUIET || context->conns.used; turns++) {
		if (!turn(verdict))
			return false;
		quiet = seam.would_sleep ? quiet + 1 : 0;
		if (turns > 4000 * patience) {
			complain(verdict, "%u connections are left, and it does %s", context->conns.used,
			         quiet ? "sleep" : "not sleep");
			return true;
		}
		if (!quiet)
			continue;
		if (++waited % (PAUSES * patience))
			usleep(PAUSE_US);
		else
			stage.now += STEP_MS;
	}
	return true;
}

/* Of a worker without clients. */
static void check_worker(struct verdict *verdict)
{
	const struct conn_context *context = worker_context(stage.worker);
	const char *wrong;

	if (context->inputs.used || context->outputs.used)
		complain(verdict, "%u input and %u output buffers are not given back", context->inputs.used,
		         context->outputs.used);
	if (stage.snapshot->share[0].pins != 1)
		complain(verdict, "%u pins are left on the snapshot, not 1", stage.snapshot->share[0].pins);
	wrong = inside_epoll(context->io);
	if (!wrong)
		wrong = inside_uring(context->io);
	if (wrong)
		complain(verdict, "%s", wrong);
}

static void judge(const struct party *parties, unsigned n, enum act act, struct verdict *verdict)
{
	for (unsigned i = 0; i < n; i++) {
		const struct party *model =
			&stage.model[act][parties[i].role - (act == ACT_SERVE ? roles_serve : roles_drain)];

		switch (party_fate(&parties[i], model)) {
		case FATE_WHOLE:
			break;
		case FATE_PLAYS:
			if (!verdict->stopped)
				complain(verdict, "the party \"%s\" hangs", parties[i].role->name);
			break;
		case FATE_CUT:
			verdict->cut++;
			break;
		case FATE_WRONG:
			complain(verdict, "the party \"%s\" heard wrong bytes", parties[i].role->name);
			break;
		}
	}
}

static void leave(struct party *parties, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!parties[i].done)
			party_leave(&parties[i]);
}

/* Begins the parties of an act; some only, those that play again. */
static unsigned enter(struct party *parties, const struct role *roles, unsigned set, bool again)
{
	unsigned n = 0;

	for (unsigned i = 0; roles[i].name; i++)
		if (!again || roles[i].afterwards)
			party_begin(&parties[n++], &roles[i], &stage.venue, heard_by(set, i));
	return n;
}

/* The loop has ended by itself, or by the drain. */
static void take_down(struct verdict *verdict)
{
	const struct snapshot *snapshot = stage.snapshot;

	worker_destroy(stage.worker);
	stage.worker = NULL;
	if (snapshot->share[0].pins || !snapshot_unused(snapshot))
		complain(verdict, "the snapshot is not given back: %u pins", snapshot->share[0].pins);
}

static void drain(struct verdict *verdict, unsigned patience)
{
	unsigned turns = 0;

	worker_command(stage.worker, WORKER_DRAIN);
	while (turn(verdict)) {
		if (++turns > 4000 * patience) {
			complain(verdict, "draining does not end: %u connections",
			         worker_context(stage.worker)->conns.used);
			verdict->ruined = true;
			return;
		}
		if (!seam.would_sleep)
			continue;
		if (turns % (PAUSES * patience))
			usleep(PAUSE_US);
		else
			stage.now += STEP_MS;
	}
}

static void serve(struct party *parties, unsigned set, const struct fault *plan, unsigned patience,
                  struct verdict *verdict)
{
	unsigned n = enter(parties, roles_serve, set, false);
	bool more;

	fault_arm(plan);
	more = play(parties, n, patience, verdict);
	fault_disarm();
	if (set < ACTS)
		memcpy(stage.model[ACT_SERVE], parties, n * sizeof(*parties));
	verdict->stopped = !more;
	judge(parties, n, ACT_SERVE, verdict);
	leave(parties, n);
	if (more)
		more = settle(verdict, patience);
	verdict->stopped = !more;
	if (!more)
		return;
	if (!verdict->wrong[0])
		check_worker(verdict);
	if (verdict->wrong[0])
		return;
	/* Back to normal. */
	n = enter(parties, roles_serve, ACTS, true);
	more = play(parties, n, patience, verdict);
	if (more) {
		unsigned cut = verdict->cut;

		judge(parties, n, ACT_SERVE, verdict);
		if (verdict->cut > cut)
			complain(verdict, "%u parties that came afterwards were cut off", verdict->cut - cut);
	}
	leave(parties, n);
	verdict->stopped = !more || !settle(verdict, patience);
	if (verdict->stopped)
		return;
	check_worker(verdict);
	if (!verdict->wrong[0])
		drain(verdict, patience);
}

/* The drain begins when each party has come so far. */
static void serve_drain(struct party *parties, unsigned set, const struct fault *plan, bool stops, unsigned patience,
                        struct verdict *verdict)
{
	unsigned n = enter(parties, roles_drain, set, false);
	unsigned turns = 0;

	for (unsigned calm = 0; calm < 6 && turns < 500; turns++) {
		bool moved = false;

		for (unsigned i = 0; i < n; i++) {
			enum step_op op = parties[i].role->steps[parties[i].at].op;

			if (op == STEP_REST || op == STEP_SULK || (parties[i].role->pace && parties[i].heard))
				continue;
			moved |= party_step(&parties[i]);
		}
		turn(verdict);
		calm = moved || !seam.would_sleep ? 0 : calm + 1;
		if (calm)
			usleep(PAUSE_US);
	}
	fault_arm(plan);
	fault_exempt = false; /* the wake is one of the calls */
	worker_command(stage.worker, WORKER_DRAIN);
	fault_exempt = true;
	if (play(parties, n, patience, verdict) && !verdict->wrong[0])
		drain(verdict, patience);
	fault_disarm();
	verdict->stopped = stops && atomic_load(&fault.fired);
	if (set < ACTS)
		memcpy(stage.model[ACT_DRAIN], parties, n * sizeof(*parties));
	judge(parties, n, ACT_DRAIN, verdict);
	leave(parties, n);
}

static void run(enum act act, unsigned set, const struct fault *plan, bool stops, unsigned patience,
                struct verdict *verdict)
{
	static struct party parties[PARTIES_MAX];
	unsigned before = descriptors(), after;

	*verdict = (struct verdict){ .cut = 0 };
	set_up();
	if (act == ACT_SERVE)
		serve(parties, set, plan, patience, verdict);
	else
		serve_drain(parties, set, plan, stops, patience, verdict);
	verdict->fired = atomic_load(&fault.fired);
	/* With connections in a backend that is broken there is no way back: the server ends here. */
	verdict->stopped |= stops && verdict->fired;
	if (verdict->stopped && !stops)
		complain(verdict, "the loop has ended");
	if (verdict->stopped || verdict->wrong[0]) {
		unlink(stage.path);
		verdict->ruined = true;
		return;
	}
	take_down(verdict);
	unlink(stage.path);
	after = descriptors();
	if (after != before)
		complain(verdict, "%d descriptors are left open", (int)after - (int)before);
}

void stage_model(enum act act, struct verdict *verdict)
{
	static const struct fault none = { .call = FAULT_NONE };

	run(act, act, &none, false, 100, verdict);
}

void stage_run(enum act act, const struct fault *plan, bool stops, unsigned patience, struct verdict *verdict)
{
	run(act, ACTS, plan, stops, patience, verdict);
}
