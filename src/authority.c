/*
 * authority.c - see authority.h.
 */
#include "loom/authority.h"

#include <string.h>

#include "loom/chars.h"

static bool is_figure(char c)
{
	return c >= '0' && c <= '9';
}

/* "127.0.0.1": four numbers up to 255 without leading zeros. */
static bool is_ipv4(const char *at, const char *end)
{
	for (int i = 0; i < 4; i++) {
		const char *begin = at;
		int value = 0;

		while (at < end && is_figure(*at) && at - begin < 3)
			value = value * 10 + (*at++ - '0');
		if (at == begin || value > 255 || (*begin == '0' && at - begin > 1))
			return false;
		if (i < 3 && (at == end || *at++ != '.'))
			return false;
	}
	return at == end;
}

/* RFC 3986 3.2.2: eight groups of one to four hex digits; one "::" for some of them; IPv4 for the last two. */
static bool is_ipv6(const char *at, const char *end)
{
	int groups = 0;
	bool gap = false;

	if (end - at >= 2 && at[0] == ':' && at[1] == ':') {
		gap = true;
		at += 2;
	}
	while (at < end) {
		const char *begin = at;

		while (at < end && chars_hex_digit(*at) >= 0 && at - begin < 4)
			at++;
		if (at == begin)
			return false;
		if (at < end && *at == '.') {
			groups += 2;
			return is_ipv4(begin, end) && (gap ? groups < 8 : groups == 8);
		}
		groups++;
		if (at == end)
			break;
		if (*at++ != ':' || at == end)
			return false;
		if (*at == ':') {
			if (gap)
				return false;
			gap = true;
			at++;
		}
	}
	return gap ? groups < 8 : groups == 8;
}

/* "v1.name" */
static bool is_ip_future(const char *at, const char *end)
{
	const char *dot = memchr(at, '.', (size_t)(end - at));

	if (!dot || dot == at + 1 || dot + 1 == end)
		return false;
	for (at++; at < dot; at++)
		if (chars_hex_digit(*at) < 0)
			return false;
	for (at++; at < end; at++)
		if (*at == '%' || (!chars_in(CHARS_NAME, *at) && *at != ':'))
			return false;
	return true;
}

/* The end of the host, or NULL. */
static const char *host_end(const char *text, const char *end)
{
	const char *at = text;

	if (at < end && *at == '[') {
		const char *close = memchr(at, ']', (size_t)(end - at));

		if (!close || close == ++at)
			return NULL;
		return ((*at | 0x20) == 'v' ? is_ip_future(at, close) : is_ipv6(at, close)) ? close + 1 : NULL;
	}
	for (;;) {
		while (at < end && chars_in(CHARS_HOST, *at))
			at++;
		if (at == end || *at != '%')
			return at;
		if (end - at < 3 || chars_hex_digit(at[1]) < 0 || chars_hex_digit(at[2]) < 0)
			return NULL;
		at += 3;
	}
}

bool authority_parse(const char *text, size_t len, size_t *host_len, bool *has_port)
{
	const char *end = text + len, *at = host_end(text, end);

	if (!at)
		return false;
	*host_len = (size_t)(at - text);
	*has_port = end - at > 1;
	if (at < end && *at++ != ':')
		return false;
	while (at < end && is_figure(*at))
		at++;
	return at == end;
}
