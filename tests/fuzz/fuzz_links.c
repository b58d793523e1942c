/*
 * fuzz_links.c - the links of a page (links.h). The input is the page, once as it is, and once in quotes, as the value of an
 * attribute.
 *
 * What must hold: nothing outside the page is read; a key that is told is one that a key may be (absolute, without empty or dot
 * segments or control bytes), and is found again when a page names it, encoded; what is told of the beginning of a page
 * is what the whole of it begins with, but for what may stand at the cut.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/links.h"

#define LEN_MAX   4096
#define LINKS_MAX 1024

/* What a scan told, hashed link by link. */
struct telling {
	size_t count;
	uint64_t hash[LINKS_MAX];
	const struct links_link *again; /* the one that must be told */
};

static uint64_t hash_of(const char *bytes, size_t len, uint64_t hash)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
	return hash;
}

static void check_key(const struct links_link *link)
{
	const char *key = link->key, *end = key + link->key_len;

	fuzz_require(link->key_len > 0 && key[0] == '/', "no absolute path");
	while (key < end) {
		const char *slash = memchr(key + 1, '/', (size_t)(end - key - 1)), *next = slash ? slash : end;
		size_t len = (size_t)(next - key - 1);

		fuzz_require(len > 0 || next == end, "an empty segment");
		fuzz_require(!(len == 1 && key[1] == '.'), "a dot segment");
		fuzz_require(!(len == 2 && key[1] == '.' && key[2] == '.'), "a double-dot segment");
		for (const char *at = key + 1; at < next; at++)
			fuzz_require((unsigned char)*at >= 0x20 && *at != 0x7f, "a control byte");
		key = next;
	}
}

static int found_again(void *context, const struct links_link *link)
{
	struct telling *telling = context;
	const struct links_link *first = telling->again;

	fuzz_require(link->key && link->key_len == first->key_len && memcmp(link->key, first->key, link->key_len) == 0,
	             "%s, encoded, is another", fuzz_text(first->key, first->key_len));
	telling->count++;
	return 0;
}

/* A page that names the key, every byte but the slashes encoded, and in places by number. */
static void name_again(const struct links_link *link)
{
	struct telling telling = { .again = link };
	char *page = fuzz_memory(8 * link->key_len + 32);
	size_t n = (size_t)sprintf(page, "<img src='");

	if (link->key_len > LINKS_URL_MAX / 3)
		goto out; /* encoded it may be too long */
	for (size_t i = 0; i < link->key_len; i++) {
		unsigned char c = (unsigned char)link->key[i];

		if (c == '/')
			page[n++] = '/';
		else
			n += (size_t)sprintf(page + n, i % 2 ? "&#%d;%02X" : "%c%02x", '%', c);
	}
	n += (size_t)sprintf(page + n, "?x'>");
	links_scan("/some/page", strlen("/some/page"), page, n, found_again, &telling);
	fuzz_require(telling.count == 1, "%s, encoded, is told %zu times", fuzz_text(link->key, link->key_len),
	             telling.count);
out:
	free(page);
}

static int found(void *context, const struct links_link *link)
{
	struct telling *telling = context;

	fuzz_require(link->url_len > 0 && link->url_len <= LINKS_URL_MAX, "a URL of %zu bytes", link->url_len);
	if (link->key) {
		check_key(link);
		name_again(link);
	}
	if (telling->count < LINKS_MAX)
		telling->hash[telling->count] = hash_of(link->url, link->url_len, hash_of(link->key, link->key_len, 7));
	telling->count++;
	return 0;
}

static void scan(struct telling *telling, const void *bytes, size_t len)
{
	char *page = fuzz_copy(bytes, len ? len : 1), *key = fuzz_copy("/a/b c.html", strlen("/a/b c.html"));

	telling->count = 0;
	fuzz_require(links_scan(key, strlen("/a/b c.html"), page, len, found, telling) == 0, "an error");
	free(page);
	free(key);
}

/* A tag counts once it is closed: cut behind some '>', a page has told what the whole one begins with. */
static void scan_beginning(const struct telling *whole, const uint8_t *data, size_t size)
{
	static struct telling part;
	const uint8_t *cut = size > 0 ? memrchr(data, '>', size / 2) : NULL;

	scan(&part, data, cut ? (size_t)(cut + 1 - data) : 0);
	fuzz_require(part.count <= whole->count, "%zu links, and %zu in the beginning", whole->count, part.count);
	for (size_t i = 0; i < part.count && i < LINKS_MAX; i++)
		fuzz_require(part.hash[i] == whole->hash[i], "link %zu is another in the beginning", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct telling whole;
	char *quoted;
	size_t n;

	if (size > LEN_MAX)
		return 0;
	scan(&whole, size ? data : (const uint8_t *)"", size);
	scan_beginning(&whole, data, size);

	quoted = fuzz_memory(size + 64);
	n = (size_t)sprintf(quoted, "<base href=\"/base/\"><script src=\"");
	if (size > 0)
		memcpy(quoted + n, data, size);
	n += size;
	n += (size_t)sprintf(quoted + n, "\">");
	scan(&whole, quoted, n);
	free(quoted);
	return 0;
}
