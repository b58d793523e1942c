/*
 * peer.c - see peer.h. Any thread; owns nothing. inet_pton(3) and inet_ntop(3) are functions of their arguments alone.
 */
#include "loom/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

void peer_set(struct peer *peer, const uint8_t *address, size_t n, uint16_t port)
{
	*peer = (struct peer){ .family = n == 4 ? PEER_IN4 : PEER_IN6, .port = port };
	if (n == 16 && memcmp(address, mapped, sizeof(mapped)) == 0) {
		peer->family = PEER_IN4;
		address += sizeof(mapped);
		n = 4;
	}
	memcpy(peer->address, address, n);
}

const char *peer_text(const struct peer *peer, char text[PEER_TEXT_MAX])
{
	switch ((enum peer_family)peer->family) {
	case PEER_IN4:
		inet_ntop(AF_INET, peer->address, text, PEER_TEXT_MAX);
		return text;
	case PEER_IN6:
		inet_ntop(AF_INET6, peer->address, text, PEER_TEXT_MAX);
		return text;
	case PEER_LOCAL:
		return strcpy(text, "unix");
	case PEER_UNKNOWN:
		break;
	}
	return strcpy(text, "-");
}

size_t peer_parse_address(const char *text, size_t len, uint8_t address[16])
{
	char copy[PEER_TEXT_MAX];

	if (len >= sizeof(copy) || memchr(text, '\0', len))
		return 0;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (memchr(copy, ':', len))
		return inet_pton(AF_INET6, copy, address) == 1 ? 16 : 0;
	return inet_pton(AF_INET, copy, address) == 1 ? 4 : 0;
}

__attribute__((format(printf, 3, 4))) static int explain(char *why, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, size, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* Clears what lies behind the prefix: whether there was anything. */
static bool clear_host(uint8_t *address, size_t n, unsigned bits)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		unsigned here = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * (unsigned)i : 0;
		uint8_t mask = (uint8_t)(0xff << (8 - here));

		any |= (address[i] & ~mask) != 0;
		address[i] &= mask;
	}
	return any;
}

int network_parse(const char *text, struct network *network, char *why, size_t size)
{
	size_t len = strcspn(text, "/"), n;
	unsigned bits = 0, digits = 0;
	char shown[PEER_TEXT_MAX];

	*network = (struct network){ 0 };
	if (strcmp(text, "unix") == 0) {
		network->family = PEER_LOCAL;
		return 0;
	}
	n = peer_parse_address(text, len, network->address);
	if (n == 0)
		return explain(why, size, "'%s' is no network (write it as 192.0.2.0/24, 2001:db8::/32 or unix)", text);
	network->family = n == 4 ? PEER_IN4 : PEER_IN6;
	network->bits = (uint8_t)(8 * n);
	if (text[len] == '\0')
		return 0;
	for (const char *at = text + len + 1; *at; at++, digits++) {
		if (*at < '0' || *at > '9' || digits == 3)
			return explain(why, size, "'%s': '%s' is no length of a prefix (0 to %zu)", text,
			               text + len + 1, 8 * n);
		bits = bits * 10 + (unsigned)(*at - '0');
	}
	if (digits == 0 || bits > 8 * n)
		return explain(why, size, "'%s': '%s' is no length of a prefix (0 to %zu)", text, text + len + 1,
		               8 * n);
	network->bits = (uint8_t)bits;
	if (clear_host(network->address, n, bits)) {
		inet_ntop(n == 4 ? AF_INET : AF_INET6, network->address, shown, sizeof(shown));
		return explain(why, size, "'%s' has bits behind its prefix (did you mean %s/%u?)", text, shown, bits);
	}
	return 0;
}

static bool is_in(const struct network *network, const struct peer *peer)
{
	unsigned whole = network->bits / 8, rest = network->bits % 8;

	if (network->family != peer->family)
		return false;
	if (memcmp(network->address, peer->address, whole) != 0)
		return false;
	return rest == 0 || ((network->address[whole] ^ peer->address[whole]) >> (8 - rest)) == 0;
}

bool network_has(const struct network networks[], unsigned n, const struct peer *peer)
{
	for (unsigned i = 0; i < n; i++)
		if (is_in(&networks[i], peer))
			return true;
	return false;
}
