/*
 * admin_output.h - the lines of an answer on the admin socket (docs/admin.md). Private to the admin's thread.
 */
#ifndef LOOM_ADMIN_OUTPUT_H
#define LOOM_ADMIN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Answers that come in pieces pause when there are so many bytes to be sent; and no other answer is longer than the
 * most.
 */
#define ADMIN_PIECE      (64 * 1024)
#define ADMIN_OUTPUT_MAX (1024 * 1024)

/* Lines that are to be sent. Empty: all zero, but for bytes and room. */
struct admin_output {
	char *bytes;
	size_t len, room;
	bool cut; /* a line did not fit, and is missing; cleared by the last line, which says so */
};

void admin_output_free(struct admin_output *output);

/* One line of data. Control bytes become question marks: no line may begin where a text of others ends. */
void admin_say(struct admin_output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last line of an answer: ok, unless a line did not fit; */
void admin_ok(struct admin_output *output);

/* or an error. */
void admin_error(struct admin_output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * A path as it stands in a request line (RFC 3986 3.3): one word, printable, and to be asked for as it is. For free(3);
 * NULL: no memory.
 */
char *admin_path(const char *key, size_t len);

#endif
