/*
 * answer.c - the one right answer to a question (model.h): method, target, variant, conditions and ranges in the order of
 * RFC 9110 13.2, and the head that goes with it, field by field in the order in which loom has promised to send them.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

static const struct {
	unsigned status;
	const char *reason;
	const char *fields;
} words[WORDS + 1] = {
	[WORD_400] = { 400, "Bad Request", "" },
	[WORD_404] = { 404, "Not Found", "" },
	[WORD_405] = { 405, "Method Not Allowed", "Allow: GET, HEAD, OPTIONS\r\n" },
	[WORD_406] = { 406, "Not Acceptable", "" },
	[WORD_408] = { 408, "Request Timeout", "" },
	[WORD_412] = { 412, "Precondition Failed", "" },
	[WORD_413] = { 413, "Content Too Large", "" },
	[WORD_414] = { 414, "URI Too Long", "" },
	[WORD_416] = { 416, "Range Not Satisfiable", "" },
	[WORD_417] = { 417, "Expectation Failed", "" },
	[WORD_431] = { 431, "Request Header Fields Too Large", "" },
	[WORD_501] = { 501, "Not Implemented", "" },
	[WORD_503] = { 503, "Service Unavailable", "Retry-After: 5\r\n" },
	[WORD_505] = { 505, "HTTP Version Not Supported", "" },
	[WORD_HEALTHY] = { 200, "OK", "" },
	[WORD_DRAINING] = { 503, "Service Unavailable", "" },
	[WORD_OPTIONS] = { 200, "OK", "Allow: GET, HEAD, OPTIONS\r\n" },
};

static const char *const coding_names[MODEL_CODINGS] = { "", "gzip", "br", "zstd" };

static void say(struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct answer *answer, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(answer->head + answer->head_len, sizeof(answer->head) - answer->head_len, format, args);
	va_end(args);
	assert(n >= 0 && (size_t)n < sizeof(answer->head) - answer->head_len);
	answer->head_len += (size_t)n;
}

/* A fixed text costs less so. */
static void put(struct answer *answer, const char *text)
{
	size_t len = strlen(text);

	assert(answer->head_len + len < sizeof(answer->head));
	memcpy(answer->head + answer->head_len, text, len);
	answer->head_len += len;
}

static void put_date(struct answer *answer, const char *name, time_t when)
{
	char date[MODEL_DATE + 1];

	model_date(when, date);
	put(answer, name);
	put(answer, date);
	put(answer, "\r\n");
}

static void add_text(struct answer *answer, const char *text, size_t len)
{
	answer->piece[answer->pieces++] = (struct piece){ .text = text, .len = len };
	answer->body_len += len;
}

static void add_content(struct answer *answer, enum page page, unsigned content, enum coding coding, uint64_t from,
                        uint64_t len)
{
	if (len == 0)
		return;
	answer->piece[answer->pieces++] =
		(struct piece){ .page = page, .content = content, .coding = coding, .from = from, .len = len };
	answer->body_len += len;
}

static void answer_word(struct answer *answer, enum word word, const struct ask *ask, const struct moment *moment,
                        const char *more)
{
	size_t len = word == WORD_OPTIONS ? 0 : model_words(word, moment->version, answer->text, sizeof(answer->text));

	answer->status = words[word].status;
	say(answer, "HTTP/1.1 %u %s\r\n", answer->status, words[word].reason);
	put_date(answer, "Date: ", moment->now);
	if (word == WORD_HEALTHY || word == WORD_DRAINING)
		put(answer, "Cache-Control: no-store\r\n");
	if (word != WORD_OPTIONS)
		put(answer, "X-Content-Type-Options: nosniff\r\n");
	put(answer, words[word].fields);
	if (word != WORD_OPTIONS)
		put(answer, "Content-Type: text/html; charset=utf-8\r\n");
	say(answer, "Content-Length: %zu\r\n%s", len, more);
	if (!ask->head && len > 0)
		add_text(answer, answer->text, len);
}

static void put_validators(struct answer *answer, const struct page_facts *facts, const char *tag)
{
	put(answer, "ETag: ");
	put(answer, tag);
	put(answer, "\r\n");
	if (facts->coded)
		put(answer, "Vary: Accept-Encoding\r\n");
	if (facts->cache) {
		put(answer, "Cache-Control: ");
		put(answer, facts->cache);
		put(answer, "\r\n");
	}
}

/* Fields of a 200 and a 206 beyond those of a 304, but for framing. */
static void put_metadata(struct answer *answer, enum page page, unsigned content, enum coding coding, time_t now)
{
	time_t modified = model_modified(page, content);

	put(answer, "X-Content-Type-Options: nosniff\r\n");
	if (modified)
		put_date(answer, "Last-Modified: ", modified < now ? modified : now);
	if (coding == PLAIN) {
		put(answer, "Accept-Ranges: bytes\r\n");
	} else {
		put(answer, "Content-Encoding: ");
		put(answer, coding_names[coding]);
		put(answer, "\r\n");
	}
}

static void put_type(struct answer *answer, const char *type)
{
	put(answer, "Content-Type: ");
	put(answer, type);
	put(answer, "\r\n");
}

struct found {
	enum page page;
	unsigned content;
	enum coding coding;
	uint64_t len;
	const char *tag;
};

static void answer_whole(struct answer *answer, const struct ask *ask, const struct found *found, time_t now)
{
	answer->status = 200;
	put(answer, "HTTP/1.1 200 OK\r\n");
	put_date(answer, "Date: ", now);
	put_validators(answer, &model_pages[found->page], found->tag);
	put_metadata(answer, found->page, found->content, found->coding, now);
	put_type(answer, model_pages[found->page].type);
	say(answer, "Content-Length: %llu\r\n", (unsigned long long)found->len);
	if (!ask->head)
		add_content(answer, found->page, found->content, found->coding, 0, found->len);
}

/* RFC 9110 15.3.7: parts that are there, already cut to what there is. */
static void answer_parts(struct answer *answer, const struct ask *ask, const struct found *found,
                         const struct spec part[], unsigned parts, time_t now)
{
	bool briefly = ask->if_range != IF_RANGE_NONE;
	const char *type = model_pages[found->page].type;

	answer->status = 206;
	put(answer, "HTTP/1.1 206 Partial Content\r\n");
	put_date(answer, "Date: ", now);
	put_validators(answer, &model_pages[found->page], found->tag);
	if (!briefly)
		put_metadata(answer, found->page, found->content, found->coding, now);
	if (parts == 1) {
		if (!briefly)
			put_type(answer, type);
		say(answer, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)part[0].first,
		    (unsigned long long)part[0].last, (unsigned long long)found->len);
		add_content(answer, found->page, found->content, found->coding, part[0].first,
		            part[0].last - part[0].first + 1);
	} else {
		int boundary = MODEL_TAG - 2;

		for (unsigned i = 0; i <= parts; i++) {
			char *text = answer->part[i];
			int n;

			if (i < parts)
				n = snprintf(
					text, sizeof(answer->part[i]),
					"%s--loom-%.*s\r\nContent-Type: %s\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
					i > 0 ? "\r\n" : "", boundary, found->tag + 1, type,
					(unsigned long long)part[i].first, (unsigned long long)part[i].last,
					(unsigned long long)found->len);
			else
				n = snprintf(text, sizeof(answer->part[i]), "\r\n--loom-%.*s--\r\n", boundary,
				             found->tag + 1);
			assert(n > 0 && (size_t)n < sizeof(answer->part[i]));
			add_text(answer, text, (size_t)n);
			if (i < parts)
				add_content(answer, found->page, found->content, found->coding, part[i].first,
				            part[i].last - part[i].first + 1);
		}
		say(answer, "Content-Type: multipart/byteranges; boundary=loom-%.*s\r\n", boundary, found->tag + 1);
	}
	say(answer, "Content-Length: %llu\r\n", (unsigned long long)answer->body_len);
}

/* What is left of the ranges that were asked for; the numbers are such that none are joined. */
static unsigned satisfiable(const struct ask *ask, uint64_t len, struct spec part[])
{
	unsigned n = 0;

	for (unsigned i = 0; i < ask->specs; i++) {
		struct spec spec = ask->spec[i];

		if (spec.first == UINT64_MAX) {
			spec.first = spec.last < len ? len - spec.last : 0;
			spec.last = UINT64_MAX;
		}
		if (spec.first >= len)
			continue;
		if (spec.last >= len)
			spec.last = len - 1;
		part[n++] = spec;
	}
	return n;
}

static bool range_holds(const struct ask *ask, const struct found *found)
{
	switch (ask->if_range) {
	case IF_RANGE_NONE:
		return true;
	case IF_RANGE_SAME:
		return ask->range_content == found->content;
	case IF_RANGE_DATE:
		return ask->range_content == found->content && !model_pages[found->page].coded &&
		       model_modified(found->page, found->content);
	case IF_RANGE_OTHER:
		break;
	}
	return false;
}

/* 304 or 412, or as if nobody had asked (RFC 9110 13.2.2). */
static unsigned judge_conditions(const struct ask *ask, const struct found *found, bool returned)
{
	time_t modified = model_modified(found->page, found->content);

	if (ask->match_content) {
		if (ask->match_content != found->content)
			return 412;
	} else if (ask->unmodified_content && modified) {
		time_t date = model_modified(found->page, ask->unmodified_content);

		if (returned ? modified != date : modified > date)
			return 412;
	}
	if (ask->tag_content)
		return ask->tag_content == found->content ? 304 : 200;
	if (ask->since_content && modified) {
		time_t date = model_modified(found->page, ask->since_content);

		if (returned ? modified == date : modified <= date)
			return 304;
	}
	return 200;
}

static void answer_page(struct answer *answer, const struct ask *ask, const struct moment *moment)
{
	const struct page_facts *facts = &model_pages[ask->page];
	struct found found = { .page = ask->page, .content = model_content(ask->page, moment->version) };
	struct spec part[MODEL_PARTS];
	unsigned parts;

	if (!found.content) {
		answer->nowhere = true;
		answer_word(answer, WORD_404, ask, moment, "");
		return;
	}
	answer->of_page = true;
	answer->streamed = facts->streamed;
	if (facts->coded ? ask->nothing_coded : ask->nothing_plain) {
		answer_word(answer, WORD_406, ask, moment, "");
		return;
	}
	found.coding = facts->coded && ask->wishes ? ask->coding : PLAIN;
	found.len = model_len(found.page, found.content, found.coding);
	found.tag = model_tag(found.page, found.content, found.coding);
	switch (judge_conditions(ask, &found, moment->returned)) {
	case 412:
		answer_word(answer, WORD_412, ask, moment, "");
		return;
	case 304:
		answer->status = 304;
		put(answer, "HTTP/1.1 304 Not Modified\r\n");
		put_date(answer, "Date: ", moment->now);
		put_validators(answer, facts, found.tag);
		return;
	}
	if (ask->head || ask->specs == 0 || !range_holds(ask, &found)) {
		answer_whole(answer, ask, &found, moment->now);
		return;
	}
	parts = satisfiable(ask, found.len, part);
	if (parts == 0) {
		char more[64];

		snprintf(more, sizeof(more), "Content-Range: bytes */%llu\r\n", (unsigned long long)found.len);
		answer_word(answer, WORD_416, ask, moment, more);
	} else if (parts > 1 && found.coding != PLAIN) {
		answer_whole(answer, ask, &found, moment->now);
	} else {
		answer_parts(answer, ask, &found, part, parts, moment->now);
	}
}

static void answer_moved(struct answer *answer, const struct ask *ask, const struct moment *moment)
{
	static const char text[] = "301 Moved Permanently: the address of a directory ends with a slash.\n";

	answer->of_page = true;
	answer->status = 301;
	put(answer, "HTTP/1.1 301 Moved Permanently\r\n");
	put_date(answer, "Date: ", moment->now);
	say(answer, "X-Content-Type-Options: nosniff\r\nLocation: /dir/%s\r\n", ask->query ? ask->query : "");
	put(answer, "Content-Type: text/plain; charset=utf-8\r\n");
	say(answer, "Content-Length: %zu\r\n", sizeof(text) - 1);
	if (!ask->head)
		add_text(answer, text, sizeof(text) - 1);
}

void model_answer(const struct ask *ask, const struct moment *moment, struct answer *answer)
{
	answer->head_len = answer->body_len = answer->pieces = 0;
	answer->nowhere = answer->streamed = answer->of_page = false;
	if (moment->instead != WORDS) {
		answer_word(answer, moment->instead, ask, moment, "");
	} else {
		switch (ask->kind) {
		case ASK_PAGE:
			answer_page(answer, ask, moment);
			break;
		case ASK_MOVED:
			answer_moved(answer, ask, moment);
			break;
		case ASK_HEALTH:
			answer_word(answer, moment->unhealthy ? WORD_DRAINING : WORD_HEALTHY, ask, moment, "");
			break;
		case ASK_WORD:
			answer->nowhere = ask->word == WORD_404;
			answer_word(answer, ask->word, ask, moment, "");
			break;
		}
	}
	if (moment->close)
		put(answer, "Connection: close\r\n");
	else if (ask->old)
		put(answer, "Connection: keep-alive\r\n");
	if (moment->identified) {
		char id[23];

		model_id(moment->version, id);
		say(answer, "Loom-Snapshot: %s\r\n", id);
	}
	put(answer, "\r\n");
}
