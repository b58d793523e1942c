/* mime.h - media types by file name. Pure. The table is made at build time from Debian's media-types (/etc/mime.types). */
#ifndef LOOM_MIME_H
#define LOOM_MIME_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The value of Content-Type for a file name, by its last extension, compared without case: "text/html; charset=utf-8".
 * text/... and the textual application/... and image/svg+xml types carry charset=utf-8. Unknown: "application/octet-stream".
 */
const char *mime_type(const char *name, size_t len);

#endif
