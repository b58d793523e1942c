/* date.h - HTTP dates (RFC 9110 5.6.7). Pure: the time comes in as a number, never from a clock or a locale. */
#ifndef LOOM_DATE_H
#define LOOM_DATE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define HTTP_DATE_LEN 29 /* IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT" */

/* Writes the IMF-fixdate of a time: HTTP_DATE_LEN bytes and no NUL. Years 1 to 9999. */
void http_date_format(time_t time, char *out);

/*
 * Reads a date in any of the three formats: IMF-fixdate, and the obsolete ones of RFC 850 and of asctime(3). now chooses
 * the century of RFC 850's two digits. *time is in seconds since the epoch. False when it is none of these, or no day of
 * the calendar (its weekday included).
 */
bool http_date_parse(const char *text, size_t len, time_t now, time_t *time);

#endif
