/*
 * units.c - see units.h. Written out, since strtoull(3) takes signs, spaces and other bases.
 */
#include "loom/units.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

int units_number(const char *text, const char **end, uint64_t *number)
{
	uint64_t value = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return -ERANGE;
	}
	*end = text;
	*number = value;
	return 0;
}

static int64_t scale(uint64_t number, uint64_t factor)
{
	if (__builtin_mul_overflow(number, factor, &number) || number > INT64_MAX)
		return -ERANGE;
	return (int64_t)number;
}

int64_t units_duration(const char *text)
{
	static const struct {
		const char *name;
		uint32_t ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 60 * 60 * 1000 } };
	const char *unit;
	uint64_t number;
	int error;

	error = units_number(text, &unit, &number);
	if (error)
		return error;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].name) == 0)
			return scale(number, units[i].ms);
	}
	return -EINVAL;
}

int64_t units_size(const char *text)
{
	static const char units[] = "KMGT";
	const char *unit, *found;
	uint64_t number;
	int error;

	error = units_number(text, &unit, &number);
	if (error)
		return error;
	if (*unit == '\0')
		return scale(number, 1);
	found = strchr(units, toupper((unsigned char)*unit));
	if (!found || unit[1] != '\0')
		return -EINVAL;
	return scale(number, UINT64_C(1) << (10 * (found - units + 1)));
}
