/*
 * fuzz_compress.c - the gate that every variant passes (compress_matches(), compress.h): coded bytes that anybody may
 * have put beside a file. The input is a letter (g, b or z; others count as one of these) and the coded bytes.
 *
 * What must hold: whatever the bytes, the gate answers; it opens only for what the coding's library decodes to the
 * content and nothing else, and does open for that, windows aside that clients need not have; one byte more, one less,
 * or another one in the content closes it.
 */
#include "fuzz.h"

#include <brotli/decode.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "loom/compress.h"

#define DECODED_MAX (64 * 1024)

static uint8_t decoded[DECODED_MAX + 1]; /* one more, to ask for a byte too many */

static bool matches(enum content_coding coding, const uint8_t *coded, size_t len, const uint8_t *bytes,
                    size_t bytes_len)
{
	int result = compress_matches(coding, coded, len, bytes, bytes_len);

	fuzz_require(result == 0 || result == 1, "the answer is %d", result);
	return result;
}

static bool model_brotli(const uint8_t *coded, size_t len, size_t *made)
{
	BrotliDecoderState *decoder = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	size_t room = DECODED_MAX;
	uint8_t *out = decoded;
	bool whole = BrotliDecoderDecompressStream(decoder, &len, &coded, &room, &out, NULL) ==
	                     BROTLI_DECODER_RESULT_SUCCESS &&
	             len == 0;

	BrotliDecoderDestroyInstance(decoder);
	*made = DECODED_MAX - room;
	return whole;
}

/*
 * As a stream, since that is how clients decode, and since the library's decoder of whole frames differs in what it
 * looks at (libzstd 1.5.4): it refuses a compressed block of no bytes, and passes over the window and the size of
 * blocks.
 */
static bool model_zstd(const uint8_t *coded, size_t len, size_t *made)
{
	ZSTD_DCtx *decoder = ZSTD_createDCtx();
	ZSTD_inBuffer in = { .src = coded, .size = len };
	ZSTD_outBuffer out = { .dst = decoded, .size = DECODED_MAX };
	size_t left, before;

	do {
		before = in.pos + out.pos;
		left = ZSTD_decompressStream(decoder, &out, &in);
	} while (!ZSTD_isError(left) && in.pos + out.pos > before && (left > 0 || in.pos < in.size));
	ZSTD_freeDCtx(decoder);
	*made = out.pos;
	return left == 0 && in.pos == in.size; /* an error is not 0 */
}

/* False when it is no encoding, or one of more than fits. */
static bool model(enum content_coding coding, const uint8_t *coded, size_t len, size_t *made)
{
	struct libdeflate_decompressor *decompressor;
	enum libdeflate_result result;
	size_t used;

	switch (coding) {
	case CODING_GZIP:
		decompressor = libdeflate_alloc_decompressor();
		result = libdeflate_gzip_decompress_ex(decompressor, coded, len, decoded, DECODED_MAX, &used, made);
		libdeflate_free_decompressor(decompressor);
		return result == LIBDEFLATE_SUCCESS && used == len;
	case CODING_BR:
		return model_brotli(coded, len, made);
	default:
		return model_zstd(coded, len, made);
	}
}

/* Frames with windows that clients need not have, and of formats older than the RFC, are refused by rule. */
static bool may_be_refused(enum content_coding coding)
{
	return coding == CODING_ZSTD;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];
	enum content_coding coding;
	const uint8_t *coded;
	uint8_t *content;
	size_t made = 0, len;
	bool opens;

	if (size < 1 || size > 4096)
		return 0;
	coding = data[0] == 'b'   ? CODING_BR
	         : data[0] == 'z' ? CODING_ZSTD
	         : data[0] == 'g' ? CODING_GZIP
	                          : 1 + data[0] % 3;
	len = size - 1;
	coded = fuzz_copy(data + 1, len);
	if (!model(coding, coded, len, &made)) {
		/* As far as it goes it may be right all the same. */
		fuzz_require(!matches(coding, coded, len, decoded, DECODED_MAX), "it opens for what is no encoding");
		fuzz_require(!matches(coding, coded, len, decoded, 100),
		             "it opens for what is no encoding of so little");
		fuzz_require(!matches(coding, coded, len, nothing, 0), "it opens for what is no encoding of nothing");
		free((void *)(uintptr_t)coded);
		return 0;
	}
	content = fuzz_copy(decoded, made + 1);
	opens = matches(coding, coded, len, content, made);
	fuzz_require(opens || may_be_refused(coding), "it does not open for an encoding of %zu bytes", made);
	content[made] = '\0';
	fuzz_require(!matches(coding, coded, len, content, made + 1), "it opens for a byte more");
	if (made > 0) {
		fuzz_require(!matches(coding, coded, len, content, made - 1), "it opens for a byte less");
		content[made / 2] ^= 0x40;
		fuzz_require(!matches(coding, coded, len, content, made), "it opens for another byte");
	}
	free(content);
	free((void *)(uintptr_t)coded);
	return 0;
}
