/*
 * compress.c - see compress.h. Runs on the compressing threads and on the builder's. No state: every call makes its
 * encoder or decoder and frees it, as one takes far longer to work than to make, and contents are far apart in size.
 *
 * brotli and zstd get the content in pieces, and the wish to stop is looked at in between. Their decoders give what
 * they decode in pieces too, which are compared and forgotten: memory does not grow with what somebody else's file
 * decodes to.
 */
#include "loom/compress.h"

#include <assert.h>
#include <brotli/decode.h>
#include <brotli/encode.h>
#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "loom/log.h"

#define PIECE (256 * 1024)
#define CHUNK (64 * 1024)

#define GZIP_LEVEL       12
#define GZIP_LEVEL_LARGE 9
#define GZIP_LARGE       (4 * 1024 * 1024)
#define ZSTD_LEVEL       19
#define ZSTD_WINDOW_LOG  23 /* 8 MiB: what clients need not go beyond (RFC 9659) */
#define ZSTD_WINDOW_MAX  (UINT64_C(1) << ZSTD_WINDOW_LOG)

#define ZSTD_MAGIC           UINT32_C(0xFD2FB528)
#define ZSTD_MAGIC_SKIPPABLE UINT32_C(0x184D2A50) /* and the 15 after it */

/* More room than for what is smaller than the content: libdeflate gives up a few bytes before its room is used up. */
#define ROOM_EXTRA 64

/* Content on its way into an encoder, and the room for the result. */
struct work {
	const uint8_t *bytes;
	size_t len;
	uint8_t *room;
	size_t room_len;
	const atomic_bool *stop;
};

static bool stopped(const struct work *work)
{
	return atomic_load_explicit(work->stop, memory_order_relaxed);
}

/* The encoders: 0 with the length of the result, or -errno as compress_encode(). */

static int gzip_encode(const struct work *work, size_t *made)
{
	struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(work->len > GZIP_LARGE ? GZIP_LEVEL_LARGE
	                                                                                              : GZIP_LEVEL);

	if (!compressor)
		return -ENOMEM;
	/* No name and no time in the header. */
	*made = libdeflate_gzip_compress(compressor, work->bytes, work->len, work->room, work->room_len);
	libdeflate_free_compressor(compressor);
	return *made ? 0 : -ENODATA;
}

/*
 * The smallest window that the whole content fits into: a larger one makes no result smaller, and takes more of the
 * client. Below 2^18 brotli would cut its blocks in another way, to no gain.
 */
static uint32_t brotli_window(size_t len)
{
	uint32_t bits = 18;

	while (bits < BROTLI_MAX_WINDOW_BITS && ((size_t)1 << bits) - 16 < len)
		bits++;
	return bits;
}

static int brotli_pieces(BrotliEncoderState *encoder, const struct work *work, size_t *made)
{
	const uint8_t *next = work->bytes;
	uint8_t *end = work->room;
	size_t left = work->len, room_left = work->room_len;

	while (!BrotliEncoderIsFinished(encoder)) {
		size_t piece = left < PIECE ? left : PIECE;
		size_t unread = piece;

		if (stopped(work))
			return -ECANCELED;
		if (!BrotliEncoderCompressStream(encoder,
		                                 piece == left ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_PROCESS,
		                                 &unread, &next, &room_left, &end, NULL))
			return -ENOMEM; /* the arguments being right, there is no other reason */
		left -= piece - unread;
		if (room_left == 0 && !BrotliEncoderIsFinished(encoder))
			return -ENODATA;
	}
	*made = work->room_len - room_left;
	return 0;
}

static int brotli_encode(const struct work *work, size_t *made)
{
	BrotliEncoderState *encoder = BrotliEncoderCreateInstance(NULL, NULL, NULL);
	int err;

	if (!encoder)
		return -ENOMEM;
	BrotliEncoderSetParameter(encoder, BROTLI_PARAM_QUALITY, BROTLI_MAX_QUALITY);
	BrotliEncoderSetParameter(encoder, BROTLI_PARAM_LGWIN, brotli_window(work->len));
	BrotliEncoderSetParameter(encoder, BROTLI_PARAM_SIZE_HINT, (uint32_t)work->len);
	err = brotli_pieces(encoder, work, made);
	BrotliEncoderDestroyInstance(encoder);
	return err;
}

static int zstd_failed(size_t result)
{
	if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
		return -ENOMEM;
	log_warn("cannot compress with zstd: %s", ZSTD_getErrorName(result));
	return -EIO;
}

static int zstd_pieces(ZSTD_CCtx *encoder, const struct work *work, size_t *made)
{
	ZSTD_outBuffer out = { .dst = work->room, .size = work->room_len };
	size_t given = 0;

	for (;;) {
		size_t piece = work->len - given < PIECE ? work->len - given : PIECE;
		ZSTD_inBuffer in = { .src = work->bytes + given, .size = piece };
		bool last = given + piece == work->len;
		size_t left;

		if (stopped(work))
			return -ECANCELED;
		left = ZSTD_compressStream2(encoder, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return zstd_failed(left);
		given += in.pos;
		if (last && left == 0)
			break;
		if (out.pos == out.size)
			return -ENODATA;
	}
	*made = out.pos;
	return 0;
}

static int zstd_encode(const struct work *work, size_t *made)
{
	ZSTD_CCtx *encoder = ZSTD_createCCtx();
	int err;

	if (!encoder)
		return -ENOMEM;
	ZSTD_CCtx_setParameter(encoder, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	/* The library makes it smaller for a smaller content, whose length it is told. */
	ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog, ZSTD_WINDOW_LOG);
	ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 0);
	ZSTD_CCtx_setPledgedSrcSize(encoder, work->len);
	err = zstd_pieces(encoder, work, made);
	ZSTD_freeCCtx(encoder);
	return err;
}

static int encode(enum content_coding coding, const struct work *work, size_t *made)
{
	switch (coding) {
	case CODING_GZIP:
		return gzip_encode(work, made);
	case CODING_BR:
		return brotli_encode(work, made);
	case CODING_ZSTD:
		return zstd_encode(work, made);
	case CODING_IDENTITY:
	case CODINGS:
		break;
	}
	assert(!"a content coding");
	abort();
}

/* A body of what was made, if it is right. */
static int keep(struct body **coded, enum content_coding coding, const struct work *work, size_t made)
{
	struct body *body;
	int matches = compress_matches(coding, work->room, made, work->bytes, work->len);
	int err;

	if (matches < 0)
		return matches;
	if (!matches) {
		log_warn(
			"%zu bytes, compressed (%s), do not decode to what they were: they are served as they are; check "
			"this machine's memory and its libraries",
			work->len, coding_name(coding));
		return -EIO;
	}
	err = body_create(&body, made);
	if (err)
		return err;
	memcpy(body->bytes, work->room, made);
	body_seal(body);
	*coded = body;
	return 0;
}

int compress_encode(struct body **coded, enum content_coding coding, const uint8_t *bytes, uint64_t len,
                    const atomic_bool *stop)
{
	struct work work = { .bytes = bytes, .len = len, .room_len = len + ROOM_EXTRA, .stop = stop };
	size_t made = 0;
	int err;

	assert(len > 0 && len <= COMPRESS_MAX);
	assert(stop);

	if (stopped(&work))
		return -ECANCELED;
	work.room = malloc(work.room_len);
	if (!work.room)
		return -ENOMEM;
	err = encode(coding, &work, &made);
	if (!err && stopped(&work))
		err = -ECANCELED;
	if (!err && made >= len)
		err = -ENODATA;
	if (!err)
		err = keep(coded, coding, &work, made);
	free(work.room);
	return err;
}

/* What decoded content is held against. */
struct expected {
	const uint8_t *bytes;
	uint64_t left;
};

static bool goes_on(struct expected *expected, const uint8_t *decoded, size_t len)
{
	if (len == 0)
		return true; /* where nothing is expected, bytes is NULL */
	if (len > expected->left || memcmp(expected->bytes, decoded, len) != 0)
		return false;
	expected->bytes += len;
	expected->left -= len;
	return true;
}

/* libdeflate decodes in one go only, but into no more room than there is. */
static int gzip_matches(const uint8_t *coded, size_t coded_len, const uint8_t *bytes, size_t len)
{
	struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
	uint8_t *decoded = malloc(len ? len : 1);
	size_t read, made;
	int matches = -ENOMEM;

	if (decompressor && decoded) {
		enum libdeflate_result result = libdeflate_gzip_decompress_ex(decompressor, coded, coded_len, decoded,
		                                                              len, &read, &made);

		matches = result == LIBDEFLATE_SUCCESS && read == coded_len && made == len &&
		          (len == 0 || memcmp(decoded, bytes, len) == 0);
	}
	free(decoded);
	if (decompressor)
		libdeflate_free_decompressor(decompressor);
	return matches;
}

static bool brotli_out_of_memory(const BrotliDecoderState *decoder)
{
	BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(decoder);

	return code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
}

static int brotli_chunks(BrotliDecoderState *decoder, const uint8_t *coded, size_t coded_len, uint8_t chunk[CHUNK],
                         struct expected *expected)
{
	BrotliDecoderResult result;

	do {
		uint8_t *end = chunk;
		size_t room = CHUNK;

		result = BrotliDecoderDecompressStream(decoder, &coded_len, &coded, &room, &end, NULL);
		if (result == BROTLI_DECODER_RESULT_ERROR && brotli_out_of_memory(decoder))
			return -ENOMEM;
		if (!goes_on(expected, chunk, CHUNK - room))
			return 0;
	} while (result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT);
	return result == BROTLI_DECODER_RESULT_SUCCESS && coded_len == 0 && expected->left == 0;
}

static int brotli_matches(const uint8_t *coded, size_t coded_len, uint8_t chunk[CHUNK], struct expected *expected)
{
	BrotliDecoderState *decoder = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	int matches;

	if (!decoder)
		return -ENOMEM;
	/* Large windows, which RFC 7932 does not know, are refused unless they are asked for. */
	matches = brotli_chunks(decoder, coded, coded_len, chunk, expected);
	BrotliDecoderDestroyInstance(decoder);
	return matches;
}

static uint32_t little_endian(const uint8_t *bytes)
{
	return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/*
 * Whether a frame is one that clients know, with a window that they need (RFC 8878 3.1.1). The library alone does not
 * tell: it decodes formats older than the RFC, and looks at no window where it can do without.
 */
static bool zstd_frame_allowed(const uint8_t *frame, size_t left)
{
	uint64_t base;

	if (left < 6)
		return false;
	if ((little_endian(frame) & UINT32_C(0xFFFFFFF0)) == ZSTD_MAGIC_SKIPPABLE)
		return true;
	if (little_endian(frame) != ZSTD_MAGIC)
		return false;
	if (frame[4] & 0x20)
		return true; /* a single segment: the window is the content, and the library looks at that */
	base = UINT64_C(1) << (10 + (frame[5] >> 3));
	return base + base / 8 * (frame[5] & 7) <= ZSTD_WINDOW_MAX;
}

static int zstd_chunks(ZSTD_DCtx *decoder, const uint8_t *coded, size_t coded_len, uint8_t chunk[CHUNK],
                       struct expected *expected)
{
	ZSTD_inBuffer in = { .src = coded, .size = coded_len };
	size_t left = 0; /* 0: between frames */

	do {
		ZSTD_outBuffer out = { .dst = chunk, .size = CHUNK };

		if (left == 0 && !zstd_frame_allowed(coded + in.pos, coded_len - in.pos))
			return 0;
		left = ZSTD_decompressStream(decoder, &out, &in);
		if (ZSTD_isError(left))
			return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
		if (!goes_on(expected, chunk, out.pos))
			return 0;
		if (left > 0 && in.pos == in.size && out.pos < out.size)
			return 0; /* it ends too early */
	} while (left > 0 || in.pos < in.size);
	return expected->left == 0;
}

static int zstd_matches(const uint8_t *coded, size_t coded_len, uint8_t chunk[CHUNK], struct expected *expected)
{
	ZSTD_DCtx *decoder = ZSTD_createDCtx();
	int matches;

	if (!decoder)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(decoder, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	matches = zstd_chunks(decoder, coded, coded_len, chunk, expected);
	ZSTD_freeDCtx(decoder);
	return matches;
}

int compress_matches(enum content_coding coding, const uint8_t *coded, uint64_t coded_len, const uint8_t *bytes,
                     uint64_t len)
{
	struct expected expected = { .bytes = bytes, .left = len };
	uint8_t *chunk;
	int matches;

	assert(coding > CODING_IDENTITY && coding < CODINGS);

	if (coded_len == 0)
		return 0; /* no coding has so short an encoding of anything */
	if (coding == CODING_GZIP)
		return gzip_matches(coded, coded_len, bytes, len);
	chunk = malloc(CHUNK);
	if (!chunk)
		return -ENOMEM;
	matches = coding == CODING_BR ? brotli_matches(coded, coded_len, chunk, &expected)
	                              : zstd_matches(coded, coded_len, chunk, &expected);
	free(chunk);
	return matches;
}
