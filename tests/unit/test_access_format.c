/*
 * test_access_format.c - every field of both formats, and what no client can make of a line.
 */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loom/access_format.h"
#include "loom/coding.h"

#define SNAPSHOT "LnkXMYPkA0xmPcC8Bn2ePw"

#define MOMENT INT64_C(1795887786) /* 2026-11-28T17:43:06Z */

static union {
	struct access_record record;
	char room[ACCESS_RECORD_MAX];
} made;

static char line[ACCESS_LINE_MAX + 1];
static struct access_formatter formatter;

struct texts {
	const char *method, *target, *referer, *agent; /* NULL: there is none */
};

static uint16_t put(char **to, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	memcpy(*to, text ? text : "", len);
	*to += len;
	return (uint16_t)len;
}

/* A record of a good request, of these texts. */
static struct access_record *make(struct texts texts)
{
	struct access_record *record = &made.record;
	char *to = record->text;

	memset(&made, 0, sizeof(made));
	record->status = 200;
	record->flags = ACCESS_COMPLETE;
	record->began = 5123456; /* of a monotonic clock */
	record->duration = 84;
	record->bytes = 5120;
	record->head = 200;
	record->protocol = 0x11;
	record->coding = CODING_GZIP;
	record->peer = (struct peer){ .family = PEER_IN4, .address = { 192, 0, 2, 7 } };
	memcpy(record->snapshot, SNAPSHOT, ACCESS_SNAPSHOT_LEN);
	record->method_len = (uint8_t)put(&to, texts.method);
	if (texts.target)
		*to++ = ' ';
	record->target_len = put(&to, texts.target);
	record->line_len = (uint16_t)(to - record->text);
	record->referer_len = put(&to, texts.referer);
	record->agent_len = put(&to, texts.agent);
	record->flags |= texts.referer ? ACCESS_REFERER : 0;
	record->flags |= texts.agent ? ACCESS_AGENT : 0;
	record->size = (uint32_t)(to - (char *)record);
	return record;
}

static const char *format(enum access_format as)
{
	size_t len;

	access_formatter_init(&formatter, as);
	formatter.clock_offset = MOMENT * 1000000 - 5000000;
	memset(line, 'x', sizeof(line));
	len = access_format(&formatter, &made.record, line);
	ck_assert_uint_le(len, ACCESS_LINE_MAX);
	ck_assert_int_eq(line[len - 1], '\n');
	ck_assert_ptr_eq(memchr(line, '\n', len), line + len - 1);
	line[len - 1] = '\0';
	ck_assert_uint_eq(strlen(line), len - 1);
	return line;
}

static const struct texts good = { "GET", "/a.js", "https://example.org/", "Mozilla/5.0 (X11)" };

START_TEST(combined_is_apaches)
{
	make(good);
	ck_assert_str_eq(format(ACCESS_COMBINED),
	                 "192.0.2.7 - - [28/Nov/2026:17:43:06 +0000] \"GET /a.js HTTP/1.1\" 200 5120 "
	                 "\"https://example.org/\" \"Mozilla/5.0 (X11)\"");
}
END_TEST

START_TEST(json_has_every_field)
{
	make(good);
	ck_assert_str_eq(format(ACCESS_JSON),
	                 "{\"time\":\"2026-11-28T17:43:06.123Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\","
	                 "\"target\":\"/a.js\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":5120,"
	                 "\"referer\":\"https://example.org/\",\"user_agent\":\"Mozilla/5.0 (X11)\","
	                 "\"duration_us\":84,\"coding\":\"gzip\",\"snapshot\":\"" SNAPSHOT "\",\"complete\":true}");
}
END_TEST

/* A request that was none: nothing is known of it but who, when, and what it got. */
START_TEST(what_a_request_lacks)
{
	struct access_record *record = make((struct texts){ 0 });

	record->status = 400;
	record->protocol = 0;
	record->coding = CODING_IDENTITY;
	record->bytes = 0;
	record->flags = 0;
	ck_assert_str_eq(format(ACCESS_COMBINED), "192.0.2.7 - - [28/Nov/2026:17:43:06 +0000] \"-\" 400 - \"-\" \"-\"");
	ck_assert_str_eq(format(ACCESS_JSON),
	                 "{\"time\":\"2026-11-28T17:43:06.123Z\",\"client\":\"192.0.2.7\",\"method\":null,"
	                 "\"target\":null,\"protocol\":null,\"status\":400,\"bytes\":0,\"referer\":null,"
	                 "\"user_agent\":null,\"duration_us\":84,\"coding\":\"identity\",\"snapshot\":\"" SNAPSHOT
	                 "\",\"complete\":false}");
}
END_TEST

/* As most come: the line in one piece, with its version. */
START_TEST(a_whole_line)
{
	static const char text[] = "HEAD /a?b=\"c HTTP/1.0https://example.org/Mozilla/5.0 (X11)";
	struct access_record *record = make(good);

	memcpy(record->text, text, sizeof(text));
	record->method_len = sizeof("HEAD") - 1;
	record->target_len = sizeof("/a?b=\"c") - 1;
	record->line_len = sizeof("HEAD /a?b=\"c HTTP/1.0") - 1;
	record->protocol = 0x10;
	record->flags |= ACCESS_LINE_WHOLE;
	ck_assert_ptr_nonnull(strstr(format(ACCESS_COMBINED), "] \"HEAD /a?b=\\\"c HTTP/1.0\" 200 5120 "
	                                                      "\"https://example.org/\" \"Mozilla/5.0 (X11)\""));
	ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON),
	                             "\"method\":\"HEAD\",\"target\":\"/a?b=\\\"c\",\"protocol\":\"HTTP/1.0\","));
	ck_assert_ptr_nonnull(
		strstr(line, "\"referer\":\"https://example.org/\",\"user_agent\":\"Mozilla/5.0 (X11)\""));
}
END_TEST

/* What is known to need no escapes gets none, whatever else stands in the record. */
START_TEST(plain_fields)
{
	make((struct texts){ "GET", "/\"", "https://example.org/", "Mozilla/5.0 (X11)" })->flags |= ACCESS_PLAIN;
	ck_assert_ptr_nonnull(strstr(format(ACCESS_COMBINED), "] \"GET /\\\" HTTP/1.1\" 200 5120 "
	                                                      "\"https://example.org/\" \"Mozilla/5.0 (X11)\""));
	ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON), "\"target\":\"/\\\"\""));
	ck_assert_ptr_nonnull(
		strstr(line, "\"referer\":\"https://example.org/\",\"user_agent\":\"Mozilla/5.0 (X11)\""));
	make((struct texts){ "GET", "/", "", NULL })->flags |= ACCESS_PLAIN;
	ck_assert_ptr_nonnull(strstr(format(ACCESS_COMBINED), " 5120 \"\" \"-\""));
	ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON), "\"referer\":\"\",\"user_agent\":null"));
}
END_TEST

/* An empty field is one. */
START_TEST(empty_fields)
{
	make((struct texts){ "GET", "/", "", "" });
	ck_assert_ptr_nonnull(strstr(format(ACCESS_COMBINED), " 5120 \"\" \"\""));
	ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON), "\"referer\":\"\",\"user_agent\":\"\""));
}
END_TEST

START_TEST(what_was_cut_says_so)
{
	struct access_record *record = make(good);

	record->flags |= ACCESS_TARGET_CUT | ACCESS_REFERER_CUT | ACCESS_AGENT_CUT;
	ck_assert_ptr_nonnull(strstr(format(ACCESS_COMBINED), "\"GET /a.js... HTTP/1.1\" 200 5120 "
	                                                      "\"https://example.org/...\" \"Mozilla/5.0 (X11)...\""));
	ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON),
	                             ",\"complete\":true,\"truncated\":[\"target\",\"referer\",\"user_agent\"]}"));
	record = make(good);
	record->flags |= ACCESS_PLAIN | ACCESS_REFERER_CUT;
	ck_assert_ptr_nonnull(
		strstr(format(ACCESS_COMBINED), " 5120 \"https://example.org/...\" \"Mozilla/5.0 (X11)\""));
	make(good)->flags |= ACCESS_AGENT_CUT;
	ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON), ",\"truncated\":[\"user_agent\"]}"));
}
END_TEST

START_TEST(protocols)
{
	static const struct {
		uint8_t protocol;
		const char *combined, *json;
	} cases[] = {
		{ 0x10, "\"GET /a.js HTTP/1.0\"", "\"protocol\":\"HTTP/1.0\"" },
		{ 0x20, "\"GET /a.js HTTP/2.0\"", "\"protocol\":\"HTTP/2.0\"" },
		{ 0, "\"GET /a.js\"", "\"protocol\":null" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make(good)->protocol = cases[i].protocol;
		ck_assert_ptr_nonnull(strstr(format(ACCESS_COMBINED), cases[i].combined));
		ck_assert_ptr_nonnull(strstr(format(ACCESS_JSON), cases[i].json));
	}
}
END_TEST

/* Each at every offset within what is looked at at once. */
static const struct {
	const char *text, *combined, *json;
} escapes[] = {
	{ "\"", "\\\"", "\\\"" },
	{ "\\", "\\\\", "\\\\" },
	{ "\n", "\\n", "\\n" },
	{ "\r", "\\r", "\\r" },
	{ "\t", "\\t", "\\t" },
	{ "\b", "\\b", "\\b" },
	{ "\f", "\\f", "\\f" },
	{ "\v", "\\v", "\\u000b" },
	{ "\x01", "\\x01", "\\u0001" },
	{ "\x1b[2J", "\\x1b[2J", "\\u001b[2J" },
	{ "\x1f", "\\x1f", "\\u001f" },
	{ " ~", " ~", " ~" },
	{ "\x7f", "\\x7f", "\\u007f" },
	{ "\xc2\x80", "\\xc2\\x80", "\\u0080" },
	{ "\xc2\x9f", "\\xc2\\x9f", "\\u009f" },
	{ "\xc2\xa0", "\\xc2\\xa0", "\xc2\xa0" },
	{ "\xc3\xa9", "\\xc3\\xa9", "\xc3\xa9" },
	{ "\xe2\x82\xac", "\\xe2\\x82\\xac", "\xe2\x82\xac" },
	{ "\xf0\x9f\x98\x80", "\\xf0\\x9f\\x98\\x80", "\xf0\x9f\x98\x80" },
	{ "\xf4\x8f\xbf\xbf", "\\xf4\\x8f\\xbf\\xbf", "\xf4\x8f\xbf\xbf" },
	/* Not UTF-8: Latin-1, a sequence without its beginning, one without its end, overlong, a surrogate, too high. */
	{ "\xe9", "\\xe9", "\xef\xbf\xbd" },
	{ "\x80", "\\x80", "\xef\xbf\xbd" },
	{ "\xe2\x82", "\\xe2\\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xc0\xaf", "\\xc0\\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xe0\x9f\xbf", "\\xe0\\x9f\\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xff", "\\xff", "\xef\xbf\xbd" },
};

static bool printable(const char *at)
{
	while (*at >= 0x20 && *at < 0x7f)
		at++;
	return !*at;
}

START_TEST(escapes_at_every_offset)
{
	for (int before = 0; before <= 17; before++) {
		for (int after = 0; after <= 9; after++) {
			char text[64], expected[256];

			snprintf(text, sizeof(text), "%.*s%s%.*s", before, "abcdefghijklmnopq", escapes[_i].text, after,
			         "ABCDEFGHI");
			make((struct texts){ "GET", text, text, text });
			snprintf(expected, sizeof(expected), "\"%.*s%s%.*s\" \"%.*s", before, "abcdefghijklmnopq",
			         escapes[_i].combined, after, "ABCDEFGHI", before, "abcdefghijklmnopq");
			ck_assert_msg(strstr(format(ACCESS_COMBINED), expected), "%s in %s", expected, line);
			ck_assert(printable(line));
			snprintf(expected, sizeof(expected), "\"referer\":\"%.*s%s%.*s\",\"user", before,
			         "abcdefghijklmnopq", escapes[_i].json, after, "ABCDEFGHI");
			ck_assert_msg(strstr(format(ACCESS_JSON), expected), "%s in %s", expected, line);
		}
	}
}
END_TEST

/* Every byte there is, as long as it may be, in everything: the line's bound holds. */
START_TEST(the_worst_line_fits)
{
	struct access_record *record = make((struct texts){ 0 });

	memset(record->text, _i ? _i : 1, ACCESS_RECORD_MAX - sizeof(*record));
	record->line_len = ACCESS_METHOD_MAX + 1 + ACCESS_TARGET_MAX + ACCESS_VERSION_LEN;
	record->method_len = ACCESS_METHOD_MAX;
	record->target_len = ACCESS_TARGET_MAX;
	record->referer_len = ACCESS_REFERER_MAX;
	record->agent_len = ACCESS_AGENT_MAX;
	record->flags = 0xff & ~ACCESS_PLAIN;
	record->status = 65535;
	record->bytes = record->duration = UINT64_MAX;
	record->peer.family = PEER_IN6;
	memset(record->peer.address, 0xff, sizeof(record->peer.address));
	format(ACCESS_COMBINED);
	format(ACCESS_JSON);
}
END_TEST

START_TEST(addresses)
{
	static const char *const six[] = {
		"2001:db8::1",
		"::",
		"::1",
		"1::",
		"1:0:0:2::3",
		"1:0:2:0:3:0:4:0",
		"1::2:0:0:3",
		"fe80::1234:5678:9abc:def0",
		"2001:db8:1:2:3:4:5:6",
		"0:1::",
		"1:2:3:4:5:6:7:0",
		"0:2:3:4:5:6:7:8",
		"1:0:0:4:5:0:0:8",
		"10:200:3000::",
	};
	char expected[INET6_ADDRSTRLEN + 16], text[INET6_ADDRSTRLEN];
	struct access_record *record;
	uint8_t mapped[16];

	for (size_t i = 0; i < sizeof(six) / sizeof(six[0]); i++) {
		record = make(good);
		record->peer.family = PEER_IN6;
		ck_assert_int_eq(inet_pton(AF_INET6, six[i], record->peer.address), 1);
		/* inet_ntop(3) writes most addresses as RFC 5952 asks. */
		inet_ntop(AF_INET6, record->peer.address, text, sizeof(text));
		snprintf(expected, sizeof(expected), "\"client\":\"%s\"", text);
		ck_assert_msg(strstr(format(ACCESS_JSON), expected), "%s in %s", expected, line);
	}
	record = make(good);
	inet_pton(AF_INET6, "::ffff:255.0.10.9", mapped);
	peer_set(&record->peer, mapped, sizeof(mapped), 1);
	ck_assert_ptr_eq(strstr(format(ACCESS_COMBINED), "255.0.10.9 - - "), line);
	make(good)->peer.family = PEER_LOCAL;
	ck_assert_ptr_eq(strstr(format(ACCESS_COMBINED), "unix: - - "), line);
}
END_TEST

/* Against the calendar of the C library, every 37 hours and some over two centuries. */
START_TEST(times)
{
	access_formatter_init(&formatter, ACCESS_JSON);
	for (int64_t second = 0; second < INT64_C(6500000000); second += 133337) {
		time_t time = second;
		struct tm tm;
		char expected[64];

		make(good)->began = 999;
		formatter.clock_offset = second * 1000000;
		line[access_format(&formatter, &made.record, line)] = '\0';
		gmtime_r(&time, &tm);
		strftime(expected, sizeof(expected), "{\"time\":\"%Y-%m-%dT%H:%M:%S.000Z\"", &tm);
		ck_assert_msg(strncmp(line, expected, strlen(expected)) == 0, "%s: %s", expected, line);
	}
}
END_TEST

/* Lines that follow each other, most of them in the same second; no time is before 1970. */
START_TEST(one_after_the_other)
{
	static const struct {
		int64_t us;
		const char *expected;
	} cases[] = {
		{ MOMENT * 1000000, "2026-11-28T17:43:06.000Z" },
		{ MOMENT * 1000000 + 999, "2026-11-28T17:43:06.000Z" },
		{ MOMENT * 1000000 + 999999, "2026-11-28T17:43:06.999Z" },
		{ MOMENT * 1000000 + 1000000, "2026-11-28T17:43:07.000Z" },
		{ MOMENT * 1000000 + 500000, "2026-11-28T17:43:06.500Z" },
		{ -1, "1970-01-01T00:00:00.000Z" },
		{ 1000, "1970-01-01T00:00:00.001Z" },
		{ -700000, "1970-01-01T00:00:00.000Z" },
		{ 0, "1970-01-01T00:00:00.000Z" },
	};

	make(good)->began = 5000000;
	access_formatter_init(&formatter, ACCESS_JSON);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		formatter.clock_offset = cases[i].us - 5000000;
		line[access_format(&formatter, &made.record, line)] = '\0';
		ck_assert_msg(strncmp(line + strlen("{\"time\":\""), cases[i].expected, strlen(cases[i].expected)) == 0,
		              "%zu: %s", i, line);
	}
}
END_TEST

START_TEST(local_times)
{
	static const struct {
		int32_t east;
		const char *expected;
	} cases[] = {
		{ 3600, "[28/Nov/2026:18:43:06 +0100]" },
		{ -5 * 3600, "[28/Nov/2026:12:43:06 -0500]" },
		{ 5 * 3600 + 1800, "[28/Nov/2026:23:13:06 +0530]" },
		{ 13 * 3600, "[29/Nov/2026:06:43:06 +1300]" },
		{ -(3 * 3600 + 1800), "[28/Nov/2026:14:13:06 -0330]" },
	};

	make(good);
	access_formatter_init(&formatter, ACCESS_COMBINED);
	formatter.clock_offset = MOMENT * 1000000 - 5000000;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		formatter.utc_offset = cases[i].east; /* within the same second, too */
		line[access_format(&formatter, &made.record, line)] = '\0';
		ck_assert_msg(strstr(line, cases[i].expected), "%s: %s", cases[i].expected, line);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("access_format");
	TCase *tcase = tcase_create("access_format");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, combined_is_apaches);
	tcase_add_test(tcase, json_has_every_field);
	tcase_add_test(tcase, what_a_request_lacks);
	tcase_add_test(tcase, a_whole_line);
	tcase_add_test(tcase, plain_fields);
	tcase_add_test(tcase, empty_fields);
	tcase_add_test(tcase, what_was_cut_says_so);
	tcase_add_test(tcase, protocols);
	tcase_add_loop_test(tcase, escapes_at_every_offset, 0, (int)(sizeof(escapes) / sizeof(escapes[0])));
	tcase_add_loop_test(tcase, the_worst_line_fits, 0, 256);
	tcase_add_test(tcase, addresses);
	tcase_add_test(tcase, times);
	tcase_add_test(tcase, one_after_the_other);
	tcase_add_test(tcase, local_times);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
