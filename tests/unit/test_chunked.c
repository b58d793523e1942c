/*
 * test_chunked.c - bodies in the chunked transfer coding: what is one and what is not, to the letter of RFC 9112 7.1;
 * and the same however the bytes are split.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/chunked.h"

#define SIZE_LIMIT 0x1000

struct reading {
	enum chunked_progress progress;
	size_t used;
};

/* Reads in two pieces and from memory of exactly their length, so that a sanitizer sees a byte too far. */
static struct reading read_split(const char *bytes, size_t len, size_t first)
{
	struct reading reading = { .progress = CHUNKED_MORE };
	struct chunked chunked;

	chunked_begin(&chunked);
	for (int i = 0; i < 2 && reading.progress == CHUNKED_MORE; i++) {
		size_t n = i ? len - first : first, used = 4711;
		char *copy = malloc(n ? n : 1);

		memcpy(copy, bytes + (i ? first : 0), n);
		reading.progress = chunked_read(&chunked, copy, n, SIZE_LIMIT, &used);
		free(copy);
		if (reading.progress == CHUNKED_MORE)
			ck_assert_uint_eq(used, n);
		if (reading.progress == CHUNKED_MORE || reading.progress == CHUNKED_END)
			reading.used += used;
	}
	return reading;
}

static struct reading read_a_byte_at_a_time(const char *bytes, size_t len)
{
	struct reading reading = { .progress = CHUNKED_MORE };
	struct chunked chunked;

	chunked_begin(&chunked);
	for (size_t i = 0; i < len && reading.progress == CHUNKED_MORE; i++) {
		size_t used = 4711;

		reading.progress = chunked_read(&chunked, bytes + i, 1, SIZE_LIMIT, &used);
		if (reading.progress == CHUNKED_MORE || reading.progress == CHUNKED_END)
			ck_assert_uint_eq(used, 1);
		reading.used++;
	}
	return reading;
}

/* Every split gives what all at once gives. */
static struct reading read_bytes(const char *bytes, size_t len)
{
	struct reading whole = read_split(bytes, len, 0), again;

	for (size_t first = 1; first <= len; first++) {
		again = read_split(bytes, len, first);
		ck_assert_msg(again.progress == whole.progress, "split at %zu: %d instead of %d: %.*s", first,
		              again.progress, whole.progress, (int)len, bytes);
		ck_assert(whole.progress != CHUNKED_END || again.used == whole.used);
	}
	again = read_a_byte_at_a_time(bytes, len);
	ck_assert_int_eq(again.progress, whole.progress);
	ck_assert(whole.progress != CHUNKED_END || again.used == whole.used);
	return whole;
}

static const char *const good[] = {
	"0\r\n\r\n",
	"00000000000000000000000000000000\r\n\r\n",
	"1\r\na\r\n0\r\n\r\n",
	"5\r\nhello\r\n0\r\n\r\n",
	"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
	"a\r\n0123456789\r\n0\r\n\r\n",
	"A\r\n0123456789\r\n0\r\n\r\n",
	"00A\r\n0123456789\r\n0\r\n\r\n",
	"2\r\n\r\n\r\n0\r\n\r\n", /* data is any bytes */
	"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
	/* extensions, 7.1.1 */
	"0;x\r\n\r\n",
	"0;x=y\r\n\r\n",
	"1;x=\"q;\xe9\t\"\r\na\r\n0;last\r\n\r\n",
	"1 ;x\r\na\r\n0\t ;y\r\n\r\n", /* BWS */
	"1; x = y ;z\r\na\r\n0\r\n\r\n",
	"1;\r\na\r\n0\r\n\r\n",
	/* trailers, 7.1.2 */
	"0\r\nX: y\r\n\r\n",
	"0\r\nX:\r\n\r\n",
	"0\r\nx-y_z!#$%&'*+.^`|~0: \t\xff \r\nA: b\r\n\r\n",
};

START_TEST(what_is_a_body_ends_where_it_ends)
{
	char bytes[256];
	size_t len = strlen(good[_i]);
	struct reading reading;

	reading = read_bytes(good[_i], len);
	ck_assert_msg(reading.progress == CHUNKED_END, "%d: %s", reading.progress, good[_i]);
	ck_assert_uint_eq(reading.used, len);

	/* What comes after it is not looked at. */
	snprintf(bytes, sizeof(bytes), "%s%s", good[_i], "\n\r GET / HTTP/1.1\r\n\r\n");
	reading = read_bytes(bytes, strlen(bytes));
	ck_assert_int_eq(reading.progress, CHUNKED_END);
	ck_assert_uint_eq(reading.used, len);

	/* And every beginning of it wants more. */
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(read_bytes(good[_i], cut).progress, CHUNKED_MORE);
}
END_TEST

static const char *const bad[] = {
	/* sizes */
	"\r\n", "\n", " 0\r\n", "x", "g\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "1_0\r\n", "1h\r\n", "\"1\"\r\n", "1.\r\n",
	";x\r\n", "1\na", "1\ra", "1\r\r\na", "1 \r\na", "1\t\r\na", "1 1\r\n", "0 \r\n", "0\n", "0\r\r", "0\r0",
	/* extensions */
	"0;x\n", "0;x\ry", "0;x\r\r", "0;x\x01", "0;x\x7f", "0;x\v",
	/* data */
	"1\r\nab", "1\r\na\n", "1\r\na\ra", "1\r\na\r\r", "1\r\na0\r\n\r\n", "1\r\n\r\n0\r\n\r\n",
	"2\r\na\r\n0\r\n\r\n", "1\r\na\r\n\r\n", "1\r\na\r\n \r\n",
	/* trailers */
	"0\r\n\n", "0\r\n\r\r", "0\r\n\rX", "0\r\nX\r\n", "0\r\nX y\r\n", "0\r\nX : y\r\n", "0\r\n X: y\r\n",
	"0\r\n: y\r\n", "0\r\nX: y\n", "0\r\nX: y\ry", "0\r\nX: y\r\n z\r\n", /* a fold */
	"0\r\nX: y\r\n\tz\r\n", "0\r\nX: \x01\r\n", "0\r\nX: \x7f\r\n", "0\r\nX(: y\r\n",
	"0\r\n0\r\n\r\n", /* "0" would be a name */
};

START_TEST(what_is_none_is_refused)
{
	size_t len = strlen(bad[_i]);
	char bytes[256];

	ck_assert_msg(read_bytes(bad[_i], len).progress == CHUNKED_BAD, "%s", bad[_i]);
	/* Also with a good one behind it. */
	snprintf(bytes, sizeof(bytes), "%s%s", bad[_i], "0\r\n\r\n");
	ck_assert_int_eq(read_bytes(bytes, strlen(bytes)).progress, CHUNKED_BAD);
}
END_TEST

START_TEST(a_nul_is_data_and_nothing_else)
{
	static const char as_data[] = "1\r\n\0\r\n0\r\n\r\n", in_size[] = "1\0\r\n", in_extension[] = "1;\0\r\n",
			  in_trailer[] = "0\r\nX: \0\r\n", in_name[] = "0\r\nX\0: y\r\n";

	ck_assert_int_eq(read_bytes(as_data, sizeof(as_data) - 1).progress, CHUNKED_END);
	ck_assert_int_eq(read_bytes(in_size, sizeof(in_size) - 1).progress, CHUNKED_BAD);
	ck_assert_int_eq(read_bytes(in_extension, sizeof(in_extension) - 1).progress, CHUNKED_BAD);
	ck_assert_int_eq(read_bytes(in_trailer, sizeof(in_trailer) - 1).progress, CHUNKED_BAD);
	ck_assert_int_eq(read_bytes(in_name, sizeof(in_name) - 1).progress, CHUNKED_BAD);
}
END_TEST

START_TEST(a_chunk_has_a_limit_that_is_exact)
{
	char bytes[SIZE_LIMIT + 32];
	size_t n = (size_t)sprintf(bytes, "%x\r\n", SIZE_LIMIT);

	memset(bytes + n, '\n', SIZE_LIMIT);
	n += SIZE_LIMIT;
	n += (size_t)sprintf(bytes + n, "\r\n0\r\n\r\n");
	ck_assert_int_eq(read_split(bytes, n, 0).progress, CHUNKED_END);
	ck_assert_int_eq(read_split(bytes, n, 1000).progress, CHUNKED_END);
	ck_assert_int_eq(read_a_byte_at_a_time(bytes, n).progress, CHUNKED_END);

	/* Known with the last digit, before the line is over. */
	sprintf(bytes, "%x", SIZE_LIMIT + 1);
	ck_assert_int_eq(read_bytes(bytes, strlen(bytes)).progress, CHUNKED_TOO_LARGE);
	sprintf(bytes, "0000000000000000000%x", SIZE_LIMIT + 1);
	ck_assert_int_eq(read_bytes(bytes, strlen(bytes)).progress, CHUNKED_TOO_LARGE);
	/* Sizes that are small again where 32 or 64 bits end. */
	ck_assert_int_eq(read_bytes("100000001\r\n", 11).progress, CHUNKED_TOO_LARGE);
	ck_assert_int_eq(read_bytes("10000000000000001\r\n", 19).progress, CHUNKED_TOO_LARGE);
	ck_assert_int_eq(read_bytes("fffffffffffffffff\r\n", 19).progress, CHUNKED_TOO_LARGE);
	ck_assert_int_eq(read_bytes("1\r\na\r\n80000000000000000\r\n", 25).progress, CHUNKED_TOO_LARGE);
}
END_TEST

START_TEST(the_largest_limit_has_no_overflow)
{
	static const char size[] = "ffffffffffffff", more[] = "1000000000000000";
	struct chunked chunked;
	size_t used;

	chunked_begin(&chunked);
	ck_assert_int_eq(chunked_read(&chunked, size, strlen(size), (UINT64_C(1) << 60) - 1, &used), CHUNKED_MORE);
	ck_assert_int_eq(chunked_read(&chunked, "f", 1, (UINT64_C(1) << 60) - 1, &used), CHUNKED_MORE);
	ck_assert_int_eq(chunked_read(&chunked, "0", 1, (UINT64_C(1) << 60) - 1, &used), CHUNKED_TOO_LARGE);
	chunked_begin(&chunked);
	ck_assert_int_eq(chunked_read(&chunked, more, strlen(more), (UINT64_C(1) << 60) - 1, &used), CHUNKED_TOO_LARGE);
}
END_TEST

START_TEST(nothing_is_allowed_where_the_limit_is_nothing)
{
	struct chunked chunked;
	size_t used;

	chunked_begin(&chunked);
	ck_assert_int_eq(chunked_read(&chunked, "0\r\n\r\n", 5, 0, &used), CHUNKED_END);
	ck_assert_uint_eq(used, 5);
	chunked_begin(&chunked);
	ck_assert_int_eq(chunked_read(&chunked, "1", 1, 0, &used), CHUNKED_TOO_LARGE);
}
END_TEST

START_TEST(what_was_refused_stays_refused)
{
	struct chunked chunked;
	size_t used;

	chunked_begin(&chunked);
	ck_assert_int_eq(chunked_read(&chunked, "x", 1, SIZE_LIMIT, &used), CHUNKED_BAD);
	ck_assert_int_eq(chunked_read(&chunked, "0\r\n\r\n", 5, SIZE_LIMIT, &used), CHUNKED_BAD);
}
END_TEST

/* Bodies of chance, and what one changed byte makes of them: the verdict is the same for every split. */
START_TEST(chance_finds_no_split_that_matters)
{
	static const char alphabet[] = "0123af;=\" \t\r\n\r\n:XyZ\x01\x80";
	unsigned seed = 7, ends = 0, bads = 0;

	for (int round = 0; round < 20000; round++) {
		char bytes[64];
		size_t len = 0, from;
		struct reading reading;

		seed = seed * 1103515245 + 12345;
		from = seed / 65536 % (sizeof(good) / sizeof(good[0]));
		len = strlen(good[from]) < sizeof(bytes) ? strlen(good[from]) : sizeof(bytes);
		memcpy(bytes, good[from], len);
		seed = seed * 1103515245 + 12345;
		from = seed / 65536 % len;
		seed = seed * 1103515245 + 12345;
		bytes[from] = alphabet[seed / 65536 % (sizeof(alphabet) - 1)];
		reading = read_bytes(bytes, len);
		ends += reading.progress == CHUNKED_END;
		bads += reading.progress == CHUNKED_BAD;
	}
	ck_assert_uint_gt(ends, 1000);
	ck_assert_uint_gt(bads, 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chunked");
	TCase *tcase = tcase_create("chunked");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, what_is_a_body_ends_where_it_ends, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tcase, what_is_none_is_refused, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tcase, a_nul_is_data_and_nothing_else);
	tcase_add_test(tcase, a_chunk_has_a_limit_that_is_exact);
	tcase_add_test(tcase, the_largest_limit_has_no_overflow);
	tcase_add_test(tcase, nothing_is_allowed_where_the_limit_is_nothing);
	tcase_add_test(tcase, what_was_refused_stays_refused);
	tcase_add_test(tcase, chance_finds_no_split_that_matters);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
