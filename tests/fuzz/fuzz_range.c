/*
 * fuzz_range.c - byte ranges (range.h). The input is the length of the representation, in decimal digits, a line end,
 * and the value of Range.
 *
 * What must hold: the result is the one that a second reading finds, which sorts what is asked for and joins it in one
 * pass; parts lie within the length, far enough from each other, in the order in which they were asked for.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "loom/range.h"

struct asked {
	uint64_t first, last;
	unsigned turn; /* the first of those that were joined to this one */
};

/* A number that ends where the text does; the largest there is for one that is larger. */
static uint64_t number(const char *text, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)(text[i] - '0');

		value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
		if (value == UINT64_MAX)
			break;
	}
	return value;
}

static size_t digits(const char *text, size_t len)
{
	size_t n = 0;

	while (n < len && text[n] >= '0' && text[n] <= '9')
		n++;
	return n;
}

/* -1: malformed; 0: satisfied by no byte; 1: by asked. */
static int model_spec(const char *text, size_t len, uint64_t length, struct asked *asked)
{
	size_t before = digits(text, len), after;

	if (before == len || text[before] != '-')
		return -1;
	after = digits(text + before + 1, len - before - 1);
	if (before + 1 + after != len || before + after == 0)
		return -1;
	asked->first = number(text, before);
	asked->last = after ? number(text + before + 1, after) : UINT64_MAX;
	if (before == 0) {
		if (asked->last > 0 && length == 0)
			return -1; /* see range.c */
		asked->first = asked->last < length ? length - asked->last : 0;
		if (asked->last == 0)
			return 0;
		asked->last = length - 1;
		return 1;
	}
	if (asked->last < asked->first)
		return -1;
	if (asked->last >= length)
		asked->last = length - 1;
	return asked->first < length;
}

static int by_place(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static int by_turn(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;

	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

static enum range_result model(const char *text, size_t len, uint64_t length, struct asked parts[RANGE_SPECS_MAX],
                               unsigned *count)
{
	unsigned specs = 0, n = 0, joined = 0;
	uint64_t sum = 0;

	if (len < 6 || strncasecmp(text, "bytes=", 6) != 0)
		return RANGE_WHOLE;
	for (size_t at = 6, end; at <= len; at = end + 1) {
		size_t begin = at, last;
		int spec;

		for (end = at; end < len && text[end] != ','; end++)
			;
		while (begin < end && (text[begin] == ' ' || text[begin] == '\t'))
			begin++;
		for (last = end; last > begin && (text[last - 1] == ' ' || text[last - 1] == '\t'); last--)
			;
		if (last == begin)
			continue;
		if (specs++ == RANGE_SPECS_MAX)
			return RANGE_WHOLE;
		spec = model_spec(text + begin, last - begin, length, &parts[n]);
		if (spec < 0)
			return RANGE_WHOLE;
		if (spec > 0) {
			parts[n].turn = n;
			n++;
		}
	}
	if (specs == 0)
		return RANGE_WHOLE;
	if (n == 0)
		return RANGE_UNSATISFIABLE;
	qsort(parts, n, sizeof(parts[0]), by_place);
	for (unsigned i = 1; i < n; i++) {
		struct asked *into = &parts[joined];

		/* Bytes between the two, one after the last to one before the first. */
		if (parts[i].first <= into->last || parts[i].first - into->last - 1 < RANGE_GAP) {
			into->last = parts[i].last > into->last ? parts[i].last : into->last;
			into->turn = parts[i].turn < into->turn ? parts[i].turn : into->turn;
		} else {
			parts[++joined] = parts[i];
		}
	}
	n = joined + 1;
	for (unsigned i = 0; i < n; i++)
		sum += parts[i].last - parts[i].first + 1;
	if (n > RANGES_MAX || (n > 1 && sum >= length))
		return RANGE_WHOLE;
	qsort(parts, n, sizeof(parts[0]), by_turn);
	*count = n;
	return RANGE_PARTS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const results[] = { "whole", "parts", "unsatisfiable" };
	const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
	struct asked expected[RANGE_SPECS_MAX + 1];
	struct range ranges[RANGES_MAX];
	unsigned count = 0, expected_count = 0;
	enum range_result result, should;
	uint64_t length;
	size_t len;
	char *text;

	if (!line || size > 4096)
		return 0;
	/* What lies in memory is no longer. */
	length = number((const char *)data, digits((const char *)data, (size_t)(line - data))) & INT64_MAX;
	len = (size_t)(data + size - line - 1);
	text = fuzz_copy(line + 1, len);
	result = range_parse(text, len, length, ranges, &count);
	should = model(text, len, length, expected, &expected_count);
	fuzz_require(result == should, "of %llu bytes: %s instead of %s", (unsigned long long)length, results[result],
	             results[should]);
	free(text);
	if (result != RANGE_PARTS)
		return 0;

	fuzz_require(count >= 1 && count <= RANGES_MAX, "%u parts", count);
	fuzz_require(count == expected_count, "%u parts instead of %u", count, expected_count);
	for (unsigned i = 0; i < count; i++) {
		fuzz_require(ranges[i].first <= ranges[i].last && ranges[i].last < length,
		             "part %u is %llu-%llu of %llu", i, (unsigned long long)ranges[i].first,
		             (unsigned long long)ranges[i].last, (unsigned long long)length);
		fuzz_require(ranges[i].first == expected[i].first && ranges[i].last == expected[i].last,
		             "part %u is %llu-%llu instead of %llu-%llu", i, (unsigned long long)ranges[i].first,
		             (unsigned long long)ranges[i].last, (unsigned long long)expected[i].first,
		             (unsigned long long)expected[i].last);
		for (unsigned j = 0; j < i; j++)
			fuzz_require(ranges[i].first > ranges[j].last + RANGE_GAP ||
			                     ranges[j].first > ranges[i].last + RANGE_GAP,
			             "parts %u and %u nearly touch", j, i);
	}
	return 0;
}
