/*
 * fuzz_accept_encoding.c - Accept-Encoding, and the choice of a variant (coding.h). The input is four bytes, the sizes
 * of the variants (the largest byte: there is none; identity is always there), and then field values, a line each.
 *
 * What must hold: the wishes are those that a second reading of the grammar finds (RFC 9110 12.5.3); they are the same
 * when every member of the lists stands in a line of its own; and the choice is the best that there is.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "loom/coding.h"

/* Each line a copy of its own. separator: the byte that ends one; another that does, too. */
static struct coding_wishes read_lines(const char *text, size_t len, char separator, char other)
{
	struct coding_wishes wishes;
	struct coding_list list;

	coding_list_begin(&list, &wishes);
	for (size_t at = 0, end; at <= len; at = end + 1) {
		char *line;

		for (end = at; end < len && text[end] != separator && text[end] != other; end++)
			;
		line = fuzz_copy(text + at, end - at);
		coding_list_line(&list, line, end - at);
		free(line);
	}
	coding_list_end(&list);
	return wishes;
}

static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t skip_space(const char *text, size_t at)
{
	return at + strspn(text + at, " \t");
}

/* A member, NUL-terminated: the length of its name and its weight in thousandths; false when it is malformed. */
static bool model_member(const char *text, size_t *name_len, int *weight)
{
	size_t at = 0, digits;

	while (is_token(text[at]))
		at++;
	*name_len = at;
	*weight = 1000;
	at = skip_space(text, at);
	if (text[at] == '\0')
		return true;
	if (text[at] != ';')
		return false;
	at = skip_space(text, at + 1);
	if ((text[at] != 'q' && text[at] != 'Q') || text[at + 1] != '=')
		return false;
	at += 2;
	if (text[at] != '0' && text[at] != '1')
		return false;
	*weight = text[at++] == '1' ? 1000 : 0;
	if (text[at] == '.') {
		digits = strspn(text + at + 1, *weight ? "0" : "0123456789");
		if (digits > 3)
			return false;
		for (size_t i = 0, unit = 100; i < digits; i++, unit /= 10)
			*weight += (int)((size_t)(text[at + 1 + i] - '0') * unit);
		at += 1 + digits;
	}
	return text[skip_space(text, at)] == '\0';
}

/* The same by another way: member after member, the last word on each coding counting. */
static struct coding_wishes model(const char *text, size_t len)
{
	static const struct {
		const char *name;
		unsigned coding; /* CODINGS: all others */
	} names[] = { { "identity", CODING_IDENTITY }, { "gzip", CODING_GZIP },
		      { "x-gzip", CODING_GZIP },       { "br", CODING_BR },
		      { "zstd", CODING_ZSTD },         { "*", CODINGS } };
	int said[CODINGS + 1] = { -1, -1, -1, -1, -1 };
	struct coding_wishes wishes;

	for (size_t at = 0, end; at <= len; at = end + 1) {
		size_t begin, name_len;
		char *member;
		int weight;

		for (end = at; end < len && text[end] != '\n' && text[end] != ','; end++)
			;
		for (begin = at; begin < end && (text[begin] == ' ' || text[begin] == '\t'); begin++)
			;
		member = fuzz_memory(end - begin + 1);
		memcpy(member, text + begin, end - begin);
		member[end - begin] = '\0';
		if (strlen(member) == end - begin && model_member(member, &name_len, &weight))
			for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
				if (strlen(names[i].name) == name_len &&
				    strncasecmp(names[i].name, member, name_len) == 0)
					said[names[i].coding] = weight;
		free(member);
	}
	for (unsigned i = 0; i < CODINGS; i++) {
		int q = said[i] >= 0 ? said[i] : said[CODINGS];

		wishes.q[i] = (int16_t)(q >= 0 ? q : i == CODING_IDENTITY ? CODING_Q_UNSAID : 0);
	}
	return wishes;
}

static void compare(const struct coding_wishes *a, const struct coding_wishes *b, const char *what)
{
	for (unsigned i = 0; i < CODINGS; i++)
		fuzz_require(a->q[i] == b->q[i], "%s: %s has quality %d instead of %d", what, coding_name(i), a->q[i],
		             b->q[i]);
}

/* How well a variant fits, as one number: quality first, then smallness. 0: not at all. */
static uint64_t merit(const struct coding_wishes *wishes, const size_t sizes[CODINGS], unsigned coding)
{
	int q = wishes->q[coding];

	if (sizes[coding] == SIZE_MAX || q == 0)
		return 0;
	return (uint64_t)(q == CODING_Q_UNSAID ? 1 : 2 * q) << 32 | (UINT32_MAX - sizes[coding]);
}

static void check_choice(const struct coding_wishes *wishes, const size_t sizes[CODINGS])
{
	enum content_coding chosen = coding_choose(wishes, sizes);
	uint64_t best = 0;

	for (unsigned i = 0; i < CODINGS; i++)
		best = merit(wishes, sizes, i) > best ? merit(wishes, sizes, i) : best;
	if (chosen == CODINGS)
		fuzz_require(best == 0, "nothing is chosen, although something is acceptable");
	else
		fuzz_require(best > 0 && merit(wishes, sizes, chosen) == best, "%s is not the best choice",
		             coding_name(chosen));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct coding_wishes wishes, other;
	const char *text = (const char *)data + CODINGS;
	size_t sizes[CODINGS], len = size - CODINGS;

	if (size < CODINGS || size > 4096)
		return 0;
	for (unsigned i = 0; i < CODINGS; i++)
		sizes[i] = data[i] == UINT8_MAX && i != CODING_IDENTITY ? SIZE_MAX : data[i];

	wishes = read_lines(text, len, '\n', '\n');
	for (unsigned i = 0; i < CODINGS; i++)
		fuzz_require((wishes.q[i] >= 0 && wishes.q[i] <= CODING_Q_MAX) ||
		                     (i == CODING_IDENTITY && wishes.q[i] == CODING_Q_UNSAID),
		             "%s has quality %d", coding_name(i), wishes.q[i]);
	other = read_lines(text, len, '\n', ',');
	compare(&wishes, &other, "read in one line, and in many");
	other = model(text, len);
	compare(&wishes, &other, "read, and read by the model");
	check_choice(&wishes, sizes);
	coding_wishes_init(&wishes);
	check_choice(&wishes, sizes);
	return 0;
}
