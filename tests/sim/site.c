/*
 * site.c - see site.h. Snapshots are built here without build.h, from the rules of snapshot.h alone, and every
 * representation is an allocation of its own that is exactly as long as it must be: AddressSanitizer then sees the first
 * byte read beyond one.
 */
#include "site.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SITE_SLOTS 32
#define DATE_BLANK "Thu, 01 Jan 1970 00:00:00 GMT"

const char *const site_paths[SITE_PAGES] = {
	"/",    "/small.txt", "/empty",    "/copied.html", "/lent.js",  "/large.bin",
	"/dir", "/dir/",      "/tiny.bin", "/file.bin",    "/huge.bin",
};

const size_t site_sizes[SITE_PAGES] = { 311, 17, 0, 4000, 5000, 150000, 23, 901, 3, 150000, (size_t)1 << 40 };
static const unsigned error_statuses[SNAPSHOT_ERRORS] = { 400, 404, 405, 406, 408, 412, 413, 414,
	                                                  416, 417, 431, 500, 501, 503, 505, 200 };

/* Which pages have variants, and how long these are compared with identity: a quarter, a third, a fifth. */
bool site_has_variants(enum site_page page)
{
	return page == PAGE_COPIED || page == PAGE_LENT || page == PAGE_LARGE;
}

static bool page_streams(enum site_page page)
{
	return page >= PAGE_TINY;
}

/* A head and a body each, and some more. */
#define SITE_PIECES (2 * (SITE_PAGES * CODINGS + SNAPSHOT_ERRORS) + SITE_PAGES + 1)

/* What snapshot->owner points to. */
struct site {
	struct snapshot *snapshot;
	unsigned version;
	struct snapshot_slot slots[SITE_SLOTS];
	struct snapshot_variants variants[SITE_PAGES + 1];
	struct representation pages[SITE_PAGES][CODINGS];
	struct representation errors[SNAPSHOT_ERRORS];
	const uint8_t *ends[SITE_PAGES]; /* of streamed pages: all their bytes, or the last */
	int fds[SITE_PAGES];             /* of streamed pages; otherwise -1 */
	void *memory[SITE_PIECES];
	size_t sizes[SITE_PIECES];
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

void site_etag(unsigned version, enum site_page page, enum content_coding coding, char etag[ETAG_LEN + 1])
{
	snprintf(etag, ETAG_LEN + 1, "\"v%06u-page%02u-coding%c\"", version % 1000000, (unsigned)page % 100,
	         '0' + (char)coding);
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

/* The page as an open file, whose description is poisoned when the site goes, as all memory is. */
static void site_file(struct site *site, struct representation *made, unsigned page)
{
	size_t end = made->body_len < SITE_HUGE_TAIL || page != PAGE_HUGE ? made->body_len : SITE_HUGE_TAIL;
	struct file *file = (struct file *)site_memory(site, sizeof(*file));
	char *bytes = site_memory(site, end);
	struct stat stat;
	int fd = memfd_create("page", MFD_CLOEXEC);

	site_fill(bytes, end, site->version, page);
	if (fd < 0 || ftruncate(fd, (off_t)made->body_len) < 0 ||
	    pwrite(fd, bytes, end, (off_t)(made->body_len - end)) != (ssize_t)end || fstat(fd, &stat) < 0) {
		perror("sim: a file for a page");
		abort();
	}
	memset(file, 0, sizeof(*file));
	*file = (struct file){ .fd = fd,
		               .size = made->body_len,
		               .mtime = stat.st_mtim,
		               .ctime = stat.st_ctim,
		               .nlink = (uint32_t)stat.st_nlink };
	site->fds[page] = fd;
	site->ends[page] = (uint8_t *)bytes;
	made->body = NULL;
	made->file = file;
}

/* Head and body; fields: those after Date, in the order of struct representation. */
static void site_head(struct site *site, struct representation *made, const char *status, const char *validators,
                      const char *metadata, bool contiguous, bool streams, unsigned page)
{
	char head[REPRESENTATION_HEAD_MAX];
	size_t len = 0;
	char *memory;

#define SAY(...) (len += (size_t)snprintf(head + len, sizeof(head) - len, __VA_ARGS__))
	SAY("HTTP/1.1 %s\r\n", status);
	made->validators_at = (uint8_t)len;
	SAY("Date: ");
	made->date_at = (uint8_t)len;
	SAY(DATE_BLANK "\r\n%s", validators);
	made->metadata_at = (uint16_t)len;
	SAY("%s", metadata);
	made->type_at = (uint16_t)len;
	SAY("Content-Type: text/plain\r\n");
	made->length_at = (uint16_t)len;
	SAY("Content-Length: %zu\r\n", made->body_len);
#undef SAY
	assert(len < sizeof(head));
	memory = site_memory(site, len + 2 + (contiguous ? made->body_len : 0));
	memcpy(memory, head, len);
	memcpy(memory + len, "\r\n", 2);
	made->head = memory;
	made->head_len = (uint16_t)len;
	if (streams) {
		site_file(site, made, page);
		return;
	}
	memory = contiguous ? memory + len + 2 : site_memory(site, made->body_len);
	site_fill(memory, made->body_len, site->version, page);
	made->body = (uint8_t *)memory;
}

static void site_page(struct site *site, enum site_page page, enum content_coding coding)
{
	static const size_t divisors[CODINGS] = { 1, 4, 3, 5 };
	struct representation *made = &site->pages[page][coding];
	char validators[256], etag[ETAG_LEN + 1];

	made->body_len = site_sizes[page] / divisors[coding];
	if (site_sizes[page] > 0)
		made->body_len += site->version % 7;
	if (page == PAGE_MOVED) {
		made->status = 301;
		site_head(site, made, "301 Moved Permanently", "", "Location: /dir/\r\n", true, false, page);
		made->location_end = (uint16_t)((const char *)memmem(made->head, made->head_len, "/dir/", 5) + 5 -
		                                made->head);
		return;
	}
	site_etag(site->version, page, coding, etag);
	made->status = 200;
	made->etag_len = ETAG_LEN;
	memcpy(made->etag, etag, ETAG_LEN);
	made->last_modified = 1000000000 + (time_t)site->version;
	snprintf(validators, sizeof(validators), "ETag: %s\r\n%s", etag,
	         site_has_variants(page) ? "Vary: Accept-Encoding\r\n" : "");
	site_head(site, made, "200 OK", validators, coding ? "Content-Encoding: simulated\r\n" : "",
	          made->body_len < 4096 && !page_streams(page), page_streams(page),
	          page_streams(page) ? page : page * CODINGS + coding);
}

static void site_error(struct site *site, enum snapshot_error error)
{
	struct representation *made = &site->errors[error];
	char status[64];

	made->status = (uint16_t)error_statuses[error];
	made->body_len = error == ANSWER_OPTIONS ? 0 : 30 + error;
	snprintf(status, sizeof(status), "%u Simulated", error_statuses[error]);
	site_head(site, made, status, "",
	          error == ERROR_405 || error == ANSWER_OPTIONS ? "Allow: GET, HEAD, OPTIONS\r\n" : "", error % 2 == 0,
	          false, SITE_PAGES * CODINGS + (unsigned)error);
}

/* Variants of a page, if it has any: into the table. The index there. */
static uint32_t site_variants(struct site *site, enum site_page page)
{
	if (!site_has_variants(page))
		return 0;
	for (unsigned coding = 0; coding < CODINGS; coding++) {
		if (coding != CODING_IDENTITY)
			site_page(site, page, coding);
		site->variants[page + 1].coded[coding] = &site->pages[page][coding];
	}
	return page + 1;
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
	snapshot->variants = site->variants;
	atomic_init(&snapshot->shares, 1);
	snprintf(snapshot->id, sizeof(snapshot->id), "snapshot-%013u", version);
	snapshot->share[0].hits = (uint32_t *)site_memory(site, SITE_SLOTS * sizeof(uint32_t));
	memset(snapshot->share[0].hits, 0, SITE_SLOTS * sizeof(uint32_t));
	for (unsigned i = 0; i < SITE_PAGES; i++)
		site->fds[i] = -1;
	for (unsigned i = 0; i < SITE_PAGES; i++) {
		size_t len = strlen(site_paths[i]);
		uint64_t hash = snapshot_hash(site_paths[i], len), at = hash & snapshot->mask;

		site_page(site, i, CODING_IDENTITY);
		while (site->slots[at].hash)
			at = (at + 1) & snapshot->mask;
		site->slots[at] = (struct snapshot_slot){
			.hash = hash,
			.key = site_paths[i],
			.key_len = (uint32_t)len,
			.variants = site_variants(site, i),
			.representation = &site->pages[i][CODING_IDENTITY],
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
	for (unsigned i = 0; i < SITE_PAGES; i++)
		if (site->fds[i] >= 0)
			close(site->fds[i]);
	free(site);
	free(snapshot);
}

uint64_t site_hits(const struct snapshot *snapshot)
{
	uint64_t hits = 0;

	for (unsigned i = 0; i < SITE_SLOTS; i++)
		hits += snapshot->share[0].hits[i];
	return hits;
}

static void add(struct site_answer *answer, const char *text, size_t len)
{
	assert(answer->head_len + len <= sizeof(answer->head));
	memcpy(answer->head + answer->head_len, text, len);
	answer->head_len += len;
}

/* The framing of an answer, and what it is of. */
static void add_fields(struct site_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_fields(struct site_answer *answer, const char *format, ...)
{
	char text[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	assert(len > 0 && (size_t)len < sizeof(text));
	add(answer, text, (size_t)len);
}

/* What is sent of a page. */
enum form {
	WHOLE,
	UNCHANGED,
	PART,
	PARTS,
	NO_PART,
};

static enum form form_of(const struct site *site, const struct site_question *question,
                         const struct representation *page)
{
	if (question->is_error || question->which == PAGE_MOVED)
		return WHOLE;
	if (question->etag_version ? question->etag_version == site->version : question->since)
		return UNCHANGED;
	if (question->head)
		return WHOLE;
	if (question->parts > 0)
		return PARTS;
	if (question->range_first == 0)
		return WHOLE;
	return question->range_first < page->body_len ? PART : NO_PART;
}

static void answer_whole(struct site_answer *answer, const struct representation *page, const char *query)
{
	size_t query_at = query && page->location_end ? page->location_end : page->head_len;

	add(answer, page->head, query_at);
	if (query_at < page->head_len)
		add(answer, query, strlen(query));
	add(answer, page->head + query_at, page->head_len - query_at);
}

static void add_piece(struct site_answer *answer, const void *bytes, uint64_t len)
{
	assert(answer->pieces < sizeof(answer->piece) / sizeof(answer->piece[0]));
	if (len > 0)
		answer->piece[answer->pieces++] = (struct site_piece){ bytes, len };
	answer->body_len += len;
}

/* Bytes of the content. */
static void add_content(struct site_answer *answer, const struct site *site, const struct site_question *question,
                        const struct representation *page, uint64_t first, uint64_t len)
{
	uint64_t zeros = 0;

	if (!page->file) {
		add_piece(answer, page->body + first, len);
		return;
	}
	if (question->which == PAGE_HUGE) {
		zeros = page->body_len - SITE_HUGE_TAIL;
		if (first < zeros)
			add_piece(answer, NULL, len < zeros - first ? len : zeros - first);
		if (first + len <= zeros)
			return;
		len -= first < zeros ? zeros - first : 0;
		first = first < zeros ? zeros : first;
	}
	add_piece(answer, site->ends[question->which] + (first - zeros), len);
}

/* 206 with several parts (RFC 9110 14.6). */
static void answer_parts(struct site_answer *answer, const struct site *site, const struct site_question *question,
                         const struct representation *page)
{
	for (unsigned i = 0; i <= question->parts; i++) {
		const struct range *part = &question->part[i < question->parts ? i : 0];
		char *head = answer->part_heads[i];
		int n;

		if (i < question->parts)
			n = snprintf(
				head, sizeof(answer->part_heads[i]),
				"%s--loom-%.*s\r\nContent-Type: text/plain\r\nContent-Range: bytes %zu-%zu/%zu\r\n\r\n",
				i > 0 ? "\r\n" : "", ETAG_LEN - 2, page->etag + 1, (size_t)part->first,
				(size_t)part->last, page->body_len);
		else
			n = snprintf(head, sizeof(answer->part_heads[i]), "\r\n--loom-%.*s--\r\n", ETAG_LEN - 2,
			             page->etag + 1);
		assert(n > 0 && (size_t)n < sizeof(answer->part_heads[i]));
		add_piece(answer, head, (uint64_t)n);
		if (i < question->parts)
			add_content(answer, site, question, page, part->first, part->last - part->first + 1);
	}
	add_fields(answer, "HTTP/1.1 206 Partial Content\r\n");
	add(answer, page->head + page->validators_at, (size_t)page->type_at - page->validators_at);
	add_fields(answer, "Content-Type: multipart/byteranges; boundary=loom-%.*s\r\nContent-Length: %llu\r\n",
	           ETAG_LEN - 2, page->etag + 1, (unsigned long long)answer->body_len);
}

void site_answer(const struct snapshot *snapshot, const struct site_question *question, struct site_answer *answer)
{
	const struct site *site = snapshot->owner;
	bool coded = !question->is_error && site_has_variants(question->which);
	const struct representation *page = question->is_error
	                                            ? &site->errors[question->which]
	                                            : &site->pages[question->which][coded * question->coding];
	const char *validators = page->head + page->validators_at;
	size_t length = page->body_len, first = question->range_first;

	answer->head_len = answer->body_len = answer->pieces = 0;
	switch (form_of(site, question, page)) {
	case WHOLE:
		answer_whole(answer, page, question->query);
		if (!question->head)
			add_content(answer, site, question, page, 0, length);
		break;
	case UNCHANGED:
		add_fields(answer, "HTTP/1.1 304 Not Modified\r\n");
		add(answer, validators, (size_t)page->metadata_at - page->validators_at);
		break;
	case PART:
		add_fields(answer, "HTTP/1.1 206 Partial Content\r\n");
		add(answer, validators, (size_t)page->length_at - page->validators_at);
		add_fields(answer, "Content-Range: bytes %zu-%zu/%zu\r\nContent-Length: %zu\r\n", first, length - 1,
		           length, length - first);
		add_content(answer, site, question, page, first, length - first);
		break;
	case PARTS:
		answer_parts(answer, site, question, page);
		break;
	case NO_PART:
		page = &site->errors[ERROR_416];
		add(answer, page->head, page->head_len);
		add_fields(answer, "Content-Range: bytes */%zu\r\n", length);
		add_content(answer, site, question, page, 0, page->body_len);
		break;
	}
	answer->date_at = (size_t)((char *)memmem(answer->head, answer->head_len, "\r\nDate: ", 8) - answer->head) + 8;
	if (question->connection)
		add_fields(answer, "Connection: %s\r\n", question->connection);
	if (question->identify)
		add_fields(answer, "Loom-Snapshot: %s\r\n", snapshot->id);
	add(answer, "\r\n", 2);
}

bool site_streams(const struct site_question *question)
{
	return !question->is_error && page_streams(question->which) && !question->head;
}
