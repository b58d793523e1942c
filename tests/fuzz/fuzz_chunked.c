/*
 * fuzz_chunked.c - bodies in the chunked coding (chunked.h). The input is FUZZ_PIECES bytes that choose how it is
 * split, and the body, with whatever follows.
 *
 * What must hold: the result, and where the body ends, are the same however the bytes come, and are those of a second
 * reading of the grammar (RFC 9112 7.1), which sees all of them at once.
 */
#include "fuzz.h"

#include <stdlib.h>

#include "loom/chunked.h"
#include "model.h"

#define SIZE_LIMIT 1000

struct reading {
	enum chunked_progress progress;
	size_t used;
};

static struct reading read_body(const uint8_t *bytes, size_t len, struct fuzz_pieces pieces)
{
	struct reading reading = { .progress = CHUNKED_MORE };
	struct chunked chunked;

	chunked_begin(&chunked);
	while (reading.progress == CHUNKED_MORE && reading.used < len) {
		size_t n = fuzz_next_piece(&pieces, len - reading.used), used = SIZE_MAX;
		char *piece = fuzz_copy(bytes + reading.used, n);

		reading.progress = chunked_read(&chunked, piece, n, SIZE_LIMIT, &used);
		free(piece);
		if (reading.progress == CHUNKED_MORE)
			fuzz_require(used == n, "%zu of %zu bytes were used, and there should be more", used, n);
		if (reading.progress == CHUNKED_END)
			fuzz_require(used >= 1 && used <= n, "%zu of %zu bytes were used", used, n);
		if (reading.progress == CHUNKED_MORE || reading.progress == CHUNKED_END)
			reading.used += used;
	}
	return reading;
}

static struct reading model(const uint8_t *bytes, size_t len)
{
	static const enum chunked_progress progress[] = {
		[MODEL_MORE] = CHUNKED_MORE,
		[MODEL_END] = CHUNKED_END,
		[MODEL_BAD] = CHUNKED_BAD,
		[MODEL_TOO_LARGE] = CHUNKED_TOO_LARGE,
	};
	struct reading reading = { 0 };

	reading.progress = progress[model_chunked(bytes, len, SIZE_LIMIT, &reading.used)];
	return reading;
}

static void compare(struct reading reading, struct reading expected, const char *what)
{
	fuzz_require(reading.progress == expected.progress, "%s: progress %d instead of %d", what, reading.progress,
	             expected.progress);
	if (reading.progress == CHUNKED_END)
		fuzz_require(reading.used == expected.used, "%s: the body ends after %zu bytes instead of %zu", what,
		             reading.used, expected.used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading whole;

	if (size < FUZZ_PIECES || size > 8192)
		return 0;
	whole = read_body(data + FUZZ_PIECES, size - FUZZ_PIECES, FUZZ_WHOLE);
	compare(whole, model(data + FUZZ_PIECES, size - FUZZ_PIECES), "read, and read by the model");
	compare(read_body(data + FUZZ_PIECES, size - FUZZ_PIECES, FUZZ_BYTEWISE), whole, "a byte at a time");
	compare(read_body(data + FUZZ_PIECES, size - FUZZ_PIECES, fuzz_pieces(data)), whole, "in pieces");
	return 0;
}
