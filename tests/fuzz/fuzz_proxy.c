/*
 * fuzz_proxy.c - headers of the PROXY protocol (proxy.h). The input is what a connection begins with.
 *
 * What must hold: what is bad, or whole, for the first n bytes is so for all that follow, in the same way, and what is
 * whole was not known to be so a byte before; its length is within bounds; results are untouched otherwise; and a
 * header of version 1 made of what was read is read as the same.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/proxy.h"

/* Both versions say the same of a client. */
static void check_again(const struct peer *peer)
{
	char text[PEER_TEXT_MAX], line[160];
	struct peer again;
	size_t used = 0;
	int len;

	peer_text(peer, text);
	len = snprintf(line, sizeof(line), "PROXY TCP%d %s %s %u %u\r\n", peer->family == PEER_IN4 ? 4 : 6, text, text,
	               peer->port, peer->port);
	fuzz_require(len > 0 && len <= PROXY_V1_MAX, "%d bytes", len);
	fuzz_require(proxy_read(line, (size_t)len, &again, &used) == PROXY_DONE && used == (size_t)len,
	             "%s is not read", fuzz_text(line, (size_t)len));
	fuzz_require(memcmp(peer, &again, sizeof(again)) == 0, "%s is another client", fuzz_text(line, (size_t)len));
}

static void check_peer(const struct peer *peer)
{
	static const struct peer unknown;
	static const uint8_t zeros[16];

	switch ((enum peer_family)peer->family) {
	case PEER_UNKNOWN:
		fuzz_require(memcmp(peer, &unknown, sizeof(unknown)) == 0, "an unknown client is known");
		return;
	case PEER_LOCAL:
		fuzz_require(peer->proxied && peer->port == 0 && memcmp(peer->address, zeros, 16) == 0,
		             "a Unix socket with an address");
		return;
	case PEER_IN4:
		fuzz_require(memcmp(peer->address + 4, zeros, 12) == 0, "IPv4 with more than four bytes");
		break;
	case PEER_IN6:
		break;
	}
	fuzz_require(peer->proxied, "a client of nobody");
	check_again(peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum proxy_progress last = PROXY_MORE;
	struct peer found, peer, before;
	size_t found_used = 0;

	if (size > PROXY_V2_MAX + 100)
		return 0;
	memset(&before, 0x5a, sizeof(before));
	for (size_t n = 0; n <= size; n++) {
		char *bytes = fuzz_copy(data, n);
		size_t used = SIZE_MAX;
		enum proxy_progress progress;

		peer = before;
		progress = proxy_read(bytes, n, &peer, &used);
		free(bytes);
		fuzz_require(last == PROXY_MORE || progress == last, "with %zu bytes: %d, and %d before", n, progress,
		             last);
		if (progress != PROXY_DONE) {
			fuzz_require(used == SIZE_MAX && memcmp(&peer, &before, sizeof(peer)) == 0,
			             "results of nothing");
			fuzz_require(progress == PROXY_BAD || n < PROXY_V2_MAX, "no end within %d bytes", PROXY_V2_MAX);
		} else if (last == PROXY_MORE) {
			found = peer;
			found_used = used;
			fuzz_require(used == n, "%zu bytes of %zu, and it was not whole before", used, n);
			check_peer(&found);
		} else {
			fuzz_require(used == found_used && memcmp(&peer, &found, sizeof(peer)) == 0,
			             "what follows changes the header");
		}
		last = progress;
	}
	return 0;
}
