/*
 * fuzz_date.c - HTTP dates (date.h). The input is the text of a date; its first bytes are taken for a time, too.
 *
 * What must hold: a date that is read is written, and read again, as the same time; one in IMF-fixdate comes back byte
 * for byte, leap seconds aside; and the calendar is the C library's.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/date.h"

#define YEAR_1     INT64_C(-62135596800) /* 0001-01-01 00:00:00 */
#define YEAR_10000 INT64_C(253402300800)
#define NOW        1763979000 /* November 2025 */

/* As http_date_format() should write it. */
static void model_format(time_t time, char out[64])
{
	struct tm tm;

	if (!gmtime_r(&time, &tm) || strftime(out, 64, "%a, %d %b ", &tm) == 0)
		fuzz_fail("gmtime_r(3)");
	/* strftime(3) pads no year. */
	snprintf(out + 12, 52, "%04d %02d:%02d:%02d GMT", tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void check_time(time_t time)
{
	char *written = fuzz_memory(HTTP_DATE_LEN), expected[64];
	time_t again = 0;

	http_date_format(time, written);
	model_format(time, expected);
	fuzz_require(memcmp(written, expected, HTTP_DATE_LEN) == 0, "%lld is written as %s, and should be %s",
	             (long long)time, fuzz_text(written, HTTP_DATE_LEN), expected);
	fuzz_require(http_date_parse(written, HTTP_DATE_LEN, NOW, &again) && again == time, "%lld is read as %lld",
	             (long long)time, (long long)again);
	free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const time_t nows[] = { 0, NOW, 4102444800 /* 2100 */ };
	int64_t number = 0;
	char *text;

	if (size > 64)
		return 0;
	memcpy(&number, data, size < sizeof(number) ? size : sizeof(number));
	check_time((time_t)(YEAR_1 + (int64_t)((uint64_t)number % (uint64_t)(YEAR_10000 - YEAR_1))));

	text = fuzz_copy(data, size);
	for (size_t i = 0; i < sizeof(nows) / sizeof(nows[0]); i++) {
		time_t time = 0;
		char expected[64];

		if (!http_date_parse(text, size, nows[i], &time))
			continue;
		fuzz_require(time >= YEAR_1 && time <= YEAR_10000, "%lld is out of range", (long long)time);
		if (time == YEAR_10000)
			continue; /* the last second, and a leap second, of 9999 */
		check_time(time);
		model_format(time, expected);
		if (size == HTTP_DATE_LEN && text[3] == ',' && memcmp(text + 23, "60", 2) != 0)
			fuzz_require(memcmp(text, expected, HTTP_DATE_LEN) == 0, "%s is taken for %s",
			             fuzz_text(text, size), expected);
	}
	free(text);
	return 0;
}
