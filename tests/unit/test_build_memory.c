/*
 * test_build_memory.c - what a snapshot holds in memory, and what is streamed: by size, for want of room, for a time;
 * equal contents once; variants by their use; and that nobody waits for the threads that help.
 */
#include <pthread.h>
#include <semaphore.h>

#include "loom/compress.h"
#include "loom/memory.h"
#include "threads.h"
#include "tree.h"

#define KB    1000
#define LATER 10

/* The test program's own: a build that waits for files to come to rest does not, and they may change meanwhile. */
static unsigned naps;
static void (*while_napping)(void);

__attribute__((used)) int nanosleep(const struct timespec *time, struct timespec *left)
{
	naps++;
	ck_assert_int_le(time->tv_sec, 2);
	if (while_napping)
		while_napping();
	return 0;
}

/* And there are two processors, whatever the machine has. */
__attribute__((used)) int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	CPU_ZERO_S(size, set);
	CPU_SET_S(0, size, set);
	CPU_SET_S(1, size, set);
	return 0;
}

static void setup(void)
{
	tree_setup();
	naps = 0;
	while_napping = NULL;
}

/* All is given back, descriptors too. */
static void teardown(void)
{
	tree_teardown();
	/* A thread of the lowest priority may have something still, on a busy machine for a long time. */
	for (unsigned i = 0; i < 30000 && build_sweep(); i++)
		usleep(1000);
	ck_assert_uint_eq(memory_held(), 0);
	ck_assert_uint_eq(body_files(), 0);
}

/* A file of a content that no other number has. */
static void put(const char *path, unsigned number, size_t len)
{
	static char content[4 << 20];
	uint64_t state = number + 1;

	ck_assert_uint_le(len, sizeof(content));
	for (size_t i = 0; i < len; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		content[i] = (char)(state >> 40);
	}
	tree_write(path, content, len);
}

/* Files of 100 KB, "/0.bin" and so on, of contents from number on. */
static void put_some(unsigned count, unsigned number)
{
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%u.bin", i);
		put(name, number + i, 100 * KB);
	}
}

static bool is_streamed(const struct snapshot *snapshot, const char *key)
{
	const struct representation *r = tree_find(snapshot, key);

	ck_assert_msg(r != NULL, "%s is not there; log: %s", key, tree.log);
	ck_assert((r->body == NULL) == (r->file != NULL));
	return r->file != NULL;
}

/* Reads a streamed file's bytes as a backend does. */
static void check_streamed(const struct snapshot *snapshot, const char *key, const char *content)
{
	const struct representation *r = tree_find(snapshot, key);
	struct stat st;
	char bytes[256];

	ck_assert(is_streamed(snapshot, key));
	ck_assert_uint_eq(r->body_len, strlen(content));
	ck_assert_uint_eq(r->file->size, strlen(content));
	ck_assert_int_eq(pread(r->file->fd, bytes, sizeof(bytes), 0), (ssize_t)strlen(content));
	ck_assert_mem_eq(bytes, content, strlen(content));
	ck_assert_int_eq(fstat(r->file->fd, &st), 0);
	ck_assert_mem_eq(&st.st_mtim, &r->file->mtime, sizeof(st.st_mtim));
	ck_assert_mem_eq(&st.st_ctim, &r->file->ctime, sizeof(st.st_ctim));
	ck_assert_int_eq(fcntl(r->file->fd, F_GETFD), FD_CLOEXEC);
}

START_TEST(large_files_are_left_where_they_are)
{
	struct snapshot *held, *streamed;

	tree_put("index.html", "four");
	tree_put("five", "five.");
	tree_put("empty", "");
	tree_clock_ahead = LATER;
	held = tree_snapshot(NULL);
	ck_assert_uint_eq(held->streamed, 0);
	tree.options.stream_above = 4;
	streamed = tree_snapshot(NULL);
	check_streamed(streamed, "/five", "five.");
	tree_serves(streamed, "/", "four");
	ck_assert_uint_eq(streamed->streamed, 1);
	ck_assert_uint_eq(streamed->streamed_bytes, 5);
	ck_assert(!streamed->squeezed);
	build_free(streamed);

	tree.options.stream_above = 0;
	streamed = tree_snapshot(NULL);
	check_streamed(streamed, "/five", "five.");
	check_streamed(streamed, "/", "four");
	check_streamed(streamed, "/index.html", "four");
	tree_serves(streamed, "/empty", "");
	ck_assert_uint_eq(body_files(), 2);
	ck_assert_uint_eq(streamed->streamed, 2);
	ck_assert_uint_eq(naps, 0);
	/* Where the bytes lie is nobody's business. */
	ck_assert_str_eq(held->id, streamed->id);
	ck_assert_mem_eq(tree_find(held, "/five")->etag, tree_find(streamed, "/five")->etag, ETAG_LEN);
	build_free(held);
	build_free(streamed);
}
END_TEST

START_TEST(a_streamed_file_is_shared_until_it_changes)
{
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct snapshot *a, *b, *c, *d;
	unsigned long reads;

	tree.options.stream_above = 0;
	tree_put("file", "content");
	tree_put("other", "other");
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	reads = tree_reads;
	b = tree_snapshot(a);
	ck_assert_uint_eq(tree_reads, reads);
	ck_assert_ptr_eq(tree_find(a, "/file"), tree_find(b, "/file"));
	ck_assert_uint_eq(body_files(), 2);
	build_free(a);

	/* What tells whether it was written to is what it was when it was opened. */
	utimensat(AT_FDCWD, tree_path("file"), times, 0);
	c = tree_snapshot(b);
	check_streamed(c, "/file", "content");
	ck_assert_mem_eq(tree_find(b, "/file")->etag, tree_find(c, "/file")->etag, ETAG_LEN);
	ck_assert_int_ge(tree_find(c, "/file")->last_modified, tree_find(b, "/file")->last_modified);
	ck_assert_ptr_eq(tree_find(b, "/other"), tree_find(c, "/other"));
	ck_assert_uint_eq(body_files(), 3);
	build_free(b);
	ck_assert_uint_eq(body_files(), 2);

	tree_put("file", "CONTENT");
	d = tree_snapshot(c);
	check_streamed(d, "/file", "CONTENT");
	ck_assert_mem_ne(tree_find(c, "/file")->etag, tree_find(d, "/file")->etag, ETAG_LEN);
	ck_assert_str_ne(c->id, d->id);
	build_free(c);
	build_free(d);
}
END_TEST

static void write_again(void)
{
	while_napping = NULL;
	usleep(20000); /* a tick */
	tree_put("file", "CONTENT");
}

START_TEST(a_streamed_file_is_waited_for_until_it_rests)
{
	struct snapshot *a, *b = NULL;
	unsigned long reads;

	tree.options.stream_above = 0;
	tree_clock_ahead = JUST_NOW;
	tree_put("file", "content");
	while_napping = write_again;
	ck_assert_int_eq(tree_build(NULL, &b), -EAGAIN);
	ck_assert_str_eq(tree.why, "file changed while it was being read");
	ck_assert_uint_eq(naps, 1);

	a = tree_snapshot(NULL);
	ck_assert_uint_eq(naps, 2);
	check_streamed(a, "/file", "CONTENT");
	reads = tree_reads;
	b = tree_snapshot(a); /* it was at rest, and is vouched for from then on */
	ck_assert_uint_eq(tree_reads, reads);
	ck_assert_uint_eq(naps, 2);
	build_free(a);
	build_free(b);
}
END_TEST

/* A file system that keeps whole seconds may give the next write the same time for so long. */
START_TEST(a_coarse_clock_is_waited_for_longer)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };
	struct snapshot *snapshot;

	tree.options.stream_above = 0;
	tree_put("file", "content");
	clock_gettime(CLOCK_REALTIME, &times[1]);
	times[1].tv_nsec = 1;
	ck_assert_int_eq(utimensat(AT_FDCWD, tree_path("file"), times, 0), 0);
	tree_clock_ahead = 1;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(naps, 0);
	build_free(snapshot);

	tree_clock_ahead = 0;
	clock_gettime(CLOCK_REALTIME, &times[1]);
	times[1].tv_nsec = 0;
	tree_put("file", "other...");
	ck_assert_int_eq(utimensat(AT_FDCWD, tree_path("file"), times, 0), 0);
	tree_clock_at = times[1].tv_sec + 1;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(naps, 1);
	build_free(snapshot);
}
END_TEST

/* What has to be streamed anyhow leaves half of the memory to the next snapshot; and pages stay longest. */
START_TEST(the_largest_are_streamed_when_not_all_fit)
{
	struct snapshot *a, *b, *c;
	unsigned long reads;
	uint64_t streamed;

	tree.options.stream_above = 1 << 30;
	tree.options.max_memory = 800 * KB;
	put_some(10, 0);
	put("index.html", 100, 60 * KB);
	put("page.html", 101, 40 * KB);
	put("small.bin", 102, 20 * KB);
	put("large.bin", 103, 250 * KB);
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	ck_assert(!is_streamed(a, "/"));
	ck_assert(!is_streamed(a, "/page.html"));
	ck_assert(!is_streamed(a, "/small.bin"));
	ck_assert(!is_streamed(a, "/0.bin"));
	ck_assert(is_streamed(a, "/9.bin"));
	ck_assert(is_streamed(a, "/large.bin"));
	ck_assert_uint_ge(a->streamed, 8);
	ck_assert_uint_le(a->memory, 400 * KB);
	ck_assert_uint_eq(a->memory, memory_held());
	ck_assert(!a->squeezed);

	/* Nothing changes by itself. */
	b = tree_snapshot(a);
	ck_assert_uint_eq(b->streamed, a->streamed);
	for (uint64_t i = 0; i <= a->mask; i++)
		ck_assert_ptr_eq(a->slots[i].representation, b->slots[i].representation);
	build_free(b);

	/* All changes: as much is in memory as before. */
	put_some(10, 1000);
	put("index.html", 1100, 60 * KB);
	put("page.html", 1101, 40 * KB);
	put("small.bin", 1102, 20 * KB);
	b = tree_snapshot(a);
	ck_assert_uint_eq(b->streamed, a->streamed);
	ck_assert(!b->squeezed);
	ck_assert_uint_le(memory_held(), tree.options.max_memory);
	streamed = b->streamed;
	build_free(a);

	/* A page that has grown drives others out, unread as they are; and when it is gone they come back. */
	put("page.html", 1103, 130 * KB);
	reads = tree_reads;
	c = tree_snapshot(b);
	ck_assert_uint_le(tree_reads - reads, 2);
	ck_assert(!is_streamed(c, "/page.html"));
	ck_assert_uint_gt(c->streamed, streamed);
	ck_assert_uint_le(c->memory, 400 * KB);
	build_free(b);
	unlink(tree_path("page.html"));
	unlink(tree_path("index.html"));
	b = tree_snapshot(c);
	ck_assert_uint_lt(b->streamed, streamed);
	ck_assert_uint_le(b->memory, 400 * KB);
	build_free(c);
	build_free(b);
}
END_TEST

/* What has no room in memory takes some bytes all the same: bodies must not have taken those before. */
START_TEST(however_little_room_there_is_the_rest_is_streamed)
{
	struct snapshot *a, *b, *c;

	tree.options.stream_above = 1 << 30;
	tree.options.max_memory = 1200 * KB;
	tree_clock_ahead = LATER;
	for (unsigned i = 0; i < 60; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%u.bin", i);
		put(name, i, 20 * KB);
	}
	a = tree_snapshot(NULL);
	/* Each time another third is new, and the snapshots before are held by somebody. */
	for (unsigned i = 0; i < 60; i += 3) {
		char name[32];

		snprintf(name, sizeof(name), "%u.bin", i);
		put(name, 100 + i, 20 * KB);
	}
	b = tree_snapshot(a);
	for (unsigned i = 1; i < 60; i += 3) {
		char name[32];

		snprintf(name, sizeof(name), "%u.bin", i);
		put(name, 200 + i, 20 * KB);
	}
	/* Wherever the brim is: with all rooms that leave enough for heads. */
	for (uint64_t room = 48 * KB; room < 400 * KB; room += 1000) {
		tree.options.max_memory = memory_held() + room;
		c = NULL;
		ck_assert_msg(tree_build(b, &c) == 0, "%u bytes of room: %s", (unsigned)room, tree.why);
		ck_assert_uint_le(memory_held(), tree.options.max_memory);
		build_free(c);
	}
	build_free(a);
	build_free(b);
}
END_TEST

/* A tree that fits once may change as a whole: until the old one is gone new files are streamed. */
START_TEST(what_does_not_fit_beside_the_old_is_streamed_for_a_time)
{
	struct snapshot *a, *b, *c;
	unsigned long reads;

	tree.options.stream_above = 1 << 30;
	tree.options.max_memory = 800 * KB;
	put_some(6, 0);
	put("index.html", 100, 50 * KB);
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(a->streamed, 0);
	put_some(6, 1000);
	put("index.html", 1100, 50 * KB);
	b = tree_snapshot(a);
	ck_assert(b->squeezed);
	ck_assert(!is_streamed(b, "/"));
	ck_assert_uint_ge(b->streamed, 5);
	ck_assert_uint_le(memory_held(), tree.options.max_memory);

	/* Still there: no better. */
	c = tree_snapshot(b);
	ck_assert(c->squeezed);
	ck_assert_uint_eq(c->streamed, b->streamed);
	build_free(c);
	build_free(a);
	c = tree_snapshot(b);
	ck_assert(!c->squeezed);
	ck_assert_uint_eq(c->streamed, 0);
	ck_assert_str_eq(b->id, c->id);
	ck_assert(!build_same(b, c));
	for (unsigned i = 0; i < 6; i++) {
		char key[32];

		snprintf(key, sizeof(key), "/%u.bin", i);
		ck_assert_mem_eq(tree_find(b, key)->etag, tree_find(c, key)->etag, ETAG_LEN);
		ck_assert_int_eq(tree_find(b, key)->last_modified, tree_find(c, key)->last_modified);
	}
	build_free(b);
	ck_assert_uint_eq(body_files(), 0);
	ck_assert_uint_eq(memory_held(), c->memory);
	reads = tree_reads;
	b = tree_snapshot(c);
	ck_assert_uint_eq(tree_reads, reads);
	build_free(b);
	build_free(c);
}
END_TEST

static struct snapshot *kept;
static unsigned asked;

static bool make_room(void *context)
{
	bool any = kept != NULL;

	ck_assert_ptr_eq(context, &tree);
	asked++;
	build_free(kept);
	kept = NULL;
	return any;
}

START_TEST(room_is_made_before_anything_is_streamed)
{
	struct build_request request = {
		.options = &tree.options,
		.workers = 1,
		.make_room = make_room,
		.directory = tree_directory,
		.context = &tree,
	};
	struct snapshot *a, *b, *c = NULL;

	tree.options.stream_above = _i ? UINT64_MAX : 1 << 30;
	tree.options.max_memory = 800 * KB;
	asked = 0;
	put_some(3, 0);
	tree_clock_ahead = LATER;
	kept = tree_snapshot(NULL);
	put_some(3, 10);
	a = tree_snapshot(kept);
	put_some(1, 20);
	request.previous = a;
	ck_assert_int_eq(tree_request(&request, &b), 0);
	ck_assert_uint_eq(asked, 0);
	put_some(3, 30);
	request.previous = b;
	ck_assert_int_eq(tree_request(&request, &c), 0);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(c->streamed, 0);
	build_free(a);
	build_free(b);
	build_free(c);
}
END_TEST

START_TEST(streamed_files_have_a_limit)
{
	struct snapshot *a, *b = NULL;

	tree.options.stream_above = 0;
	tree.options.max_streams = 3;
	tree_put("a", "a");
	tree_put("b", "b");
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	tree_put("a", "A");
	tree_put("b", "B");
	ck_assert_int_eq(tree_build(a, &b), -ENFILE);
	ck_assert_ptr_nonnull(strstr(tree.why,
	                             "has 2 files that are to be sent from where they lie beside the 2 that are open, "
	                             "and 3 may be open at a time (raise ulimit -n"));
	build_free(a);

	/* For want of memory as well. */
	tree.options.stream_above = 1 << 30;
	tree.options.max_memory = 400 * KB;
	put_some(6, 0);
	ck_assert_int_eq(tree_build(NULL, &b), -ENFILE);
	ck_assert_ptr_nonnull(strstr(tree.why, "files that are to be sent from where they lie, and 3 may be open"));
	ck_assert_ptr_null(b);
}
END_TEST

/* Reading shows that it is what it was: that takes no memory. */
START_TEST(touching_all_takes_no_memory)
{
	struct snapshot *a, *b;

	tree.options.max_memory = 800 * KB;
	put_some(6, 0);
	a = tree_snapshot(NULL);
	tree_clock_ahead = LATER;
	put_some(6, 0);
	b = tree_snapshot(a);
	ck_assert_ptr_eq(tree_find(a, "/5.bin")->body, tree_find(b, "/5.bin")->body);
	build_free(b);
	put("3.bin", 1000, 100 * KB);
	b = tree_snapshot(a);
	ck_assert_ptr_eq(tree_find(a, "/5.bin")->body, tree_find(b, "/5.bin")->body);
	build_free(b);
	put_some(6, 1000);
	b = NULL;
	ck_assert_int_eq(tree_build(a, &b), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(tree.why, "raise --max-memory"));
	build_free(a);
}
END_TEST

START_TEST(equal_contents_are_held_once)
{
	struct snapshot *a, *b;

	put("a.bin", 1, 100 * KB);
	put("b.bin", 1, 100 * KB);
	put("c/d.bin", 1, 100 * KB);
	put("e.bin", 2, 100 * KB);
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	ck_assert_ptr_eq(tree_find(a, "/a.bin")->body, tree_find(a, "/b.bin")->body);
	ck_assert_ptr_eq(tree_find(a, "/a.bin")->body, tree_find(a, "/c/d.bin")->body);
	ck_assert_ptr_ne(tree_find(a, "/a.bin")->body, tree_find(a, "/e.bin")->body);
	ck_assert_uint_lt(a->memory, 300 * KB);
	ck_assert_uint_eq(a->memory, memory_held());

	/* Under a new name as well, and when no other has it any more. */
	ck_assert_int_eq(rename(tree_path("e.bin"), tree_path("f.bin")), 0);
	put("new.bin", 1, 100 * KB);
	b = tree_snapshot(a);
	ck_assert_ptr_eq(tree_find(a, "/e.bin")->body, tree_find(b, "/f.bin")->body);
	ck_assert_ptr_eq(tree_find(a, "/a.bin")->body, tree_find(b, "/new.bin")->body);
	build_free(a);
	ck_assert_uint_eq(b->memory, memory_held());
	build_free(b);
}
END_TEST

START_TEST(links_to_one_streamed_file_share_a_descriptor)
{
	struct snapshot *a, *b;

	tree.options.stream_above = 0;
	tree_put("a", "same");
	ck_assert_int_eq(link(tree_path("a"), tree_path("b")), 0);
	tree_put("c", "same"); /* may be written to without the others */
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	ck_assert_ptr_eq(tree_find(a, "/a")->file, tree_find(a, "/b")->file);
	ck_assert_ptr_ne(tree_find(a, "/a")->file, tree_find(a, "/c")->file);
	ck_assert_uint_eq(body_files(), 2);
	b = tree_snapshot(a);
	ck_assert_uint_eq(body_files(), 2);
	build_free(a);
	build_free(b);
}
END_TEST

static void append(int fd)
{
	int out = open(tree_path("file"), O_WRONLY | O_APPEND | O_CLOEXEC);

	usleep(20000); /* a tick */
	ck_assert_int_eq(write(out, "more", 4), 4);
	close(out);
}

static void grow_another(int fd)
{
	tree_before_read = NULL;
	append(fd);
}

START_TEST(a_file_that_grows_before_it_is_read_has_changed)
{
	struct snapshot *snapshot = NULL;

	tree_put("before", "x");
	tree_put("file", "content");
	tree_before_read = grow_another;
	ck_assert_int_eq(tree_build(NULL, &snapshot), -EAGAIN);
	ck_assert_str_eq(tree.why, "file changed while it was being read");
}
END_TEST

START_TEST(a_restless_tree_is_built_without_what_changes)
{
	struct build_request request = {
		.options = &tree.options, .workers = 1, .restless = true, .directory = tree_directory, .context = &tree
	};
	struct snapshot *a = NULL, *b = NULL, *c;

	tree_put("file", "content");
	tree_before_read = append;
	ck_assert_int_eq(tree_request(&request, &a), 0);
	tree_lacks(a, "/file");
	ck_assert_ptr_nonnull(strstr(tree.log, "file: left out for now: it changes too often"));
	build_free(a);
	tree_before_read = NULL;
	tree_put("file", "content");
	tree_put("other", "other");
	a = tree_snapshot(NULL);
	tree_put("other", "OTHER");
	tree_put("file", "CONTENT");
	tree_before_read = append;
	request.previous = a;
	ck_assert_int_eq(tree_request(&request, &b), 0);
	tree_before_read = NULL;
	ck_assert_ptr_eq(tree_find(a, "/file"), tree_find(b, "/file"));
	tree_serves(b, "/file", "content");
	tree_serves(b, "/other", "OTHER");
	ck_assert_ptr_nonnull(strstr(tree.log, "file: served as it was before"));
	/* And as it is when it rests. */
	tree_put("file", "rests");
	c = tree_snapshot(b);
	tree_serves(c, "/file", "rests");
	build_free(a);
	build_free(b);
	build_free(c);
}
END_TEST

/* Text that gets smaller in every coding. */
static const char *compressible(unsigned number, size_t len)
{
	static char text[100001];
	size_t n = 0;

	while (n < len)
		n += (size_t)snprintf(text + n, len + 1 - n, "%u: line %zu of a text that says little\n", number, n);
	text[len] = '\0';
	return text;
}

START_TEST(what_is_streamed_is_not_read)
{
	static const atomic_bool never;
	const char *text = compressible(1, 5000);
	struct snapshot *a, *b;
	struct body *coded;

	tree_put("page.html", text);
	tree_put("404.html", text);
	ck_assert_int_eq(compress_encode(&coded, CODING_GZIP, (const uint8_t *)text, strlen(text), &never), 0);
	tree_write("page.html.gz", (const char *)coded->bytes, coded->len);
	body_release(coded);
	tree_clock_ahead = LATER;
	tree_compress();
	tree.options.stream_above = 10;
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(variants_pending(tree.variants), 0);
	ck_assert_uint_eq(a->coded, 0);
	ck_assert_ptr_null(tree_field(tree_find(a, "/page.html"), "Vary"));
	ck_assert_mem_eq(a->errors[ERROR_404]->body, "404 Not Found", 13);
	ck_assert_ptr_nonnull(strstr(tree.log, "/404.html is not sent with errors"));
	b = tree_snapshot(a);
	ck_assert_str_eq(tree.log, "");
	build_free(a);

	/* Held in memory it has them all; and a streamed one is no sidecar. */
	tree.options.stream_above = 4999;
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(a->coded, 0);
	build_free(a);
	tree.options.stream_above = 5000;
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(a->coded, 1);
	ck_assert_str_eq(tree_field(tree_find(a, "/page.html"), "Vary"), "Accept-Encoding");
	ck_assert_mem_eq(a->errors[ERROR_404]->body, text, 100);
	build_free(a);
	build_free(b);
}
END_TEST

/* Text that gets half as long, and no shorter. */
static const char *digits(unsigned number, size_t len)
{
	static char text[100001];
	uint64_t state = number + 1;

	for (size_t i = 0; i < len; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		text[i] = "0123456789abcdef"[state >> 60];
	}
	text[len] = '\0';
	return text;
}

/* Pages stay in memory longer than what lies beside them. */
START_TEST(a_sidecar_that_is_streamed_is_none)
{
	static const atomic_bool never;
	const char *text = digits(1, 60 * KB);
	struct snapshot *snapshot;
	struct body *coded;
	char name[32];

	tree_put("page.html", text);
	ck_assert_int_eq(compress_encode(&coded, CODING_GZIP, (const uint8_t *)text, strlen(text), &never), 0);
	tree_write("page.html.gz", (const char *)coded->bytes, coded->len);
	body_release(coded);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%u.bin", i);
		put(name, i, 20 * KB);
	}
	tree_clock_ahead = LATER;
	tree.options.stream_above = 1 << 30;
	tree.options.max_memory = 300 * KB;
	snapshot = tree_snapshot(NULL);
	ck_assert(!is_streamed(snapshot, "/page.html"));
	ck_assert(is_streamed(snapshot, "/page.html.gz"));
	ck_assert_uint_eq(snapshot->coded, 0);
	build_free(snapshot);
	tree.options.max_memory = 1 << 30;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(snapshot->coded, 1);
	build_free(snapshot);
}
END_TEST

/* Gives a snapshot counters, as whoever publishes it does. */
static uint32_t *count_hits(struct snapshot *snapshot)
{
	uint32_t *hits = calloc(2 * (snapshot->mask + 1), sizeof(*hits));

	snapshot->share[0].hits = hits;
	snapshot->share[1].hits = hits + snapshot->mask + 1;
	return hits;
}

static void hit(struct snapshot *snapshot, unsigned worker, const char *key, uint32_t times)
{
	snapshot->share[worker].hits[snapshot_find(snapshot, key, strlen(key)) - snapshot->slots] += times;
}

/* Variants that a file has, in three codings at most. */
static unsigned count_coded(const struct snapshot *snapshot, const char *key)
{
	unsigned coded = 0;

	for (unsigned coding = 1; coding < CODINGS; coding++)
		coded += tree_coded(snapshot, key, coding) != NULL;
	return coded;
}

/* Of twenty files nine are asked for by their own names and the tenth by its directory's, on either worker. */
START_TEST(the_variants_used_least_are_dropped)
{
	struct snapshot *a, *b, *c;
	unsigned coded;
	uint32_t *hits;
	char name[32];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%u/index.html", i);
		tree_put(name, digits(i, 6000 - 10 * i)); /* by size, those would go first */
	}
	tree_clock_ahead = LATER;
	tree_compress();
	a = tree_snapshot(NULL);
	tree_collect();
	hits = count_hits(a);
	for (unsigned i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "/%u/index.html", i);
		hit(a, i % 2, name, 2);
	}
	hit(a, 1, "/9/", 2);
	/* The index finds room, and of the heads not all. */
	tree.options.max_memory = memory_held() + 36 * KB;
	b = tree_as_before(a);
	ck_assert_ptr_nonnull(b);
	coded = (unsigned)b->coded;
	ck_assert_uint_gt(coded, 30);
	ck_assert_uint_lt(coded, 60);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "/%u/", i);
		ck_assert_msg(count_coded(b, name) == 3, "%s", name);
	}
	ck_assert_ptr_nonnull(strstr(tree.log, "do not fit"));
	ck_assert(b->squeezed);
	ck_assert_uint_le(memory_held(), tree.options.max_memory);
	free(hits);
	build_free(a);

	/* The room that the old snapshot leaves is used, and then there is rest. */
	for (unsigned i = 0; i < 3; i++) {
		c = tree_snapshot(b);
		tree_collect();
		build_free(b);
		b = c;
	}
	ck_assert_uint_ge(b->coded, coded);
	ck_assert_uint_le(memory_held(), tree.options.max_memory);
	c = tree_as_before(b);
	ck_assert_uint_eq(variants_pending(tree.variants), 0);
	ck_assert_uint_eq(c->coded, b->coded);
	build_free(b);

	/* With room they come back. */
	tree.options.max_memory = 1 << 30;
	b = tree_snapshot(c);
	tree_collect();
	build_free(c);
	c = tree_as_before(b);
	ck_assert_uint_eq(c->coded, 60);
	build_free(b);
	build_free(c);
}
END_TEST

/* Reads of others than the builder's thread, and those at the lowest priority of the processor and of the disk. */
static pthread_t builder;
static atomic_uint helped, idle;

static void look_at_thread(int fd)
{
	if (pthread_equal(pthread_self(), builder))
		return;
	helped++;
	idle += sched_getscheduler(0) == SCHED_IDLE && syscall(SYS_ioprio_get, 1, 0) >> 13 == 3;
}

/* One that came when the build was over may still look at its last file. */
static void wait_for_helpers(void)
{
	char status[4096];

	while (thread_status("loom-read", status, sizeof(status)))
		usleep(1000);
}

START_TEST(many_files_are_read_by_several_threads)
{
	struct snapshot *a, *b;
	char name[32];

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%u/%u", i % 7, i);
		tree_put(name, name);
	}
	tree_clock_ahead = JUST_NOW; /* so that all are read again */
	builder = pthread_self();
	tree_before_read = look_at_thread;
	/* A thread may come too late for any. */
	for (unsigned i = 0; i < 1000 && !helped; i++)
		build_free(tree_snapshot(NULL));
	ck_assert_uint_gt(helped, 0);
	ck_assert_uint_eq(idle, 0); /* nobody is served yet */
	a = tree_snapshot(NULL);
	wait_for_helpers();
	helped = 0;
	b = tree_snapshot(a); /* each is compared */
	for (unsigned i = 0; i < 100 && !helped; i++)
		build_free(tree_snapshot(a));
	wait_for_helpers();
	tree_before_read = NULL;
	ck_assert_uint_gt(helped, 0);
	ck_assert_uint_eq(idle, helped);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "/%u/%u", i % 7, i);
		tree_serves(a, name, name + 1);
		ck_assert_ptr_eq(tree_find(a, name), tree_find(b, name));
	}
	ck_assert_uint_eq(a->files, 2000);
	build_free(a);
	build_free(b);
}
END_TEST

/* A thread that helps stops in the middle of its first file, for as long as we like. */
static sem_t stuck, go_on;
static atomic_bool once;

static void get_stuck(int fd)
{
	if (pthread_equal(pthread_self(), builder) || atomic_exchange(&once, true))
		return;
	sem_post(&stuck);
	while (sem_wait(&go_on) < 0)
		;
}

static void wait_for_it(int fd)
{
	if (!pthread_equal(pthread_self(), builder)) {
		get_stuck(fd);
		return;
	}
	/* Until it has a file, there is no more than one read here. */
	while (!atomic_load(&once))
		usleep(100);
}

START_TEST(nobody_waits_for_a_thread_that_does_not_run)
{
	struct snapshot *a, *b, *c;
	char name[32];

	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "%u", i);
		tree_put(name, name);
	}
	tree_clock_ahead = JUST_NOW; /* so that all are read again */
	builder = pthread_self();
	sem_init(&stuck, 0, 0);
	sem_init(&go_on, 0, 0);
	a = tree_snapshot(NULL);
	atomic_store(&once, false);
	tree_before_read = wait_for_it;
	b = tree_snapshot(a);
	ck_assert_int_eq(sem_trywait(&stuck), 0);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "/%u", i);
		tree_serves(b, name, name + 1);
	}
	/* What it looks at is there as long as it may look. */
	build_free(a);
	build_free(b);
	ck_assert_uint_gt(memory_held(), 0);
	sem_post(&go_on);
	tree_before_read = NULL;
	for (unsigned i = 0; i < 10000; i++) {
		c = tree_snapshot(NULL);
		build_free(c);
		if (memory_held() == 0)
			break;
		usleep(1000);
	}
	ck_assert_uint_eq(memory_held(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("build_memory");
	TCase *tcase = tcase_create("memory");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, large_files_are_left_where_they_are);
	tcase_add_test(tcase, a_streamed_file_is_shared_until_it_changes);
	tcase_add_test(tcase, a_streamed_file_is_waited_for_until_it_rests);
	tcase_add_test(tcase, a_coarse_clock_is_waited_for_longer);
	tcase_add_test(tcase, the_largest_are_streamed_when_not_all_fit);
	tcase_add_test(tcase, however_little_room_there_is_the_rest_is_streamed);
	tcase_add_test(tcase, what_does_not_fit_beside_the_old_is_streamed_for_a_time);
	tcase_add_loop_test(tcase, room_is_made_before_anything_is_streamed, 0, 2);
	tcase_add_test(tcase, streamed_files_have_a_limit);
	tcase_add_test(tcase, touching_all_takes_no_memory);
	tcase_add_test(tcase, equal_contents_are_held_once);
	tcase_add_test(tcase, links_to_one_streamed_file_share_a_descriptor);
	tcase_add_test(tcase, a_file_that_grows_before_it_is_read_has_changed);
	tcase_add_test(tcase, a_restless_tree_is_built_without_what_changes);
	tcase_add_test(tcase, what_is_streamed_is_not_read);
	tcase_add_test(tcase, a_sidecar_that_is_streamed_is_none);
	tcase_add_test(tcase, the_variants_used_least_are_dropped);
	tcase_add_test(tcase, many_files_are_read_by_several_threads);
	tcase_add_test(tcase, nobody_waits_for_a_thread_that_does_not_run);
	return tree_run(suite);
}
