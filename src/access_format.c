/*
 * access_format.c - see access_format.h. The access log's thread. It runs once a request, so it is made to be cheap: the
 * time is formatted once a second, and a text is taken sixteen bytes at a time when nothing in it needs escaping.
 */
#include "loom/access_format.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "loom/coding.h"

#define SECOND_US INT64_C(1000000)

#define APPEND(out, literal) append(out, literal, sizeof(literal) - 1)

static inline char *append(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

static char *append_number(char *out, uint64_t number)
{
	char digits[20];
	size_t n = sizeof(digits);

	if (number >= 100 && number < 1000) { /* a status, and many a length */
		*out++ = (char)('0' + number / 100);
		*out++ = (char)('0' + number / 10 % 10);
		*out++ = (char)('0' + number % 10);
		return out;
	}
	do
		digits[--n] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n < sizeof(digits))
		*out++ = digits[n++];
	return out;
}

/* With zeros in front, width digits. */
static char *append_padded(char *out, unsigned number, unsigned width)
{
	for (unsigned i = width; i > 0; i--, number /= 10)
		out[i - 1] = (char)('0' + number % 10);
	return out + width;
}

/* inet_ntop(3) takes longer than all the rest of a line: IPv4 goes without, and of others the last client is remembered. */
static char *append_peer(char *out, struct access_formatter *formatter, const struct peer *peer)
{
	switch ((enum peer_family)peer->family) {
	case PEER_LOCAL:
		return APPEND(out, "unix:");
	case PEER_IN4:
		for (unsigned i = 0; i < 4; i++) {
			const char *octet = formatter->octet[peer->address[i]];

			append(out, octet, sizeof(formatter->octet[0]));
			out += octet[3]; /* digits */
			*out++ = '.';
		}
		return out - 1;
	case PEER_IN6:
	case PEER_UNKNOWN:
		break;
	}
	if (formatter->peer.family != peer->family ||
	    memcmp(formatter->peer.address, peer->address, sizeof(peer->address)) != 0) {
		formatter->peer = *peer;
		formatter->peer_len = strlen(peer_text(peer, formatter->peer_text));
	}
	return append(out, formatter->peer_text, formatter->peer_len);
}

static inline bool is_plain_byte(unsigned char byte)
{
	return byte - 0x20u <= 0x7e - 0x20u && byte != '"' && byte != '\\';
}

/* Sixteen bytes of a text, which a compiler has in one register where a processor has them that wide. */
#define BLOCK 16
#define OF_ALL(byte)                                                                                           \
	{                                                                                                      \
		byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte \
	}
typedef signed char block __attribute__((vector_size(BLOCK)));

/* Minus one where a byte is not plain, of which no two reasons can be true; what is above 0x7f is negative. */
static inline block odd_of(block x)
{
	static const block space = OF_ALL(0x20), quote = OF_ALL('"'), slash = OF_ALL('\\'), del = OF_ALL(0x7f);

	return (x < space) + (x == quote) + (x == slash) + (x == del);
}

static inline block block_at(const char *text)
{
	block x;

	memcpy(&x, text, sizeof(x));
	return x;
}

/* Copies a text of eight bytes or more as it is. Whether all of it is plain: otherwise what was copied is not to be used. */
static inline bool copy_if_plain(char *out, const char *text, size_t len)
{
	block x, odd = OF_ALL(0);
	uint64_t halves[2];
	size_t i;

	for (i = 0; len - i >= BLOCK; i += BLOCK) {
		x = block_at(text + i);
		memcpy(out + i, &x, sizeof(x));
		odd |= odd_of(x);
	}
	/* The last pieces overlap what is before them. */
	if (len > BLOCK) {
		x = block_at(text + len - BLOCK);
		memcpy(out + len - BLOCK, &x, sizeof(x));
		odd |= odd_of(x);
	} else if (len < BLOCK) {
		memcpy(&halves[0], text, 8);
		memcpy(&halves[1], text + len - 8, 8);
		memcpy(out, &halves[0], 8);
		memcpy(out + len - 8, &halves[1], 8);
		memcpy(&x, halves, sizeof(x));
		odd |= odd_of(x);
	}
	memcpy(halves, &odd, sizeof(halves));
	return (halves[0] | halves[1]) == 0;
}

/* Copies what of text[i..len) is plain, up to the first byte that is not, and returns how far that went. */
static size_t copy_plain(char **out, const char *text, size_t i, size_t len)
{
	if (i == 0 && len >= 8 && copy_if_plain(*out, text, len)) {
		*out += len;
		return len;
	}
	for (; i < len && is_plain_byte((unsigned char)text[i]); i++)
		*(*out)++ = text[i];
	return i;
}

static char *append_hex(char *out, const char *before, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";

	out = append(out, before, strlen(before));
	*out++ = hex[byte >> 4];
	*out++ = hex[byte & 0xf];
	return out;
}

/* The one-letter escapes that both formats know; 0: there is none. */
static char escape_letter(unsigned char byte)
{
	switch (byte) {
	case '"':
	case '\\':
		return (char)byte;
	case '\b':
		return 'b';
	case '\t':
		return 't';
	case '\n':
		return 'n';
	case '\f':
		return 'f';
	case '\r':
		return 'r';
	}
	return 0;
}

/* Apache's ap_escape_logitem(): what it does, not how. */
static char *append_escaped(char *out, const char *text, size_t len)
{
	for (size_t i = copy_plain(&out, text, 0, len); i < len; i = copy_plain(&out, text, i + 1, len)) {
		unsigned char byte = (unsigned char)text[i];
		char letter;

		letter = byte == '\v' ? 'v' : escape_letter(byte);
		if (letter) {
			*out++ = '\\';
			*out++ = letter;
		} else {
			out = append_hex(out, "\\x", byte);
		}
	}
	return out;
}

/*
 * Bytes of the well-formed UTF-8 sequence at text (RFC 3629, table of section 4), which begins with a byte above 0x7f; 0:
 * there is none.
 */
static size_t utf8_len(const unsigned char *text, size_t len)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		n = 2;
	else if (text[0] >= 0xe0 && text[0] <= 0xef)
		n = 3;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (text[0] == 0xe0)
		low = 0xa0; /* overlong */
	else if (text[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f; /* above U+10FFFF */
	if (n > len || text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (text[i] < 0x80 || text[i] > 0xbf)
			return 0;
	return n;
}

static char *append_json_text(char *out, const char *text, size_t len)
{
	const unsigned char *bytes = (const unsigned char *)text;

	for (size_t i = copy_plain(&out, text, 0, len); i < len;) {
		char letter;
		size_t n;

		letter = escape_letter(bytes[i]);
		if (bytes[i] > 0x7f) {
			n = utf8_len(bytes + i, len - i);
			if (n == 0) {
				out = APPEND(out, "\xef\xbf\xbd"); /* U+FFFD */
				n = 1;
			} else if (n == 2 && bytes[i] == 0xc2 && bytes[i + 1] < 0xa0) {
				out = append_hex(out, "\\u00", bytes[i + 1]); /* C1 */
			} else {
				out = append(out, text + i, n);
			}
			i = copy_plain(&out, text, i + n, len);
			continue;
		}
		if (letter) {
			*out++ = '\\';
			*out++ = letter;
		} else {
			out = append_hex(out, "\\u00", bytes[i]);
		}
		i = copy_plain(&out, text, i + 1, len);
	}
	return out;
}

/* The record's text, taken apart. */
struct texts {
	const char *method, *target, *referer, *agent; /* the method begins the request line */
};

static struct texts texts_of(const struct access_record *record)
{
	struct texts texts = { .method = record->text };

	texts.target = texts.method + record->method_len + 1;
	texts.referer = texts.method + record->line_len;
	texts.agent = texts.referer + record->referer_len;
	return texts;
}

/* gmtime_r(3) is no clock, but reads the time zones: the calendar by itself, for years from 1970 on. */
static void civil_of(int64_t second, unsigned *year, unsigned *month, unsigned *day)
{
	static const unsigned char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	unsigned days = second > 0 ? (unsigned)(second / 86400) : 0;
	bool leap;

	*year = 1970;
	for (;; (*year)++) {
		leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;
		if (days < (leap ? 366U : 365U))
			break;
		days -= leap ? 366 : 365;
	}
	for (*month = 0; days >= lengths[*month] + (*month == 1 && leap ? 1U : 0U); (*month)++)
		days -= lengths[*month] + (*month == 1 && leap ? 1U : 0U);
	*day = days + 1;
}

static char *append_time_of_day(char *out, int64_t second)
{
	unsigned of_day = (unsigned)((second % 86400 + 86400) % 86400);

	out = append_padded(out, of_day / 3600, 2);
	*out++ = ':';
	out = append_padded(out, of_day / 60 % 60, 2);
	*out++ = ':';
	return append_padded(out, of_day % 60, 2);
}

/* "28/Nov/2026:17:43:06 +0000". */
static char *format_combined_time(char *out, int64_t second, int32_t utc_offset)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	unsigned east = (unsigned)(utc_offset < 0 ? -utc_offset : utc_offset) / 60;
	unsigned year, month, day;

	second += utc_offset;
	civil_of(second, &year, &month, &day);
	out = append_padded(out, day, 2);
	*out++ = '/';
	out = append(out, months + 3 * (size_t)month, 3);
	*out++ = '/';
	out = append_padded(out, year, 4);
	*out++ = ':';
	out = append_time_of_day(out, second);
	out = append(out, utc_offset < 0 ? " -" : " +", 2);
	return append_padded(out, east / 60 * 100 + east % 60, 4);
}

/* "2026-11-28T17:43:06": RFC 3339, up to the second. */
static char *format_json_time(char *out, int64_t second)
{
	unsigned year, month, day;

	civil_of(second, &year, &month, &day);
	out = append_padded(out, year, 4);
	*out++ = '-';
	out = append_padded(out, month + 1, 2);
	*out++ = '-';
	out = append_padded(out, day, 2);
	*out++ = 'T';
	return append_time_of_day(out, second);
}

/* Has formatter->time say the record's second. Microseconds within it. */
static unsigned reach_second(struct access_formatter *formatter, const struct access_record *record)
{
	int64_t us = (int64_t)record->began + formatter->clock_offset;
	uint64_t within = (uint64_t)(us - formatter->second_us);
	char *end;

	if (within < SECOND_US && formatter->utc_offset == formatter->second_offset)
		return (unsigned)within;
	if (us < 0)
		us = 0;
	end = formatter->format == ACCESS_JSON
	              ? format_json_time(formatter->time, us / SECOND_US)
	              : format_combined_time(formatter->time, us / SECOND_US, formatter->utc_offset);
	formatter->time_len = (size_t)(end - formatter->time);
	formatter->second_us = us / SECOND_US * SECOND_US;
	formatter->second_offset = formatter->utc_offset;
	return (unsigned)(us % SECOND_US);
}

/* All of the array, as that is two moves of a register: what stands behind the text is written over. */
static char *append_time(char *out, const struct access_formatter *formatter)
{
	memcpy(out, formatter->time, sizeof(formatter->time));
	return out + formatter->time_len;
}

static char *append_protocol(char *out, uint8_t protocol)
{
	out = APPEND(out, "HTTP/");
	*out++ = (char)('0' + (protocol >> 4) % 10);
	*out++ = '.';
	*out++ = (char)('0' + (protocol & 0xf) % 10);
	return out;
}

/* A quoted field of combined, or "-" in its place, where the record has flag or has it not; and cut, as well. */
static char *append_quoted(char *out, uint8_t flags, uint8_t flag, uint8_t cut, const char *text, size_t len)
{
	*out++ = '"';
	if (!(flags & flag))
		*out++ = '-';
	else if (flags & ACCESS_PLAIN)
		out = append(out, text, len);
	else
		out = append_escaped(out, text, len);
	if (flags & cut)
		out = APPEND(out, "...");
	*out++ = '"';
	return out;
}

static char *combined(char *out, struct access_formatter *formatter, const struct access_record *record)
{
	const struct texts texts = texts_of(record);

	reach_second(formatter, record);
	out = append_peer(out, formatter, &record->peer);
	out = APPEND(out, " - - [");
	out = append_time(out, formatter);
	out = APPEND(out, "] \"");
	if (record->target_len > 0) {
		out = append_escaped(out, texts.method, record->line_len);
		if (record->flags & ACCESS_TARGET_CUT)
			out = APPEND(out, "...");
		if (record->protocol && !(record->flags & ACCESS_LINE_WHOLE)) {
			*out++ = ' ';
			out = append_protocol(out, record->protocol);
		}
	} else {
		*out++ = '-';
	}
	out = APPEND(out, "\" ");
	out = append_number(out, record->status);
	*out++ = ' ';
	if (record->bytes > 0)
		out = append_number(out, record->bytes);
	else
		*out++ = '-';
	*out++ = ' ';
	out = append_quoted(out, record->flags, ACCESS_REFERER, ACCESS_REFERER_CUT, texts.referer, record->referer_len);
	*out++ = ' ';
	return append_quoted(out, record->flags, ACCESS_AGENT, ACCESS_AGENT_CUT, texts.agent, record->agent_len);
}

static char *append_json_or_null(char *out, bool has, bool plain, const char *text, size_t len)
{
	if (!has)
		return APPEND(out, "null");
	*out++ = '"';
	out = plain ? append(out, text, len) : append_json_text(out, text, len);
	*out++ = '"';
	return out;
}

static char *append_truncated(char *out, uint8_t flags)
{
	static const struct {
		uint8_t flag;
		const char *name;
	} members[] = {
		{ ACCESS_TARGET_CUT, "\"target\"," },
		{ ACCESS_REFERER_CUT, "\"referer\"," },
		{ ACCESS_AGENT_CUT, "\"user_agent\"," },
	};
	char *begin = out = APPEND(out, ",\"truncated\":[");

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (flags & members[i].flag)
			out = append(out, members[i].name, strlen(members[i].name));
	if (out > begin)
		out--;
	*out++ = ']';
	return out;
}

static char *json(char *out, struct access_formatter *formatter, const struct access_record *record)
{
	const uint8_t cuts = ACCESS_TARGET_CUT | ACCESS_REFERER_CUT | ACCESS_AGENT_CUT;
	const struct texts texts = texts_of(record);
	const char *coding = coding_name((enum content_coding)record->coding);
	const bool plain = record->flags & ACCESS_PLAIN;
	unsigned us = reach_second(formatter, record);

	out = APPEND(out, "{\"time\":\"");
	out = append_time(out, formatter);
	*out++ = '.';
	out = append_padded(out, us / 1000, 3);
	out = APPEND(out, "Z\",\"client\":\"");
	out = append_peer(out, formatter, &record->peer);
	out = APPEND(out, "\",\"method\":");
	out = append_json_or_null(out, record->target_len > 0, false, texts.method, record->method_len);
	out = APPEND(out, ",\"target\":");
	out = append_json_or_null(out, record->target_len > 0, false, texts.target, record->target_len);
	out = APPEND(out, ",\"protocol\":");
	if (record->protocol) {
		*out++ = '"';
		out = append_protocol(out, record->protocol);
		*out++ = '"';
	} else {
		out = APPEND(out, "null");
	}
	out = APPEND(out, ",\"status\":");
	out = append_number(out, record->status);
	out = APPEND(out, ",\"bytes\":");
	out = append_number(out, record->bytes);
	out = APPEND(out, ",\"referer\":");
	out = append_json_or_null(out, record->flags & ACCESS_REFERER, plain, texts.referer, record->referer_len);
	out = APPEND(out, ",\"user_agent\":");
	out = append_json_or_null(out, record->flags & ACCESS_AGENT, plain, texts.agent, record->agent_len);
	out = APPEND(out, ",\"duration_us\":");
	out = append_number(out, record->duration);
	out = APPEND(out, ",\"coding\":\"");
	out = append(out, coding, strlen(coding));
	out = APPEND(out, "\",\"snapshot\":\"");
	out = append(out, record->snapshot, sizeof(record->snapshot));
	out = record->flags & ACCESS_COMPLETE ? APPEND(out, "\",\"complete\":true")
	                                      : APPEND(out, "\",\"complete\":false");
	if (record->flags & cuts)
		out = append_truncated(out, record->flags);
	*out++ = '}';
	return out;
}

void access_formatter_init(struct access_formatter *formatter, enum access_format format)
{
	*formatter =
		(struct access_formatter){ .format = format, .second_us = INT64_MIN / 2, .peer.family = PEER_LOCAL };
	for (unsigned i = 0; i < 256; i++)
		formatter->octet[i][3] = (char)(append_number(formatter->octet[i], i) - formatter->octet[i]);
}

size_t access_format(struct access_formatter *formatter, const struct access_record *record, char *out)
{
	char *end = formatter->format == ACCESS_JSON ? json(out, formatter, record) : combined(out, formatter, record);

	*end++ = '\n';
	assert((size_t)(end - out) <= ACCESS_LINE_MAX);
	return (size_t)(end - out);
}
