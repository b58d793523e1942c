/* test_content.c - files that change while they are read: what counts as read was in the file, whole, when it had rested. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loom/body.h"
#include "loom/content.h"

#define SIZE    (3U << 20)
#define ROUNDS  40
#define REST_US 15000 /* longer than any tick of a clock: two states of the file have two times */

/* A file that is filled, rests, and is cut off, again and again. */
struct writer {
	int fd;
	atomic_bool ended;
};

static void *write_and_cut(void *context)
{
	struct writer *writer = context;
	uint8_t *bytes = malloc(SIZE);

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 'x', SIZE);
	for (int i = 0; i < ROUNDS; i++) {
		ck_assert_int_eq(pwrite(writer->fd, bytes, SIZE, 0), SIZE);
		usleep(REST_US);
		ck_assert_int_eq(ftruncate(writer->fd, 0), 0);
		usleep(REST_US);
	}
	free(bytes);
	atomic_store(&writer->ended, true);
	return NULL;
}

/*
 * The times of an empty file are of the truncate that has made it so, and never of the write before it. An empty content
 * with the times of a full one was read in the middle of a truncate.
 */
static void read_while_cut(struct writer *writer)
{
	struct content_scratch *scratch = content_scratch_create();
	struct timespec full = { 0 };
	atomic_bool stop = false;
	unsigned read = 0;
	pthread_t thread;
	char path[32];
	int fd;

	ck_assert_ptr_nonnull(scratch);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", writer->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, write_and_cut, writer), 0);
	while (!atomic_load(&writer->ended)) {
		struct content content;
		struct body *body;
		int err;

		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		ck_assert_int_eq(content_begin(&content, fd), 0);
		if (content.size == SIZE) {
			full = content.source.ctime;
			continue;
		}
		if (content.size > 0)
			continue;
		ck_assert_int_eq(body_create(&body, 0), 0);
		err = content_read(&content, body, scratch, &stop);
		body_release(body);
		ck_assert_msg(err == 0 || err == -EAGAIN, "%s", strerror(-err));
		read += err == 0;
		ck_assert_msg(err || content.source.ctime.tv_sec != full.tv_sec ||
		                      content.source.ctime.tv_nsec != full.tv_nsec,
		              "an empty file that has rested, in the middle of a truncate");
	}
	pthread_join(thread, NULL);
	ck_assert_uint_gt(read, 0);
	close(fd);
	content_scratch_free(scratch);
}

START_TEST(a_file_that_is_being_cut_off_has_not_rested)
{
	char path[] = "/tmp/loom-test-content-XXXXXX";
	struct writer writer = { .fd = mkstemp(path) };

	ck_assert_int_ge(writer.fd, 0);
	unlink(path);
	read_while_cut(&writer);
	close(writer.fd);
}
END_TEST

START_TEST(nor_has_one_in_memory)
{
	struct writer writer = { .fd = memfd_create("content", MFD_CLOEXEC) };

	ck_assert_int_ge(writer.fd, 0);
	read_while_cut(&writer);
	close(writer.fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("content");
	TCase *tcase = tcase_create("content");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, a_file_that_is_being_cut_off_has_not_rested);
	tcase_add_test(tcase, nor_has_one_in_memory);
	tcase_set_timeout(tcase, 120);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
