/*
 * test_reload.c - the reloader's thread over real directories, with a builder of our own that can be told to fail, with a
 * gate that can be told to refuse, with variants that are nothing but numbers, and with workers that are nothing but inboxes.
 *
 * The reloader's clock runs 20 times as fast as ours: clock_gettime() and poll() are ours, so that what takes ten
 * seconds takes half a one. Every wait is for a condition, with a bound that only a failure reaches.
 */
#include <check.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <time.h>

#include "loom/build.h"
#include "loom/gate.h"
#include "loom/log.h"
#include "loom/reload.h"
#include "loom/variants.h"
#include "live_tree.h"
#include "threads.h"

#define SPEED    20
#define WORKERS  2
#define KEYS_MAX 64
#define TEXT_MAX 64
#define PATIENCE 20 /* seconds */

static struct snapshot_inbox inboxes[WORKERS];
static struct snapshot *current[WORKERS];
static struct reload *reload;
static struct options options;

static atomic_int failing;   /* the error of the next builds, or 0 */
static atomic_uint failures; /* how many more */
static atomic_uint restless_builds;
static atomic_uint builds, alive;
static atomic_uint builds_as_before;    /* these do not count as builds */
static atomic_bool reread;              /* files have an ETag and no asset in common with the previous snapshot */
static void (*_Atomic meanwhile)(void); /* in the next build, after the tree was read */
static atomic_bool no_watches;
static atomic_bool squeezing; /* there is no room for the next snapshots beside others */
static atomic_uint warnings, reloads;
static atomic_bool refusing, refusing_first; /* what the gate says of the next snapshots, and of the first one */
static atomic_uint asked, compared;          /* the gate; with a snapshot to compare with */
static atomic_uint reason;                   /* that it gives */

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int err = (int)syscall(SYS_clock_gettime, clock, time);
	uint64_t fast = ((uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec) * SPEED;

	if (clock == CLOCK_MONOTONIC) {
		time->tv_sec = (time_t)(fast / 1000000000);
		time->tv_nsec = (long)(fast % 1000000000);
	}
	return err;
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec wait = { .tv_sec = timeout / SPEED / 1000, .tv_nsec = timeout / SPEED % 1000 * 1000000L + 1 };

	return (int)syscall(SYS_ppoll, fds, n, timeout < 0 ? NULL : &wait, NULL, 0);
}

/* What _FORTIFY_SOURCE makes of poll() where the compiler cannot see that there is nothing to check, as under ASan. */
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	ck_assert_uint_le(n * sizeof(*fds), size);
	return poll(fds, n, timeout);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	if (atomic_load(&no_watches)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

void log_warn(const char *format, ...)
{
	(void)format;
	atomic_fetch_add(&warnings, 1);
}

void log_error(const char *format, ...)
{
	(void)format;
	atomic_fetch_add(&warnings, 1);
}

void log_info(const char *format, ...)
{
	(void)format;
	atomic_fetch_add(&reloads, 1);
}

void log_debug(const char *format, ...)
{
	(void)format;
}

void log_set_level(enum log_level most)
{
	(void)most;
}

/* The variants: how many the threads have done and will yet do, and how many the reloader has taken over. */
static struct {
	atomic_uint done, collected, left, swept;
	atomic_bool made, destroyed;
	void (*news)(void *context);
	void *context;
} store;

int variants_create(struct variants **variants, const struct variants_config *config, char *why, size_t size)
{
	ck_assert_uint_ge(config->threads, 1);
	ck_assert(!atomic_exchange(&store.made, true));
	store.news = config->news;
	store.context = config->context;
	*variants = (struct variants *)&store;
	return 0;
}

void variants_stop(struct variants *variants)
{
	ck_assert_ptr_eq(variants, &store);
}

void variants_destroy(struct variants *variants)
{
	if (!variants)
		return;
	ck_assert_ptr_eq(variants, &store);
	/* Snapshots have bodies of the store's. */
	ck_assert_uint_eq(atomic_load(&alive), 0);
	ck_assert(!atomic_exchange(&store.destroyed, true));
}

unsigned variants_collect(struct variants *variants)
{
	ck_assert_ptr_eq(variants, &store);
	return atomic_load(&store.done) - atomic_exchange(&store.collected, atomic_load(&store.done));
}

unsigned variants_pending(const struct variants *variants)
{
	ck_assert_ptr_eq(variants, &store);
	return atomic_load(&store.left);
}

void variants_sweep(struct variants *variants)
{
	ck_assert_ptr_eq(variants, &store);
	atomic_fetch_add(&store.swept, 1);
}

void variants_count(const struct variants *variants, struct variants_counts *counts)
{
	ck_assert_ptr_eq(variants, &store);
	*counts = (struct variants_counts){ .pending = atomic_load(&store.left),
		                            .made = atomic_load(&store.collected) };
}

/* What a thread does with one more variant; worth: it is smaller than the content. */
static void variant_done(bool worth, unsigned left)
{
	atomic_store(&store.left, left);
	atomic_fetch_add(&store.done, worth);
	store.news(store.context);
}

struct content {
	atomic_uint references;
	struct snapshot_variants variants[2];
	struct snapshot_slot slots[2 * KEYS_MAX];
	struct representation representations[KEYS_MAX];
	struct representation error;
	char keys[KEYS_MAX][128];
	char texts[KEYS_MAX][TEXT_MAX];
	unsigned count;
};

static void read_file(void *context, const char *path, int dirfd, const char *name)
{
	struct content *content = context;
	struct representation *representation = &content->representations[content->count];
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	char *key = content->keys[content->count];
	ssize_t len;
	uint64_t at;

	if (fd < 0 || name[0] == '.' || content->count == KEYS_MAX) {
		if (fd >= 0)
			close(fd);
		return;
	}
	len = read(fd, content->texts[content->count], TEXT_MAX);
	close(fd);
	if (len < 0)
		return;
	snprintf(key, sizeof(content->keys[0]), "/%.100s", path);
	representation->head = "HTTP/1.1 200 OK\r\n";
	representation->head_len = (uint16_t)strlen(representation->head);
	representation->body = (const uint8_t *)content->texts[content->count];
	representation->body_len = (size_t)len;
	representation->etag_len = atomic_load(&reread) ? ETAG_LEN : 0;
	at = snapshot_hash(key, strlen(key)) & (2 * KEYS_MAX - 1);
	while (content->slots[at].hash)
		at = (at + 1) & (2 * KEYS_MAX - 1);
	content->slots[at] = (struct snapshot_slot){
		.hash = snapshot_hash(key, strlen(key)),
		.key = key,
		.key_len = (uint32_t)strlen(key),
		.representation = representation,
	};
	content->count++;
}

struct walk_context {
	const struct build_request *request;
	struct content *content;
};

static void tell_directory(void *context, const char *path, int fd)
{
	const struct walk_context *both = context;

	if (both->request->directory)
		both->request->directory(both->request->context, path, fd);
}

static void tell_file(void *context, const char *path, int dirfd, const char *name)
{
	read_file(((const struct walk_context *)context)->content, path, dirfd, name);
}

/* The contents of another, at their new addresses. */
static void copy_content(struct content *content, const struct content *from)
{
	memcpy(content, from, sizeof(*content));
	atomic_init(&content->references, 0);
	for (unsigned i = 0; i < content->count; i++)
		content->representations[i].body = (const uint8_t *)content->texts[i];
	for (unsigned i = 0; i < 2 * KEYS_MAX; i++) {
		struct snapshot_slot *slot = &content->slots[i];

		if (!slot->hash)
			continue;
		slot->representation = &content->representations[slot->representation - from->representations];
		slot->key = content->keys[slot->representation - content->representations];
	}
}

/* One variant of every key, another one with each that was collected: it is told apart by its address alone. */
static void give_variants(struct content *content)
{
	static const struct representation coded[100];
	unsigned number = atomic_load(&store.collected);

	ck_assert_uint_lt(number, 100);
	content->variants[1].coded[CODING_BR] = &coded[number];
	for (unsigned i = 0; i < 2 * KEYS_MAX; i++)
		content->slots[i].variants = content->slots[i].hash && number > 0;
}

static struct snapshot *make_snapshot(struct content *content, unsigned workers)
{
	size_t bytes = sizeof(struct snapshot) + workers * sizeof(struct snapshot_share);
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, bytes);

	ck_assert_ptr_nonnull(snapshot);
	memset(snapshot, 0, bytes);
	snapshot->slots = content->slots;
	snapshot->variants = content->variants;
	snapshot->mask = 2 * KEYS_MAX - 1;
	snapshot->files = content->count;
	snapshot->owner = content;
	snapshot->workers = workers;
	snapshot->squeezed = atomic_load(&squeezing);
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++)
		snapshot->errors[i] = &content->error;
	atomic_init(&snapshot->shares, workers);
	atomic_fetch_add(&content->references, 1);
	atomic_fetch_add(&alive, 1);
	return snapshot;
}

struct snapshot *build_again(const struct snapshot *snapshot, unsigned workers)
{
	struct snapshot *again = make_snapshot(snapshot->owner, workers);

	memcpy(again->id, snapshot->id, sizeof(again->id));
	return again;
}

bool build_diff(const struct snapshot *old, const struct snapshot *new, struct build_position *position, size_t keys,
                build_change_fn *fn, void *context)
{
	ck_assert(old != new &&position &&keys &&fn &&context);
	return true;
}

bool build_sweep(void)
{
	return false;
}

int build_snapshot(const struct build_request *request, struct snapshot **out, char *why, size_t size)
{
	struct content *content = calloc(1, sizeof(*content));
	struct walk_context context = { request, content };
	struct tree_walk walk = { tell_directory, tell_file, &context };
	struct snapshot *snapshot;
	void (*while_built)(void);
	uint64_t id = 0;
	int err;

	ck_assert_ptr_nonnull(content);
	ck_assert_int_eq(request->variants != NULL, request->options->compress && request->options->encodings);
	if (request->as_before) {
		atomic_fetch_add(&builds_as_before, 1);
		copy_content(content, request->previous->owner);
		err = 0;
	} else {
		atomic_fetch_add(&builds, 1);
		err = tree_walk(&walk, request->options->root);
		if ((while_built = atomic_exchange(&meanwhile, NULL)))
			while_built();
	}
	if (request->variants)
		give_variants(content);
	if (err == 0 && atomic_load(&failures) > 0) {
		atomic_fetch_sub(&failures, 1);
		err = atomic_load(&failing);
	}
	if (request->restless) {
		ck_assert(!request->as_before);
		atomic_fetch_add(&restless_builds, 1);
		if (err == -EAGAIN)
			err = 0; /* what could not be read whole is as it was */
	}
	if (err < 0) {
		snprintf(why, size, "%s: %s", request->options->root, strerror(-err));
		free(content);
		return err;
	}
	content->error.head = "HTTP/1.1 404 Not Found\r\n";
	content->error.head_len = (uint16_t)strlen(content->error.head);
	snapshot = make_snapshot(content, request->workers);
	for (unsigned i = 0; i < content->count; i++) {
		id += snapshot_hash(content->keys[i], strlen(content->keys[i])) ^
		      3 * snapshot_hash(content->texts[i], content->representations[i].body_len);
	}
	snprintf(snapshot->id, sizeof(snapshot->id), "%022" PRIu64, id);
	*out = snapshot;
	return 0;
}

void build_free(struct snapshot *snapshot)
{
	struct content *content = snapshot->owner;

	if (atomic_fetch_sub(&content->references, 1) == 1)
		free(content);
	free(snapshot);
	atomic_fetch_sub(&alive, 1);
}

int gate_check(const struct options *given, const struct snapshot *snapshot, const struct snapshot *previous,
               uint64_t *number, char *why, size_t size)
{
	unsigned times = atomic_fetch_add(&asked, 1);

	ck_assert(given && snapshot && snapshot != previous);
	if (previous)
		atomic_fetch_add(&compared, 1);
	if (!atomic_load(previous ? &refusing : &refusing_first))
		return 0;
	*number = 1 + atomic_load(&reason);
	snprintf(why, size, "reason %u, after %u others", atomic_load(&reason), times);
	return -EPERM;
}

/* What a worker does once a turn. */
static void turn(unsigned worker)
{
	struct snapshot *next;

	if (!snapshot_waiting(&inboxes[worker]))
		return;
	next = snapshot_adopt(&inboxes[worker], worker);
	if (current[worker])
		snapshot_unpin(current[worker], worker);
	current[worker] = next;
}

static bool serves(unsigned worker, const char *key, const char *text)
{
	const struct snapshot_slot *found;

	turn(worker);
	if (!current[worker])
		return false;
	found = snapshot_find(current[worker], key, strlen(key));
	if (!text)
		return !found;
	return found && found->representation->body_len == strlen(text) &&
	       memcmp(found->representation->body, text, strlen(text)) == 0;
}

#define wait_for(condition)                                                                             \
	do {                                                                                            \
		struct timespec began_, now_;                                                           \
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &began_);                                   \
		while (!(condition)) {                                                                  \
			usleep(500);                                                                    \
			syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now_);                             \
			ck_assert_msg(now_.tv_sec - began_.tv_sec < PATIENCE, "never: %s", #condition); \
		}                                                                                       \
	} while (0)

/*
 * At once. A machine that has no time between the truncation of a file and its new content shows the empty one, too, which
 * is another change to count.
 */
static void rewrite(const char *path, const char *text)
{
	tree_write("beside", text);
	tree_rename("beside", path);
}

/* Both workers come to serve text under the key; NULL: nothing. */
static void becomes(const char *key, const char *text)
{
	for (unsigned i = 0; i < WORKERS; i++)
		wait_for(serves(i, key, text));
}

static void start(const char *root)
{
	char why[256] = "";

	options.root = root;
	ck_assert_msg(reload_create(&reload, &options, inboxes, why, sizeof(why)) == 0, "%s", why);
	ck_assert_int_eq(reload_start(reload), 0);
}

static char root[PATH_MAX];

static void setup(void)
{
	tree_make();
	tree_mkdir("site/docs");
	tree_write("site/index.html", "first");
	tree_write("site/docs/page.html", "page");
	snprintf(root, sizeof(root), "%s", tree_path("site"));
	options = (struct options){ .workers = WORKERS,
		                    .index = "index.html",
		                    .settle = 200,
		                    .settle_max = 10000,
		                    .watch = WATCH_AUTO,
		                    .stream_above = UINT64_MAX,
		                    .splice_above = UINT64_MAX,
		                    .symlinks = SYMLINKS_CONTAIN };
}

static void stop(void)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		if (current[i])
			snapshot_unpin(current[i], i);
		current[i] = NULL;
	}
	reload_destroy(reload, false);
	ck_assert_uint_eq(atomic_load(&alive), 0);
}

static void teardown(void)
{
	tree_remove();
}

START_TEST(the_first_snapshot_is_there_before_the_thread)
{
	char why[256] = "";

	options.root = root;
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), 0);
	ck_assert_uint_eq(reload_snapshot(reload)->files, 2);
	for (unsigned i = 0; i < WORKERS; i++)
		ck_assert(serves(i, "/index.html", "first"));
	stop();
}
END_TEST

START_TEST(a_missing_root_is_an_error_at_start)
{
	char why[256] = "";

	options.root = "/nowhere/at/all";
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), -ENOENT);
	ck_assert_str_ne(why, "");
	ck_assert_uint_eq(atomic_load(&alive), 0);
}
END_TEST

START_TEST(an_unsettled_tree_is_waited_for_at_start)
{
	options.settle_max = 200000; /* the pauses of this loop are ours, and not 20 times as fast */
	atomic_store(&failing, -EAGAIN);
	atomic_store(&failures, 3);
	start(root);
	becomes("/index.html", "first");
	ck_assert_uint_eq(atomic_load(&builds), 4);
	stop();
}
END_TEST

START_TEST(a_change_between_the_first_build_and_the_thread_is_not_missed)
{
	char why[256] = "";

	options.root = root;
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), 0);
	tree_write("site/index.html", "between");
	ck_assert_int_eq(reload_start(reload), 0);
	becomes("/index.html", "between");
	stop();
}
END_TEST

START_TEST(every_way_of_saving_a_file_is_served)
{
	start(root);
	becomes("/index.html", "first");
	tree_write("site/index.html", "in place");
	becomes("/index.html", "in place");
	tree_replace("site/index.html", "renamed over");
	becomes("/index.html", "renamed over");
	becomes("/index.html~", NULL);
	TREE_MUST(unlink(tree_path("site/index.html")));
	tree_write("site/index.html", "deleted and created");
	becomes("/index.html", "deleted and created");
	TREE_MUST(unlink(tree_path("site/docs/page.html")));
	becomes("/docs/page.html", NULL);
	tree_mkdir("site/a/b/c");
	tree_write("site/a/b/c/deep.html", "deep");
	becomes("/a/b/c/deep.html", "deep");
	tree_rename("site/a", "site/z");
	becomes("/z/b/c/deep.html", "deep");
	becomes("/a/b/c/deep.html", NULL);
	tree_write("site/z/b/c/deep.html", "in a renamed one");
	becomes("/z/b/c/deep.html", "in a renamed one");
	tree_delete("site/z");
	becomes("/z/b/c/deep.html", NULL);
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	stop();
}
END_TEST

START_TEST(new_directories_with_files_at_once)
{
	char path[64], text[16];

	options.settle = 20;
	start(root);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "site/%u/x/y", i);
		tree_mkdir(path);
		snprintf(path, sizeof(path), "site/%u/x/y/file", i);
		snprintf(text, sizeof(text), "%u", i);
		tree_write(path, text);
		becomes(path + strlen("site"), text);
		snprintf(path, sizeof(path), "site/%u", i);
		tree_delete(path);
	}
	becomes("/49/x/y/file", NULL);
	stop();
}
END_TEST

START_TEST(a_root_that_is_away_for_a_while)
{
	start(root);
	becomes("/index.html", "first");
	tree_rename("site", "away");
	wait_for(atomic_load(&warnings) == 1);
	ck_assert(serves(0, "/index.html", "first")); /* the old one stays */
	tree_mkdir("site");
	tree_write("site/index.html", "made again");
	becomes("/index.html", "made again");
	tree_write("site/index.html", "and changed");
	becomes("/index.html", "and changed");
	tree_delete("site");
	tree_mkdir("site");
	tree_write("site/index.html", "at once");
	becomes("/index.html", "at once");
	stop();
}
END_TEST

START_TEST(a_link_to_root_is_switched)
{
	tree_mkdir("releases/1");
	tree_mkdir("releases/2");
	tree_write("releases/1/index.html", "one");
	tree_write("releases/2/index.html", "two");
	tree_link("releases/1", "current");
	snprintf(root, sizeof(root), "%s", tree_path("current"));
	start(root);
	becomes("/index.html", "one");
	for (unsigned i = 0; i < 10; i++) {
		tree_relink(i % 2 ? "releases/1" : "releases/2", "current");
		becomes("/index.html", i % 2 ? "one" : "two");
	}
	tree_write("releases/1/index.html", "one, changed");
	becomes("/index.html", "one, changed");
	stop();
}
END_TEST

START_TEST(a_relative_root_is_found_again)
{
	TREE_MUST(chdir(root));
	start(".");
	becomes("/index.html", "first");
	tree_delete("site");
	tree_mkdir("site");
	tree_write("site/index.html", "in a new directory");
	becomes("/index.html", "in a new directory");
	stop();
	TREE_MUST(chdir(tree_base));
	start("./site");
	becomes("/index.html", "in a new directory");
	tree_write("site/index.html", "changed");
	becomes("/index.html", "changed");
	stop();
}
END_TEST

START_TEST(a_failed_build_keeps_the_old_and_is_told_once)
{
	start(root);
	becomes("/index.html", "first");
	atomic_store(&failing, -ENOSPC);
	atomic_store(&failures, UINT32_MAX);
	for (unsigned i = 0; i < 3; i++) {
		unsigned before = atomic_load(&builds);

		rewrite("site/index.html", "too large");
		wait_for(atomic_load(&builds) > before);
		ck_assert(serves(0, "/index.html", "first"));
	}
	atomic_store(&failures, 0);
	rewrite("site/index.html", "fits");
	becomes("/index.html", "fits");
	ck_assert_uint_eq(atomic_load(&warnings), 1);
	stop();
}
END_TEST

START_TEST(a_failed_build_is_tried_again_without_a_change)
{
	options.settle_max = 200000; /* ten seconds of ours, which a busy machine does not take */
	start(root);
	becomes("/index.html", "first");
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&failing, i ? -ENOMEM : -EAGAIN);
		atomic_store(&failures, 2);
		rewrite("site/index.html", i ? "after ENOMEM" : "after EAGAIN");
		becomes("/index.html", i ? "after ENOMEM" : "after EAGAIN");
		/* A file that is being written is no fault. */
		ck_assert_uint_eq(atomic_load(&warnings), i);
	}
	stop();
}
END_TEST

START_TEST(a_first_snapshot_that_is_refused_is_an_error_at_start)
{
	char why[256] = "";

	atomic_store(&refusing_first, true);
	options.root = root;
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), -EPERM);
	ck_assert_str_eq(why, "reason 0, after 0 others");
	ck_assert_uint_eq(atomic_load(&alive), 0);
	ck_assert(!snapshot_waiting(&inboxes[0]));
}
END_TEST

START_TEST(what_the_gate_refuses_is_freed_and_told_once)
{
	start(root);
	becomes("/index.html", "first");
	atomic_store(&refusing, true);
	for (unsigned i = 1; i <= 4; i++) {
		rewrite("site/index.html", i % 2 ? "half" : "a half");
		wait_for(atomic_load(&compared) == i);
		atomic_store(&reason, i / 3); /* of the fourth */
	}
	wait_for(atomic_load(&warnings) == 2 && atomic_load(&alive) == 1);
	for (unsigned i = 0; i < WORKERS; i++)
		ck_assert(serves(i, "/index.html", "first"));
	/* Nothing has changed, and nothing is built. */
	ck_assert_uint_eq(atomic_load(&builds), 5);
	usleep(2 * 5000000 / SPEED);
	ck_assert_uint_eq(atomic_load(&builds), 5);
	/* The next change that passes is served. */
	atomic_store(&refusing, false);
	rewrite("site/index.html", "whole");
	becomes("/index.html", "whole");
	ck_assert_uint_eq(atomic_load(&warnings), 2);
	/* And the same reason afterwards is a new one. */
	atomic_store(&refusing, true);
	rewrite("site/index.html", "half again");
	wait_for(atomic_load(&warnings) == 3);
	stop();
}
END_TEST

START_TEST(the_gate_is_asked_about_requests_too)
{
	options.watch = WATCH_OFF;
	start(root);
	becomes("/index.html", "first");
	atomic_store(&refusing, true);
	rewrite("site/index.html", "second");
	/* Who asks is answered each time. */
	for (unsigned i = 1; i <= 2; i++) {
		reload_request(reload);
		wait_for(atomic_load(&warnings) == i);
	}
	usleep(2 * 5000000 / SPEED);
	ck_assert_uint_eq(atomic_load(&builds), 3);
	ck_assert(serves(0, "/index.html", "first"));
	atomic_store(&refusing, false);
	reload_request(reload);
	becomes("/index.html", "second");
	stop();
}
END_TEST

START_TEST(the_gate_is_not_asked_about_the_same_contents)
{
	atomic_store(&reread, true);
	options.compress = true;
	options.encodings = 1 << CODING_BR;
	start(root);
	becomes("/index.html", "first");
	ck_assert_uint_eq(atomic_load(&asked), 1); /* about the first one */
	atomic_store(&refusing, true);
	reload_request(reload);
	wait_for(atomic_load(&reloads) == 1);
	variant_done(true, 0);
	wait_for(atomic_load(&builds_as_before) > 0);
	ck_assert_uint_eq(atomic_load(&asked), 1);
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	stop();
}
END_TEST

/* Where nothing can be watched, the tree is looked at as before, and taken once it has changed and passes. */
START_TEST(what_was_refused_is_looked_at_again_where_nothing_can_be_watched)
{
	atomic_store(&no_watches, true);
	start(root);
	becomes("/index.html", "first");
	atomic_store(&refusing, true);
	for (unsigned i = 0; i < 3; i++) {
		rewrite("site/index.html", i % 2 ? "half" : "a half");
		wait_for(atomic_load(&compared) > i);
	}
	ck_assert(serves(0, "/index.html", "first"));
	atomic_store(&refusing, false);
	rewrite("site/index.html", "whole");
	becomes("/index.html", "whole");
	stop();
}
END_TEST

static atomic_bool restless;

static void *never_rest(void *unused)
{
	for (unsigned i = 0; atomic_load(&restless); i++) {
		tree_write("site/log", i % 2 ? "a" : "b");
		usleep(2000);
	}
	return unused;
}

START_TEST(a_tree_that_never_rests_is_served_all_the_same)
{
	pthread_t writer;

	options.settle = 8000; /* which is 400 ms here, and the writer is 200 times as fast */
	start(root);
	becomes("/index.html", "first");
	atomic_store(&restless, true);
	ck_assert_int_eq(pthread_create(&writer, NULL, never_rest, NULL), 0);
	rewrite("site/index.html", "amid unrest");
	becomes("/index.html", "amid unrest");
	atomic_store(&restless, false);
	pthread_join(writer, NULL);
	stop();
}
END_TEST

/* Milliseconds of the reloader's clock. */
static uint64_t reload_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

START_TEST(a_file_that_is_never_whole_holds_the_others_up_for_a_while_only)
{
	uint64_t changed;

	start(root);
	becomes("/index.html", "first");
	ck_assert_uint_eq(atomic_load(&restless_builds), 0);
	atomic_store(&failing, -EAGAIN);
	atomic_store(&failures, UINT32_MAX);
	changed = reload_clock();
	rewrite("site/index.html", "beside it");
	becomes("/index.html", "beside it");
	ck_assert_uint_ge(reload_clock() - changed, options.settle_max);
	ck_assert_uint_ge(atomic_load(&restless_builds), 1);
	/* Nothing has told of a change, and yet the file that was left behind is looked for. */
	tree_write("site/.hidden", "");
	wait_for(atomic_load(&restless_builds) >= 2);
	atomic_store(&failures, 0);
	rewrite("site/index.html", "whole");
	becomes("/index.html", "whole");
	stop();
}
END_TEST

static void deploy_the_rest(void)
{
	tree_write("site/docs/page.html", "second page");
}

/* Half of a deploy is not published, even when it paused before its second half. */
START_TEST(what_changes_while_it_is_read_is_read_again_first)
{
	unsigned before;

	options.watch = _i == 0 ? WATCH_AUTO : WATCH_POLL;
	options.settle_max = 200000; /* ten seconds of ours, which a busy machine does not take */
	start(root);
	becomes("/index.html", "first");
	before = atomic_load(&builds);
	atomic_store(&meanwhile, deploy_the_rest);
	rewrite("site/index.html", "second");
	wait_for(atomic_load(&builds) > before && !atomic_load(&meanwhile));
	becomes("/index.html", "second");
	for (unsigned i = 0; i < WORKERS; i++)
		ck_assert(serves(i, "/docs/page.html", "second page"));
	ck_assert_uint_ge(atomic_load(&builds), before + 2);
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	stop();
}
END_TEST

START_TEST(a_tree_that_never_rests_is_served_at_start)
{
	uint64_t began = reload_clock();

	options.settle_max = 4000;
	atomic_store(&failing, -EAGAIN);
	atomic_store(&failures, UINT32_MAX);
	start(root);
	ck_assert_uint_ge(reload_clock() - began, options.settle_max);
	becomes("/index.html", "first");
	ck_assert_uint_ge(atomic_load(&restless_builds), 1);
	ck_assert_uint_gt(atomic_load(&builds), 1);
	atomic_store(&failures, 0);
	stop();
}
END_TEST

START_TEST(requests_amid_unrest_wait_for_whole_files_too)
{
	options.watch = WATCH_OFF;
	options.settle_max = 60000; /* three seconds of ours */
	start(root);
	becomes("/index.html", "first");
	atomic_store(&failing, -EAGAIN);
	atomic_store(&failures, 3);
	rewrite("site/index.html", "second");
	for (unsigned i = 0; i < 5000; i++)
		reload_request(reload);
	becomes("/index.html", "second");
	ck_assert_uint_eq(atomic_load(&restless_builds), 0);
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	/* And without a request nothing follows, even when some file is never whole. */
	atomic_store(&failures, UINT32_MAX);
	rewrite("site/index.html", "third");
	reload_request(reload);
	becomes("/index.html", "third");
	ck_assert_uint_ge(atomic_load(&restless_builds), 1);
	atomic_store(&failures, 0);
	stop();
}
END_TEST

START_TEST(inotify_alone_is_an_error_where_it_does_not_do)
{
	char why[512] = "";

	options.watch = WATCH_INOTIFY;
	options.root = root;
	atomic_store(&no_watches, true);
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(why, "--watch=auto"));
	ck_assert_uint_eq(atomic_load(&alive), 0);
	atomic_store(&no_watches, false);
	start(root);
	becomes("/index.html", "first");
	/* Later it is a warning. */
	atomic_store(&no_watches, true);
	tree_mkdir("new");
	tree_write("new/file", "there");
	tree_rename("new", "site/new"); /* at once: nobody would tell of a file that is written to it afterwards */
	becomes("/new/file", "there");
	wait_for(atomic_load(&warnings) == 1);
	stop();
}
END_TEST

START_TEST(polling_alone_finds_changes)
{
	unsigned before;

	options.watch = WATCH_POLL;
	start(root);
	for (unsigned i = 0; i < 5; i++) {
		char text[16];

		snprintf(text, sizeof(text), "look %u", i);
		rewrite("site/index.html", text);
		becomes("/index.html", text);
	}
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	tree_mkdir("site/new/dir");
	tree_write("site/new/dir/file", "in a new directory");
	becomes("/new/dir/file", "in a new directory");
	/* What does not change is not built anew, but for the one time that it is in doubt. */
	usleep(4 * 1000000);
	before = atomic_load(&builds);
	usleep(1000000); /* four looks */
	ck_assert_uint_le(atomic_load(&builds), before + 1);
	stop();
}
END_TEST

START_TEST(old_snapshots_are_freed_when_the_last_pin_goes)
{
	struct snapshot *held;

	start(root);
	becomes("/index.html", "first");
	held = current[1];
	snapshot_pin(held, 1); /* a response that takes its time */
	for (unsigned i = 0; i < 5; i++) {
		char text[16];

		snprintf(text, sizeof(text), "text %u", i);
		rewrite("site/index.html", text);
		becomes("/index.html", text);
	}
	wait_for(atomic_load(&alive) == 2);
	ck_assert_uint_eq(snapshot_find(held, "/index.html", 11)->representation->body_len, 5);
	snapshot_unpin(held, 1);
	wait_for(atomic_load(&alive) == 1);
	stop();
}
END_TEST

/* What there was no room for can be had then. */
START_TEST(a_snapshot_that_was_squeezed_is_built_again_when_others_are_gone)
{
	struct snapshot *held;
	unsigned before;

	start(root);
	becomes("/index.html", "first");
	held = current[1];
	snapshot_pin(held, 1);
	atomic_store(&squeezing, true);
	rewrite("site/index.html", "second");
	becomes("/index.html", "second");
	before = atomic_load(&builds);
	usleep(20000);
	ck_assert_uint_eq(atomic_load(&builds), before);
	atomic_store(&squeezing, false);
	snapshot_unpin(held, 1);
	wait_for(atomic_load(&builds) == before + 1);
	wait_for(atomic_load(&alive) == 1);
	stop();
}
END_TEST

START_TEST(what_no_worker_picks_up_is_freed)
{
	start(root);
	for (unsigned i = 1; i <= 5; i++) {
		char text[16];

		snprintf(text, sizeof(text), "text %u", i);
		rewrite("site/index.html", text);
		wait_for(atomic_load(&reloads) == i);
	}
	wait_for(atomic_load(&alive) == 1);
	becomes("/index.html", "text 5");
	stop();
}
END_TEST

static void count_published(void *context)
{
	atomic_fetch_add((atomic_uint *)context, 1);
}

START_TEST(whoever_can_wake_the_workers_is_told)
{
	static atomic_uint published;
	char why[256] = "";

	options.root = root;
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), 0);
	reload_on_publish(reload, count_published, &published);
	ck_assert_int_eq(reload_start(reload), 0);
	rewrite("site/index.html", "second");
	becomes("/index.html", "second");
	wait_for(atomic_load(&published) == 1);
	stop();
}
END_TEST

/* Whether the key has the variant with this number; 0: none. */
static bool serves_variant(unsigned worker, const char *key, unsigned number)
{
	static const struct representation *first;
	const struct snapshot_slot *slot;
	const struct representation *coded;

	turn(worker);
	slot = snapshot_find(current[worker], key, strlen(key));
	ck_assert_ptr_nonnull(slot);
	if (!slot->variants)
		return number == 0;
	coded = current[worker]->variants[slot->variants].coded[CODING_BR];
	if (!first)
		first = coded - 1; /* the test's first one has number 1 */
	return coded == first + number;
}

static void start_compressing(void)
{
	options.compress = true;
	options.encodings = 1 << CODING_BR;
	options.watch = WATCH_OFF; /* nobody tells of changes */
	atomic_store(&store.left, 5);
	start(root);
	becomes("/index.html", "first");
	ck_assert(serves_variant(0, "/index.html", 0));
}

START_TEST(variants_are_published_without_a_look_at_the_tree)
{
	start_compressing();
	ck_assert_uint_eq(atomic_load(&builds), 1);
	rewrite("site/index.html", "not looked at");
	tree_write("site/new.html", "not looked at");
	variant_done(true, 0);
	for (unsigned i = 0; i < WORKERS; i++)
		wait_for(serves_variant(i, "/index.html", 1));
	for (unsigned i = 0; i < WORKERS; i++) {
		ck_assert(serves(i, "/index.html", "first"));
		ck_assert(serves(i, "/new.html", NULL));
	}
	ck_assert_uint_eq(atomic_load(&builds), 1);
	ck_assert_uint_eq(atomic_load(&builds_as_before), 1);
	wait_for(atomic_load(&reloads) == 1); /* one line: all is done */
	wait_for(atomic_load(&alive) == 1);
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	stop();
	ck_assert(atomic_load(&store.destroyed));
}
END_TEST

START_TEST(workers_are_told_of_variants)
{
	static atomic_uint published;
	char why[256] = "";

	options.compress = true;
	options.encodings = 1 << CODING_BR;
	options.root = root;
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), 0);
	reload_on_publish(reload, count_published, &published);
	ck_assert_int_eq(reload_start(reload), 0);
	variant_done(true, 0);
	wait_for(atomic_load(&published) == 1);
	stop();
}
END_TEST

/* While there are more to come they are published now and then, and the last ones at once. */
START_TEST(variants_are_swept_with_each_deploy_alone)
{
	start_compressing();
	variant_done(true, 0);
	wait_for(serves_variant(0, "/index.html", 1));
	ck_assert_uint_eq(atomic_load(&store.swept), 0);
	tree_write("site/index.html", "second");
	reload_request(reload);
	becomes("/index.html", "second");
	wait_for(atomic_load(&store.swept) == 1);
	reload_request(reload); /* nothing is published */
	wait_for(atomic_load(&builds) == 3);
	stop();
	ck_assert_uint_eq(atomic_load(&store.swept), 1);
}
END_TEST

START_TEST(variants_are_published_together)
{
	uint64_t began = reload_clock(), took;

	start_compressing();
	for (unsigned i = 0; i < 40; i++) { /* 200 ms, and 4 s of the reloader's */
		variant_done(true, 40 - i);
		usleep(5000);
	}
	took = reload_clock() - began;
	wait_for(atomic_load(&builds_as_before) >= 1);
	ck_assert_uint_le(atomic_load(&builds_as_before),
	                  1 + took / 3000); /* VARIANTS_MS; a slow machine has more of them */
	ck_assert_uint_eq(atomic_load(&reloads), 0);
	variant_done(true, 0);
	/* Told once more, where the 40 are published late and the last one is there by then. */
	wait_for((turn(0), turn(1),
	          atomic_load(&store.collected) == 41 && current[0] == current[1] && atomic_load(&reloads) >= 1));
	ck_assert_uint_eq(atomic_load(&builds), 1);
	stop();
}
END_TEST

START_TEST(what_is_not_worth_having_is_not_published)
{
	start_compressing();
	for (unsigned i = 0; i < 10; i++)
		variant_done(false, 9 - i);
	/* Something that can be waited for, behind all that. */
	reload_request(reload);
	wait_for(atomic_load(&reloads) == 1);
	ck_assert_uint_eq(atomic_load(&builds_as_before), 0);
	ck_assert_uint_eq(atomic_load(&alive), 1);
	ck_assert(!snapshot_waiting(&inboxes[0]));
	stop();
}
END_TEST

/* The last ones may be of those that are not worth having. */
START_TEST(variants_do_not_wait_for_what_never_comes)
{
	start_compressing();
	variant_done(true, 1);
	variant_done(false, 0);
	for (unsigned i = 0; i < WORKERS; i++)
		wait_for(serves_variant(i, "/index.html", 1));
	stop();
}
END_TEST

/* And he who waits for the word that all are there gets it then. */
START_TEST(the_last_variant_is_told_of_though_it_is_not_worth_having)
{
	start_compressing();
	variant_done(true, 1);
	for (unsigned i = 0; i < WORKERS; i++)
		wait_for(serves_variant(i, "/index.html", 1));
	ck_assert_uint_eq(atomic_load(&reloads), 0);
	variant_done(false, 0);
	wait_for(atomic_load(&reloads) == 1);
	ck_assert_uint_eq(atomic_load(&builds_as_before), 1);
	stop();
}
END_TEST

START_TEST(variants_that_a_reload_has_brought_are_not_published_again)
{
	start_compressing();
	variant_done(true, 3);
	rewrite("site/index.html", "second");
	reload_request(reload);
	becomes("/index.html", "second");
	for (unsigned i = 0; i < WORKERS; i++)
		wait_for(serves_variant(i, "/index.html", 1));
	ck_assert_uint_eq(atomic_load(&builds), 2);
	usleep(300000); /* six seconds of the reloader's */
	ck_assert_uint_le(atomic_load(&builds_as_before), 1);
	stop();
}
END_TEST

START_TEST(variants_that_cannot_be_published_are_told_of)
{
	start_compressing();
	atomic_store(&failing, -ENOMEM);
	atomic_store(&failures, 1);
	variant_done(true, 1);
	wait_for(atomic_load(&warnings) == 1);
	ck_assert(serves(0, "/index.html", "first"));
	ck_assert(serves_variant(0, "/index.html", 0));
	variant_done(true, 0);
	wait_for(!serves_variant(0, "/index.html", 0));
	ck_assert_uint_eq(atomic_load(&warnings), 1);
	stop();
}
END_TEST

START_TEST(variants_that_could_not_be_published_are_published_later)
{
	start_compressing();
	atomic_store(&failing, -ENOMEM);
	atomic_store(&failures, 1);
	variant_done(true, 0); /* and nothing more comes */
	wait_for(atomic_load(&warnings) == 1);
	ck_assert(serves_variant(0, "/index.html", 0));
	for (unsigned i = 0; i < WORKERS; i++)
		wait_for(serves_variant(i, "/index.html", 1));
	ck_assert_uint_eq(atomic_load(&builds), 1);
	stop();
}
END_TEST

START_TEST(requests_and_variants_do_not_hide_each_other)
{
	start_compressing();
	for (unsigned i = 1; i <= 20; i++) {
		char text[16];

		snprintf(text, sizeof(text), "text %u", i);
		rewrite("site/index.html", text);
		variant_done(true, i < 20);
		reload_request(reload);
		reload_request(reload);
		variant_done(true, i < 20);
		becomes("/index.html", text);
	}
	wait_for(atomic_load(&store.collected) == 40);
	wait_for((turn(0), current[0]->variants[1].coded[CODING_BR] != NULL));
	stop();
}
END_TEST

START_TEST(nothing_is_compressed_without_a_coding)
{
	options.compress = true; /* and no encodings */
	start(root);
	becomes("/index.html", "first");
	ck_assert(!atomic_load(&store.made));
	stop();
	options.encodings = 1 << CODING_BR;
	options.compress = false;
	start(root);
	becomes("/index.html", "first");
	ck_assert(!atomic_load(&store.made));
	stop();
}
END_TEST

START_TEST(the_store_goes_when_the_first_build_fails)
{
	char why[256] = "";

	options.compress = true;
	options.encodings = 1 << CODING_BR;
	options.root = "/nowhere/at/all";
	ck_assert_int_eq(reload_create(&reload, &options, inboxes, why, sizeof(why)), -ENOENT);
	ck_assert(atomic_load(&store.made) && atomic_load(&store.destroyed));
}
END_TEST

START_TEST(the_same_contents_are_not_published_again)
{
	unsigned before;

	start(root);
	becomes("/index.html", "first");
	before = atomic_load(&builds);
	tree_mkdir("site/docs/empty");
	wait_for(atomic_load(&builds) > before);
	wait_for(atomic_load(&alive) == 1);
	ck_assert(!snapshot_waiting(&inboxes[0]));
	ck_assert_uint_eq(atomic_load(&reloads), 0);
	stop();
}
END_TEST

START_TEST(new_dates_of_the_same_contents_are_published)
{
	struct snapshot *before;

	atomic_store(&reread, true);
	start(root);
	becomes("/index.html", "first");
	before = current[0];
	TREE_MUST(utimensat(AT_FDCWD, tree_path("site/index.html"), NULL, 0));
	wait_for((turn(0), turn(1), current[0] != before));
	ck_assert_uint_eq(atomic_load(&reloads), 0); /* nothing that a person would want to read of */
	stop();
}
END_TEST

START_TEST(a_request_rebuilds_where_nothing_is_watched)
{
	options.watch = WATCH_OFF;
	start(root);
	becomes("/index.html", "first");
	ck_assert_uint_eq(atomic_load(&builds), 1);
	rewrite("site/index.html", "second");
	reload_request(reload);
	becomes("/index.html", "second");
	ck_assert_uint_eq(atomic_load(&builds), 2);
	/* It is answered also when there is nothing new, or when the reason is an old one. */
	reload_request(reload);
	wait_for(atomic_load(&reloads) == 2);
	tree_rename("site", "away");
	for (unsigned i = 1; i <= 2; i++) {
		reload_request(reload);
		wait_for(atomic_load(&warnings) == i);
	}
	stop();
}
END_TEST

START_TEST(what_cannot_be_watched_is_looked_at)
{
	atomic_store(&no_watches, true);
	start(root);
	becomes("/index.html", "first");
	for (unsigned i = 0; i < 3; i++) {
		char text[16];

		snprintf(text, sizeof(text), "look %u", i);
		rewrite("site/index.html", text);
		becomes("/index.html", text);
	}
	ck_assert_uint_eq(atomic_load(&warnings), 1);
	stop();
}
END_TEST

START_TEST(the_thread_has_a_name_and_takes_no_signals)
{
	char status[4096];
	uint64_t blocked;
	const char *line;

	start(root);
	wait_for(thread_status("loom-reload", status, sizeof(status)));
	line = strstr(status, "SigBlk:");
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(sscanf(line, "SigBlk: %" SCNx64, &blocked), 1);
	for (int signal = 1; signal < 32; signal++)
		if (signal != SIGKILL && signal != SIGSTOP)
			ck_assert_msg(blocked & UINT64_C(1) << (signal - 1), "signal %d is not blocked", signal);
	stop();
}
END_TEST

static struct reload_outcome answered(uint64_t ticket)
{
	struct reload_outcome outcome = { .ms = 0 };

	wait_for(reload_answer(reload, ticket, &outcome));
	return outcome;
}

START_TEST(who_asks_is_answered)
{
	static atomic_uint told;
	struct reload_outcome outcome;
	struct reload_status status;
	uint64_t tickets[2];

	options.watch = WATCH_OFF;
	start(root);
	reload_status(reload, &status);
	ck_assert_int_eq(status.last.result, RELOAD_LIVE); /* the first */
	ck_assert_int_ne(status.last.at, 0);
	reload_on_answer(reload, count_published, &told);
	outcome = answered(reload_ask(reload));
	ck_assert_int_eq(outcome.result, RELOAD_SAME);
	wait_for(atomic_load(&told) == 1);
	tree_write("site/new.html", "new");
	tickets[0] = reload_ask(reload);
	tickets[1] = reload_ask(reload);
	outcome = answered(tickets[0]);
	ck_assert_int_eq(outcome.result, RELOAD_LIVE);
	ck_assert_uint_eq(outcome.files, 3);
	answered(tickets[1]);
	ck_assert(serves(0, "/new.html", "new"));
	/* Each keeps its answer, whatever came after it. */
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(answered(reload_ask(reload)).result, RELOAD_SAME);
	outcome = answered(tickets[0]);
	ck_assert_int_eq(outcome.result, RELOAD_LIVE);
	for (unsigned i = 0; i < 10; i++)
		answered(reload_ask(reload));
	ck_assert_int_eq(answered(tickets[0]).result, RELOAD_SAME); /* nobody asks that late */
	atomic_store(&refusing, true);
	tree_write("site/new.html", "newer");
	outcome = answered(reload_ask(reload));
	ck_assert_int_eq(outcome.result, RELOAD_REFUSED);
	ck_assert_str_ne(outcome.why, "");
	atomic_store(&failing, -ENOMEM);
	atomic_store(&failures, 1);
	outcome = answered(reload_ask(reload));
	ck_assert_int_eq(outcome.result, RELOAD_FAILED);
	ck_assert_str_ne(outcome.why, "");
	/* What is being written is waited for. */
	atomic_store(&refusing, false);
	atomic_store(&failing, -EAGAIN);
	atomic_store(&failures, 2);
	outcome = answered(reload_ask(reload));
	ck_assert_int_eq(outcome.result, RELOAD_LIVE);
	reload_on_answer(reload, NULL, NULL);
	stop();
}
END_TEST

START_TEST(nothing_is_published_while_a_generation_is_pinned)
{
	struct generations_switch result;
	struct reload_outcome outcome;
	unsigned before;

	options.keep_generations = 2;
	start(root);
	becomes("/index.html", "first");
	rewrite("site/index.html", "second");
	becomes("/index.html", "second");
	ck_assert_int_eq(generations_rollback(reload_generations(reload), &result), 0);
	becomes("/index.html", "first");
	before = atomic_load(&builds);
	wait_for(atomic_load(&reloads) == 1);
	/* A change is told of once, */
	rewrite("site/index.html", "third");
	wait_for(atomic_load(&reloads) == 2);
	ck_assert_uint_eq(atomic_load(&warnings), 0);
	rewrite("site/index.html", "fourth");
	/* and who asks is told each time. */
	for (unsigned i = 1; i <= 2; i++) {
		outcome = answered(reload_ask(reload));
		ck_assert_int_eq(outcome.result, RELOAD_PINNED);
		ck_assert_ptr_nonnull(strstr(outcome.why, result.id));
		ck_assert_uint_eq(atomic_load(&warnings), i);
	}
	ck_assert_uint_eq(atomic_load(&builds), before);
	ck_assert(serves(0, "/index.html", "first"));
	ck_assert(generations_unpin(reload_generations(reload)));
	outcome = answered(reload_ask(reload));
	ck_assert_int_eq(outcome.result, RELOAD_LIVE);
	becomes("/index.html", "fourth");
	rewrite("site/index.html", "fifth");
	becomes("/index.html", "fifth");
	stop();
}
END_TEST

START_TEST(what_a_roll_back_leaves_over_is_freed)
{
	struct generations_switch result;

	options.keep_generations = 1;
	options.watch = WATCH_OFF;
	start(root);
	becomes("/index.html", "first");
	rewrite("site/index.html", "second");
	reload_request(reload);
	becomes("/index.html", "second");
	wait_for(atomic_load(&alive) == 2);
	ck_assert_int_eq(generations_rollback(reload_generations(reload), &result), 0);
	/* Nothing else would wake it. */
	wait_for(atomic_load(&alive) == 2);
	becomes("/index.html", "first");
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reload");
	TCase *all = tcase_create("reload");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(all, setup, teardown);
	tcase_set_timeout(all, 120);
	tcase_add_test(all, the_first_snapshot_is_there_before_the_thread);
	tcase_add_test(all, a_missing_root_is_an_error_at_start);
	tcase_add_test(all, an_unsettled_tree_is_waited_for_at_start);
	tcase_add_test(all, a_change_between_the_first_build_and_the_thread_is_not_missed);
	tcase_add_test(all, every_way_of_saving_a_file_is_served);
	tcase_add_test(all, new_directories_with_files_at_once);
	tcase_add_test(all, a_root_that_is_away_for_a_while);
	tcase_add_test(all, a_link_to_root_is_switched);
	tcase_add_test(all, a_relative_root_is_found_again);
	tcase_add_test(all, a_failed_build_keeps_the_old_and_is_told_once);
	tcase_add_test(all, a_failed_build_is_tried_again_without_a_change);
	tcase_add_test(all, a_first_snapshot_that_is_refused_is_an_error_at_start);
	tcase_add_test(all, what_the_gate_refuses_is_freed_and_told_once);
	tcase_add_test(all, the_gate_is_asked_about_requests_too);
	tcase_add_test(all, the_gate_is_not_asked_about_the_same_contents);
	tcase_add_test(all, what_was_refused_is_looked_at_again_where_nothing_can_be_watched);
	tcase_add_test(all, a_tree_that_never_rests_is_served_all_the_same);
	tcase_add_test(all, a_file_that_is_never_whole_holds_the_others_up_for_a_while_only);
	tcase_add_test(all, a_tree_that_never_rests_is_served_at_start);
	tcase_add_loop_test(all, what_changes_while_it_is_read_is_read_again_first, 0, 2);
	tcase_add_test(all, requests_amid_unrest_wait_for_whole_files_too);
	tcase_add_test(all, inotify_alone_is_an_error_where_it_does_not_do);
	tcase_add_test(all, polling_alone_finds_changes);
	tcase_add_test(all, old_snapshots_are_freed_when_the_last_pin_goes);
	tcase_add_test(all, a_snapshot_that_was_squeezed_is_built_again_when_others_are_gone);
	tcase_add_test(all, what_no_worker_picks_up_is_freed);
	tcase_add_test(all, whoever_can_wake_the_workers_is_told);
	tcase_add_test(all, variants_are_published_without_a_look_at_the_tree);
	tcase_add_test(all, workers_are_told_of_variants);
	tcase_add_test(all, variants_are_swept_with_each_deploy_alone);
	tcase_add_test(all, variants_are_published_together);
	tcase_add_test(all, what_is_not_worth_having_is_not_published);
	tcase_add_test(all, variants_do_not_wait_for_what_never_comes);
	tcase_add_test(all, the_last_variant_is_told_of_though_it_is_not_worth_having);
	tcase_add_test(all, variants_that_a_reload_has_brought_are_not_published_again);
	tcase_add_test(all, variants_that_cannot_be_published_are_told_of);
	tcase_add_test(all, variants_that_could_not_be_published_are_published_later);
	tcase_add_test(all, requests_and_variants_do_not_hide_each_other);
	tcase_add_test(all, nothing_is_compressed_without_a_coding);
	tcase_add_test(all, the_store_goes_when_the_first_build_fails);
	tcase_add_test(all, the_same_contents_are_not_published_again);
	tcase_add_test(all, new_dates_of_the_same_contents_are_published);
	tcase_add_test(all, a_request_rebuilds_where_nothing_is_watched);
	tcase_add_test(all, what_cannot_be_watched_is_looked_at);
	tcase_add_test(all, who_asks_is_answered);
	tcase_add_test(all, nothing_is_published_while_a_generation_is_pinned);
	tcase_add_test(all, what_a_roll_back_leaves_over_is_freed);
	tcase_add_test(all, the_thread_has_a_name_and_takes_no_signals);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
