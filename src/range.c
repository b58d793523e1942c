/*
 * range.c - see range.h. Numbers that do not fit 64 bits are no error: they lie beyond every end, and are read as the
 * largest.
 */
#include "loom/range.h"

#include <stdbool.h>

#include "loom/chars.h"

/* Digits, at least one. False when there is none. */
static bool read_number(const char **at, const char *end, uint64_t *number)
{
	const char *begin = *at;
	bool over = false;

	*number = 0;
	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
		over |= __builtin_mul_overflow(*number, 10, number);
		over |= __builtin_add_overflow(*number, (unsigned)(**at - '0'), number);
	}
	if (over)
		*number = UINT64_MAX;
	return *at > begin;
}

enum spec {
	SPEC_MALFORMED,
	SPEC_UNSATISFIABLE,
	SPEC_RANGE,
};

/* "1-2", "1-" or "-2" (RFC 9110 14.1.2). */
static enum spec read_spec(const char **at, const char *end, uint64_t length, struct range *range)
{
	uint64_t number;

	if (*at < end && **at == '-') {
		(*at)++;
		if (!read_number(at, end, &number))
			return SPEC_MALFORMED;
		if (length == 0 && number > 0)
			return SPEC_MALFORMED; /* satisfiable (14.1.2), but Content-Range cannot say how: the whole */
		range->first = number < length ? length - number : 0;
		range->last = length - 1;
		return number > 0 ? SPEC_RANGE : SPEC_UNSATISFIABLE;
	}
	if (!read_number(at, end, &range->first) || *at == end || *(*at)++ != '-')
		return SPEC_MALFORMED;
	range->last = UINT64_MAX;
	if (*at < end && **at >= '0' && **at <= '9')
		read_number(at, end, &range->last);
	if (range->last < range->first)
		return SPEC_MALFORMED;
	if (range->first >= length)
		return SPEC_UNSATISFIABLE;
	if (range->last >= length)
		range->last = length - 1;
	return SPEC_RANGE;
}

static bool nearly_touch(const struct range *a, const struct range *b)
{
	return a->first <= b->last + RANGE_GAP && b->first <= a->last + RANGE_GAP;
}

/*
 * Joins the last range with those that it nearly touches; the earliest of them is where the result stands. What has grown
 * may touch others, so it goes on until nothing is joined. The new number of ranges.
 */
static unsigned join(struct range ranges[], unsigned n)
{
	unsigned at = n - 1;

	for (unsigned i = 0; i < n; i++) {
		struct range *into = &ranges[i < at ? i : at], *from = &ranges[i < at ? at : i];

		if (i == at || !nearly_touch(into, from))
			continue;
		if (from->first < into->first)
			into->first = from->first;
		if (from->last > into->last)
			into->last = from->last;
		at = (unsigned)(into - ranges);
		n--;
		for (unsigned j = (unsigned)(from - ranges); j < n; j++)
			ranges[j] = ranges[j + 1];
		i = (unsigned)-1; /* from the beginning */
	}
	return n;
}

enum range_result range_parse(const char *text, size_t len, uint64_t length, struct range ranges[RANGES_MAX],
                              unsigned *count)
{
	const char *at = text + 6, *end = text + len;
	struct range found[RANGE_SPECS_MAX];
	unsigned specs = 0, n = 0;

	if (len < 6 || !chars_equal(text, "bytes", 5) || text[5] != '=')
		return RANGE_WHOLE;
	for (;;) {
		while (at < end && (chars_is_space(*at) || *at == ','))
			at++;
		if (at == end)
			break;
		if (++specs > RANGE_SPECS_MAX)
			return RANGE_WHOLE;
		switch (read_spec(&at, end, length, &found[n])) {
		case SPEC_MALFORMED:
			return RANGE_WHOLE;
		case SPEC_UNSATISFIABLE:
			break;
		case SPEC_RANGE:
			n = join(found, n + 1);
			break;
		}
		at = chars_skip_space(at, end);
		if (at < end && *at != ',')
			return RANGE_WHOLE;
	}
	if (specs == 0)
		return RANGE_WHOLE;
	if (n == 0)
		return RANGE_UNSATISFIABLE;
	if (n > RANGES_MAX)
		return RANGE_WHOLE;
	for (unsigned i = 0; i < n; i++)
		ranges[i] = found[i];
	*count = n;
	return RANGE_PARTS;
}
