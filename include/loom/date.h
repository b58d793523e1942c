/* date.h - HTTP dates (RFC 9110 5.6.7). Pure: the time comes in as a number, never from a clock or a locale. */
#ifndef LOOM_DATE_H
#define LOOM_DATE_H

#include <stddef.h>
#include <time.h>

#define HTTP_DATE_LEN 29 /* IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT" */

/* Writes the IMF-fixdate of a time: HTTP_DATE_LEN bytes and no NUL. Years 1 to 9999. */
void http_date_format(time_t time, char *out);

/* Reads an IMF-fixdate. Seconds since the epoch, or -1 when it is none. */
time_t http_date_parse(const char *text, size_t len);

#endif
