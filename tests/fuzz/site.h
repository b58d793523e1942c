/*
 * site.h - the site that fuzz_conn.c serves: a snapshot without a directory, made of the assets that the builder makes
 * (asset.h). Names are short, so that short inputs find them; sizes lie around the bounds of conn.c.
 */
#ifndef LOOM_FUZZ_SITE_H
#define LOOM_FUZZ_SITE_H

#include "loom/snapshot.h"

/* Made once; one worker's. Its share can be picked up again after site_renew(). */
struct snapshot *site_snapshot(void);
void site_renew(void);

/* What was made, for who checks the answers: NULL when there is no such thing. */
const struct representation *site_by_etag(const void *etag, size_t len);
const struct representation *site_redirect(const void *location, size_t len);
const struct representation *site_error(unsigned status);

/* The bytes of any of them, also of one that lies in a file. */
const uint8_t *site_content(const struct representation *representation);

#endif
