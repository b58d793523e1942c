/*
 * asset.c - prebuilt answers: heads that need nothing but the date, and bodies that follow them in memory. Builder's
 * thread.
 *
 * Layout of an allocation, from a cache line's start: struct asset (its representation first, as that is what the
 * event loop reads) | key | 304 head, CRLF | padding | 200 head, CRLF | body, from a cache line's start. A small answer
 * is one copy of head and body together; a large one is sent from the body's aligned start.
 */
#include "loom/asset.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "loom/response.h"

static_assert(offsetof(struct asset, representation) == 0, "the representation opens the asset");
static_assert(sizeof(XXH128_canonical_t) == ASSET_HASH_LEN, "a content hash has 128 bits");

/* 16 bytes in 22 digits, quoted. */
#define ETAG_SPACE "\"----------------------\""
static_assert(sizeof(ETAG_SPACE) - 1 == ETAG_LEN, "an entity tag has one length");

#define DATE_SPACE "Thu, 01 Jan 1970 00:00:00 GMT"
static_assert(sizeof(DATE_SPACE) - 1 == HTTP_DATE_LEN, "a date has one length");

#define TEXT_TYPE "text/plain; charset=utf-8"

/* A head that is being written, the empty line's CRLF left out. */
struct head {
	size_t len; /* beyond the size of bytes: it did not fit */
	size_t date_at;
	size_t etag_at;
	char bytes[REPRESENTATION_HEAD_MAX + 1];
};

static __attribute__((format(printf, 2, 3))) void head_add(struct head *head, const char *format, ...)
{
	size_t room = head->len < sizeof(head->bytes) ? sizeof(head->bytes) - head->len : 0;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(room ? head->bytes + head->len : NULL, room, format, args);
	va_end(args);
	assert(n >= 0);
	head->len += (size_t)n;
}

static void head_begin(struct head *head, unsigned status, const char *reason)
{
	head->len = 0;
	head->etag_at = 0;
	head_add(head, "HTTP/1.1 %u %s\r\nDate: ", status, reason);
	head->date_at = head->len;
	head_add(head, DATE_SPACE "\r\n");
	assert(head->date_at <= UINT8_MAX);
}

static void head_content(struct head *head, const char *type, uint64_t len)
{
	head_add(head, "Content-Type: %s\r\nContent-Length: %llu\r\n", type, (unsigned long long)len);
}

static void head_etag(struct head *head)
{
	head_add(head, "ETag: ");
	head->etag_at = head->len;
	head_add(head, ETAG_SPACE "\r\n");
}

static void file_heads(struct head *head, struct head *not_modified, const char *type, uint64_t size, time_t mtime)
{
	char date[HTTP_DATE_LEN];

	head_begin(head, 200, "OK");
	head_content(head, type, size);
	if (mtime > 0) {
		http_date_format(mtime, date);
		head_add(head, "Last-Modified: %.*s\r\n", HTTP_DATE_LEN, date);
	}
	head_etag(head);

	/* A cache has the other fields already; with a strong validator it needs no Last-Modified (RFC 9110 15.4.5). */
	head_begin(not_modified, 304, "Not Modified");
	head_etag(not_modified);
}

static uint64_t round_up(uint64_t n)
{
	return (n + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

/* Where the body begins: before it are, in this order, the key, the 304 and the head. */
static uint64_t body_offset(size_t key_len, const struct head *head, const struct head *not_modified)
{
	return round_up(sizeof(struct asset) + key_len + (not_modified ? not_modified->len + 2 : 0) + head->len + 2);
}

uint64_t asset_file_memory(size_t key_len, const char *type, uint64_t size)
{
	struct head head, not_modified;

	file_heads(&head, &not_modified, type, size, 1);
	return body_offset(key_len, &head, &not_modified) + round_up(size);
}

/* One allocation with everything in its place but the body's bytes. */
static int asset_make(struct asset **made, enum asset_kind kind, unsigned status, const char *key, size_t key_len,
                      const struct head *head, const struct head *not_modified, uint64_t body_len)
{
	struct representation *representation;
	struct asset *asset;
	uint64_t offset, size;
	char *base;

	assert(head->len <= REPRESENTATION_HEAD_MAX);
	assert(key_len <= UINT32_MAX);

	if (body_len > PTRDIFF_MAX / 2)
		return -ENOMEM;
	offset = body_offset(key_len, head, not_modified);
	size = offset + round_up(body_len);
	asset = aligned_alloc(CACHE_LINE, size);
	if (!asset)
		return -ENOMEM;
	base = (char *)asset;

	*asset = (struct asset){ .references = 1, .kind = kind, .memory = size };
	asset->body = (uint8_t *)base + offset;
	asset->key_len = (uint32_t)key_len;
	asset->key = memcpy(base + sizeof(*asset), key, key_len);

	representation = &asset->representation;
	representation->status = (uint16_t)status;
	representation->head = memcpy(base + offset - 2 - head->len, head->bytes, head->len);
	representation->head_len = (uint16_t)head->len;
	representation->date_at = (uint8_t)head->date_at;
	representation->body = asset->body;
	representation->body_len = body_len;
	memcpy(base + offset - 2, "\r\n", 2);

	if (not_modified) {
		char *at = base + sizeof(*asset) + key_len;

		representation->not_modified = memcpy(at, not_modified->bytes, not_modified->len);
		representation->not_modified_len = (uint16_t)not_modified->len;
		representation->not_modified_date_at = (uint8_t)not_modified->date_at;
		memcpy(at + not_modified->len, "\r\n", 2);
		asset->etag_at = (uint16_t)head->etag_at;
		asset->not_modified_etag_at = (uint16_t)not_modified->etag_at;
	}
	assert(representation->body == (const uint8_t *)representation->head + representation->head_len + 2);
	*made = asset;
	return 0;
}

int asset_file(struct asset **asset, const char *key, size_t key_len, const char *type, uint64_t size, time_t mtime)
{
	struct head head, not_modified;
	int err;

	file_heads(&head, &not_modified, type, size, mtime);
	err = asset_make(asset, ASSET_FILE, 200, key, key_len, &head, &not_modified, size);
	if (err)
		return err;
	(*asset)->type = type;
	(*asset)->representation.last_modified = mtime > 0 ? mtime : 0;
	assert((*asset)->memory <= asset_file_memory(key_len, type, size));
	return 0;
}

/* The content's hash in the byte order that is the same everywhere. */
static void asset_hash(struct asset *asset)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(asset->body, asset->representation.body_len));
	memcpy(asset->hash, canonical.digest, sizeof(asset->hash));
}

void asset_hash_text(const uint8_t hash[ASSET_HASH_LEN], char text[ETAG_LEN - 1])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned bits = 0, held = 0;
	size_t n = 0;

	for (size_t i = 0; i < ASSET_HASH_LEN; i++) {
		bits = bits << 8 | hash[i];
		held += 8;
		while (held >= 6) {
			held -= 6;
			text[n++] = digits[bits >> held & 63];
		}
	}
	text[n++] = digits[bits << (6 - held) & 63]; /* 128 = 21 * 6 + 2 */
	text[n] = '\0';
	assert(n == ETAG_LEN - 2);
}

void asset_seal(struct asset *asset)
{
	struct representation *representation = &asset->representation;
	char *head = (char *)asset->body - 2 - representation->head_len;
	char *not_modified = (char *)asset + sizeof(*asset) + asset->key_len;
	char text[ETAG_LEN - 1];

	assert(asset->kind == ASSET_FILE);
	assert(representation->etag_len == 0);

	asset_hash(asset);
	asset_hash_text(asset->hash, text);
	representation->etag[0] = '"';
	memcpy(representation->etag + 1, text, ETAG_LEN - 2);
	representation->etag[ETAG_LEN - 1] = '"';
	representation->etag_len = ETAG_LEN;
	memcpy(head + asset->etag_at, representation->etag, ETAG_LEN);
	memcpy(not_modified + asset->not_modified_etag_at, representation->etag, ETAG_LEN);
}

/* Percent-encodes what may not stand in a path (RFC 3986 3.3: pchar and the slash). */
static void head_path(struct head *head, const char *path, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)path[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (letter || (c && strchr("-._~!$&'()*+,;=:@/", c)))
			head_add(head, "%c", c);
		else
			head_add(head, "%%%02X", c);
	}
}

int asset_redirect(struct asset **asset, const char *key, size_t key_len)
{
	static const char text[] = "301 Moved Permanently: the address of a directory ends with a slash.\n";
	struct head head;
	size_t location_end;
	int err;

	assert(key_len > 1 && key[0] == '/' && key[1] != '/' && key[key_len - 1] != '/');

	head_begin(&head, 301, "Moved Permanently");
	head_content(&head, TEXT_TYPE, sizeof(text) - 1);
	head_add(&head, "Location: ");
	head_path(&head, key, key_len);
	head_add(&head, "/");
	location_end = head.len;
	head_add(&head, "\r\n");
	if (head.len > REPRESENTATION_HEAD_MAX)
		return -ENAMETOOLONG;

	err = asset_make(asset, ASSET_REDIRECT, 301, key, key_len, &head, NULL, sizeof(text) - 1);
	if (err)
		return err;
	(*asset)->type = TEXT_TYPE;
	(*asset)->representation.location_end = (uint16_t)location_end;
	memcpy((*asset)->body, text, sizeof(text) - 1);
	asset_hash(*asset);
	return 0;
}

static const struct {
	unsigned status;
	const char *reason; /* RFC 9110 15; 431: RFC 6585 */
	const char *text;
	const char *fields;
} errors[SNAPSHOT_ERRORS] = {
	[ERROR_400] = { 400, "Bad Request", "the request cannot be understood", "" },
	[ERROR_404] = { 404, "Not Found", "there is nothing at this address", "" },
	[ERROR_405] = { 405, "Method Not Allowed", "this server answers GET and HEAD", "Allow: GET, HEAD\r\n" },
	[ERROR_408] = { 408, "Request Timeout", "the request took too long to arrive", "" },
	[ERROR_413] = { 413, "Content Too Large", "the body of the request is too large", "" },
	[ERROR_414] = { 414, "URI Too Long", "the address is too long", "" },
	[ERROR_417] = { 417, "Expectation Failed", "the request expects what this server does not do", "" },
	[ERROR_431] = { 431, "Request Header Fields Too Large", "the head of the request is too large", "" },
	[ERROR_500] = { 500, "Internal Server Error", "the server has failed", "" },
	[ERROR_501] = { 501, "Not Implemented", "this server does not know what the request asks for", "" },
	[ERROR_503] = { 503, "Service Unavailable", "the server is too busy", "" },
	[ERROR_505] = { 505, "HTTP Version Not Supported", "this server speaks HTTP/1.0 and HTTP/1.1", "" },
};

int asset_error(struct asset **asset, enum snapshot_error error, const char *type, const void *body, size_t body_len)
{
	struct head head;
	char text[128];
	int err;

	assert(error >= 0 && error < SNAPSHOT_ERRORS && errors[error].reason);

	if (!type) {
		int n = snprintf(text, sizeof(text), "%u %s: %s.\n", errors[error].status, errors[error].reason,
		                 errors[error].text);

		assert(n > 0 && (size_t)n < sizeof(text));
		type = TEXT_TYPE;
		body = text;
		body_len = (size_t)n;
	}
	head_begin(&head, errors[error].status, errors[error].reason);
	head_content(&head, type, body_len);
	head_add(&head, "%s", errors[error].fields);

	err = asset_make(asset, ASSET_ERROR, errors[error].status, "", 0, &head, NULL, body_len);
	if (err)
		return err;
	(*asset)->type = type;
	if (body_len)
		memcpy((*asset)->body, body, body_len);
	asset_hash(*asset);
	return 0;
}

void asset_reference(struct asset *asset)
{
	assert(asset->references > 0 && asset->references < UINT32_MAX);
	asset->references++;
}

void asset_release(struct asset *asset)
{
	if (!asset)
		return;
	assert(asset->references > 0);
	if (--asset->references == 0)
		free(asset);
}
