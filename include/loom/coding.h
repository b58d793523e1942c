/*
 * coding.h - content codings (RFC 9110 8.4.1), and which of them a client wants (12.5.3). Pure.
 */
#ifndef LOOM_CODING_H
#define LOOM_CODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum content_coding {
	CODING_IDENTITY, /* the bytes as they are: no coding at all */
	CODING_GZIP,     /* RFC 1952; also called x-gzip */
	CODING_BR,       /* RFC 7932 */
	CODING_ZSTD,     /* RFC 8878, with a window of at most 8 MiB (RFC 9659) */
	CODINGS,
};

/* Quality values are in thousandths: 0 (not acceptable) to 1000. */
#define CODING_Q_MAX 1000

/* What Accept-Encoding says of each coding; CODING_Q_UNSAID where it says nothing, not by "*" either. */
#define CODING_Q_UNSAID (-1)
struct coding_wishes {
	int16_t q[CODINGS];
};

/* "gzip", "br", "zstd"; "identity", which is never sent. */
const char *coding_name(enum content_coding coding);

/* ".gz", ".br", ".zst": what the name of a file ends with that holds another's content in the coding; "" for identity. */
const char *coding_suffix(enum content_coding coding);

/* The coding of this name, without regard to case, x-gzip included; CODINGS when it is none of these. */
enum content_coding coding_by_name(const char *name, size_t len);

/* No field at all: identity, though anything would be acceptable. */
void coding_wishes_init(struct coding_wishes *wishes);

/*
 * Reads one Accept-Encoding field line's value, after those before. Members that are malformed or unknown are passed
 * over. coding_wishes_end() after the last line lets "*" and the defaults take their places.
 */
struct coding_list {
	struct coding_wishes *wishes;
	int16_t star;
};
void coding_list_begin(struct coding_list *list, struct coding_wishes *wishes);
void coding_list_line(struct coding_list *list, const char *value, size_t len);
void coding_list_end(struct coding_list *list);

/*
 * The best of what there is: the greatest quality, and among equals the smallest size. sizes: in bytes; SIZE_MAX where
 * there is no such variant. CODINGS when nothing is acceptable (406).
 */
enum content_coding coding_choose(const struct coding_wishes *wishes, const size_t sizes[CODINGS]);

#endif
