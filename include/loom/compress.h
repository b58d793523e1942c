/*
 * compress.h - content codings done and undone, by the libraries of their authors: libdeflate (gzip), brotli, zstd. No
 * thread, no file; allocates. Any thread but the event loop's.
 */
#ifndef LOOM_COMPRESS_H
#define LOOM_COMPRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/body.h"
#include "loom/coding.h"

/* The largest content that is worth the time and the memory that the best levels take. Bytes. */
#define COMPRESS_MAX (32 * 1024 * 1024)

/*
 * Encodes at the best level: gzip 12 (9 above 4 MiB, as libdeflate cannot be interrupted), br 11, zstd 19. The same
 * bytes give the same result. stop: looked at from time to time, may become true on another thread. coding is not
 * identity; len is 1 to COMPRESS_MAX. 0 with a sealed *coded (one reference) that compress_matches(), or
 *   -ENODATA: not smaller than the content, so not worth having
 *   -ECANCELED: *stop became true
 *   -ENOMEM
 *   -EIO: the result does not decode to the content, a fault of the library or of the machine; it has been logged
 */
int compress_encode(struct body **coded, enum content_coding coding, const uint8_t *bytes, uint64_t len,
                    const atomic_bool *stop);

/*
 * Whether coded[0..coded_len), decoded as clients decode, gives exactly the bytes, and nothing follows: the one gate
 * that every variant passes, wherever it is from. One gzip member; br without large windows; zstd frames with windows
 * of 8 MiB at most. What decodes to more than len bytes is left at that point. coding is not identity. 1, 0, or
 * -ENOMEM.
 */
int compress_matches(enum content_coding coding, const uint8_t *coded, uint64_t coded_len, const uint8_t *bytes,
                     uint64_t len);

#endif
