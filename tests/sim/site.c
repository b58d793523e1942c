/*
 * site.c - see site.h. Snapshots are built here without build.h, from the rules of snapshot.h alone, and every
 * representation is an allocation of its own that is exactly as long as it must be: AddressSanitizer then sees the first
 * byte read beyond one.
 */
#include "site.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITE_SLOTS 32
#define DATE_BLANK "Thu, 01 Jan 1970 00:00:00 GMT"

const char *const site_paths[SITE_PAGES] = {
	"/", "/small.txt", "/empty", "/copied.html", "/lent.js", "/large.bin", "/dir", "/dir/",
};

static const size_t page_sizes[SITE_PAGES] = { 311, 17, 0, 4000, 5000, 150000, 23, 901 };
static const unsigned error_statuses[SNAPSHOT_ERRORS] = { 400, 404, 405, 408, 413, 414, 417, 431, 500, 501, 503, 505 };

/* What snapshot->owner points to. */
struct site {
	struct snapshot *snapshot;
	unsigned version;
	struct snapshot_slot slots[SITE_SLOTS];
	struct representation pages[SITE_PAGES];
	struct representation errors[SNAPSHOT_ERRORS];
	void *memory[2 * (SITE_PAGES + SNAPSHOT_ERRORS) + SITE_PAGES];
	size_t sizes[2 * (SITE_PAGES + SNAPSHOT_ERRORS) + SITE_PAGES];
	unsigned pieces;
};

static char *site_memory(struct site *site, size_t size)
{
	char *memory = malloc(size ? size : 1);

	assert(memory);
	site->sizes[site->pieces] = size;
	site->memory[site->pieces++] = memory;
	return memory;
}

void site_etag(unsigned version, enum site_page page, char etag[ETAG_LEN + 1])
{
	snprintf(etag, ETAG_LEN + 1, "\"v%06u-page%02u-abcdefg\"", version % 1000000, (unsigned)page % 100);
}

/* Bytes that differ from version to version, from page to page, and from one place to the next. */
static void site_fill(char *body, size_t len, unsigned version, unsigned page)
{
	uint64_t x = version * UINT64_C(0x9e3779b97f4a7c15) + page;

	for (size_t i = 0; i < len; i++) {
		if (i % 64 == 0)
			x = (x ^ (x >> 29)) * UINT64_C(0xbf58476d1ce4e5b9) + i;
		body[i] = (char)('!' + (x >> (i % 58)) % 90);
	}
}

static void site_head(struct site *site, struct representation *made, const char *status, const char *fields,
                      bool contiguous, unsigned page)
{
	char head[REPRESENTATION_HEAD_MAX];
	char *memory;
	int len;

	len = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nDate: " DATE_BLANK "\r\n%sContent-Length: %zu\r\n", status,
	               fields, made->body_len);
	assert(len > 0 && (size_t)len < sizeof(head));
	memory = site_memory(site, (size_t)len + 2 + (contiguous ? made->body_len : 0));
	memcpy(memory, head, (size_t)len);
	memcpy(memory + len, "\r\n", 2);
	made->head = memory;
	made->head_len = (uint16_t)len;
	made->date_at = (uint8_t)(strstr(head, DATE_BLANK) - head);
	memory = contiguous ? memory + len + 2 : site_memory(site, made->body_len);
	site_fill(memory, made->body_len, site->version, page);
	made->body = (uint8_t *)memory;
}

static void site_not_modified(struct site *site, struct representation *made)
{
	char head[512];
	char *memory;
	int len;

	len = snprintf(head, sizeof(head), "HTTP/1.1 304 Not Modified\r\nDate: " DATE_BLANK "\r\nETag: %.*s\r\n",
	               made->etag_len, made->etag);
	memory = site_memory(site, (size_t)len + 2);
	memcpy(memory, head, (size_t)len);
	memcpy(memory + len, "\r\n", 2);
	made->not_modified = memory;
	made->not_modified_len = (uint16_t)len;
	made->not_modified_date_at = (uint8_t)(strstr(head, DATE_BLANK) - head);
}

static void site_page(struct site *site, enum site_page page)
{
	struct representation *made = &site->pages[page];
	char fields[256], etag[ETAG_LEN + 1];

	made->body_len = page_sizes[page];
	if (page_sizes[page] > 0)
		made->body_len += site->version % 7;
	if (page == PAGE_MOVED) {
		made->status = 301;
		site_head(site, made, "301 Moved Permanently", "Location: /dir/\r\n", true, page);
		made->location_end = (uint16_t)((const char *)memmem(made->head, made->head_len, "/dir/", 5) + 5 -
		                                made->head);
		return;
	}
	site_etag(site->version, page, etag);
	made->status = 200;
	made->etag_len = ETAG_LEN;
	memcpy(made->etag, etag, ETAG_LEN);
	made->last_modified = 1000000000 + (time_t)site->version;
	snprintf(fields, sizeof(fields), "Content-Type: text/plain\r\nETag: %s\r\n", etag);
	site_head(site, made, "200 OK", fields, made->body_len < 4096, page);
	site_not_modified(site, made);
}

static void site_error(struct site *site, enum snapshot_error error)
{
	struct representation *made = &site->errors[error];
	char status[64];

	made->status = (uint16_t)error_statuses[error];
	made->body_len = 30 + error;
	snprintf(status, sizeof(status), "%u Simulated", error_statuses[error]);
	site_head(site, made, status, error == ERROR_405 ? "Allow: GET, HEAD\r\n" : "", error % 2 == 0,
	          SITE_PAGES + (unsigned)error);
}

struct snapshot *site_build(unsigned version)
{
	struct site *site = calloc(1, sizeof(*site));
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, sizeof(*snapshot) + sizeof(struct snapshot_share));

	assert(site && snapshot);
	memset(snapshot, 0, sizeof(*snapshot) + sizeof(struct snapshot_share));
	site->snapshot = snapshot;
	site->version = version;
	snapshot->owner = site;
	snapshot->slots = site->slots;
	snapshot->mask = SITE_SLOTS - 1;
	atomic_init(&snapshot->shares, 1);
	for (unsigned i = 0; i < SITE_PAGES; i++) {
		size_t len = strlen(site_paths[i]);
		uint64_t hash = snapshot_hash(site_paths[i], len), at = hash & snapshot->mask;

		site_page(site, i);
		while (site->slots[at].hash)
			at = (at + 1) & snapshot->mask;
		site->slots[at] = (struct snapshot_slot){
			.hash = hash,
			.key = site_paths[i],
			.key_len = (uint32_t)len,
			.representation = &site->pages[i],
		};
	}
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++) {
		site_error(site, i);
		snapshot->errors[i] = &site->errors[i];
	}
	return snapshot;
}

void site_free(struct snapshot *snapshot)
{
	struct site *site = snapshot->owner;

	for (unsigned i = 0; i < site->pieces; i++) {
		memset(site->memory[i], 0xde, site->sizes[i]);
		__asm__ volatile(""
		                 :
		                 : "r"(site->memory[i])
		                 : "memory"); /* not to be left out, though it is freed next */
		free(site->memory[i]);
	}
	free(site);
	free(snapshot);
}

static void add(struct site_answer *answer, const char *text, size_t len)
{
	assert(answer->head_len + len <= sizeof(answer->head));
	memcpy(answer->head + answer->head_len, text, len);
	answer->head_len += len;
}

void site_answer(const struct snapshot *snapshot, const struct site_question *question, struct site_answer *answer)
{
	const struct site *site = snapshot->owner;
	const struct representation *page = question->is_error ? &site->errors[question->which]
	                                                       : &site->pages[question->which];
	const char *head = page->head;
	size_t head_len = page->head_len;
	bool unchanged = question->since;

	if (question->etag_version)
		unchanged = question->etag_version == site->version;
	if (question->is_error || question->which == PAGE_MOVED)
		unchanged = false;

	answer->head_len = 0;
	answer->body = page->body;
	answer->body_len = unchanged || question->head ? 0 : page->body_len;
	if (unchanged) {
		head = page->not_modified;
		head_len = page->not_modified_len;
	}
	if (question->query && page->location_end) {
		add(answer, head, page->location_end);
		add(answer, question->query, strlen(question->query));
		add(answer, head + page->location_end, head_len - page->location_end);
	} else {
		add(answer, head, head_len);
	}
	answer->date_at = (size_t)((char *)memmem(answer->head, answer->head_len, "\r\nDate: ", 8) - answer->head) + 8;
	if (question->connection) {
		add(answer, "Connection: ", 12);
		add(answer, question->connection, strlen(question->connection));
		add(answer, "\r\n", 2);
	}
	add(answer, "\r\n", 2);
}
