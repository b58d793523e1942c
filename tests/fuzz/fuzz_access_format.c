/*
 * fuzz_access_format.c - lines of the access log (access_format.h). The input is a record: eight bytes of numbers, and then
 * method, target, Referer and User-Agent with a NUL between them.
 *
 * What must hold: a line is one line; combined is printable ASCII from which the very bytes are read back; json is valid
 * UTF-8 without control bytes, in quotes that are where they should be, from which what was valid is read back.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/access_format.h"
#include "loom/chars.h"
#include "loom/coding.h"

#define NUMBERS 8

struct piece {
	const uint8_t *bytes;
	size_t len;
};

/* Up to the next NUL, and at most so long. */
static struct piece take(const uint8_t **at, const uint8_t *end, size_t most)
{
	const uint8_t *nul = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
	struct piece piece = { *at, (size_t)((nul ? nul : end) - *at) };

	*at = nul ? nul + 1 : end;
	if (piece.len > most)
		piece.len = most;
	return piece;
}

static char *put(char *to, const void *bytes, size_t len)
{
	memcpy(to, bytes, len);
	return to + len;
}

static bool is_plain(const struct piece *piece)
{
	for (size_t i = 0; i < piece->len; i++)
		if (piece->bytes[i] < 0x20 || piece->bytes[i] > 0x7e || strchr("\"\\", piece->bytes[i]))
			return false;
	return true;
}

static struct access_record *make(const uint8_t *data, const struct piece pieces[4])
{
	static const char version[] = " HTTP/1.1";
	const bool is_request = pieces[1].len > 0, whole = data[1] & ACCESS_LINE_WHOLE;
	size_t line = is_request ? pieces[0].len + 1 + pieces[1].len + (whole ? ACCESS_VERSION_LEN : 0) : 0;
	size_t size = sizeof(struct access_record) + line + pieces[2].len + pieces[3].len;
	struct access_record *record;
	char *to;

	record = fuzz_memory(size); /* exactly so long */
	memset(record, 0, size);
	record->size = (uint32_t)size;
	record->status = (uint16_t)(200 + data[0]);
	record->flags = data[1];
	if (!is_plain(&pieces[2]) || !is_plain(&pieces[3]))
		record->flags &= (uint8_t)~ACCESS_PLAIN;
	record->coding = data[2] % CODINGS;
	record->protocol = data[3];
	record->bytes = (uint64_t)data[4] << (data[4] & 63);
	record->began = (uint64_t)data[5] << 32 | data[6];
	record->duration = data[6];
	record->peer.family = data[7] % 4;
	memcpy(record->peer.address, data, NUMBERS);
	memcpy(record->snapshot, "LnkXMYPkA0xmPcC8Bn2ePw", ACCESS_SNAPSHOT_LEN);
	record->line_len = (uint16_t)line;
	record->referer_len = (uint16_t)pieces[2].len;
	record->agent_len = (uint16_t)pieces[3].len;
	to = record->text;
	if (is_request) {
		record->method_len = (uint8_t)pieces[0].len;
		record->target_len = (uint16_t)pieces[1].len;
		to = put(to, pieces[0].bytes, pieces[0].len);
		*to++ = ' ';
		to = put(to, pieces[1].bytes, pieces[1].len);
		to = put(to, version, whole ? ACCESS_VERSION_LEN : 0);
	}
	to = put(to, pieces[2].bytes, pieces[2].len);
	put(to, pieces[3].bytes, pieces[3].len);
	return record;
}

/* The byte that an escape of combined stands for; *at is behind its backslash. */
static uint8_t unescape(const char **at)
{
	static const char letters[] = "\"\\bfnrtv", meant[] = "\"\\\b\f\n\r\t\v";
	const char *letter;
	char c = *(*at)++;

	if (c == 'x') {
		int high = chars_hex_digit((*at)[0]), low = chars_hex_digit((*at)[1]);

		fuzz_require(high >= 0 && low >= 0, "an escape without its digits");
		*at += 2;
		return (uint8_t)(high << 4 | low);
	}
	letter = strchr(letters, c);
	fuzz_require(letter && c, "an escape that is none: %c", c);
	return (uint8_t)meant[letter - letters];
}

/* The piece, escaped; returns what follows it. */
static const char *read_text(const char *at, const struct piece *piece)
{
	for (size_t n = 0; n < piece->len; n++) {
		uint8_t byte = (uint8_t)*at++;

		fuzz_require(byte != '"', "a field ends early");
		if (byte == '\\')
			byte = unescape(&at);
		fuzz_require(byte == piece->bytes[n], "byte %zu of a field is another", n);
	}
	return at;
}

/* A quoted field, which must be the piece and what comes after it; returns what follows it. */
static const char *read_combined(const char *at, const struct piece *piece, bool has, const char *after)
{
	static const struct piece none = { (const uint8_t *)"-", 1 };

	fuzz_require(*at == '"', "no quote where a field begins: %s", at);
	at = read_text(at + 1, has ? piece : &none);
	fuzz_require(strncmp(at, after, strlen(after)) == 0, "not %s behind a field: %s", after, at);
	at += strlen(after);
	fuzz_require(*at == '"', "a field has no end: %s", at);
	return at + 1;
}

static void check_combined(const char *line, const struct access_record *record, const struct piece pieces[4])
{
	const struct piece request = { (const uint8_t *)record->text, record->line_len };
	const bool is_request = record->target_len > 0;
	char after[sizeof("... HTTP/1.1")] = "";
	const char *at = strchr(line, ']');

	for (const char *byte = line; byte[1]; byte++)
		fuzz_require(*byte >= 0x20 && *byte < 0x7f, "a byte that is not printable: %s",
		             fuzz_text(line, strlen(line)));
	if (is_request && record->flags & ACCESS_TARGET_CUT)
		strcat(after, "...");
	if (is_request && record->protocol && !(record->flags & ACCESS_LINE_WHOLE))
		snprintf(after + strlen(after), sizeof(after) - strlen(after), " HTTP/%u.%u",
		         (record->protocol >> 4) % 10, (record->protocol & 0xf) % 10);
	at = read_combined(at + 2, &request, is_request, after);
	at = strchr(strchr(at + 1, ' ') + 1, ' ') + 1; /* behind status and bytes */
	at = read_combined(at, &pieces[2], record->flags & ACCESS_REFERER,
	                   record->flags & ACCESS_REFERER_CUT ? "..." : "");
	at = read_combined(at + 1, &pieces[3], record->flags & ACCESS_AGENT,
	                   record->flags & ACCESS_AGENT_CUT ? "..." : "");
	fuzz_require(strcmp(at, "\n") == 0, "something behind the last field: %s", at);
}

/* A sequence of UTF-8 at text, by the number it stands for: its length, or 0. */
static size_t decode(const uint8_t *text, size_t len, uint32_t *number)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = text[0] < 0x80 ? 1 : text[0] >> 5 == 6 ? 2 : text[0] >> 4 == 14 ? 3 : text[0] >> 3 == 30 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	*number = n == 1 ? text[0] : text[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if (text[i] >> 6 != 2)
			return 0;
		*number = *number << 6 | (text[i] & 0x3f);
	}
	return *number < least[n] || *number > 0x10ffff || *number >> 11 == 0x1b ? 0 : n;
}

/* The next character of a JSON text in quotes. */
static uint32_t next_json(const uint8_t **at, const uint8_t *end)
{
	static const char letters[] = "\"\\bfnrt", meant[] = "\"\\\b\f\n\r\t";
	uint32_t number = 0;
	const char *letter;

	if (**at != '\\') {
		*at += decode(*at, (size_t)(end - *at), &number);
		return number;
	}
	if ((*at)[1] == 'u') {
		for (unsigned i = 2; i < 6; i++) {
			fuzz_require(chars_hex_digit((char)(*at)[i]) >= 0, "an escape without its digits");
			number = number << 4 | (uint32_t)chars_hex_digit((char)(*at)[i]);
		}
		*at += 6;
		return number;
	}
	letter = strchr(letters, (*at)[1]);
	fuzz_require(letter && (*at)[1], "an escape that is none");
	*at += 2;
	return (uint32_t)(unsigned char)meant[letter - letters];
}

/* The value of a member must be the piece, with U+FFFD for each byte that is no text. */
static void read_json(const char *line, size_t len, const char *member, const struct piece *piece, bool has)
{
	const uint8_t *at = memmem(line, len, member, strlen(member)), *end = (const uint8_t *)line + len;

	fuzz_require(at != NULL, "no %s", member);
	at += strlen(member);
	if (!has) {
		fuzz_require(memcmp(at, "null", 4) == 0, "%s is not null", member);
		return;
	}
	fuzz_require(*at++ == '"', "%s is no text", member);
	for (size_t i = 0; i < piece->len;) {
		uint32_t expected = 0xfffd, got;
		size_t n = decode(piece->bytes + i, piece->len - i, &expected);

		fuzz_require(*at != '"', "%s ends early", member);
		got = next_json(&at, end);
		if (n == 0)
			expected = 0xfffd;
		fuzz_require(got == expected, "%s: U+%04x instead of U+%04x", member, got, expected);
		i += n ? n : 1;
	}
	fuzz_require(*at == '"', "%s has no end", member);
}

static void check_json(const char *line, size_t len, const struct access_record *record, const struct piece pieces[4])
{
	bool is_request = record->target_len > 0;

	for (size_t i = 0; i + 1 < len;) {
		uint32_t number = 0;
		size_t n = decode((const uint8_t *)line + i, len - i, &number);

		fuzz_require(n > 0 && number >= 0x20 && (number < 0x7f || number > 0x9f),
		             "U+%04x, of %zu bytes, as it is", number, n);
		i += n;
	}
	/* The first of each name is the member: what clients sent has its quotes escaped. */
	read_json(line, len, ",\"method\":", &pieces[0], is_request);
	read_json(line, len, ",\"target\":", &pieces[1], is_request);
	read_json(line, len, ",\"referer\":", &pieces[2], record->flags & ACCESS_REFERER);
	read_json(line, len, ",\"user_agent\":", &pieces[3], record->flags & ACCESS_AGENT);
	fuzz_require(line[0] == '{' && line[len - 2] == '}', "no object");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char line[ACCESS_LINE_MAX + 1];
	const uint8_t *at = data + NUMBERS, *end = data + size;
	struct access_formatter formatter;
	struct access_record *record;
	struct piece pieces[4];
	size_t len;

	if (size < NUMBERS)
		return 0;
	pieces[0] = take(&at, end, ACCESS_METHOD_MAX);
	pieces[1] = take(&at, end, ACCESS_TARGET_MAX);
	pieces[2] = take(&at, end, ACCESS_REFERER_MAX);
	pieces[3] = take(&at, end, ACCESS_AGENT_MAX);
	record = make(data, pieces);
	for (unsigned format = ACCESS_COMBINED; format <= ACCESS_JSON; format++) {
		access_formatter_init(&formatter, (enum access_format)format);
		len = access_format(&formatter, record, line);
		fuzz_require(len <= ACCESS_LINE_MAX && line[len - 1] == '\n', "%zu bytes", len);
		fuzz_require(memchr(line, '\n', len) == line + len - 1, "more than one line");
		line[len] = '\0';
		if (format == ACCESS_JSON)
			check_json(line, len, record, pieces);
		else
			check_combined(line, record, pieces);
	}
	free(record);
	return 0;
}
