/*
 * tree_show.c - see tree_show.h. The caller's thread changes the tree and is the worker: it adopts, and looks.
 *
 * Every version of the tree has the same names and sizes, but for a file that comes and goes, and contents that say which
 * version they are of; so a snapshot that mixes two, or lacks one, is found out.
 */
#include "tree_show.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/memory.h"
#include "loom/reload.h"

#define SIZE  3000
#define LARGE (5 << 20)
#define NAMES (sizeof(names) / sizeof(names[0]))

static const struct {
	const char *path;
	const char *key;
	bool odd; /* there in odd versions alone */
} names[] = {
	{ "index.html", "/", false },
	{ "page.txt", "/page.txt", false },
	{ "sub/deep/index.html", "/sub/deep/", false },
	{ "sub/style.css", "/sub/style.css", false },
	{ "comes/and/goes.txt", "/comes/and/goes.txt", true },
};

static struct {
	char dir[64];
	char root[96], cache[96];
	bool begun;
	bool large; /* so large that several threads read */
	unsigned version;
	struct options options;
	struct snapshot_inbox inbox;
	struct snapshot *current;
	struct reload *reload;
	unsigned descriptors;
	uint64_t held, grows; /* bytes, and how many more with each version: variants are remembered */
	unsigned since;       /* the version at which so many were held */
	uint64_t coded[2];    /* variants in even and odd versions */
} show;

static void die(const char *what)
{
	perror(what);
	_exit(3);
}

void tree_show_prepare(void)
{
	fault_exempt = true;
	seam.urgent = true;
	/* In memory, where that can be had: thousands of files come and go. */
	snprintf(show.dir, sizeof(show.dir), "%s/loom-faults-tree-XXXXXX",
	         access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(show.dir))
		die("mkdtemp");
}

static void clear_away(const char *paths)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf -- %s", paths);
	if (system(command) != 0)
		perror(show.dir);
}

void tree_show_forget(pid_t pid)
{
	char paths[200];

	snprintf(paths, sizeof(paths), "%s/%d %s/%d-cache", show.dir, (int)pid, show.dir, (int)pid);
	clear_away(paths);
}

void tree_show_dismantle(void)
{
	clear_away(show.dir);
}

static void write_file(const char *name, const char *text, size_t size)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", show.root, name);
	for (char *at = strchr(path + strlen(show.root) + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(path, 0755);
		*at = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, size) != (ssize_t)size)
		die(path);
	/* Long at rest; and another time for each version, as another writing would have. */
	futimens(fd, (struct timespec[]){ { .tv_sec = 1600000000 + show.version },
	                                  { .tv_sec = 1600000000 + show.version } });
	close(fd);
}

static void text_of(unsigned name, unsigned version, char text[SIZE])
{
	char line[64];
	int len = snprintf(line, sizeof(line), "file %u of version %08u\n", name, version);

	for (size_t at = 0; at < SIZE; at++)
		text[at] = line[at % (size_t)len];
}

/* One file alone is enough for readers to be started (build_read.c); its contents are not looked at. */
static void write_large(void)
{
	static char bytes[LARGE];

	for (size_t at = 0; at + sizeof(show.version) <= sizeof(bytes); at += 512)
		memcpy(bytes + at, &show.version, sizeof(show.version));
	write_file("large.bin", bytes, sizeof(bytes));
}

static void next_version(void)
{
	char text[SIZE], path[256];

	show.version++;
	if (show.large)
		write_large();
	for (unsigned i = 0; i < NAMES; i++) {
		if (names[i].odd && show.version % 2 == 0)
			continue;
		text_of(i, show.version, text);
		write_file(names[i].path, text, SIZE);
	}
	if (show.version % 2 == 0) {
		snprintf(path, sizeof(path), "%s/comes/and/goes.txt", show.root);
		unlink(path);
		snprintf(path, sizeof(path), "%s/comes/and", show.root);
		rmdir(path);
		snprintf(path, sizeof(path), "%s/comes", show.root);
		rmdir(path);
	}
}

/* Whether the snapshot is that version, whole; lacking: but for names that it may lack. */
static bool is_version(unsigned version, bool lacking)
{
	char text[SIZE];

	for (unsigned i = 0; i < NAMES; i++) {
		const struct snapshot_slot *slot = snapshot_find(show.current, names[i].key, strlen(names[i].key));
		bool is = slot && slot->representation->status == 200;

		if (names[i].odd && version % 2 == 0) {
			if (is)
				return false;
			continue;
		}
		if (!is && lacking)
			continue;
		text_of(i, version, text);
		if (!is || slot->representation->body_len != SIZE ||
		    memcmp(slot->representation->body, text, SIZE) != 0)
			return false;
	}
	return true;
}

static void adopt(void)
{
	struct snapshot *next;

	while ((next = snapshot_adopt(&show.inbox, 0))) {
		if (show.current)
			snapshot_unpin(show.current, 0);
		show.current = next;
	}
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

static bool pause_until(unsigned *left)
{
	usleep(1000);
	return (*left)-- > 0;
}

/* Asks, and has the answer. False: none came. */
static bool reload_now(struct reload_outcome *outcome, unsigned patience)
{
	unsigned left = 20000 * patience;
	uint64_t ticket = reload_ask(show.reload);

	while (!reload_answer(show.reload, ticket, outcome)) {
		adopt();
		if (left % 500 == 499) /* what has told it of the question may have failed: somebody asks again */
			reload_request(show.reload);
		if (!pause_until(&left))
			return false;
	}
	adopt();
	return true;
}

/* The variants of what is served are made, or given up, and what retired is freed. */
static bool at_rest(unsigned most_ms)
{
	for (unsigned left = most_ms;;) {
		struct reload_status status;

		adopt();
		reload_status(show.reload, &status);
		if (status.pending == 0 && !status.building && show.current->coded == show.coded[show.version % 2])
			return true;
		if (!pause_until(&left))
			return false;
	}
}

static void begin(struct verdict *verdict)
{
	struct reload_outcome outcome;
	char why[512] = "";

	/* One a process: several play at a time. */
	snprintf(show.root, sizeof(show.root), "%s/%d", show.dir, (int)getpid());
	snprintf(show.cache, sizeof(show.cache), "%s/%d-cache", show.dir, (int)getpid());
	mkdir(show.root, 0755);
	show.options = (struct options){
		.root = show.root,
		.index = "index.html",
		.max_memory = 1 << 30,
		.stream_above = UINT64_MAX,
		.splice_above = SIZE - 1, /* pages of their own: body_pages.c */
		.max_streams = 10,
		.workers = 1,
		.encodings = 1 << CODING_GZIP | 1 << CODING_BR | 1 << CODING_ZSTD,
		.compress = true,
		.cache_dir = show.cache,
		.settle = 40, /* milliseconds: the version is written in less */
		.settle_max = 1000,
	};
	log_set_level(LOG_LEVEL_ERROR);
	next_version();
	snprintf(why, sizeof(why), "%s/link.txt", show.root);
	if (symlink("page.txt", why) < 0)
		die(why);
	why[0] = '\0';
	if (reload_create(&show.reload, &show.options, &show.inbox, why, sizeof(why)) < 0 ||
	    reload_start(show.reload) < 0) {
		fprintf(stderr, "%s\n", why);
		_exit(3);
	}
	show.begun = true;
	adopt();
	/* What is allocated once is allocated now. */
	for (unsigned i = 0; i < 4; i++) {
		show.held = memory_held();
		next_version();
		if (!reload_now(&outcome, 1))
			snprintf(verdict->wrong, sizeof(verdict->wrong), "no answer without a fault");
		for (unsigned still = 0; still < 100; still++) {
			uint64_t before = show.coded[show.version % 2];
			struct reload_status status;

			usleep(1000);
			adopt();
			show.coded[show.version % 2] = show.current->coded;
			reload_status(show.reload, &status);
			if (show.current->coded != before || !before || status.pending)
				still = 0;
		}
	}
	show.descriptors = descriptors();
	show.grows = memory_held() - show.held;
	show.held = memory_held();
	show.since = show.version;
}

static void complain(struct verdict *verdict, const char *what, const struct reload_outcome *outcome)
{
	if (!verdict->wrong[0])
		snprintf(verdict->wrong, sizeof(verdict->wrong), "%s: %s, %.150s", what,
		         outcome->result == RELOAD_LIVE   ? "live"
		         : outcome->result == RELOAD_SAME ? "same"
		                                          : "failed",
		         outcome->why);
}

/* Two reloads back, as versions of odd and even numbers differ. */
static void check_leaks(struct verdict *verdict, unsigned patience)
{
	uint64_t most = show.held + (show.version - show.since) * show.grows + 4 * SIZE;

	for (unsigned left = 3000 * patience; descriptors() != show.descriptors || memory_held() > most;) {
		adopt();
		if (pause_until(&left))
			continue;
		snprintf(verdict->wrong, sizeof(verdict->wrong),
		         "%u descriptors and %lu bytes are held, and should be %u and %lu at most", descriptors(),
		         (unsigned long)memory_held(), show.descriptors, (unsigned long)most);
		return;
	}
}

void tree_show_run(const struct fault *plan, enum effect effect, unsigned patience, struct verdict *verdict)
{
	struct reload_outcome outcome = { 0 };
	bool lacking = effect == HARMS;
	/* Of body_pages.c: all is done without such pages that can be done with them. */
	bool of_pages = plan->call == FAULT_mmap64 || plan->call == FAULT_mprotect || plan->call == FAULT_munmap ||
	                plan->call == FAULT_madvise;

	*verdict = (struct verdict){ .cut = 0 };
	if (!show.begun) {
		show.large = plan->call == FAULT_pthread_create || plan->call == FAULT_sched_setscheduler ||
		             plan->call == FAULT_fcntl64 || of_pages;
		begin(verdict);
	}
	next_version();
	fault_arm(plan);
	if (!reload_now(&outcome, patience)) {
		complain(verdict, "no answer to a reload with the fault", &outcome);
	} else {
		at_rest(atomic_load(&fault.fired) ? 30 : 1000);
		/* Some are made when what has retired is freed, which is a little later. */
		for (unsigned left = of_pages ? 1000 * patience : 0;
		     left && !atomic_load(&fault.fired) && pause_until(&left);)
			adopt();
		adopt();
	}
	fault_disarm();
	verdict->fired = atomic_load(&fault.fired);
	/* The same: the watch has told of it, and the reload that was asked for came second. */
	verdict->cut = outcome.result != RELOAD_LIVE && outcome.result != RELOAD_SAME;
	if (outcome.result == RELOAD_LIVE ? !is_version(show.version, lacking)
	                                  : !is_version(show.version - 1, false) && !is_version(show.version, false))
		complain(verdict, "it is neither the old snapshot nor the new one", &outcome);
	if (!verdict->fired && outcome.result != RELOAD_LIVE && outcome.result != RELOAD_SAME)
		complain(verdict, "without a fault it is not live", &outcome);
	if (of_pages && verdict->cut)
		complain(verdict, "ordinary memory would have done", &outcome);
	/* To the parity that the figures were taken at. */
	do {
		next_version();
		if (!reload_now(&outcome, patience) || (outcome.result != RELOAD_LIVE && outcome.result != RELOAD_SAME))
			complain(verdict, "the next reload is not live", &outcome);
		else if (!is_version(show.version, false))
			complain(verdict, "the next reload is not whole", &outcome);
		if (!at_rest(5000 * patience))
			complain(verdict, "variants are not made", &outcome);
	} while (show.version % 2 == 0 && !verdict->wrong[0]);
	if (!verdict->wrong[0])
		check_leaks(verdict, patience);
	verdict->ruined = verdict->wrong[0];
}
