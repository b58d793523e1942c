/*
 * test_proxy.c - headers of the PROXY protocol, good and bad, each at every length that it may have come to so far; and
 * peers and networks as text.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define TEN       "\1\2\3\4\5\6\7\10\11\12"
#define HUNDRED   TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* Two addresses and two ports. */
#define V4_BLOCK     \
	"\xc0\0\2\1" \
	"\xc0\0\2\2" \
	"\xdc\4"     \
	"\0\x50"
#define V6_BLOCK                                 \
	"\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1" \
	"\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2" \
	"\xdc\4"                                 \
	"\0\x50"
#define MAPPED                                   \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1" \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\2" \
	"\xdc\4"                                 \
	"\0\x50"

struct row {
	const char *bytes;
	size_t len;
	const char *text; /* of the peer; "-": the kernel's; NULL: bad */
	unsigned port;
	size_t known; /* bytes from which on a bad one is known as one */
};

#define GOOD(bytes, text, port)                         \
	{                                               \
		bytes, sizeof(bytes) - 1, text, port, 0 \
	}
#define BAD(bytes, known)                                \
	{                                                \
		bytes, sizeof(bytes) - 1, NULL, 0, known \
	}

static const struct row rows[] = {
	GOOD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", "192.0.2.1", 56324),
	GOOD("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0", 0),
	GOOD("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
	GOOD("PROXY TCP6 2001:db8::1 2001:DB8::2 56324 80\r\n", "2001:db8::1", 56324),
	GOOD("PROXY TCP6 :: ::1 1 2\r\n", "::", 1),
	GOOD("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", "192.0.2.1", 1),
	GOOD("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
	GOOD("PROXY UNKNOWN\r\n", "-", 0),
	GOOD("PROXY UNKNOWN \r\n", "-", 0),
	GOOD("PROXY UNKNOWN \1\2\xff what ever\r\n", "-", 0),
	GOOD("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	     "-", 0),

	/* The line's end, and its length. */
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\n", 40),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\r\n", 41),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\rGET", 41),
	BAD("PROXY UNKNOWN \n\r\n", 15),
	BAD("PROXY UNKNOWN a\rb\r\n", 17),
	BAD("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655355\r\n",
	    107),
	BAD("PROXY UNKNOWN " HUNDRED HUNDRED, 24), /* TEN ends in a line feed */
	BAD("PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaa",
	    107),
	/* Its words. */
	BAD("PROXY\r\n", 6),
	BAD("PROXY \r\n", 8),
	BAD("PROXY TCP4\r\n", 12),
	BAD("PROXY TCP4 \r\n", 13),
	BAD("PROXY TCP4 192.0.2.1\r\n", 22),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2\r\n", 32),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", 38),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 \r\n", 39),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80 \r\n", 42),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80 1\r\n", 43),
	BAD("PROXY TCP4  192.0.2.1 192.0.2.2 56324 80\r\n", 42),
	BAD("PROXY  TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", 42),
	BAD("PROXY\tTCP4 192.0.2.1 192.0.2.2 56324 80\r\n", 6),
	BAD("PROXY TCP4\t192.0.2.1 192.0.2.2 56324 80\r\n", 41),
	BAD("PROXY TCP5 192.0.2.1 192.0.2.2 56324 80\r\n", 41),
	BAD("PROXY TCP 192.0.2.1 192.0.2.2 56324 80\r\n", 40),
	BAD("PROXY tcp4 192.0.2.1 192.0.2.2 56324 80\r\n", 41),
	BAD("PROXY UDP4 192.0.2.1 192.0.2.2 56324 80\r\n", 41),
	BAD("PROXY UNKNOWNS\r\n", 16),
	BAD("PROXY unknown\r\n", 15),
	BAD("proxy TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", 1),
	/* Its addresses. */
	BAD("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", 40),
	BAD("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", 36),
	BAD("PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n", 38),
	BAD("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", 37),
	BAD("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", 38),
	BAD("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", 34),
	BAD("PROXY TCP4 0xc0.0.2.1 192.0.2.2 1 2\r\n", 37),
	BAD("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n", 37),
	BAD("PROXY TCP4 -1.0.2.1 192.0.2.2 1 2\r\n", 35),
	BAD("PROXY TCP6 2001:db8::1::2 ::1 1 2\r\n", 35),
	BAD("PROXY TCP6 12345::1 ::1 1 2\r\n", 29),
	BAD("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", 33),
	BAD("PROXY TCP6 [::1] ::1 1 2\r\n", 26),
	BAD("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", 34),
	/* Its ports. */
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n", 41),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", 40),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 01 80\r\n", 38),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 1 080\r\n", 38),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 -1 80\r\n", 38),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 +1 80\r\n", 38),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 1a 80\r\n", 38),
	BAD("PROXY TCP4 192.0.2.1 192.0.2.2 4294967297 80\r\n", 46),
	/* No header at all. */
	BAD("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
	BAD("\0", 1),
	BAD("P\r\n", 2),
	BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 3),
	BAD("\r\n\r\nGET / HTTP/1.1\r\n", 5),
	BAD("\x16\x03\x01\x02\x00\x01", 1),

	GOOD(SIGNATURE "\x21\x11\0\14" V4_BLOCK, "192.0.2.1", 56324),
	GOOD(SIGNATURE "\x21\x21\0\44" V6_BLOCK, "2001:db8::1", 56324),
	GOOD(SIGNATURE "\x21\x21\0\44" MAPPED, "192.0.2.1", 56324),
	GOOD(SIGNATURE "\x21\x11\0\23" V4_BLOCK "\4\0\4abcd", "192.0.2.1", 56324), /* a field: NOOP */
	GOOD(SIGNATURE "\x21\x11\0\16" V4_BLOCK "\4\xff", "192.0.2.1", 56324),     /* not looked at */
	GOOD(SIGNATURE "\x21\x11\1\70" V4_BLOCK HUNDRED HUNDRED HUNDRED, "192.0.2.1", 56324),
	GOOD(SIGNATURE "\x21\x31\0\xd8" HUNDRED HUNDRED TEN "123456", "unix", 0),
	GOOD(SIGNATURE "\x20\0\0\0", "-", 0), /* LOCAL */
	GOOD(SIGNATURE "\x20\x11\0\14" V4_BLOCK, "-", 0),
	GOOD(SIGNATURE "\x20\xff\0\1x", "-", 0), /* the family is discarded */
	GOOD(SIGNATURE "\x21\0\0\0", "-", 0),    /* AF_UNSPEC */
	GOOD(SIGNATURE "\x21\0\0\3abc", "-", 0),
	GOOD(SIGNATURE "\x21\1\0\0", "-", 0),
	GOOD(SIGNATURE "\x21\x10\0\0", "-", 0),
	GOOD(SIGNATURE "\x21\x12\0\14" V4_BLOCK, "-", 0), /* datagrams */
	GOOD(SIGNATURE "\x21\x22\0\44" V6_BLOCK, "-", 0),

	BAD(SIGNATURE "\x11\x11\0\14" V4_BLOCK, 13),
	BAD(SIGNATURE "\x31\x11\0\14" V4_BLOCK, 13),
	BAD(SIGNATURE "\x01\x11\0\14" V4_BLOCK, 13),
	BAD(SIGNATURE "\x22\x11\0\14" V4_BLOCK, 13),
	BAD(SIGNATURE "\x2f\x11\0\14" V4_BLOCK, 13),
	BAD(SIGNATURE "\x21\x41\0\14" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\xf1\0\14" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\x13\0\14" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\x1f\0\14" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\x11\0\13" V4_BLOCK, 16), /* a byte too few */
	BAD(SIGNATURE "\x21\x11\0\0" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\x21\0\43" V6_BLOCK, 16),
	BAD(SIGNATURE "\x21\x21\0\14" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\x31\0\xd7" HUNDRED HUNDRED TEN "12345", 16),
	BAD(SIGNATURE "\x21\x12\0\13" V4_BLOCK, 16),
	BAD(SIGNATURE "\x21\x11\x0f\xf1" V4_BLOCK, 16), /* 4097 bytes in all */
	BAD(SIGNATURE "\x20\0\xff\xff", 16),
	BAD("\r\n\r\n\0\r\nQUIT\r", 12),
	BAD("\r\n\r\n\1", 5),
};

/* The result for the first n bytes, which end where memory ends for AddressSanitizer. */
static enum proxy_progress read_some(const char *bytes, size_t n, struct peer *peer, size_t *used)
{
	char *copy = malloc(n ? n : 1);
	enum proxy_progress progress;

	memcpy(copy, bytes, n);
	progress = proxy_read(copy, n, peer, used);
	free(copy);
	return progress;
}

START_TEST(headers_are_read_at_every_length)
{
	const struct row *row = &rows[_i];
	char text[PEER_TEXT_MAX], longer[1024];
	struct peer peer, before;
	size_t used;

	memset(&before, 0x5a, sizeof(before));
	for (size_t n = 0; n <= row->len; n++) {
		enum proxy_progress progress, expected = PROXY_MORE;

		peer = before;
		used = 12345;
		progress = read_some(row->bytes, n, &peer, &used);
		if (!row->text && n >= row->known)
			expected = PROXY_BAD;
		else if (row->text && n == row->len)
			expected = PROXY_DONE;
		ck_assert_msg(progress == expected, "row %d, %zu bytes: %d instead of %d", _i, n, progress, expected);
		if (progress == PROXY_DONE)
			break;
		ck_assert_mem_eq(&peer, &before, sizeof(peer));
		ck_assert_uint_eq(used, 12345);
	}
	if (!row->text)
		return;
	ck_assert_uint_eq(used, row->len);
	ck_assert_str_eq(peer_text(&peer, text), row->text);
	ck_assert_uint_eq(peer.port, row->port);
	ck_assert(peer.proxied == (strcmp(row->text, "-") != 0));
	/* What stands behind it belongs to somebody else. */
	memcpy(longer, row->bytes, row->len);
	memcpy(longer + row->len, "\r\nGET / HTTP/1.1\r\n", 18);
	for (size_t n = 0; n <= 18; n++) {
		struct peer again;

		ck_assert_int_eq(read_some(longer, row->len + n, &again, &used), PROXY_DONE);
		ck_assert_uint_eq(used, row->len);
		ck_assert_mem_eq(&again, &peer, sizeof(peer));
	}
}
END_TEST

/* No byte of the fixed part can be another one without the header being bad, incomplete, or of another kind. */
START_TEST(every_byte_of_the_signature_counts)
{
	static const char good[] = SIGNATURE "\x21\x11\0\14" V4_BLOCK;
	char changed[sizeof(good)];
	struct peer peer;
	size_t used;

	for (size_t i = 0; i < 13; i++) {
		for (int c = 0; c < 256; c++) {
			memcpy(changed, good, sizeof(good));
			changed[i] = (char)c;
			if ((char)c == good[i] || (i == 12 && (c == 0x20 || c == 0x21)))
				continue;
			ck_assert_msg(proxy_read(changed, sizeof(good) - 1, &peer, &used) == PROXY_BAD, "byte %zu: %d",
			              i, c);
		}
	}
}
END_TEST

START_TEST(a_header_has_a_longest_length)
{
	static char header[PROXY_V2_MAX + 1];
	struct peer peer;
	size_t used = 0;

	memcpy(header, SIGNATURE "\x21\x11\x0f\xf0" V4_BLOCK, 28);
	ck_assert_int_eq(proxy_read(header, PROXY_V2_MAX - 1, &peer, &used), PROXY_MORE);
	ck_assert_int_eq(proxy_read(header, PROXY_V2_MAX, &peer, &used), PROXY_DONE);
	ck_assert_uint_eq(used, PROXY_V2_MAX);
	ck_assert_int_eq(proxy_read(header, PROXY_V2_MAX + 1, &peer, &used), PROXY_DONE);
	ck_assert_uint_eq(used, PROXY_V2_MAX);
}
END_TEST

/* A network; a peer that lies in it and one that does not; or what a complaint says. */
static const struct {
	const char *network, *in, *out, *why;
} networks[] = {
	{ "192.0.2.0/24", "192.0.2.255", "192.0.3.0", NULL },
	{ "192.0.2.1", "192.0.2.1", "192.0.2.0", NULL },
	{ "192.0.2.1/32", "192.0.2.1", "192.0.2.3", NULL },
	{ "192.0.2.128/25", "192.0.2.128", "192.0.2.127", NULL },
	{ "10.0.0.0/8", "10.255.1.2", "11.0.0.0", NULL },
	{ "128.0.0.0/1", "255.1.1.1", "127.255.255.255", NULL },
	{ "0.0.0.0/0", "203.0.113.7", "2001:db8::1", NULL },
	{ "10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1", NULL }, /* what an IPv6 socket tells of IPv4 */
	{ "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::", NULL },
	{ "2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::", NULL },
	{ "::1", "::1", "::2", NULL },
	{ "::/0", "2001:db8::1", "10.0.0.1", NULL },
	{ "2001:db8::1/128", "2001:db8::1", "2001:db8::", NULL },
	{ "", NULL, NULL, "'' is no network" },
	{ "localhost", NULL, NULL, "write it as 192.0.2.0/24" },
	{ "10.0.0/8", NULL, NULL, "is no network" },
	{ "10.0.0.0.0/8", NULL, NULL, "is no network" },
	{ "[::1]", NULL, NULL, "is no network" },
	{ "10.0.0.0/", NULL, NULL, "(0 to 32)" },
	{ "10.0.0.0/33", NULL, NULL, "(0 to 32)" },
	{ "10.0.0.0/-1", NULL, NULL, "(0 to 32)" },
	{ "10.0.0.0/0008", NULL, NULL, "(0 to 32)" },
	{ "10.0.0.0/8/8", NULL, NULL, "(0 to 32)" },
	{ "10.0.0.0/255.0.0.0", NULL, NULL, "(0 to 32)" },
	{ "::/129", NULL, NULL, "(0 to 128)" },
	{ "10.0.0.1/8", NULL, NULL, "did you mean 10.0.0.0/8?" },
	{ "2001:db8::1/64", NULL, NULL, "did you mean 2001:db8::/64?" },
	{ "192.0.2.1/31", NULL, NULL, "did you mean 192.0.2.0/31?" },
};

static struct peer peer_of(const char *text)
{
	uint8_t address[16];
	size_t n = peer_parse_address(text, strlen(text), address);
	struct peer peer;

	ck_assert_uint_ne(n, 0);
	peer_set(&peer, address, n, 1);
	return peer;
}

START_TEST(networks_hold_what_they_say)
{
	struct peer local = { .family = PEER_LOCAL }, unknown = { .family = PEER_UNKNOWN }, peer;
	struct network network;
	char why[200] = "";
	int err = network_parse(networks[_i].network, &network, why, sizeof(why));

	if (networks[_i].why) {
		ck_assert_int_eq(err, -EINVAL);
		ck_assert_msg(strstr(why, networks[_i].why), "'%s' explained as: %s", networks[_i].network, why);
		return;
	}
	ck_assert_msg(err == 0, "%s", why);
	peer = peer_of(networks[_i].in);
	ck_assert(network_has(&network, 1, &peer));
	peer = peer_of(networks[_i].out);
	ck_assert(!network_has(&network, 1, &peer));
	ck_assert(!network_has(&network, 0, &peer));
	ck_assert(!network_has(&network, 1, &local));
	ck_assert(!network_has(&network, 1, &unknown));
}
END_TEST

START_TEST(unix_sockets_are_a_network)
{
	struct peer local = { .family = PEER_LOCAL }, unknown = { .family = PEER_UNKNOWN }, peer = peer_of("127.0.0.1");
	struct network list[2];
	char why[200], text[PEER_TEXT_MAX];

	ck_assert_int_eq(network_parse("127.0.0.0/8", &list[0], why, sizeof(why)), 0);
	ck_assert_int_eq(network_parse("unix", &list[1], why, sizeof(why)), 0);
	ck_assert(!network_has(list, 1, &local));
	ck_assert(network_has(list, 2, &local));
	ck_assert(network_has(list, 2, &peer));
	ck_assert(!network_has(&list[1], 1, &peer));
	ck_assert(!network_has(list, 2, &unknown));
	ck_assert_str_eq(peer_text(&local, text), "unix");
	ck_assert_str_eq(peer_text(&unknown, text), "-");
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

int main(void)
{
	Suite *suite = suite_create("proxy");
	TCase *tcase = tcase_create("proxy");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, headers_are_read_at_every_length, 0, COUNT(rows));
	tcase_add_test(tcase, every_byte_of_the_signature_counts);
	tcase_add_test(tcase, a_header_has_a_longest_length);
	tcase_add_loop_test(tcase, networks_hold_what_they_say, 0, COUNT(networks));
	tcase_add_test(tcase, unix_sockets_are_a_network);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
