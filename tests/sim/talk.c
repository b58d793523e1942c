/*
 * talk.c - see talk.h. Requests as RFC 9110 and RFC 9112 have them, and as they do not.
 */
#include "talk.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static void put(struct talk *talk, const void *bytes, size_t len)
{
	if (talk->len + len > talk->size) {
		talk->size = (uint32_t)(talk->len + len) * 2;
		talk->bytes = realloc(talk->bytes, talk->size);
		assert(talk->bytes);
	}
	memcpy(talk->bytes + talk->len, bytes, len);
	talk->len += (uint32_t)len;
}

__attribute__((format(printf, 2, 3))) static void say(struct talk *talk, const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	assert(len >= 0 && (size_t)len < sizeof(text));
	put(talk, text, (size_t)len);
}

static void say_letters(struct talk *talk, uint64_t *dice, size_t len)
{
	char piece[256];

	for (; len > 0; len -= len < sizeof(piece) ? len : sizeof(piece)) {
		size_t n = len < sizeof(piece) ? len : sizeof(piece);

		for (size_t i = 0; i < n; i++)
			piece[i] = "abcdefghijklmnopqrstuvwxyz-/"[sim_below(dice, 28)];
		put(talk, piece, n);
	}
}

static void say_noise(struct talk *talk, uint64_t *dice)
{
	static const char *const lines[] = {
		"User-Agent: sim\r\n",     "Accept: */*\r\n",           "X-Empty:\r\n",
		"Referer: /from\r\n",      "X-Spaced: \t a  b \t \r\n", "Upgrade: h2c\r\n",
		"Accept-Language: en\r\n",
	};

	while (sim_chance(dice, 300))
		say(talk, "%s", lines[sim_below(dice, sizeof(lines) / sizeof(lines[0]))]);
}

static void answered_with(struct exchange *exchange, enum word word)
{
	exchange->ask.kind = ASK_WORD;
	exchange->ask.word = word;
}

/* An error after which the server cannot or will not read on. */
static void refused_with(struct exchange *exchange, enum word word)
{
	answered_with(exchange, word);
	exchange->ask.framed = false;
}

static enum page some_page(uint64_t *dice, bool large)
{
	static const enum page small[] = { AT_INDEX, AT_SMALL, AT_EMPTY, AT_COPIED, AT_LENT,  AT_DIR,   AT_TINY,
		                           AT_NEW,   AT_OLD,   AT_NAMED, AT_NEW,    AT_SMALL, AT_INDEX, AT_OLD };

	if (large && sim_chance(dice, 500))
		return sim_below(dice, 3) == 0 ? AT_HUGE : sim_chance(dice, 500) ? AT_LARGE : AT_FILE;
	return small[sim_below(dice, sizeof(small) / sizeof(small[0]))];
}

static unsigned some_content(uint64_t *dice, enum page page)
{
	unsigned last = 0;

	for (unsigned version = 1; version <= MODEL_VERSIONS; version++)
		if (model_content(page, version) > last)
			last = model_content(page, version);
	return 1 + (unsigned)sim_below(dice, last);
}

static void say_ranges(struct talk *talk, struct ask *ask, uint64_t *dice)
{
	uint64_t size = model_pages[ask->page].len, base = ask->page == AT_HUGE ? size - 20200 : 0;
	unsigned n = size >= 4000 && !ask->wishes && sim_chance(dice, 400) ? 2 + (unsigned)sim_below(dice, 3) : 1;
	uint64_t share = (size - base) / n;
	unsigned first = (unsigned)sim_below(dice, n);

	ask->specs = n;
	say(talk, "Range: bytes=");
	for (unsigned i = 0; i < n; i++) {
		struct spec *spec = &ask->spec[i];
		uint64_t at = base + share * ((first + i) % n);

		/* Far enough from each other that none are joined. */
		spec->first = at + sim_below(dice, n > 1 ? 300 : share + 20);
		spec->last = n > 1 ? spec->first + sim_below(dice, share - 500 < 9000 ? share - 500 : 9000)
		                   : spec->first + sim_below(dice, 5000);
		if (n == 1 && sim_chance(dice, 200)) { /* about where it ends */
			uint64_t len = model_len(ask->page, some_content(dice, ask->page),
			                         ask->wishes ? ask->coding : PLAIN);

			spec->last = len + sim_below(dice, 3);
			spec->last -= spec->last > 0;
			if (spec->first > spec->last) /* never all of the largest one */
				spec->first = spec->last - sim_below(dice, spec->last < 5000 ? spec->last + 1 : 5000);
			say(talk, "%llu-%llu", (unsigned long long)spec->first, (unsigned long long)spec->last);
		} else if (n == 1 && sim_chance(dice, 300)) {
			spec->last = UINT64_MAX;
			say(talk, "%llu-", (unsigned long long)spec->first);
		} else if (n == 1 && size > 0 && sim_chance(dice, 300)) {
			*spec = (struct spec){ UINT64_MAX, 1 + sim_below(dice, 5000) };
			say(talk, "-%llu", (unsigned long long)spec->last);
		} else {
			say(talk, "%s%llu-%llu", i > 0 ? ", " : "", (unsigned long long)spec->first,
			    (unsigned long long)spec->last);
		}
	}
	say(talk, "\r\n");
}

/* What is acceptable; the best of it for every page that has variants. Of these the one in zstd is the smallest. */
static void say_codings(struct talk *talk, struct ask *ask, uint64_t *dice)
{
	static const struct {
		const char *value;
		enum coding coding;
		bool nothing_coded, nothing_plain;
	} wishes[] = {
		{ "gzip, deflate, br, zstd", ZSTD, false, false },
		{ "gzip, br", GZIP, false, false },
		{ "br;q=1, gzip;q=0.5", BROTLI, false, false },
		{ "gzip;q=0.1, identity;q=0.2", PLAIN, false, false },
		{ "", PLAIN, false, false },
		{ "x-gzip\r\nAccept-Encoding: zstd;q=0.999", GZIP, false, false },
		{ "*;q=0", PLAIN, true, true },
		{ "br, identity;q=0", BROTLI, false, true },
	};
	size_t i = sim_below(dice, sizeof(wishes) / sizeof(wishes[0]));

	ask->wishes = true;
	ask->coding = wishes[i].coding;
	ask->nothing_coded = wishes[i].nothing_coded;
	ask->nothing_plain = wishes[i].nothing_plain;
	say(talk, "Accept-Encoding: %s\r\n", wishes[i].value);
}

static void say_date(struct talk *talk, const char *name, enum page page, unsigned content)
{
	char date[MODEL_DATE + 1];

	model_date(model_modified(page, content), date);
	say(talk, "%s: %s\r\n", name, date);
}

static void say_conditions(struct talk *talk, struct ask *ask, uint64_t *dice)
{
	unsigned content = some_content(dice, ask->page);
	enum coding coding = model_pages[ask->page].coded && ask->wishes ? ask->coding : PLAIN;
	const char *tag = model_tag(ask->page, content, coding);
	bool dated = model_modified(ask->page, content) != 0;

	if (sim_chance(dice, 150)) {
		ask->tag_content = content;
		say(talk, sim_chance(dice, 500) ? "If-None-Match: %s\r\n" : "If-None-Match: \"x\", W/%s\r\n", tag);
	} else if (dated && sim_chance(dice, 100)) {
		ask->since_content = content;
		say_date(talk, "If-Modified-Since", ask->page, content);
	}
	if (sim_chance(dice, 40)) {
		ask->match_content = content;
		say(talk, "If-Match: %s\r\n", tag);
	} else if (dated && sim_chance(dice, 40)) {
		ask->unmodified_content = content;
		say_date(talk, "If-Unmodified-Since", ask->page, content);
	}
	if (ask->specs > 0 && sim_chance(dice, 300)) {
		ask->range_content = content;
		ask->if_range = dated ? 1 + (enum if_range)sim_below(dice, 3) : IF_RANGE_SAME;
		if (ask->if_range == IF_RANGE_DATE)
			say_date(talk, "If-Range", ask->page, content);
		else
			say(talk, "If-Range: %s%s\r\n", ask->if_range == IF_RANGE_OTHER ? "W/" : "", tag);
	}
}

static void say_how_long(struct talk *talk, struct ask *ask, uint64_t *dice, bool may_close)
{
	if (ask->old) {
		ask->keep_alive = !may_close || sim_chance(dice, 500);
		if (ask->keep_alive)
			say(talk, "Connection: keep-alive\r\n");
	} else if (may_close) {
		ask->keep_alive = false;
		say(talk, "Connection: %s\r\n", sim_chance(dice, 500) ? "close" : "x, Close");
	}
}

/* GET or HEAD of something that is there or not, in HTTP/1.1 or 1.0, with what may change the answer. */
static void ask_plainly(struct talk *talk, struct exchange *exchange, uint64_t *dice, bool large, bool may_close)
{
	static const char *const missing[] = { "/nothing", "/small.txt/", "/a%2fb", "/dir/page", "/%7e" };
	static const char *const bad[] = { "/%zz", "/../..", "/%00", "/a/%2" };
	static const char *const same[] = { "/./small.txt", "/x/../small.txt", "//small%2etxt", "http://h/small.txt" };
	struct ask *ask = &exchange->ask;
	const char *target;
	unsigned kind = (unsigned)sim_below(dice, 100);

	ask->old = sim_chance(dice, 120);
	ask->head = sim_chance(dice, 200);
	if (sim_chance(dice, 120))
		ask->query = "?a=1&b=/../%2e";
	ask->page = some_page(dice, large);
	target = model_pages[ask->page].path;
	if (kind < 7) {
		answered_with(exchange, WORD_404);
		target = missing[sim_below(dice, 5)];
	} else if (kind < 10) {
		answered_with(exchange, WORD_400);
		target = bad[sim_below(dice, 4)];
	} else if (kind < 14) {
		ask->kind = ASK_MOVED;
		target = "/dir";
	} else if (kind < 17) {
		ask->kind = ASK_HEALTH;
		target = "/health";
	} else if (kind < 19) {
		answered_with(exchange, WORD_417);
	} else if (ask->page == AT_SMALL && sim_chance(dice, 500)) {
		target = same[sim_below(dice, 4)];
	}
	say(talk, "%s %s%s HTTP/1.%d\r\n", ask->head ? "HEAD" : "GET", target, ask->query ? ask->query : "", !ask->old);
	say_noise(talk, dice);
	if (!ask->old || sim_chance(dice, 500))
		say(talk, "Host: sim.test:8080\r\n");
	if (ask->kind == ASK_WORD && ask->word == WORD_417)
		say(talk, "Expect: %s\r\n", sim_chance(dice, 500) ? "the unexpected" : "100-continue, x");
	if (ask->kind == ASK_PAGE) {
		if (sim_chance(dice, 250))
			say_codings(talk, ask, dice);
		if (sim_chance(dice, 150) || ask->page == AT_HUGE)
			say_ranges(talk, ask, dice);
		if (ask->page != AT_HUGE)
			say_conditions(talk, ask, dice);
	}
	say_how_long(talk, ask, dice, may_close);
	say_noise(talk, dice);
	say(talk, "\r\n");
	if (ask->page == AT_HUGE && ask->nothing_coded) /* of what is not coded, and then nothing of it */
		assert(ask->nothing_plain);
}

#define HABITS 4 /* blocks of field lines */

/* As browsers ask: the request line differs from request to request, the field lines do not. */
static void ask_habitually(struct talk *talk, struct exchange *exchange, uint64_t *dice, uint64_t habits)
{
	struct ask *ask = &exchange->ask;
	uint64_t block = habits + sim_below(dice, HABITS);
	const char *target;

	ask->page = some_page(dice, false);
	target = model_pages[ask->page].path;
	ask->head = sim_chance(dice, 100);
	if (sim_chance(dice, 80)) {
		answered_with(exchange, WORD_404);
		target = "/nothing/";
	}
	if (sim_chance(dice, 100))
		ask->query = "?q=%2f";
	say(talk, "%s %s%s HTTP/1.1\r\n", ask->head ? "HEAD" : "GET", target, ask->query ? ask->query : "");
	say_noise(talk, &block);
	say(talk, "Host: sim.test\r\n");
	say_noise(talk, &block);
	if (sim_chance(&block, 600))
		say_codings(talk, ask, &block);
	if (sim_chance(&block, 200)) {
		ask->specs = 1;
		ask->spec[0] = (struct spec){ 0, sim_below(&block, 100) };
		say(talk, "Range: bytes=0-%llu\r\n", (unsigned long long)ask->spec[0].last);
	}
	if (sim_chance(&block, 300)) {
		unsigned content = some_content(&block, AT_INDEX);

		ask->tag_content = ask->page == AT_INDEX ? content : MODEL_VERSIONS + 1; /* no other's tag */
		say(talk, "If-None-Match: %s\r\n", model_tag(AT_INDEX, content, PLAIN));
	}
	say_noise(talk, &block);
	say(talk, "\r\n");
}

/* For what comes and goes with versions, and what an answer only refers to. */
static void ask_skewed(struct talk *talk, struct exchange *exchange, uint64_t *dice)
{
	static const enum page pages[] = { AT_LENT, AT_NEW, AT_OLD };

	exchange->ask.page = pages[sim_below(dice, 3)];
	say(talk, "GET %s HTTP/1.1\r\nHost: sim\r\n\r\n", model_pages[exchange->ask.page].path);
}

/* A request with a body, which is read past. */
static void ask_with_body(struct talk *talk, struct exchange *exchange, uint64_t *dice,
                          const struct talk_limits *limits)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "GET" };
	unsigned method = (unsigned)sim_below(dice, 6);
	size_t left = sim_below(dice, sim_chance(dice, 200) ? limits->body / 2 : 60), piece;

	exchange->ask.page = AT_SMALL;
	if (method < 5)
		answered_with(exchange, method == 4 ? WORD_OPTIONS : WORD_405);
	say(talk, "%s /small.txt HTTP/1.1\r\nHost: sim\r\n", methods[method]);
	say_noise(talk, dice);
	if (sim_chance(dice, 500)) {
		say(talk, "Content-Length: %zu\r\n\r\n", left);
		say_letters(talk, dice, left);
		return;
	}
	say(talk, "Transfer-Encoding: chunked\r\n\r\n");
	for (left /= 16; left > 0; left -= piece) {
		piece = 1 + sim_below(dice, left);
		say(talk, sim_chance(dice, 200) ? "%zx;name=value\r\n" : "%zX\r\n", piece);
		say_letters(talk, dice, piece);
		say(talk, "\r\n");
	}
	say(talk, sim_chance(dice, 300) ? "0\r\nX-Trailer: yes\r\n\r\n" : "0\r\n\r\n");
}

/* A request that is refused, and the connection with it. Where exactly, the server may choose, from the first byte on. */
static void ask_badly(struct talk *talk, struct exchange *exchange, uint64_t *dice, const struct talk_limits *limits)
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
	uint32_t begin = talk->len;

	exchange->from = begin + 1;
	switch (sim_below(dice, 12)) {
	default:
		refused_with(exchange, WORD_400);
		say(talk, "%s", bad[sim_below(dice, sizeof(bad) / sizeof(bad[0]))]);
		break;
	case 1:
		refused_with(exchange, WORD_501);
		say(talk, "FROB / HTTP/1.1\r\nHost: sim\r\n\r\n");
		break;
	case 2:
		refused_with(exchange, WORD_505);
		say(talk, "GET / HTTP/2.0\r\nHost: sim\r\n\r\n");
		break;
	case 3:
		refused_with(exchange, WORD_414);
		say(talk, "GET /");
		say_letters(talk, dice, limits->request_line + sim_below(dice, 200));
		exchange->from = begin + limits->request_line;
		say(talk, " HTTP/1.1\r\nHost: sim\r\n\r\n");
		break;
	case 4:
		refused_with(exchange, WORD_431);
		say(talk, "GET / HTTP/1.1\r\nHost: sim\r\nX: ");
		say_letters(talk, dice, limits->head + sim_below(dice, 200));
		exchange->from = begin + limits->head;
		say(talk, "\r\n\r\n");
		break;
	case 5:
		refused_with(exchange, WORD_413);
		say(talk, "POST / HTTP/1.1\r\nHost: sim\r\nContent-Length: %llu\r\n\r\n",
		    (unsigned long long)limits->body + 1);
		exchange->from = exchange->by = talk->len;
		say_letters(talk, dice, sim_below(dice, limits->body));
		break;
	case 6:
		refused_with(exchange, WORD_413);
		say(talk, "POST / HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\n%llx\r\n",
		    (unsigned long long)limits->body + 1);
		exchange->by = talk->len;
		say_letters(talk, dice, limits->body + 1);
		say(talk, "\r\n0\r\n\r\n");
		break;
	case 7:
		/* The answer at once, instead of a 100; whether the body comes nobody knows. */
		refused_with(exchange, WORD_405);
		say(talk, "POST / HTTP/1.1\r\nHost: sim\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n");
		exchange->from = exchange->by = talk->len;
		if (sim_chance(dice, 500))
			say_letters(talk, dice, 100);
		break;
	case 8: /* a second empty line */
		refused_with(exchange, WORD_400);
		say(talk, "%s\r\nGET / HTTP/1.1\r\nHost: sim\r\n\r\n", exchange->blank ? "" : "\r\n");
		exchange->blank = 2;
		exchange->from = exchange->by = exchange->start + 3;
		break;
	case 9: /* half of one */
		refused_with(exchange, WORD_400);
		say(talk, "%sGET / HTTP/1.1\r\nHost: sim\r\n\r\n", exchange->blank ? "\n" : "\r");
		exchange->from = exchange->by = exchange->start + exchange->blank + 1;
		if (exchange->blank == 0)
			exchange->blank = 1, exchange->from = ++exchange->by;
		break;
	case 10:
		refused_with(exchange, WORD_431);
		say(talk, "GET / HTTP/1.1\r\nHost: sim\r\n");
		for (unsigned i = 0; i < limits->fields; i++)
			say(talk, "X: y\r\n");
		say(talk, "\r\n");
		break;
	}
}

static void end_in_half(struct talk *talk, struct exchange *exchange, uint64_t *dice)
{
	uint32_t first = exchange->start + exchange->blank;

	talk->len = first + 1 + (uint32_t)sim_below(dice, talk->len - first - 1);
	exchange->from = exchange->by = UINT32_MAX;
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BLOCK(n)  "\xc0\0\2" n "\xc0\0\2\1\xdc\4\0\x50"

#define HEADER(bytes, ...)                            \
	{                                             \
		bytes, sizeof(bytes) - 1, __VA_ARGS__ \
	}

const struct talk_header talk_headers[TALK_HEADERS] = {
	HEADER("PROXY TCP4 192.0.2.7 192.0.2.2 56324 80\r\n", false, 7),
	HEADER("PROXY UNKNOWN\r\n", false, 0),
	HEADER(SIGNATURE "\x21\x11\0\14" BLOCK("\x08"), false, 8),
	HEADER(SIGNATURE "\x21\x11\0\26" BLOCK("\x09") "\4\0\7abcdefg", false, 9),
	HEADER(SIGNATURE "\x20\0\0\0", false, 0),
	HEADER("PROXY TCP4 192.0.2.7 192.0.2.2 56324 80\n", true, 0),
	HEADER("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, 0),
	HEADER(SIGNATURE "\x31\x11\0\14" BLOCK("\7"), true, 0),
};

static void say_header(struct talk *talk, uint64_t *dice, const struct talk_header *header, bool is_all)
{
	size_t len = header->len;

	if (is_all && sim_chance(dice, 500))
		len = sim_below(dice, len); /* no more comes */
	put(talk, header->bytes, len);
	talk->header_by = len == header->len ? (uint32_t)len : UINT32_MAX;
}

void talk_make(struct talk *talk, uint64_t *dice, const struct talk_limits *limits, enum talk_end end, unsigned most,
               bool large, const struct talk_header *header, uint64_t habits, bool skewed)
{
	bool habitual = sim_chance(dice, 350);
	const struct exchange *last;

	talk->len = talk->n = 0;
	talk->header = header;
	if (header)
		say_header(talk, dice, header, most == 0);
	if (most == 0)
		return;
	assert(most <= TALK_MAX);
	while (talk->n < most) {
		struct exchange *exchange = &talk->exchange[talk->n++];
		bool is_last = talk->n == most, half = is_last && end == END_HALF;

		memset(exchange, 0, sizeof(*exchange));
		exchange->ask.keep_alive = exchange->ask.framed = true;
		exchange->start = talk->len;
		if (talk->n > 1 && sim_chance(dice, 50)) {
			say(talk, "\r\n"); /* forgiven before a request (RFC 9112 2.2), and no beginning of one */
			exchange->blank = 2;
		}
		if (is_last && end == END_CLOSE && sim_chance(dice, 400))
			ask_badly(talk, exchange, dice, limits);
		else if (skewed && !is_last)
			ask_skewed(talk, exchange, dice);
		else if (habitual && !(is_last && end == END_CLOSE) && sim_chance(dice, 900))
			ask_habitually(talk, exchange, dice, habits);
		else if (sim_chance(dice, 880))
			ask_plainly(talk, exchange, dice, large, is_last && end == END_CLOSE);
		else
			ask_with_body(talk, exchange, dice, limits);
		if (half)
			end_in_half(talk, exchange, dice);
		exchange->end = talk->len;
		if (exchange->from == 0)
			exchange->from = exchange->end;
		if (exchange->by == 0)
			exchange->by = exchange->end;
	}
	last = &talk->exchange[talk->n - 1];
	if (end == END_CLOSE && !(last->ask.keep_alive && last->ask.framed) && sim_chance(dice, 200))
		say(talk, "GET / HTTP/1.1\r\nHost: sim\r\n\r\n"); /* said to nobody */
}

void talk_free(struct talk *talk)
{
	free(talk->bytes);
	talk->bytes = NULL;
	talk->len = talk->size = 0;
}
