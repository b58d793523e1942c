/*
 * test_compress.c - what is encoded decodes to what it was, and is smaller or not there; and the gate lets nothing else
 * through, whoever made it.
 */
#include <check.h>
#include <errno.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <brotli/encode.h>
#include <zstd.h>

#include "loom/compress.h"

#define KIB 1024
#define MIB (1024 * 1024)

static atomic_bool never;

static uint32_t chance(void)
{
	static uint64_t state = 1;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33);
}

static uint8_t *noise(size_t len)
{
	uint8_t *bytes = malloc(len);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)chance();
	return bytes;
}

/* Words of a small language: it compresses as texts do, about as slowly. */
static uint8_t *text(size_t len)
{
	uint8_t *bytes = malloc(len);

	for (size_t i = 0; i < len;) {
		uint32_t word = chance() % 2000 * (chance() % 16);

		for (unsigned letters = 2 + word % 7; letters > 0 && i < len; letters--, word /= 3)
			bytes[i++] = (uint8_t)('a' + word % 26);
		if (i < len)
			bytes[i++] = ' ';
	}
	return bytes;
}

static struct body *encoded(enum content_coding coding, const uint8_t *bytes, size_t len)
{
	struct body *body = NULL;

	ck_assert_int_eq(compress_encode(&body, coding, bytes, len, &never), 0);
	ck_assert_uint_eq(body->references, 1);
	ck_assert_uint_lt(body->len, len);
	return body;
}

static int matches(enum content_coding coding, const struct body *coded, const uint8_t *bytes, size_t len)
{
	return compress_matches(coding, coded->bytes, coded->len, bytes, len);
}

/* A body from elsewhere. Bytes are copied. */
static struct body *foreign(const void *bytes, size_t len)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, len), 0);
	if (len > 0)
		memcpy(body->bytes, bytes, len);
	return body;
}

static struct body *joined(const struct body *a, const struct body *b)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, a->len + b->len), 0);
	memcpy(body->bytes, a->bytes, a->len);
	memcpy(body->bytes + a->len, b->bytes, b->len);
	return body;
}

/* Encodes anything, also what compress_encode() would not. */
static struct body *any(enum content_coding coding, const uint8_t *bytes, size_t len)
{
	size_t room = len + len / 8 + 1000, made = room;
	uint8_t *coded = malloc(room);
	struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(1);
	struct body *body;

	if (coding == CODING_GZIP)
		made = libdeflate_gzip_compress(deflate, bytes, len, coded, room);
	else if (coding == CODING_BR)
		ck_assert(BrotliEncoderCompress(1, 22, BROTLI_MODE_GENERIC, len, bytes, &made, coded));
	else
		made = ZSTD_compress(coded, room, bytes, len, 1);
	ck_assert(made > 0 && made <= room);
	body = foreign(coded, made);
	libdeflate_free_compressor(deflate);
	free(coded);
	return body;
}

static void roundtrip(enum content_coding coding, const uint8_t *bytes, size_t len)
{
	struct body *body = encoded(coding, bytes, len);
	uint8_t hash[BODY_HASH_LEN];

	ck_assert_int_eq(matches(coding, body, bytes, len), 1);
	memcpy(hash, body->hash, sizeof(hash));
	body_seal(body);
	ck_assert_mem_eq(hash, body->hash, sizeof(hash));
	body_release(body);
}

START_TEST(every_coding_gives_the_content_back)
{
	static const size_t sizes[] = { 300, 1000, 64 * KIB, 64 * KIB + 1, 256 * KIB, 256 * KIB + 1 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *bytes = text(sizes[i]);

		roundtrip(_i, bytes, sizes[i]);
		free(bytes);
	}
}
END_TEST

START_TEST(the_largest_content_is_no_exception)
{
	uint8_t *bytes = calloc(1, COMPRESS_MAX);

	bytes[COMPRESS_MAX - 1] = 'x';
	roundtrip(_i, bytes, COMPRESS_MAX);
	free(bytes);
}
END_TEST

START_TEST(gzip_of_more_than_four_mib_gives_the_content_back)
{
	uint8_t *bytes = text(4 * MIB + 1);

	memset(bytes + 256 * KIB, 'x', 3 * MIB); /* which costs no time */
	roundtrip(CODING_GZIP, bytes, 4 * MIB);
	roundtrip(CODING_GZIP, bytes, 4 * MIB + 1);
	free(bytes);
}
END_TEST

START_TEST(what_would_not_be_smaller_is_not_there)
{
	static const size_t sizes[] = { 1, 2, 3, 10, 1000, 64 * KIB, 300 * KIB };
	struct body *body = NULL;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *bytes = noise(sizes[i]);

		ck_assert_int_eq(compress_encode(&body, _i, bytes, sizes[i], &never), -ENODATA);
		free(bytes);
	}
	ck_assert_ptr_null(body);
}
END_TEST

/* One byte less is enough, and the same number of bytes is not. */
START_TEST(smaller_is_smaller_by_a_byte)
{
	uint8_t bytes[200];
	size_t first = 0;

	memset(bytes, 'x', sizeof(bytes));
	for (size_t len = 1; len <= sizeof(bytes); len++) {
		struct body *body;
		int err = compress_encode(&body, _i, bytes, len, &never);

		if (err) {
			ck_assert_int_eq(err, -ENODATA);
			ck_assert_uint_eq(first, 0);
			continue;
		}
		if (!first)
			first = len;
		if (len == first)
			ck_assert_uint_eq(body->len, len - 1);
		body_release(body);
	}
	ck_assert_uint_gt(first, 0);
}
END_TEST

START_TEST(equal_contents_have_equal_encodings)
{
	uint8_t *bytes = text(300 * KIB);
	struct body *a = encoded(_i, bytes, 300 * KIB), *b = encoded(_i, bytes, 300 * KIB);

	ck_assert_uint_eq(a->len, b->len);
	ck_assert_mem_eq(a->bytes, b->bytes, a->len);
	ck_assert_mem_eq(a->hash, b->hash, BODY_HASH_LEN);
	if (_i == CODING_GZIP)
		ck_assert_mem_eq(a->bytes, "\x1f\x8b\x08\0\0\0\0\0", 8); /* neither name nor time */
	body_release(a);
	body_release(b);
	free(bytes);
}
END_TEST

/* Nor is it larger than what the library gives in one go at that level. */
START_TEST(brotli_loses_nothing_by_pieces)
{
	static const size_t sizes[] = { 300, 5000, 64 * KIB, 300 * KIB };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t best = sizes[i];
		uint8_t *bytes = text(sizes[i]), *room = malloc(sizes[i]);
		struct body *body = encoded(CODING_BR, bytes, sizes[i]);

		ck_assert(BrotliEncoderCompress(11, 22, BROTLI_MODE_GENERIC, sizes[i], bytes, &best, room));
		ck_assert_uint_le(body->len, best);
		body_release(body);
		free(room);
		free(bytes);
	}
}
END_TEST

START_TEST(zstd_has_no_checksum_but_the_length)
{
	uint8_t *bytes = text(300 * KIB);
	struct body *body = encoded(CODING_ZSTD, bytes, 300 * KIB);

	ck_assert_uint_eq(body->bytes[4] & 0x04, 0);
	ck_assert_uint_eq(ZSTD_getFrameContentSize(body->bytes, body->len), 300 * KIB);
	body_release(body);
	free(bytes);
}
END_TEST

static void *stop_now(void *stop)
{
	atomic_store((atomic_bool *)stop, true);
	return NULL;
}

START_TEST(stopping_ends_it)
{
	size_t len = _i == CODING_GZIP ? 1 * MIB : COMPRESS_MAX;
	uint8_t *bytes = text(len);
	struct body *body = NULL;
	atomic_bool stop = true;
	pthread_t thread;

	ck_assert_int_eq(compress_encode(&body, _i, bytes, len, &stop), -ECANCELED);

	/* In the middle. Without a look at stop it would take more than a test may. */
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, stop_now, &stop), 0);
	ck_assert_int_eq(compress_encode(&body, _i, bytes, len, &stop), -ECANCELED);
	pthread_join(thread, NULL);
	ck_assert_ptr_null(body);
	free(bytes);
}
END_TEST

START_TEST(the_gate_knows_the_empty_content)
{
	struct body *coded = any(_i, NULL, 0), *more = any(_i, (const uint8_t *)"x", 1);

	ck_assert_int_eq(matches(_i, coded, NULL, 0), 1);
	ck_assert_int_eq(matches(_i, coded, (const uint8_t *)"x", 1), 0);
	ck_assert_int_eq(matches(_i, more, NULL, 0), 0);
	ck_assert_int_eq(matches(_i, more, (const uint8_t *)"x", 1), 1);
	ck_assert_int_eq(compress_matches(_i, NULL, 0, NULL, 0), 0);
	ck_assert_int_eq(compress_matches(_i, NULL, 0, (const uint8_t *)"x", 1), 0);
	body_release(coded);
	body_release(more);
}
END_TEST

START_TEST(the_gate_lets_every_level_through)
{
	uint8_t *bytes = text(300 * KIB), *random = noise(300 * KIB);
	struct body *a = any(_i, bytes, 300 * KIB), *b = any(_i, random, 300 * KIB);

	ck_assert_int_eq(matches(_i, a, bytes, 300 * KIB), 1);
	ck_assert_int_eq(matches(_i, b, random, 300 * KIB), 1); /* larger than the content, and right */
	body_release(a);
	body_release(b);
	free(bytes);
	free(random);
}
END_TEST

START_TEST(the_gate_refuses_what_is_cut_short)
{
	uint8_t *bytes = text(3000);
	struct body *coded = encoded(_i, bytes, 3000);

	/* From a block of its own, so that a sanitizer sees who reads past the end. */
	for (size_t len = 0; len < coded->len; len++) {
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, coded->bytes, len);
		ck_assert_int_eq(compress_matches(_i, cut, len, bytes, 3000), 0);
		free(cut);
	}
	body_release(coded);
	free(bytes);
}
END_TEST

START_TEST(the_gate_refuses_what_goes_on)
{
	static const char *const tails[] = { "\0", "x", "\r\n", "\x1f\x8b\x08", "\x28\xb5\x2f\xfd" };
	static const size_t lengths[] = { 1, 1, 2, 3, 4 };
	uint8_t *bytes = text(3000);
	struct body *coded = encoded(_i, bytes, 3000);

	for (int i = 0; i < 5; i++) {
		struct body *tail = foreign(tails[i], lengths[i]), *both = joined(coded, tail);

		ck_assert_int_eq(matches(_i, both, bytes, 3000), 0);
		body_release(both);
		body_release(tail);
	}
	body_release(coded);
	free(bytes);
}
END_TEST

START_TEST(the_gate_refuses_other_bytes)
{
	const size_t len = 200 * KIB; /* several chunks of decoding */
	static const size_t places[] = { 0, 1, 64 * KIB - 1, 64 * KIB, 128 * KIB, 200 * KIB - 1 };
	uint8_t *bytes = text(len + 1);
	struct body *coded = encoded(_i, bytes, len);

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		bytes[places[i]] ^= 1;
		ck_assert_int_eq(matches(_i, coded, bytes, len), 0);
		bytes[places[i]] ^= 1;
	}
	ck_assert_int_eq(matches(_i, coded, bytes, len - 1), 0);
	ck_assert_int_eq(matches(_i, coded, bytes, len + 1), 0);
	ck_assert_int_eq(matches(_i, coded, bytes, 0), 0);
	ck_assert_int_eq(matches(_i, coded, bytes, len), 1);
	body_release(coded);
	free(bytes);
}
END_TEST

START_TEST(the_gate_refuses_the_other_codings)
{
	uint8_t *bytes = text(3000);
	struct body *coded = encoded(_i, bytes, 3000), *as_it_is = foreign(bytes, 3000);

	for (enum content_coding other = CODING_GZIP; other < CODINGS; other++) {
		ck_assert_int_eq(matches(other, coded, bytes, 3000), other == (enum content_coding)_i);
		ck_assert_int_eq(matches(other, as_it_is, bytes, 3000), 0);
	}
	body_release(coded);
	body_release(as_it_is);
	free(bytes);
}
END_TEST

START_TEST(the_gate_survives_every_damaged_byte)
{
	uint8_t *bytes = text(500);
	struct body *coded = encoded(_i, bytes, 500);

	for (size_t i = 0; i < coded->len; i++) {
		uint8_t was = coded->bytes[i];

		for (unsigned value = 0; value < 256; value++) {
			int result;

			coded->bytes[i] = (uint8_t)value;
			result = matches(_i, coded, bytes, 500);
			ck_assert(result == 0 || result == 1);
			if (_i == CODING_GZIP && i >= coded->len - 8) /* its checks themselves */
				ck_assert_int_eq(result, value == was);
		}
		coded->bytes[i] = was;
	}
	ck_assert_int_eq(matches(_i, coded, bytes, 500), 1);
	body_release(coded);
	free(bytes);
}
END_TEST

/* Of far more than the content: the gate must not go through all of it, nor hold it. */
START_TEST(the_gate_leaves_a_bomb_alone)
{
	const size_t len = 64 * MIB;
	uint8_t *zeros = calloc(1, len);
	struct body *bomb = any(_i, zeros, len);

	ck_assert_int_eq(matches(_i, bomb, zeros, 10), 0);
	ck_assert_int_eq(matches(_i, bomb, zeros, 1 * MIB), 0);
	ck_assert_int_eq(matches(_i, bomb, zeros, len - 1), 0);
	ck_assert_int_eq(matches(_i, bomb, zeros, len), 1);
	body_release(bomb);
	free(zeros);
}
END_TEST

/* A terabyte, as blocks of one byte repeated: time enough to fail this test for who decodes it all. */
START_TEST(the_gate_leaves_a_large_zstd_bomb_alone)
{
	const size_t blocks = 8 * MIB;
	uint8_t *bomb = malloc(6 + 4 * blocks), zeros[1000] = { 0 };

	memcpy(bomb, "\x28\xb5\x2f\xfd\x00\x68", 6);
	for (size_t i = 0; i < blocks; i++) {
		uint32_t header = (i == blocks - 1) | 1u << 1 | 128 * KIB << 3;

		bomb[6 + 4 * i] = (uint8_t)header;
		bomb[7 + 4 * i] = (uint8_t)(header >> 8);
		bomb[8 + 4 * i] = (uint8_t)(header >> 16);
		bomb[9 + 4 * i] = 0;
	}
	ck_assert_int_eq(compress_matches(CODING_ZSTD, bomb, 6 + 4 * blocks, zeros, sizeof(zeros)), 0);
	free(bomb);
}
END_TEST

START_TEST(gzip_is_one_member)
{
	uint8_t *bytes = text(3000);
	struct body *first = any(CODING_GZIP, bytes, 1500), *second = any(CODING_GZIP, bytes + 1500, 1500);
	struct body *all = any(CODING_GZIP, bytes, 3000), *empty = any(CODING_GZIP, NULL, 0);
	struct body *pairs[] = { joined(first, second), joined(all, empty), joined(empty, all) };

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(matches(CODING_GZIP, pairs[i], bytes, 3000), 0);
		body_release(pairs[i]);
	}
	body_release(first);
	body_release(second);
	body_release(all);
	body_release(empty);
	free(bytes);
}
END_TEST

/* As gzip(1) writes it, with the name of the file. */
START_TEST(gzip_may_have_a_name)
{
	uint8_t *bytes = text(3000);
	struct body *coded = any(CODING_GZIP, bytes, 3000), *head = foreign(coded->bytes, 10);
	struct body *name = foreign("a.txt", 6), *rest = foreign(coded->bytes + 10, coded->len - 10);
	struct body *start = joined(head, name), *named = joined(start, rest);

	named->bytes[3] = 8; /* FNAME */
	named->bytes[4] = 1; /* and a time */
	ck_assert_int_eq(matches(CODING_GZIP, named, bytes, 3000), 1);
	named->bytes[3] = 0;
	ck_assert_int_eq(matches(CODING_GZIP, named, bytes, 3000), 0);
	body_release(coded);
	body_release(head);
	body_release(name);
	body_release(rest);
	body_release(start);
	body_release(named);
	free(bytes);
}
END_TEST

START_TEST(gzip_is_not_zlib_nor_bare_deflate)
{
	uint8_t *bytes = text(3000), room[4000];
	struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(6);
	size_t made = libdeflate_zlib_compress(deflate, bytes, 3000, room, sizeof(room));

	ck_assert_uint_gt(made, 0);
	ck_assert_int_eq(compress_matches(CODING_GZIP, room, made, bytes, 3000), 0);
	made = libdeflate_deflate_compress(deflate, bytes, 3000, room, sizeof(room));
	ck_assert_uint_gt(made, 0);
	ck_assert_int_eq(compress_matches(CODING_GZIP, room, made, bytes, 3000), 0);
	libdeflate_free_compressor(deflate);
	free(bytes);
}
END_TEST

START_TEST(br_has_no_large_window)
{
	uint8_t *bytes = text(3000), room[4000];

	for (uint32_t large = 0; large < 2; large++) {
		BrotliEncoderState *encoder = BrotliEncoderCreateInstance(NULL, NULL, NULL);
		const uint8_t *next = bytes;
		uint8_t *end = room;
		size_t left = 3000, free_room = sizeof(room);

		ck_assert(BrotliEncoderSetParameter(encoder, BROTLI_PARAM_LARGE_WINDOW, large));
		ck_assert(BrotliEncoderSetParameter(encoder, BROTLI_PARAM_LGWIN, large ? 25 : 24));
		ck_assert(BrotliEncoderCompressStream(encoder, BROTLI_OPERATION_FINISH, &left, &next, &free_room, &end,
		                                      NULL));
		ck_assert(BrotliEncoderIsFinished(encoder));
		ck_assert_int_eq(compress_matches(CODING_BR, room, sizeof(room) - free_room, bytes, 3000), !large);
		BrotliEncoderDestroyInstance(encoder);
	}
	free(bytes);
}
END_TEST

/* A frame of one block as it is, with a window of the encoder's choice and a length. */
static int zstd_window_matches(uint8_t window)
{
	uint8_t frame[11 + 300] = "\x28\xb5\x2f\xfd\x40", content[300];

	memset(content, 'x', sizeof(content));
	frame[5] = window;
	frame[6] = 300 - 256;
	frame[7] = 0;
	frame[8] = (uint8_t)(1 | (300 << 3 & 0xff));
	frame[9] = 300 >> 5;
	frame[10] = 0;
	memcpy(frame + 11, content, sizeof(content));
	ck_assert_uint_eq(ZSTD_decompress(content, sizeof(content), frame, sizeof(frame)), sizeof(content));
	return compress_matches(CODING_ZSTD, frame, sizeof(frame), content, sizeof(content));
}

START_TEST(zstd_windows_are_of_eight_mib_at_most)
{
	ck_assert_int_eq(zstd_window_matches(0), 1);
	ck_assert_int_eq(zstd_window_matches(12 << 3 | 7), 1);
	ck_assert_int_eq(zstd_window_matches(13 << 3), 1); /* 8 MiB */
	ck_assert_int_eq(zstd_window_matches(13 << 3 | 1), 0);
	ck_assert_int_eq(zstd_window_matches(14 << 3), 0);
	ck_assert_int_eq(zstd_window_matches(17 << 3), 0);
}
END_TEST

/* As an encoder makes it that is not told the length; and one whose window is all of a large content. */
START_TEST(zstd_windows_of_sixteen_mib_are_refused)
{
	const size_t len = 9 * MIB;
	uint8_t *zeros = calloc(1, len), *room = malloc(len);

	for (int log = 23; log <= 24; log++) {
		for (int told = 0; told < 2; told++) {
			ZSTD_CCtx *encoder = ZSTD_createCCtx();
			ZSTD_inBuffer in = { .src = zeros, .size = len };
			ZSTD_outBuffer out = { .dst = room, .size = len };

			ZSTD_CCtx_setParameter(encoder, ZSTD_c_compressionLevel, 1);
			ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog, log);
			if (told)
				ZSTD_CCtx_setPledgedSrcSize(encoder, len);
			else
				ck_assert(!ZSTD_isError(ZSTD_compressStream2(encoder, &out, &in, ZSTD_e_flush)));
			ck_assert_uint_eq(ZSTD_compressStream2(encoder, &out, &in, ZSTD_e_end), 0);
			ck_assert_int_eq(compress_matches(CODING_ZSTD, room, out.pos, zeros, len), log == 23);
			ZSTD_freeCCtx(encoder);
		}
	}
	free(zeros);
	free(room);
}
END_TEST

START_TEST(zstd_may_have_several_frames)
{
	uint8_t *bytes = text(3000);
	struct body *first = any(CODING_ZSTD, bytes, 1500), *second = any(CODING_ZSTD, bytes + 1500, 1500);
	struct body *skipped = foreign("\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
	struct body *start = joined(first, skipped), *all = joined(start, second);
	struct body *pair = joined(first, second);

	ck_assert_int_eq(matches(CODING_ZSTD, pair, bytes, 3000), 1);
	ck_assert_int_eq(matches(CODING_ZSTD, all, bytes, 3000), 1);
	ck_assert_int_eq(matches(CODING_ZSTD, start, bytes, 1500), 1);
	ck_assert_int_eq(matches(CODING_ZSTD, first, bytes, 3000), 0);
	for (size_t len = first->len + 1; len < all->len; len++)
		if (len != start->len)
			ck_assert_int_eq(compress_matches(CODING_ZSTD, all->bytes, len, bytes, 1500), 0);
	body_release(first);
	body_release(second);
	body_release(skipped);
	body_release(start);
	body_release(all);
	body_release(pair);
	free(bytes);
}
END_TEST

START_TEST(a_zstd_checksum_counts)
{
	uint8_t *bytes = text(3000), room[4000];
	ZSTD_CCtx *encoder = ZSTD_createCCtx();
	size_t made;

	ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 1);
	made = ZSTD_compress2(encoder, room, sizeof(room), bytes, 3000);
	ck_assert(!ZSTD_isError(made));
	ck_assert_int_eq(compress_matches(CODING_ZSTD, room, made, bytes, 3000), 1);
	room[made - 1] ^= 1;
	ck_assert_int_eq(compress_matches(CODING_ZSTD, room, made, bytes, 3000), 0);
	ZSTD_freeCCtx(encoder);
	free(bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compress");
	TCase *codings = tcase_create("codings"), *gate = tcase_create("gate");
	SRunner *runner;
	int failed;

	tcase_set_timeout(codings, 60);
	tcase_add_loop_test(codings, every_coding_gives_the_content_back, CODING_GZIP, CODINGS);
	tcase_add_loop_test(codings, the_largest_content_is_no_exception, CODING_GZIP, CODINGS);
	tcase_add_test(codings, gzip_of_more_than_four_mib_gives_the_content_back);
	tcase_add_loop_test(codings, what_would_not_be_smaller_is_not_there, CODING_GZIP, CODINGS);
	tcase_add_loop_test(codings, smaller_is_smaller_by_a_byte, CODING_GZIP, CODINGS);
	tcase_add_loop_test(codings, equal_contents_have_equal_encodings, CODING_GZIP, CODINGS);
	tcase_add_test(codings, brotli_loses_nothing_by_pieces);
	tcase_add_test(codings, zstd_has_no_checksum_but_the_length);
	tcase_add_loop_test(codings, stopping_ends_it, CODING_GZIP, CODINGS);
	suite_add_tcase(suite, codings);

	tcase_set_timeout(gate, 30);
	tcase_add_loop_test(gate, the_gate_knows_the_empty_content, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_lets_every_level_through, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_refuses_what_is_cut_short, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_refuses_what_goes_on, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_refuses_other_bytes, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_refuses_the_other_codings, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_survives_every_damaged_byte, CODING_GZIP, CODINGS);
	tcase_add_loop_test(gate, the_gate_leaves_a_bomb_alone, CODING_GZIP, CODINGS);
	tcase_add_test(gate, the_gate_leaves_a_large_zstd_bomb_alone);
	tcase_add_test(gate, gzip_is_one_member);
	tcase_add_test(gate, gzip_may_have_a_name);
	tcase_add_test(gate, gzip_is_not_zlib_nor_bare_deflate);
	tcase_add_test(gate, br_has_no_large_window);
	tcase_add_test(gate, zstd_windows_are_of_eight_mib_at_most);
	tcase_add_test(gate, zstd_windows_of_sixteen_mib_are_refused);
	tcase_add_test(gate, zstd_may_have_several_frames);
	tcase_add_test(gate, a_zstd_checksum_counts);
	suite_add_tcase(suite, gate);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
