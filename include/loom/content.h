/*
 * content.h - the bytes of a file, whole and untorn, and whether they have to be read at all. Threads of the builder.
 *
 * stat(2) vouches for content, but times have a granularity: a file written again in the same tick as before looks the
 * same (git calls it racily clean). So an asset is trusted by its stat alone only when the file had been at rest for
 * longer than its clock ticks when it was read: a tenth of a second, or two seconds where its times look as if they were
 * kept no better. Otherwise it is read again, and compared.
 *
 * Results are 0 or -errno. -EAGAIN: the file was changed while it was being read, or it has become something else.
 * -ENODATA: nobody has touched it, and yet its size is not what stat(2) says: a file that the kernel makes up.
 * -ECANCELED: *stop became true, which is looked at from time to time; the file must be read from its start again.
 */
#ifndef LOOM_CONTENT_H
#define LOOM_CONTENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "loom/asset.h"

struct content {
	int fd;
	uint64_t size;
	time_t mtime;        /* never after the present */
	struct timespec now; /* when it was looked at, by CLOCK_REALTIME */
	struct asset_source source;
};

/* What reading takes besides: one for each thread. NULL: no memory. */
struct content_scratch *content_scratch_create(void);
void content_scratch_free(struct content_scratch *scratch);

/* Whether an asset can be taken for the file with this stat without opening it. */
bool content_vouched(const struct asset *asset, const struct stat *stat);

/* Looks at an open file, whose offset is 0. */
int content_begin(struct content *content, int fd);

/*
 * Whether the file was changed less than so many milliseconds before content_begin() looked at it: then somebody may be
 * in the middle of writing to it, however long he pauses. ctime tells, which nobody can set; one in the future is
 * another clock's, and tells nothing.
 */
bool content_is_young(const struct content *content, uint64_t ms);

/*
 * Reads the file and compares it with a body of the same size, in memory. 1: these are its very bytes; 0: they are
 * not, and can be read by content_read(), from their start; or -errno.
 */
int content_compare(struct content *content, const struct body *body, struct content_scratch *scratch,
                    const atomic_bool *stop);

/* Fills a new body of content->size bytes, and seals it. */
int content_read(struct content *content, struct body *body, struct content_scratch *scratch, const atomic_bool *stop);

/* Reads the file for its hash alone. */
int content_hash(struct content *content, uint8_t hash[BODY_HASH_LEN], struct content_scratch *scratch,
                 const atomic_bool *stop);

/* How long to wait until the file that content_begin() looked at counts as at rest, in ns; 0: it does. Bounded. */
uint64_t content_unrest(const struct content *content);

/*
 * Whether an open file is still what it was, and nobody is about to cut it off. 0, -EAGAIN or another -errno. Its offset is
 * anywhere afterwards.
 */
int content_check(const struct content *content, int fd);

#endif
