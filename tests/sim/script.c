/*
 * script.c - see script.h.
 */
#include "script.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define EXCHANGES_MAX 64

static void put(struct script *script, const void *bytes, size_t len)
{
	if (script->len + len > script->size) {
		script->size = (script->len + len) * 2;
		script->bytes = realloc(script->bytes, script->size);
		assert(script->bytes);
	}
	memcpy(script->bytes + script->len, bytes, len);
	script->len += len;
}

__attribute__((format(printf, 2, 3))) static void say(struct script *script, const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	assert(len >= 0 && (size_t)len < sizeof(text));
	put(script, text, (size_t)len);
}

static void say_letters(struct script *script, uint64_t *dice, size_t len)
{
	for (size_t i = 0; i < len; i++)
		put(script, &"abcdefghijklmnopqrstuvwxyz-/"[sim_below(dice, 28)], 1);
}

static void answered_with(struct exchange *exchange, enum snapshot_error error)
{
	exchange->question.is_error = true;
	exchange->question.which = error;
}

/* An error after which the server cannot or will not read on. */
static void refused_with(struct exchange *exchange, enum snapshot_error error)
{
	answered_with(exchange, error);
	exchange->question.connection = "close";
	exchange->closes = exchange->early = true;
}

/* Field lines that change nothing. */
static void say_noise(struct script *script, uint64_t *dice)
{
	static const char *const lines[] = {
		"User-Agent: sim\r\n", "Accept: */*\r\n",           "X-Empty:\r\n",
		"If-Match: *\r\n",     "X-Spaced: \t a  b \t \r\n", "Accept-Language: en\r\n",
	};

	while (sim_chance(dice, 400))
		say(script, "%s", lines[sim_below(dice, sizeof(lines) / sizeof(lines[0]))]);
}

static enum site_page some_page(uint64_t *dice, bool large)
{
	enum site_page page = sim_below(dice, SITE_PAGES);

	if (large)
		return page;
	return page == PAGE_LARGE ? PAGE_SMALL : page == PAGE_FILE ? PAGE_TINY : page;
}

/* One range up to the end, or several, far enough from each other that none are joined. */
static void say_ranges(struct script *script, struct site_question *question, uint64_t *dice)
{
	size_t size = site_sizes[question->which];

	if (size >= 4000 && question->coding == CODING_IDENTITY && sim_chance(dice, 400)) {
		unsigned n = 2 + (unsigned)sim_below(dice, SITE_PARTS - 1), first = (unsigned)sim_below(dice, n);

		question->parts = n;
		say(script, "Range: bytes=");
		for (unsigned i = 0; i < n; i++) {
			struct range *part = &question->part[i];

			part->first = size / n * ((first + i) % n) + sim_below(dice, 300);
			part->last = part->first + sim_below(dice, size / n - 500 < 20000 ? size / n - 500 : 20000);
			say(script, "%s%zu-%zu", i > 0 ? ", " : "", (size_t)part->first, (size_t)part->last);
		}
		say(script, "\r\n");
		return;
	}
	question->range_first = 1 + sim_below(dice, sim_chance(dice, 500) ? 100 : 20000);
	if (question->which == PAGE_HUGE)
		question->range_first += size - 20200;
	say(script, "Range: bytes=%zu-\r\n", question->range_first);
}

/* What is acceptable; the best of it for every page that has variants. */
static void say_codings(struct script *script, struct site_question *question, uint64_t *dice)
{
	static const struct {
		const char *value;
		enum content_coding coding; /* of the variants the one in zstd is the smallest, then gzip */
	} wishes[] = {
		{ "gzip, deflate, br, zstd", CODING_ZSTD },
		{ "gzip, br", CODING_GZIP },
		{ "br;q=1, gzip;q=0.5", CODING_BR },
		{ "gzip;q=0.1, identity;q=0.2", CODING_IDENTITY },
		{ "", CODING_IDENTITY },
		{ "x-gzip\r\nAccept-Encoding: zstd;q=0.999", CODING_GZIP },
	};
	size_t i = sim_below(dice, sizeof(wishes) / sizeof(wishes[0]));

	question->coding = wishes[i].coding;
	say(script, "Accept-Encoding: %s\r\n", wishes[i].value);
}

/* GET or HEAD of something that is there or not, in HTTP/1.1 or 1.0, with what may change the answer. */
static void ask_plainly(struct script *script, struct exchange *exchange, uint64_t *dice, bool large, bool may_close)
{
	struct site_question *question = &exchange->question;
	const char *method = "GET", *target;
	bool old = sim_chance(dice, 150), keep_old = !may_close || sim_chance(dice, 500);
	char etag[ETAG_LEN + 1];

	question->which = some_page(dice, large);
	target = site_paths[question->which];
	if (sim_chance(dice, 200)) {
		method = "HEAD";
		question->head = true;
	}
	if (sim_chance(dice, 150))
		question->query = "?a=1&b=/../%2e";
	if (sim_chance(dice, 100)) {
		static const char *const missing[] = { "/nothing", "/small.txt/", "/a%2fb", "/dir/page", "/%7e" };

		answered_with(exchange, ERROR_404);
		target = missing[sim_below(dice, 5)];
	} else if (sim_chance(dice, 50)) {
		static const char *const bad[] = { "/%zz", "/../..", "/%00", "/a/%2" };

		answered_with(exchange, ERROR_400);
		target = bad[sim_below(dice, 4)];
	} else if (question->which == PAGE_SMALL && sim_chance(dice, 500)) {
		static const char *const same[] = { "/./small.txt", "/x/../small.txt", "//small%2etxt",
			                            "http://h/small.txt" };

		target = same[sim_below(dice, 4)];
	}

	say(script, "%s %s%s HTTP/1.%d\r\n", method, target, question->query ? question->query : "", !old);
	say_noise(script, dice);
	if (!old || sim_chance(dice, 500))
		say(script, "Host: sim.test:8080\r\n");
	if (sim_chance(dice, 300))
		say_codings(script, question, dice);
	if (sim_chance(dice, 150) || (question->which == PAGE_HUGE && !question->head))
		say_ranges(script, question, dice);
	if (!question->is_error && sim_chance(dice, 150)) {
		question->etag_version = 1 + (unsigned)sim_below(dice, 3);
		site_etag(question->etag_version, question->which,
		          site_has_variants(question->which) ? question->coding : CODING_IDENTITY, etag);
		say(script, sim_chance(dice, 500) ? "If-None-Match: %s\r\n" : "If-None-Match: \"x\", W/%s\r\n", etag);
	} else if (!question->is_error && sim_chance(dice, 100)) {
		question->since = true;
		say(script, "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT\r\n");
	}
	if (old && keep_old) {
		say(script, "Connection: keep-alive\r\n");
		question->connection = "keep-alive";
	} else if (old || (may_close && sim_chance(dice, 500))) {
		if (!old)
			say(script, "Connection: close\r\n");
		question->connection = "close";
		exchange->closes = true;
	}
	say_noise(script, dice);
	say(script, "\r\n");
}

/* A request with a body, which is read past. */
static void ask_with_body(struct script *script, struct exchange *exchange, uint64_t *dice, const struct limits *limits)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "GET" };
	unsigned method = (unsigned)sim_below(dice, 6);
	size_t left = sim_below(dice, limits->body / 2), piece;

	exchange->question.which = PAGE_SMALL;
	if (method < 5)
		answered_with(exchange, method == 4 ? ANSWER_OPTIONS : ERROR_405);
	say(script, "%s /small.txt HTTP/1.1\r\nHost: sim\r\n", methods[method]);
	say_noise(script, dice);
	if (sim_chance(dice, 500)) {
		say(script, "Content-Length: %zu\r\n\r\n", left);
		say_letters(script, dice, left);
		return;
	}
	say(script, "Transfer-Encoding: chunked\r\n\r\n");
	for (left /= 16; left > 0; left -= piece) {
		piece = 1 + sim_below(dice, left);
		say(script, sim_chance(dice, 200) ? "%zx;name=value\r\n" : "%zX\r\n", piece);
		say_letters(script, dice, piece);
		say(script, "\r\n");
	}
	say(script, sim_chance(dice, 300) ? "0\r\nX-Trailer: yes\r\n\r\n" : "0\r\n\r\n");
}

/* A request that is refused, and the connection with it. */
static void ask_badly(struct script *script, struct exchange *exchange, uint64_t *dice, const struct limits *limits)
{
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\n\r\n",                             /* no Host */
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",       /* two */
		"GET / HTTP/1.1\nHost: sim\n\n",                      /* bare LF */
		"GET / HTTP/1.1\r\nHost: sim\r\nbad name: x\r\n\r\n", /* a space in a name */
		"GET / HTTP/1.1\r\nHost: sim\r\nname : x\r\n\r\n",    /* a space before the colon */
		"GET  / HTTP/1.1\r\nHost: sim\r\n\r\n",               /* two spaces */
		"\x16\x03\x01 this is TLS\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: sim\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: sim\r\nContent-Length: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
	};
	unsigned kind = (unsigned)sim_below(dice, 9);

	switch (kind) {
	default:
		refused_with(exchange, ERROR_400);
		say(script, "%s", bad[sim_below(dice, sizeof(bad) / sizeof(bad[0]))]);
		return;
	case 1:
		refused_with(exchange, ERROR_501);
		say(script, "FROB / HTTP/1.1\r\nHost: sim\r\n\r\n");
		return;
	case 2:
		refused_with(exchange, ERROR_505);
		say(script, "GET / HTTP/2.0\r\nHost: sim\r\n\r\n");
		return;
	case 3:
		refused_with(exchange, ERROR_414);
		say(script, "GET /");
		say_letters(script, dice, limits->request_line + sim_below(dice, 200));
		say(script, " HTTP/1.1\r\nHost: sim\r\n\r\n");
		return;
	case 4:
		refused_with(exchange, ERROR_431);
		say(script, "GET / HTTP/1.1\r\nHost: sim\r\nX: ");
		say_letters(script, dice, limits->head + sim_below(dice, 200));
		say(script, "\r\n\r\n");
		return;
	case 5:
		refused_with(exchange, ERROR_413);
		say(script, "POST / HTTP/1.1\r\nHost: sim\r\nContent-Length: %llu\r\n\r\n",
		    (unsigned long long)limits->body + 1);
		say_letters(script, dice, sim_below(dice, limits->body));
		return;
	case 6:
		refused_with(exchange, ERROR_413);
		say(script, "POST / HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\n%llx\r\n",
		    (unsigned long long)limits->body + 1);
		say_letters(script, dice, limits->body + 1);
		say(script, "\r\n0\r\n\r\n");
		return;
	case 7:
		/* The answer at once, instead of a 100; whether the body comes nobody knows. */
		refused_with(exchange, ERROR_405);
		say(script, "POST / HTTP/1.1\r\nHost: sim\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n");
		if (sim_chance(dice, 500))
			say_letters(script, dice, 100);
		return;
	}
}

static void end_in_half(struct script *script, struct exchange *exchange, uint64_t *dice)
{
	size_t len = script->len - exchange->start;
	const char *request = script->bytes + exchange->start;

	script->len = exchange->start + 1 + sim_below(dice, len - 1);
	*exchange = (struct exchange){ .start = exchange->start };
	refused_with(exchange, ERROR_408);
	exchange->early = false;
	exchange->question.head = script->len - exchange->start >= 4 && memcmp(request, "HEAD", 4) == 0;
}

void script_make(struct script *script, uint64_t *dice, const struct limits *limits, enum script_tail tail, bool large)
{
	unsigned n = 1 + (unsigned)sim_below(dice, sim_chance(dice, 100) ? EXCHANGES_MAX : 6);

	*script = (struct script){ .tail = tail };
	if (tail == TAIL_IDLE && sim_chance(dice, 300))
		n = 0; /* connects, and has nothing to say at all */
	script->exchange = calloc(EXCHANGES_MAX, sizeof(*script->exchange));
	assert(script->exchange);
	for (script->n = 0; script->n < n; script->n++) {
		struct exchange *exchange = &script->exchange[script->n];
		bool last = script->n == n - 1, half = last && (tail == TAIL_HALF || tail == TAIL_HALF_FINISH);

		exchange->start = script->len;
		if (script->n > 0 && !half && sim_chance(dice, 50)) {
			say(script, "\r\n"); /* forgiven before a request (RFC 9112 2.2), and no beginning of one */
			exchange->blank = 2;
		}
		if (last && tail == TAIL_STUCK) {
			static const enum site_page pages[] = { PAGE_LARGE, PAGE_FILE, PAGE_HUGE };

			exchange->question.which = pages[sim_below(dice, 3)];
			say(script, "GET %s HTTP/1.1\r\nHost: sim\r\n\r\n", site_paths[exchange->question.which]);
		} else if (last && tail == TAIL_CLOSES && sim_chance(dice, 500)) {
			ask_badly(script, exchange, dice, limits);
		} else if (sim_chance(dice, 850)) {
			ask_plainly(script, exchange, dice, large, last && tail == TAIL_CLOSES);
		} else {
			ask_with_body(script, exchange, dice, limits);
		}
		if (half)
			end_in_half(script, exchange, dice);
		exchange->end = script->len;
		assert(!exchange->closes || half || tail == TAIL_CLOSES);
		if (last && tail == TAIL_CLOSES && !exchange->closes)
			script->tail = TAIL_HANG_UP;
		if (last && tail == TAIL_CLOSES && exchange->early && sim_chance(dice, 300))
			say(script, "GET / HTTP/1.1\r\nHost: sim\r\n\r\n"); /* said to nobody */
	}
}

void script_free(struct script *script)
{
	free(script->bytes);
	free(script->exchange);
}
