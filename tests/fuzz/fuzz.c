/*
 * fuzz.c - see fuzz.h.
 */
#include "fuzz.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fuzz_fail(const char *format, ...)
{
	va_list args;

	fputs("fuzz: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

void *fuzz_memory(size_t len)
{
	void *memory = malloc(len);

	assert(memory || len == 0);
	return memory;
}

void *fuzz_copy(const void *bytes, size_t len)
{
	void *copy = fuzz_memory(len);

	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

const char *fuzz_text(const void *bytes, size_t len)
{
	static char texts[2][2048];
	static unsigned turn;
	char *text = texts[turn++ % 2];
	size_t n = 0;

	for (size_t i = 0; i < len && n < sizeof(texts[0]) - 8; i++) {
		unsigned char c = ((const unsigned char *)bytes)[i];

		if (c == '\r' || c == '\n')
			n += (size_t)sprintf(text + n, "\\%c", c == '\r' ? 'r' : 'n');
		else if (c >= 0x20 && c < 0x7f && c != '\\')
			text[n++] = (char)c;
		else
			n += (size_t)sprintf(text + n, "\\x%02x", c);
	}
	text[n] = '\0';
	return text;
}

/* '0' to '9' and the rest below 0x80: 1 to 64 bytes, '1' being one byte; above, up to a kilobyte and more. */
static size_t piece_size(uint8_t byte)
{
	return byte < 0x80 ? (size_t)((byte - '1') & 63) + 1 : (size_t)(byte - 0x7f) * 24;
}

struct fuzz_pieces fuzz_pieces(const uint8_t *data)
{
	struct fuzz_pieces pieces = { .turn = 0 };

	for (unsigned i = 0; i < FUZZ_PIECES; i++)
		pieces.size[i] = piece_size(data[i]);
	return pieces;
}

size_t fuzz_next_piece(struct fuzz_pieces *pieces, size_t left)
{
	size_t size = pieces->size[pieces->turn++ % FUZZ_PIECES];

	return size < left ? size : left;
}
