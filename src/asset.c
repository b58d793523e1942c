/*
 * asset.c - prebuilt answers: heads that need nothing but the date, and the bodies that go with them. Builder's thread.
 *
 * Layout of an allocation, from a cache line's start: struct asset (its representation first, as that is what the event loop
 * reads) | head | key, NUL.
 */
#include "loom/asset.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/memory.h"
#include "loom/response.h"

static_assert(offsetof(struct asset, representation) == 0, "the representation opens the asset");

#define DATE_SPACE "Thu, 01 Jan 1970 00:00:00 GMT"
static_assert(sizeof(DATE_SPACE) - 1 == HTTP_DATE_LEN, "a date has one length");

#define TEXT_TYPE "text/plain; charset=utf-8"
#define ALLOW     "Allow: GET, HEAD, OPTIONS\r\n"

/* A head that is being written, without the empty line that ends it. Its parts are those of struct representation. */
struct head {
	size_t len; /* beyond the size of bytes: it did not fit */
	size_t validators_at, date_at, metadata_at, modified_at, type_at, length_at;
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
	head->len = head->modified_at = 0;
	head_add(head, "HTTP/1.1 %u %s\r\n", status, reason);
	head->validators_at = head->len;
	head_add(head, "Date: ");
	head->date_at = head->len;
	head_add(head, DATE_SPACE "\r\n");
	assert(head->date_at <= UINT8_MAX);
}

/* After the validators. */
static void head_metadata(struct head *head, bool nosniff)
{
	head->metadata_at = head->len;
	if (nosniff)
		head_add(head, "X-Content-Type-Options: nosniff\r\n");
}

/* type NULL: there is no content. */
static void head_content(struct head *head, const char *type, uint64_t len)
{
	head->type_at = head->len;
	if (type)
		head_add(head, "Content-Type: %s\r\n", type);
	head->length_at = head->len;
	head_add(head, "Content-Length: %llu\r\n", (unsigned long long)len);
}

static void file_head(struct head *head, const struct asset_fields *fields, const char *etag, uint64_t size)
{
	head_begin(head, 200, "OK");
	head_add(head, "ETag: %.*s\r\n", ETAG_LEN, etag);
	if (fields->varies)
		head_add(head, "Vary: Accept-Encoding\r\n");
	if (fields->cache_control)
		head_add(head, "Cache-Control: %s\r\n", fields->cache_control);
	head_metadata(head, fields->nosniff);
	if (fields->last_modified > 0) {
		char date[HTTP_DATE_LEN];

		http_date_format(fields->last_modified, date);
		head_add(head, "Last-Modified: ");
		head->modified_at = head->len;
		head_add(head, "%.*s\r\n", HTTP_DATE_LEN, date);
	}
	if (fields->coding == CODING_IDENTITY)
		head_add(head, "Accept-Ranges: bytes\r\n");
	else
		head_add(head, "Content-Encoding: %s\r\n", coding_name(fields->coding));
	head_content(head, fields->type, size);
}

/* Up to a whole number of cache lines, as aligned_alloc(3) wants it. */
static uint64_t allocation(size_t key_len, const struct head *head)
{
	return (sizeof(struct asset) + head->len + key_len + 1 + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

uint64_t asset_file_memory(size_t key_len, const struct asset_fields *fields, uint64_t size)
{
	static const char etag[] = "\"----------------------\"";
	struct head head;

	static_assert(sizeof(etag) - 1 == ETAG_LEN, "an entity-tag has one length");
	file_head(&head, fields, etag, size);
	return allocation(key_len, &head);
}

/* Takes a reference to the body. */
static int asset_make(struct asset **made, enum asset_kind kind, unsigned status, const char *key, size_t key_len,
                      const struct head *head, struct body *body)
{
	struct representation *representation;
	uint64_t size = allocation(key_len, head);
	struct asset *asset;
	char *bytes;

	assert(head->len <= REPRESENTATION_HEAD_MAX);
	assert(key_len < UINT32_MAX);

	asset = aligned_alloc(CACHE_LINE, size);
	if (!asset)
		return -ENOMEM;
	*asset = (struct asset){
		.references = 1,
		.kind = kind,
		.key_len = (uint32_t)key_len,
		.body = body_reference(body),
		.memory = size,
	};
	memory_take(size);
	bytes = (char *)(asset + 1);
	representation = &asset->representation;
	representation->head = memcpy(bytes, head->bytes, head->len);
	bytes += head->len;
	memcpy(bytes, key, key_len);
	bytes[key_len] = '\0';
	asset->key = bytes;

	representation->head_len = (uint16_t)head->len;
	representation->status = (uint16_t)status;
	representation->validators_at = (uint8_t)head->validators_at;
	representation->date_at = (uint8_t)head->date_at;
	representation->metadata_at = (uint16_t)head->metadata_at;
	representation->modified_at = (uint16_t)head->modified_at;
	representation->type_at = (uint16_t)head->type_at;
	representation->length_at = (uint16_t)head->length_at;
	representation->body = body->bytes;
	representation->file = body->file ? body->file : body->sealed;
	representation->body_len = body->len;
	*made = asset;
	return 0;
}

int asset_file(struct asset **made, const char *key, size_t key_len, const struct asset_fields *fields,
               struct body *body)
{
	char etag[ETAG_LEN + 1];
	struct asset *asset;
	struct head head;
	int err;

	assert(strlen(fields->type) <= ASSET_TYPE_MAX);

	etag[0] = '"';
	asset_hash_text(body->hash, etag + 1);
	etag[ETAG_LEN - 1] = '"';
	file_head(&head, fields, etag, body->len);
	err = asset_make(&asset, ASSET_FILE, 200, key, key_len, &head, body);
	if (err)
		return err;
	asset->type = fields->type;
	asset->coding = fields->coding;
	asset->representation.varies = fields->varies;
	asset->representation.etag_len = ETAG_LEN;
	memcpy(asset->representation.etag, etag, ETAG_LEN);
	asset->representation.last_modified = fields->last_modified;
	*made = asset;
	return 0;
}

void asset_hash_text(const uint8_t hash[BODY_HASH_LEN], char text[ETAG_LEN - 1])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned bits = 0, held = 0;
	size_t n = 0;

	for (size_t i = 0; i < BODY_HASH_LEN; i++) {
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

/* A body of our own words, sealed. */
static int text_body(struct body **body, const char *text, size_t len)
{
	int err = body_create(body, len);

	if (err)
		return err;
	memcpy((*body)->bytes, text, len);
	body_seal(*body);
	return 0;
}

int asset_redirect(struct asset **made, const char *key, size_t key_len, bool nosniff)
{
	static const char text[] = "301 Moved Permanently: the address of a directory ends with a slash.\n";
	struct asset *asset;
	struct body *body;
	struct head head;
	size_t location_end;
	int err;

	assert(key_len > 1 && key[0] == '/' && key[1] != '/' && key[key_len - 1] != '/');

	head_begin(&head, 301, "Moved Permanently");
	head_metadata(&head, nosniff);
	head_add(&head, "Location: ");
	head_path(&head, key, key_len);
	head_add(&head, "/");
	location_end = head.len;
	head_add(&head, "\r\n");
	head_content(&head, TEXT_TYPE, sizeof(text) - 1);
	if (head.len > REPRESENTATION_HEAD_MAX)
		return -ENAMETOOLONG;

	err = text_body(&body, text, sizeof(text) - 1);
	if (err)
		return err;
	err = asset_make(&asset, ASSET_REDIRECT, 301, key, key_len, &head, body);
	body_release(body);
	if (err)
		return err;
	asset->type = TEXT_TYPE;
	asset->representation.location_end = (uint16_t)location_end;
	*made = asset;
	return 0;
}

/* When connections may be free again: when those that are idle have been given up, by the default --keepalive-timeout. */
#define RETRY "Retry-After: 5\r\n"

static const struct {
	unsigned status;
	const char *reason; /* RFC 9110 15; 431: RFC 6585 */
	const char *text;
	const char *fields;
	bool no_store;
} errors[SNAPSHOT_ERRORS] = {
	[ERROR_400] = { 400, "Bad Request", "the request cannot be understood", "", false },
	[ERROR_404] = { 404, "Not Found", "there is nothing at this address", "", false },
	[ERROR_405] = { 405, "Method Not Allowed", "this server answers GET, HEAD and OPTIONS", ALLOW, false },
	[ERROR_406] = { 406, "Not Acceptable", "there is this content in no coding that the request accepts", "",
	                false },
	[ERROR_408] = { 408, "Request Timeout", "the request took too long to arrive", "", false },
	[ERROR_412] = { 412, "Precondition Failed", "a condition of the request is not met", "", false },
	[ERROR_413] = { 413, "Content Too Large", "the body of the request is too large", "", false },
	[ERROR_414] = { 414, "URI Too Long", "the address is too long", "", false },
	[ERROR_416] = { 416, "Range Not Satisfiable", "no such range is in this content", "", false },
	[ERROR_417] = { 417, "Expectation Failed", "the request expects what this server does not do", "", false },
	[ERROR_431] = { 431, "Request Header Fields Too Large", "the head of the request is too large", "", false },
	[ERROR_500] = { 500, "Internal Server Error", "the server has failed", "", false },
	[ERROR_501] = { 501, "Not Implemented", "this server does not know what the request asks for", "", false },
	[ERROR_503] = { 503, "Service Unavailable", "the server is too busy", RETRY, false },
	[ERROR_505] = { 505, "HTTP Version Not Supported", "this server speaks HTTP/1.0 and HTTP/1.1", "", false },
	[ANSWER_OPTIONS] = { 200, "OK", NULL, ALLOW, false },
	[ANSWER_HEALTHY] = { 200, "OK", "serving", "", true },
	[ANSWER_DRAINING] = { 503, "Service Unavailable", "draining", "", true },
};

unsigned asset_error_status(enum snapshot_error error)
{
	return errors[error].status;
}

int asset_error(struct asset **made, enum snapshot_error error, const char *type, struct body *body, bool nosniff)
{
	struct asset *asset;
	struct head head;
	bool own = !body;
	int err;

	assert(error >= 0 && error < SNAPSHOT_ERRORS && errors[error].reason);
	assert(!body || !body->file);

	if (own) {
		char text[128] = "";
		int n = 0;

		if (errors[error].text) {
			n = snprintf(text, sizeof(text), "%u %s: %s.\n", errors[error].status, errors[error].reason,
			             errors[error].text);
			type = TEXT_TYPE;
		}
		assert(n >= 0 && (size_t)n < sizeof(text));
		err = text_body(&body, text, (size_t)n);
		if (err)
			return err;
	}
	head_begin(&head, errors[error].status, errors[error].reason);
	if (errors[error].no_store)
		head_add(&head, "Cache-Control: no-store\r\n");
	head_metadata(&head, nosniff && type);
	head_add(&head, "%s", errors[error].fields);
	head_content(&head, type, body->len);

	err = asset_make(&asset, ASSET_ERROR, errors[error].status, "", 0, &head, body);
	if (own)
		body_release(body);
	if (err)
		return err;
	asset->type = type ? type : "";
	*made = asset;
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
	if (--asset->references > 0)
		return;
	body_release(asset->body);
	memory_give(asset->memory);
	free(asset);
}
