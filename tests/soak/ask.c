/*
 * ask.c - see ask.h.
 */
#include "ask.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t seed = 1;

void ask_seed(uint64_t from)
{
	seed = from | 1;
}

/* xorshift64 (Marsaglia 2003). */
uint64_t ask_chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

static uint64_t shortest(const struct site_file *file)
{
	uint64_t len = UINT64_MAX;

	for (unsigned i = 0; i < file->versions; i++)
		len = file->len[i] < len ? file->len[i] : len;
	return len;
}

/* Where ranges may lie: each in a part of its own of the shortest version, far from the others. */
static void choose_ranges(struct ask *ask, const struct site_file *file)
{
	uint64_t len = shortest(file), part = len / ask->ranges;

	if (ask->how == ASK_BEYOND) {
		ask->first[0] = 100 << 20;
		ask->last[0] = ask->first[0] + 10;
		return;
	}
	for (unsigned i = 0; i < ask->ranges; i++) {
		uint64_t room = ask->ranges > 1 ? part - 300 : part; /* so that none are near enough to be joined */

		ask->first[i] = i * part + ask_chance(room);
		ask->last[i] = ask->first[i] + ask_chance(i * part + room - ask->first[i]);
		if (ask->ranges == 1 && ask_chance(4) == 0)
			ask->last[i] += len; /* beyond the end: is cut */
	}
}

static enum ask_how choose_how(const struct site_file *file)
{
	uint64_t dice = ask_chance(100);

	if (file->kind >= SITE_GONE)
		return ASK_PLAIN;
	if (dice < 14)
		return file->newest ? ASK_MATCH : ASK_PLAIN;
	if (dice < 16)
		return file->newest && file->newest->modified[0] ? ASK_SINCE : ASK_PLAIN;
	if (dice < 22)
		return ASK_RANGE;
	if (dice < 24)
		return file->newest ? ASK_IF_RANGE : ASK_PLAIN;
	if (dice < 27)
		return shortest(file) >= 2000 ? ASK_RANGES : ASK_RANGE;
	return dice < 28 ? ASK_BEYOND : ASK_PLAIN;
}

size_t ask_write(struct ask *ask, const struct site *site, unsigned file_at, bool close, char *out, size_t room)
{
	static const char *const codings[] = { "",     "gzip",       "br",       "gzip, br",
		                               "zstd", "gzip, zstd", "br, zstd", "gzip, br, zstd" };
	const struct site_file *file = &site->files[file_at];
	char *at = out, *end = out + room;

	memset(ask, 0, sizeof(*ask));
	ask->file = file_at;
	ask->floor = site->table->files[file_at].floor;
	ask->draining = site->table->draining;
	ask->close = close;
	ask->how = choose_how(file);
	ask->head = ask->how == ASK_PLAIN && ask_chance(16) == 0;
	if (file->kind == SITE_PAGE && ask->how == ASK_PLAIN && ask_chance(10) < 7)
		ask->coding = 2 * (1 + (unsigned)ask_chance(7));
	at += snprintf(at, (size_t)(end - at), "%s %s HTTP/1.1\r\nHost: soak.test\r\n", ask->head ? "HEAD" : "GET",
	               file->target);
	if (ask->coding)
		at += snprintf(at, (size_t)(end - at), "Accept-Encoding: %s\r\n", codings[ask->coding >> 1]);
	if (ask->how == ASK_MATCH || ask->how == ASK_IF_RANGE) {
		ask->tag = file->newest;
		at += snprintf(at, (size_t)(end - at), "%s: %s\r\n",
		               ask->how == ASK_MATCH ? "If-None-Match" : "If-Range", ask->tag->text);
	}
	if (ask->how == ASK_SINCE)
		at += snprintf(at, (size_t)(end - at), "If-Modified-Since: %s\r\n", file->newest->modified);
	if (ask->how >= ASK_RANGE) {
		ask->ranges = ask->how == ASK_RANGES ? 2 + (unsigned)ask_chance(2) : 1;
		choose_ranges(ask, file);
		at += snprintf(at, (size_t)(end - at), "Range: bytes=");
		for (unsigned i = 0; i < ask->ranges; i++)
			at += snprintf(at, (size_t)(end - at), "%s%" PRIu64 "-%" PRIu64, i ? ", " : "", ask->first[i],
			               ask->last[i]);
		at += snprintf(at, (size_t)(end - at), "\r\n");
	}
	at += snprintf(at, (size_t)(end - at), "%s\r\n", close ? "Connection: close\r\n" : "");
	return (size_t)(at - out);
}

static unsigned any_of(const struct site *site, enum site_kind kind)
{
	return site->of_kind[kind][ask_chance(site->kind_count[kind])];
}

unsigned ask_any_small(const struct site *site)
{
	uint64_t dice = ask_chance(100);

	return any_of(site, dice < 70 ? SITE_SMALL : dice < 94 ? SITE_PAGE : dice < 98 ? SITE_GONE : SITE_ABSENT);
}

unsigned ask_any_large(const struct site *site)
{
	return any_of(site, ask_chance(3) ? SITE_LARGE : SITE_STREAMED);
}
