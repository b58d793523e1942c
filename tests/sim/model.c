/*
 * model.c - see model.h. The site, and the contents of its pages.
 */
#include "model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTENTS (MODEL_VERSIONS + 1)

#define HTML  "text/html; charset=utf-8"
#define BYTES "application/octet-stream"

const struct page_facts model_pages[PAGES] = {
	[AT_INDEX] = { "/", HTML, "no-cache", 311, 1, 99, 1, false, false },
	[AT_SMALL] = { "/small.txt", "text/plain", NULL, 17, 1, 99, 2, false, false },
	[AT_EMPTY] = { "/empty", "text/plain", NULL, 0, 1, 99, 0, false, false },
	[AT_COPIED] = { "/copied.html", HTML, "no-cache", 4000, 1, 99, 1, true, false },
	[AT_LENT] = { "/lent.js", "text/javascript", NULL, 5000, 1, 99, 2, true, false },
	[AT_LARGE] = { "/large.bin", BYTES, NULL, 90000, 1, 99, 1, false, false },
	[AT_DIR] = { "/dir/", HTML, "no-cache", 901, 1, 99, 0, false, false },
	[AT_TINY] = { "/tiny.bin", BYTES, NULL, 3, 1, 99, 1, false, true },
	[AT_FILE] = { "/file.bin", BYTES, NULL, 90000, 1, 99, 2, false, true },
	[AT_HUGE] = { "/huge.bin", BYTES, NULL, UINT64_C(1) << 40, 1, 99, 0, false, true },
	[AT_NEW] = { "/new.css", "text/css", NULL, 6000, 3, 99, 1, false, false },
	[AT_OLD] = { "/old.css", "text/css", NULL, 5200, 1, 2, 1, false, false },
	[AT_NAMED] = { "/app.0123abcd.js", "text/javascript", "max-age=31536000, immutable", 120, 1, 99, 0, false,
	               false },
};

static char *contents[PAGES][CONTENTS][MODEL_CODINGS];
static char tags[PAGES][CONTENTS][MODEL_CODINGS][MODEL_TAG + 1];

unsigned model_content(enum page page, unsigned version)
{
	const struct page_facts *facts = &model_pages[page];

	if (version < facts->since || version > facts->until)
		return 0;
	return facts->every ? 1 + (version - facts->since) / facts->every : 1;
}

uint64_t model_len(enum page page, unsigned content, enum coding coding)
{
	static const unsigned divisors[MODEL_CODINGS] = { 1, 4, 3, 5 };
	uint64_t len = model_pages[page].len;

	if (len == 0 || page == AT_HUGE)
		return len;
	return len / divisors[coding] + content * 3;
}

time_t model_modified(enum page page, unsigned content)
{
	return page == AT_NAMED ? 0 : 1500000000 + (time_t)page * 100000 + (time_t)content * 1000;
}

/* Bytes that differ from content to content, from page to page, and from one place to the next. */
static void fill(char *bytes, size_t len, uint64_t x)
{
	for (size_t i = 0; i < len; i++) {
		if (i % 32 == 0)
			x = (x ^ (x >> 31)) * UINT64_C(0x9e3779b97f4a7c15) + i + 1;
		bytes[i] = (char)('!' + (x >> (i % 32)) % 90);
	}
}

static const char *bytes_of(enum page page, unsigned content, enum coding coding)
{
	char **made = &contents[page][content][coding];
	uint64_t len = model_len(page, content, coding);

	assert(content > 0 && content < CONTENTS);
	if (!*made) {
		if (page == AT_HUGE)
			len = MODEL_TAIL;
		*made = malloc(len + 1);
		assert(*made);
		fill(*made, len, (page * CONTENTS + content) * MODEL_CODINGS + coding + UINT64_C(0x123456789abcdef));
	}
	return *made;
}

void model_copy(enum page page, unsigned content, enum coding coding, uint64_t from, void *bytes, size_t len)
{
	const char *made = bytes_of(page, content, coding);
	uint64_t zeros = page == AT_HUGE ? model_len(page, content, coding) - MODEL_TAIL : 0;
	char *to = bytes;

	assert(from + len <= model_len(page, content, coding));
	for (; len > 0 && from < zeros; from++, len--)
		*to++ = 0;
	memcpy(to, made + (from - zeros), len);
}

/* Whether bytes are those of a content, from there on. */
static bool is_content(const struct piece *piece, uint64_t from, const char *bytes, size_t len)
{
	const char *made = bytes_of(piece->page, piece->content, piece->coding);
	uint64_t zeros = piece->page == AT_HUGE ? model_len(AT_HUGE, piece->content, piece->coding) - MODEL_TAIL : 0;

	for (; len > 0 && from < zeros; from++, bytes++, len--)
		if (*bytes != 0)
			return false;
	return memcmp(bytes, made + (from - zeros), len) == 0;
}

void model_learn_tag(enum page page, unsigned content, enum coding coding, const char *tag)
{
	char *known = tags[page][content][coding];

	if (*known) {
		if (memcmp(known, tag, MODEL_TAG) != 0) {
			fprintf(stderr, "sim: %s has the tag %.24s, and had %s\n", model_pages[page].path, tag, known);
			abort();
		}
		return;
	}
	for (size_t i = 0; i < sizeof(tags) / (MODEL_TAG + 1); i++) {
		if (memcmp((const char *)tags + i * (MODEL_TAG + 1), tag, MODEL_TAG) == 0) {
			fprintf(stderr, "sim: two contents have the tag %.24s\n", tag);
			abort();
		}
	}
	memcpy(known, tag, MODEL_TAG);
}

const char *model_tag(enum page page, unsigned content, enum coding coding)
{
	return tags[page][content][coding];
}

size_t model_words(enum word word, unsigned version, char *text, size_t size)
{
	int len = snprintf(text, size, "%sword %u of version %u%s", word % 2 ? "the " : "", (unsigned)word, version,
	                   word % 3 ? "" : ", and no more than that");

	assert(len > 0 && (size_t)len < size);
	return (size_t)len;
}

void model_id(unsigned version, char id[23])
{
	snprintf(id, 23, "simulated-version-%04u", version % 10000);
}

void model_date(time_t when, char date[MODEL_DATE + 1])
{
	static time_t last = -1;
	static char text[MODEL_DATE + 1];
	struct tm tm;

	if (when != last) {
		gmtime_r(&when, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		last = when;
	}
	memcpy(date, text, sizeof(text));
}

bool model_is(const struct answer *answer, uint64_t from, const char *bytes, size_t len)
{
	if (from < answer->head_len) {
		size_t n = len < answer->head_len - from ? len : (size_t)(answer->head_len - from);

		if (memcmp(answer->head + from, bytes, n) != 0)
			return false;
		bytes += n;
		len -= n;
		from += n;
	}
	from -= answer->head_len;
	for (unsigned i = 0; len > 0; i++) {
		const struct piece *piece = &answer->piece[i];
		size_t n;

		if (i == answer->pieces)
			return false;
		if (from >= piece->len) {
			from -= piece->len;
			continue;
		}
		n = len < piece->len - from ? len : (size_t)(piece->len - from);
		if (piece->text ? memcmp(piece->text + from, bytes, n) != 0
		                : !is_content(piece, piece->from + from, bytes, n))
			return false;
		bytes += n;
		len -= n;
		from = 0;
	}
	return true;
}
