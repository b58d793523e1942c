/*
 * request_memo.c - see request_memo.h.
 */
#include "request_memo.h"

#include <assert.h>
#include <string.h>

#include "loom/snapshot.h"

#define CONDITIONS                                                                                             \
	(1 << FIELD_IF_MATCH | 1 << FIELD_IF_MODIFIED_SINCE | 1 << FIELD_IF_NONE_MATCH | 1 << FIELD_IF_RANGE | \
	 1 << FIELD_IF_UNMODIFIED_SINCE | 1 << FIELD_RANGE)

static_assert(REQUEST_FIELDS <= 8, "conditions are bits of a byte");

size_t request_memo_size(void)
{
	return sizeof(struct request_memo);
}

static struct request_memo_block *place_of(struct request_memo *memo, uint32_t hash, bool conditional)
{
	return &memo->place[hash % (REQUEST_MEMO_PLACES / 2) + (conditional ? REQUEST_MEMO_PLACES / 2 : 0)];
}

static bool is_block(const struct request_memo_block *block, const char *bytes)
{
	return memcmp(block->bytes, bytes, block->len) == 0;
}

const struct request_memo_block *request_memo_find(struct request_memo *memo, const char *bytes, size_t len)
{
	struct request_memo_block *recent = memo->recent;
	uint32_t hash;

	if (recent && recent->len <= len && is_block(recent, bytes))
		return recent;
	if (len < 4 || len > REQUEST_MEMO_BLOCK || memcmp(bytes + len - 4, "\r\n\r\n", 4) != 0)
		return NULL;
	hash = (uint32_t)snapshot_hash(bytes, len);
	for (int conditional = 0; conditional < 2; conditional++) {
		struct request_memo_block *block = place_of(memo, hash, conditional);

		if (block->hash == hash && block->len == len && is_block(block, bytes))
			return memo->recent = block;
	}
	return NULL;
}

/* A value stands behind a name: at 0 there is none. */
static void move_noted(struct span *span, uint16_t by)
{
	if (span->at > 0)
		span->at = (uint16_t)(span->at + by);
}

/* All spans of field lines, by so many bytes modulo 2^16. */
static void move(struct request *request, uint16_t by)
{
	for (unsigned present = request->present; present; present &= present - 1) {
		struct span *span = &request->field[__builtin_ctz(present)];

		span->at = (uint16_t)(span->at + by);
	}
	move_noted(&request->referer, by);
	move_noted(&request->agent, by);
}

/* Printable ASCII but for what stands in quotes with a backslash before it. */
static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e || text[i] == '"' || text[i] == '\\')
			return false;
	return true;
}

void request_memo_keep(struct request_memo *memo, const char *base, const struct request *request)
{
	size_t at = request->target.at + request->target.len + strlen(" HTTP/1.1\r\n");
	size_t len = request->head_len - at;
	struct request_memo_block *block;
	uint32_t hash;

	/* A block of an empty line alone is no request (RFC 9112 3.2). */
	if (len <= 2 || len > REQUEST_MEMO_BLOCK)
		return;
	hash = (uint32_t)snapshot_hash(base + at, len);
	block = place_of(memo, hash, request->present & CONDITIONS);
	block->hash = hash;
	block->len = (uint32_t)len;
	block->said = *request;
	block->said.target = (struct span){ 0 };
	if (request_has(request, FIELD_ACCEPT_ENCODING)) {
		request_wishes(request, base, &block->said.wishes);
		block->said.has_wishes = true;
	}
	block->said.is_plain = is_plain(base + request->referer.at, request->referer.len) &&
	                       is_plain(base + request->agent.at, request->agent.len);
	move(&block->said, (uint16_t)-at);
	memcpy(block->bytes, base + at, len);
	memo->recent = block;
}

void request_memo_apply(const struct request_memo_block *block, uint16_t at, struct request *request)
{
	*request = block->said;
	move(request, at);
	request->head_len = at + block->len;
}
