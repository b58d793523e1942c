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

/* The fields of a date, as they were read: -1 where there was none. */
struct parsed {
	int weekday; /* 0: Thursday */
	int day;
	int month; /* 0: January */
	int year;
	int hour;
	int minute;
	int second;
};

/* "08:49:37" */
static bool parse_time(const char *text, struct parsed *parsed)
{
	parsed->hour = digits(text, 2);
	parsed->minute = digits(text + 3, 2);
	parsed->second = digits(text + 6, 2);
	return text[2] == ':' && text[5] == ':';
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool parse_imf_fixdate(const char *text, struct parsed *parsed)
{
	parsed->weekday = name_index(days, 7, text);
	parsed->day = digits(text + 5, 2);
	parsed->month = name_index(months, 12, text + 8);
	parsed->year = digits(text + 12, 4);
	return memcmp(text + 3, ", ", 2) == 0 && text[7] == ' ' && text[11] == ' ' && text[16] == ' ' &&
	       parse_time(text + 17, parsed) && memcmp(text + 25, " GMT", 4) == 0;
}

/* Of two dates, whether the first comes later in its year than the second in its own. */
static bool later_in_year(const struct parsed *a, const struct parsed *b)
{
	int first[] = { a->month, a->day, a->hour, a->minute, a->second };
	int second[] = { b->month, b->day, b->hour, b->minute, b->second };

	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (first[i] != second[i])
			return first[i] > second[i];
	return false;
}

/*
 * "Sunday, 06-Nov-94 08:49:37 GMT", obsolete. A date with two digits of a year that would lie more than 50 years after the
 * present one is of the century before.
 */
static bool parse_rfc850(const char *text, size_t len, time_t now, struct parsed *parsed)
{
	static const char *const names[] = { "Thursday", "Friday",  "Saturday", "Sunday",
		                             "Monday",   "Tuesday", "Wednesday" };
	const char *comma = memchr(text, ',', len);
	size_t name_len = comma ? (size_t)(comma - text) : 0;
	char text_now[HTTP_DATE_LEN];
	struct parsed present;

	if (name_len < 6 || len - name_len != strlen(", 06-Nov-94 08:49:37 GMT"))
		return false;
	parsed->weekday = -1;
	for (int i = 0; i < 7; i++)
		if (strlen(names[i]) == name_len && memcmp(names[i], text, name_len) == 0)
			parsed->weekday = i;
	parsed->day = digits(comma + 2, 2);
	parsed->month = name_index(months, 12, comma + 5);
	parsed->year = digits(comma + 9, 2);
	if (parsed->year < 0 || comma[1] != ' ' || comma[4] != '-' || comma[8] != '-' || comma[11] != ' ' ||
	    !parse_time(comma + 12, parsed) || memcmp(comma + 20, " GMT", 4) != 0)
		return false;
	http_date_format(now, text_now);
	parse_imf_fixdate(text_now, &present);
	parsed->year += present.year - present.year % 100;
	if (parsed->year <= present.year - 50)
		parsed->year += 100; /* of the next century, unless that is too far away */
	if (parsed->year > present.year + 50 || (parsed->year == present.year + 50 && later_in_year(parsed, &present)))
		parsed->year -= 100;
	return true;
}

/* "Sun Nov  6 08:49:37 1994", obsolete. */
static bool parse_asctime(const char *text, struct parsed *parsed)
{
	parsed->weekday = name_index(days, 7, text);
	parsed->month = name_index(months, 12, text + 4);
	parsed->day = text[8] == ' ' ? digits(text + 9, 1) : digits(text + 8, 2);
	parsed->year = digits(text + 20, 4);
	return text[3] == ' ' && text[7] == ' ' && text[10] == ' ' && parse_time(text + 11, parsed) && text[19] == ' ';
}

bool http_date_parse(const char *text, size_t len, time_t now, time_t *time)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	struct parsed parsed;
	int64_t month, year, of_cycle, number;
	bool known;

	if (len == HTTP_DATE_LEN && text[3] == ',')
		known = parse_imf_fixdate(text, &parsed);
	else if (len == strlen("Sun Nov  6 08:49:37 1994"))
		known = parse_asctime(text, &parsed);
	else
		known = parse_rfc850(text, len, now, &parsed);
	if (!known || parsed.weekday < 0 || parsed.month < 0 || parsed.year < 1 || parsed.hour < 0 ||
	    parsed.hour > 23 || parsed.minute < 0 || parsed.minute > 59 || parsed.second < 0 || parsed.second > 60 ||
	    parsed.day < 1 || parsed.day > lengths[parsed.month] + (parsed.month == 1 && is_leap(parsed.year)))
		return false;

	month = parsed.month >= 2 ? parsed.month - 2 : parsed.month + 10; /* 0: March */
	year = parsed.year - (month >= 10);
	of_cycle = (year % 400) * 365 + year % 400 / 4 - year % 400 / 100 + (153 * month + 2) / 5 + parsed.day - 1;
	number = year / 400 * DAYS_A_CYCLE + of_cycle - DAYS_TO_1970;
	if ((number % 7 + 7) % 7 != parsed.weekday)
		return false;
	*time = (time_t)(number * 86400 + parsed.hour * 3600 + parsed.minute * 60 + parsed.second);
	return true;
}
