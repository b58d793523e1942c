/*
 * fuzz_request.c - requests, one after the other (request.h). The input is FUZZ_PIECES bytes that choose how it is
 * split, and the requests. The limits are so low that short inputs reach them.
 *
 * What must hold: every request reads the same however its bytes come, and wherever its head is moved in between; and a
 * second reading (model.h) finds the same requests, which end at the same bytes: none is accepted that it refuses, and
 * none refused that it accepts.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "loom/request.h"
#include "model.h"

#define REQUESTS 64

static const struct limits limits = { .request_line = 80, .head = 500, .fields = 8, .body = 300 };

struct reading {
	enum request_progress progress;
	struct request request;
	size_t begin; /* of the request, in the input */
	size_t used;
};

struct readings {
	struct reading reading[REQUESTS];
	unsigned n;
};

/*
 * Reads one request as conn.c does. The head lies in a piece of memory that is new, and exactly as long as it must be,
 * each time that more of it comes; of a body only what has come last is there.
 */
static struct reading read_request(const uint8_t *bytes, size_t len, struct fuzz_pieces *pieces)
{
	struct reading reading = { .progress = REQUEST_MORE };
	struct request_parser parser;
	char *head = NULL;

	while (reading.progress == REQUEST_MORE && reading.used < len) {
		size_t piece = fuzz_next_piece(pieces, len - reading.used), used = SIZE_MAX;

		if (head && parser.request.in_body) {
			char *body = fuzz_copy(bytes + reading.used, piece);

			reading.progress = request_read(&parser, body, piece, &used);
			free(body);
		} else {
			char *moved = fuzz_copy(bytes, reading.used + piece);

			if (!head)
				request_begin(&parser, &limits, moved);
			else
				request_moved(&parser, moved);
			free(head);
			head = moved;
			reading.progress = request_read(&parser, head + reading.used, piece, &used);
		}
		if (reading.progress != REQUEST_FAILED)
			fuzz_require(reading.progress == REQUEST_MORE ? used == piece : used <= piece,
			             "%zu of %zu bytes were used", used, piece);
		reading.used += used;
	}
	reading.request = parser.request;
	free(head);
	return reading;
}

static void read_requests(struct readings *readings, const uint8_t *bytes, size_t len, struct fuzz_pieces pieces)
{
	size_t at = 0;

	readings->n = 0;
	while ((at += model_empty_line(bytes + at, len - at)) < len && readings->n < REQUESTS) {
		struct reading *reading = &readings->reading[readings->n++];

		*reading = read_request(bytes + at, len - at, &pieces);
		reading->begin = at;
		if (reading->progress != REQUEST_COMPLETE || !reading->request.framed)
			return;
		fuzz_require(reading->used > 0, "a request of no bytes");
		at += reading->used;
	}
}

/* By a parser that remembers what earlier inputs have said, and each request twice, so that it remembers this one, too. */
static void read_from_memory(struct readings *readings, const uint8_t *bytes, size_t len)
{
	static struct request_parser parser;
	size_t at = 0;

	if (!parser.memo)
		parser.memo = calloc(1, request_memo_size());
	readings->n = 0;
	while ((at += model_empty_line(bytes + at, len - at)) < len && readings->n < REQUESTS) {
		struct reading *reading = &readings->reading[readings->n++];

		for (int turn = 0; turn < 2; turn++) {
			char *copy = fuzz_copy(bytes + at, len - at);

			request_next(&parser, &limits, copy);
			reading->progress = request_read(&parser, copy, len - at, &reading->used);
			free(copy);
		}
		reading->request = parser.request;
		reading->begin = at;
		if (reading->progress != REQUEST_COMPLETE || !reading->request.framed)
			return;
		at += reading->used;
	}
}

static void check_span(const struct reading *reading, const struct span *span)
{
	fuzz_require((size_t)span->at + span->len <= reading->request.head_len, "a span beyond the head");
}

static void compare(const struct readings *readings, const struct readings *whole, const char *what)
{
	fuzz_require(readings->n == whole->n, "%s: %u requests instead of %u", what, readings->n, whole->n);
	for (unsigned i = 0; i < whole->n; i++) {
		const struct reading *a = &readings->reading[i], *b = &whole->reading[i];
		const struct request *x = &a->request, *y = &b->request;

		fuzz_require(a->begin == b->begin, "%s: request %u begins elsewhere", what, i);
		fuzz_require(a->progress == b->progress, "%s: request %u: progress %d instead of %d", what, i,
		             a->progress, b->progress);
		if (a->progress == REQUEST_MORE)
			continue;
		fuzz_require(x->status == y->status, "%s: request %u: status %u instead of %u", what, i, x->status,
		             y->status);
		fuzz_require(x->method == y->method && x->minor == y->minor && x->keep_alive == y->keep_alive &&
		                     x->framed == y->framed && x->has_body == y->has_body,
		             "%s: request %u is another", what, i);
		if (a->progress == REQUEST_FAILED)
			continue;
		fuzz_require(a->used == b->used && x->head_len == y->head_len && x->body_len == y->body_len,
		             "%s: request %u ends elsewhere", what, i);
		fuzz_require(x->target.at == y->target.at && x->target.len == y->target.len, "%s: request %u: target",
		             what, i);
		fuzz_require(x->present == y->present && x->repeated == y->repeated && x->fields == y->fields,
		             "%s: request %u: field lines", what, i);
		check_span(a, &x->target);
		for (unsigned field = 0; field < REQUEST_FIELDS; field++) {
			if (!request_has(x, field))
				continue;
			check_span(a, &x->field[field]);
			fuzz_require(x->field[field].at == y->field[field].at &&
			                     x->field[field].len == y->field[field].len,
			             "%s: request %u: field %u", what, i, field);
		}
	}
}

static void compare_with_model(const struct reading *reading, const uint8_t *bytes, size_t len)
{
	static const unsigned refusals[] = { 400, 413, 414, 431, 501, 505 };
	const struct request *request = &reading->request;
	struct model_request model;
	bool valid = model_request(bytes, len, &limits, &model), known = false;
	const char *text = fuzz_text(bytes, len);

	if (reading->progress == REQUEST_MORE || !valid) {
		fuzz_require(!valid, "more is expected of a request that is whole: %s", text);
		fuzz_require(reading->progress != REQUEST_COMPLETE, "accepted, and should not be: %s", text);
	} else if (reading->progress == REQUEST_FAILED) {
		fuzz_require(!model_target_is_plain(&model), "refused (%u), and should not be: %s", request->status,
		             text);
	} else {
		fuzz_require(request->status == model.status, "status %u instead of %u: %s", request->status,
		             model.status, text);
		fuzz_require(reading->used == model.len && request->head_len == model.head_len,
		             "it ends after %zu bytes instead of %zu: %s", reading->used, model.len, text);
		fuzz_require(request->framed == model.framed && request->keep_alive == model.keep_alive,
		             "framed %d, keep-alive %d instead of %d, %d: %s", request->framed, request->keep_alive,
		             model.framed, model.keep_alive, text);
		fuzz_require(request->minor == model.minor && request->fields == model.fields,
		             "minor %u, %u fields instead of %u, %u: %s", request->minor, request->fields, model.minor,
		             model.fields, text);
		fuzz_require((request->method == METHOD_GET) == model_method_is(&model, "GET") &&
		                     (request->method == METHOD_HEAD) == model_method_is(&model, "HEAD") &&
		                     (request->method == METHOD_OPTIONS) == model_method_is(&model, "OPTIONS") &&
		                     (request->method == METHOD_CONNECT) == model_method_is(&model, "CONNECT"),
		             "the method is %u: %s", request->method, text);
		fuzz_require(bytes + request->target.at == model.target && request->target.len == model.target_len,
		             "the target is elsewhere: %s", text);
	}
	if (reading->progress != REQUEST_FAILED)
		return;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		known |= request->status == refusals[i];
	fuzz_require(known, "refused with %u: %s", request->status, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct readings whole, split;
	const uint8_t *bytes = data + FUZZ_PIECES;
	size_t len = size - FUZZ_PIECES;

	if (size <= FUZZ_PIECES || size > 4096)
		return 0;
	read_requests(&whole, bytes, len, FUZZ_WHOLE);
	for (unsigned i = 0; i < whole.n; i++)
		compare_with_model(&whole.reading[i], bytes + whole.reading[i].begin, len - whole.reading[i].begin);
	read_from_memory(&split, bytes, len);
	compare(&split, &whole, "from memory");
	read_requests(&split, bytes, len, FUZZ_BYTEWISE);
	compare(&split, &whole, "a byte at a time");
	read_requests(&split, bytes, len, fuzz_pieces(data));
	compare(&split, &whole, "in pieces");
	return 0;
}
