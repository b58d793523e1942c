/*
 * date.c - see date.h. The calendar is computed by the days-from-civil method (the 400-year cycle of the Gregorian
 * calendar, years beginning in March), since gmtime(3) and timegm(3) may take locks and read time zone files.
 */
#include "loom/date.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DAYS_TO_1970 719468 /* from 0000-03-01 */
#define DAYS_A_CYCLE 146097 /* 400 years */

static const char days[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static void two_digits(char *out, unsigned n)
{
	out[0] = (char)('0' + n / 10);
	out[1] = (char)('0' + n % 10);
}

void http_date_format(time_t time, char *out)
{
	int64_t day = time / 86400;
	int64_t second = time % 86400;
	int64_t z, cycle, of_cycle, year_of_cycle, day_of_year, month, year;
	unsigned weekday;

	if (second < 0) {
		second += 86400;
		day--;
	}
	z = day + DAYS_TO_1970;
	assert(z >= 0);
	cycle = z / DAYS_A_CYCLE;
	of_cycle = z % DAYS_A_CYCLE;
	year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36524 - of_cycle / 146096) / 365;
	day_of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100); /* from 1 March */
	month = (5 * day_of_year + 2) / 153;                                                      /* 0: March */
	year = cycle * 400 + year_of_cycle + (month >= 10);
	weekday = (unsigned)((day % 7 + 7) % 7);
	assert(year >= 1 && year <= 9999);

	memcpy(out, days + 3 * weekday, 3);
	memcpy(out + 3, ", ", 2);
	two_digits(out + 5, (unsigned)(day_of_year - (153 * month + 2) / 5 + 1));
	out[7] = ' ';
	memcpy(out + 8, months + 3 * (month < 10 ? month + 2 : month - 10), 3);
	out[11] = ' ';
	two_digits(out + 12, (unsigned)(year / 100));
	two_digits(out + 14, (unsigned)(year % 100));
	out[16] = ' ';
	two_digits(out + 17, (unsigned)(second / 3600));
	out[19] = ':';
	two_digits(out + 20, (unsigned)(second / 60 % 60));
	out[22] = ':';
	two_digits(out + 23, (unsigned)(second % 60));
	memcpy(out + 25, " GMT", 4);
}

/* A number of n digits, or -1. */
static int digits(const char *text, unsigned n)
{
	int value = 0;

	for (unsigned i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* The place of a three-letter name in a list of such names, or -1. */
static int name_index(const char *names, unsigned n, const char *text)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(names + 3 * i, text, 3) == 0)
			return (int)i;
	return -1;
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

time_t http_date_parse(const char *text, size_t len)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int weekday, day, month, year, hour, minute, second;
	int64_t y, of_cycle, number;

	if (len != HTTP_DATE_LEN || memcmp(text + 3, ", ", 2) != 0 || text[7] != ' ' || text[11] != ' ' ||
	    text[16] != ' ' || text[19] != ':' || text[22] != ':' || memcmp(text + 25, " GMT", 4) != 0)
		return -1;
	weekday = name_index(days, 7, text);
	day = digits(text + 5, 2);
	month = name_index(months, 12, text + 8);
	year = digits(text + 12, 4);
	hour = digits(text + 17, 2);
	minute = digits(text + 20, 2);
	second = digits(text + 23, 2);
	if (weekday < 0 || month < 0 || year < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
	    second > 60 || day < 1 || day > lengths[month] + (month == 1 && is_leap(year)))
		return -1;

	month = month >= 2 ? month - 2 : month + 10; /* 0: March */
	y = year - (month >= 10);
	of_cycle = (y % 400) * 365 + y % 400 / 4 - y % 400 / 100 + (153 * month + 2) / 5 + day - 1;
	number = y / 400 * DAYS_A_CYCLE + of_cycle - DAYS_TO_1970;
	if ((number % 7 + 7) % 7 != weekday)
		return -1;
	return (time_t)(number * 86400 + hour * 3600 + minute * 60 + second);
}
