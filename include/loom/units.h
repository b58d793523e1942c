/* units.h - numbers, durations and sizes as people write them. Pure. Results are values, or -EINVAL or -ERANGE. */
#ifndef LOOM_UNITS_H
#define LOOM_UNITS_H

#include <stdint.h>

/* Digits at the start of the text, without sign or space. 0 with *number set and *end after them, or an error. */
int units_number(const char *text, const char **end, uint64_t *number);

/* "500ms", "5s", "2m", "1h", "0"; a number without a unit is seconds. Milliseconds. */
int64_t units_duration(const char *text);

/* "4096", "512K", "512M", "1G", "2T" (powers of 1024). Bytes. */
int64_t units_size(const char *text);

#endif
