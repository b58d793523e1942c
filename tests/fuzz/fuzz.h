/*
 * fuzz.h - what the fuzz targets of this folder have in common. A target is a file fuzz_NAME.c with one function, which
 * returns when everything that must hold for an input does hold, and ends the program by fuzz_fail() when it does not.
 *
 * A target is linked with replay.c, to run over inputs that are there, or with libFuzzer or AFL++ (ci/fuzz), which look
 * for new ones. The same input must do the same thing every time: no clock, no chance, and nothing left over from the
 * input before.
 */
#ifndef LOOM_FUZZ_H
#define LOOM_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The target. The name is libFuzzer's. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program (SIGABRT) with a line that says what does not hold. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define fuzz_require(condition, ...) ((condition) ? (void)0 : fuzz_fail(__VA_ARGS__))

/*
 * A copy of its own that is exactly so long: AddressSanitizer sees the first byte read or written beyond it. For
 * free(3).
 */
void *fuzz_copy(const void *bytes, size_t len);
void *fuzz_memory(size_t len);

/* The bytes as people can read them, cut where they are too long, for what a failure says. Two such texts at a time. */
const char *fuzz_text(const void *bytes, size_t len);

/*
 * How an input chooses into what pieces bytes are split: the sizes in turn, over and over. Each is given by one byte,
 * so that printable ones make small pieces: see fuzz.c.
 */
#define FUZZ_PIECES 3

struct fuzz_pieces {
	size_t size[FUZZ_PIECES];
	unsigned turn;
};

/* All at once, and a byte at a time. */
#define FUZZ_WHOLE    ((struct fuzz_pieces){ .size = { SIZE_MAX, SIZE_MAX, SIZE_MAX } })
#define FUZZ_BYTEWISE ((struct fuzz_pieces){ .size = { 1, 1, 1 } })

/* From the first FUZZ_PIECES bytes of an input, which must be there. */
struct fuzz_pieces fuzz_pieces(const uint8_t *data);

/* The size of the next piece, when so many bytes are left: 1 to left. */
size_t fuzz_next_piece(struct fuzz_pieces *pieces, size_t left);

#endif
