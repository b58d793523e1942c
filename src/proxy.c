/*
 * proxy.c - see proxy.h. Any thread; owns nothing and keeps nothing between two calls: a header is so short that
 * reading it anew for each piece that comes costs less than a state would.
 */
#include "loom/proxy.h"

#include <string.h>

#define V1_BEGINNING "PROXY "

/* Of version 2: what it begins with; command, family and length follow. */
static const char v2_signature[12] = { '\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };
#define V2_FIXED 16

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The end of the line, CRLF included; 0: not there yet. False: there is none, or it ends in another way. */
static bool find_line_end(const char *bytes, size_t len, size_t *end)
{
	size_t most = smaller(len, PROXY_V1_MAX);

	*end = 0;
	for (size_t i = 0; i < most; i++) {
		if (bytes[i] == '\n')
			return false;
		if (bytes[i] != '\r')
			continue;
		if (i + 1 == most)
			return most < PROXY_V1_MAX;
		*end = i + 2;
		return bytes[i + 1] == '\n';
	}
	return len < PROXY_V1_MAX;
}

/* What stands before the next space, or before the end of the line, which is at its CR. */
struct words {
	const char *at, *end;
};

static bool next_word(struct words *words, bool last, const char **word, size_t *len)
{
	const char *space = memchr(words->at, ' ', (size_t)(words->end - words->at));

	if (!space != last)
		return false;
	*word = words->at;
	*len = (size_t)((last ? words->end : space) - words->at);
	words->at = last ? words->end : space + 1;
	return *len > 0;
}

/* 0 to 65535, without leading zeros. */
static bool read_port(const char *text, size_t len, uint16_t *port)
{
	unsigned value = 0;

	if (len > 5 || (len > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*port = (uint16_t)value;
	return value <= UINT16_MAX;
}

/* "SOURCE DESTINATION PORT PORT", addresses of n bytes. */
static bool read_v1_addresses(struct words *words, size_t n, struct peer *peer)
{
	uint8_t source[16], destination[16];
	uint16_t source_port, destination_port;
	const char *word;
	size_t len;

	if (!next_word(words, false, &word, &len) || peer_parse_address(word, len, source) != n ||
	    !next_word(words, false, &word, &len) || peer_parse_address(word, len, destination) != n ||
	    !next_word(words, false, &word, &len) || !read_port(word, len, &source_port) ||
	    !next_word(words, true, &word, &len) || !read_port(word, len, &destination_port))
		return false;
	peer_set(peer, source, n, source_port);
	peer->proxied = true;
	return true;
}

static enum proxy_progress read_v1(const char *bytes, size_t len, struct peer *peer, size_t *used)
{
	static const char unknown[] = "UNKNOWN";
	struct words words;
	size_t end, word_len;
	const char *word;

	if (!find_line_end(bytes, len, &end))
		return PROXY_BAD;
	if (end == 0)
		return PROXY_MORE;
	words = (struct words){ bytes + strlen(V1_BEGINNING), bytes + end - 2 };
	word = words.at;
	word_len = (size_t)(words.end - words.at);
	/* What may stand behind UNKNOWN has no meaning. */
	if (word_len >= strlen(unknown) && memcmp(word, unknown, strlen(unknown)) == 0 &&
	    (word_len == strlen(unknown) || word[strlen(unknown)] == ' ')) {
		*peer = (struct peer){ .family = PEER_UNKNOWN };
	} else {
		if (!next_word(&words, false, &word, &word_len) || word_len != 4 || memcmp(word, "TCP", 3) != 0 ||
		    (word[3] != '4' && word[3] != '6'))
			return PROXY_BAD;
		if (!read_v1_addresses(&words, word[3] == '4' ? 4 : 16, peer))
			return PROXY_BAD;
	}
	*used = end;
	return PROXY_DONE;
}

/* Bytes of the addresses of a family, by its number in the header. */
static const uint8_t v2_address_bytes[] = { 0, 4, 16, 108 };

enum { V2_UNSPEC, V2_IN4, V2_IN6, V2_UNIX };

static enum proxy_progress read_v2(const uint8_t *bytes, size_t len, struct peer *peer, size_t *used)
{
	struct peer client = { .family = PEER_UNKNOWN };
	unsigned command, family, transport;
	size_t rest, n;

	if (len > 12 && (bytes[12] >> 4 != 2 || (bytes[12] & 0xf) > 1))
		return PROXY_BAD;
	if (len < V2_FIXED)
		return PROXY_MORE;
	command = bytes[12] & 0xf;
	family = bytes[13] >> 4;
	transport = bytes[13] & 0xf;
	rest = (size_t)bytes[14] << 8 | bytes[15];
	if (V2_FIXED + rest > PROXY_V2_MAX)
		return PROXY_BAD;
	if (command == 1) { /* of LOCAL (0) the receiver discards the family, too */
		if (family > V2_UNIX || transport > 2)
			return PROXY_BAD;
		n = v2_address_bytes[family];
		/* Two addresses, and of the Internet's two ports. */
		if (transport != 0 && rest < 2 * n + (family == V2_IN4 || family == V2_IN6 ? 4 : 0))
			return PROXY_BAD;
		if (len < V2_FIXED + rest)
			return PROXY_MORE;
		if (transport == 1 && (family == V2_IN4 || family == V2_IN6)) {
			const uint8_t *port = bytes + V2_FIXED + 2 * n;

			peer_set(&client, bytes + V2_FIXED, n, (uint16_t)(port[0] << 8 | port[1]));
			client.proxied = true;
		} else if (transport == 1 && family == V2_UNIX) {
			client.family = PEER_LOCAL;
			client.proxied = true;
		}
	} else if (len < V2_FIXED + rest) {
		return PROXY_MORE;
	}
	*peer = client;
	*used = V2_FIXED + rest;
	return PROXY_DONE;
}

enum proxy_progress proxy_read(const char *bytes, size_t len, struct peer *peer, size_t *used)
{
	if (len == 0)
		return PROXY_MORE;
	if (bytes[0] == v2_signature[0]) {
		if (memcmp(bytes, v2_signature, smaller(len, sizeof(v2_signature))) != 0)
			return PROXY_BAD;
		return read_v2((const uint8_t *)bytes, len, peer, used);
	}
	if (memcmp(bytes, V1_BEGINNING, smaller(len, strlen(V1_BEGINNING))) != 0)
		return PROXY_BAD;
	return len < strlen(V1_BEGINNING) ? PROXY_MORE : read_v1(bytes, len, peer, used);
}
