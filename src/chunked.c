/*
 * chunked.c - see chunked.h. One state, one byte; only data is passed over in one step.
 */
#include "loom/chunked.h"

#include "loom/chars.h"

enum state {
	SIZE_FIRST, /* the first digit of a size */
	SIZE,       /* more digits */
	SIZE_SPACE, /* white space between the size and an extension */
	EXTENSION,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_START, /* a trailer line, or the empty one that ends it all */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
	BAD,
	TOO_LARGE,
};

void chunked_begin(struct chunked *chunked)
{
	*chunked = (struct chunked){ .state = SIZE_FIRST };
}

static enum state read_size(struct chunked *chunked, char c, uint64_t size_max)
{
	int digit = chars_hex_digit(c);

	if (digit >= 0) {
		chunked->left = chunked->left * 16 + (unsigned)digit;
		return chunked->left > size_max ? TOO_LARGE : SIZE;
	}
	if (chunked->state == SIZE_FIRST)
		return BAD;
	if (chars_is_space(c))
		return SIZE_SPACE;
	return c == ';' ? EXTENSION : c == '\r' ? SIZE_LF : BAD;
}

/* The state after one byte that is not data. END_LF and '\n' is for the caller. */
static enum state step(struct chunked *chunked, char c, uint64_t size_max)
{
	switch ((enum state)chunked->state) {
	case SIZE_FIRST:
	case SIZE:
		return read_size(chunked, c, size_max);
	case SIZE_SPACE:
		return c == ';' ? EXTENSION : chars_is_space(c) ? SIZE_SPACE : BAD;
	case EXTENSION:
		return c == '\r' ? SIZE_LF : chars_in(CHARS_VALUE, c) ? EXTENSION : BAD;
	case SIZE_LF:
		return c != '\n' ? BAD : chunked->left > 0 ? DATA : TRAILER_START;
	case DATA_CR:
		return c == '\r' ? DATA_LF : BAD;
	case DATA_LF:
		return c == '\n' ? SIZE_FIRST : BAD;
	case TRAILER_START:
		return c == '\r' ? END_LF : chars_in(CHARS_TOKEN, c) ? TRAILER_NAME : BAD;
	case TRAILER_NAME:
		return c == ':' ? TRAILER_VALUE : chars_in(CHARS_TOKEN, c) ? TRAILER_NAME : BAD;
	case TRAILER_VALUE:
		return c == '\r' ? TRAILER_LF : chars_in(CHARS_VALUE, c) ? TRAILER_VALUE : BAD;
	case TRAILER_LF:
		return c == '\n' ? TRAILER_START : BAD;
	case DATA:
	case END_LF:
	case BAD:
	case TOO_LARGE:
		break;
	}
	return BAD;
}

enum chunked_progress chunked_read(struct chunked *chunked, const char *bytes, size_t len, uint64_t size_max,
                                   size_t *used)
{
	for (size_t i = 0; i < len;) {
		if (chunked->state == DATA) {
			size_t n = chunked->left < len - i ? chunked->left : len - i;

			i += n;
			chunked->left -= n;
			if (chunked->left == 0)
				chunked->state = DATA_CR;
			continue;
		}
		if (chunked->state == END_LF && bytes[i] == '\n') {
			*used = i + 1;
			return CHUNKED_END;
		}
		chunked->state = step(chunked, bytes[i++], size_max);
		if (chunked->state == BAD)
			return CHUNKED_BAD;
		if (chunked->state == TOO_LARGE)
			return CHUNKED_TOO_LARGE;
	}
	*used = len;
	return CHUNKED_MORE;
}
