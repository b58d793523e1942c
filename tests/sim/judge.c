/*
 * judge.c - the bytes (run.h): what the server hands over at the seam must be the one right answer to the next request, of
 * the one snapshot that is current, and what the client reads must be these answers, whole and in order.
 */
#include <stdio.h>
#include <string.h>

#include "run.h"
#include "shelf.h"

static void describe(const struct life *life, const struct exchange *exchange)
{
	if (exchange->end > exchange->start)
		fprintf(stderr, "client %u, request: %.*s\n", life->number,
		        (int)(exchange->end - exchange->start > 600 ? 600 : exchange->end - exchange->start),
		        life->talk.bytes + exchange->start);
}

_Noreturn static void wrong(const struct life *life, const struct exchange *exchange, const struct answer *answer,
                            uint64_t at, const char *bytes, size_t len)
{
	describe(life, exchange);
	fprintf(stderr, "from byte %llu of %zu + %llu; right is: %.*s\n", (unsigned long long)at, answer->head_len,
	        (unsigned long long)answer->body_len, (int)answer->head_len, answer->head);
	fprintf(stderr, "came: %.*s\n", (int)(len < 800 ? len : 800), bytes);
	sim_fail(life->run->sim, "client %u: a wrong answer", life->number);
}

/* Whether what the server does is due to what it has just been handed. */
static bool is_handling(const struct life *life)
{
	return life->run->handling == life && (life->run->handling_op == IO_RECV || life->run->handling_op == IO_SENT);
}

static void set_publication(struct run *run, unsigned number, struct moment *moment)
{
	moment->version = run->publication[number].version;
	moment->returned = run->publication[number].returned;
}

static size_t smaller(size_t len, uint64_t whole)
{
	return len < whole ? len : (size_t)whole;
}

/* Who the client is, for the access log. */
static unsigned name_of(const struct life *life)
{
	bool named = life->talk.header && life->talk.header->named && !life->refused;

	return named ? life->talk.header->named : life->plan->address;
}

/* The answer that begins now, and to what. bytes: as it is handed over. */
static struct exchange *begin(struct life *life, const char *bytes, size_t len)
{
	struct run *run = life->run;
	const struct worker_settings *settings = run_settings(run);
	struct exchange *exchange = &life->talk.exchange[life->answered];
	uint32_t limit = settings->limits.requests;
	struct moment moment = {
		.now = run->real,
		.unhealthy = run->obeyed != WORKER_RUN && run->obeyed != WORKER_YIELD,
		.identified = settings->say_snapshot,
		.instead = WORDS,
	};

	run_require(run, !life->last, "client %u: an answer behind the last one", life->number);
	set_publication(run, run->current, &moment);
	if (life->refused) {
		exchange = &life->unasked;
		moment.instead = WORD_503;
		moment.close = life->lingers = true;
	} else {
		run_require(run, life->answered < life->talk.n, "client %u: an answer, and nothing is asked",
		            life->number);
		if (is_handling(life)) {
			run_require(run, life->delivered >= exchange->from,
			            "client %u: an answer to request %u, of which %u bytes of %u to %u are there",
			            life->number, life->answered, life->delivered, exchange->start, exchange->from);
			moment.close = !exchange->ask.keep_alive || !exchange->ask.framed ||
			               run->obeyed != WORKER_RUN || (limit && life->answers + 1 >= limit);
			life->lingers = life->delivered > exchange->end || exchange->ask.keep_alive ||
			                !exchange->ask.framed;
		} else {
			const char *first = life->talk.bytes + exchange->start + exchange->blank;

			run_require(run, oracle_is_late(life), "client %u: 408 before its time", life->number);
			moment.instead = WORD_408;
			moment.close = life->lingers = true;
			exchange->ask.head = life->delivered - exchange->start - exchange->blank >= 4 &&
			                     memcmp(first, "HEAD", 4) == 0;
			run->counts.timeouts++;
		}
		life->answered++;
	}
	model_answer(&exchange->ask, &moment, &life->wire);
	/* Who is about to say no looks whether it is behind. */
	if (life->wire.nowhere && exchange->ask.framed && run->current != run->newest) {
		run->current = run->newest;
		set_publication(run, run->current, &moment);
		model_answer(&exchange->ask, &moment, &life->wire);
	} else if (run->may_be_newest && run->current != run->newest &&
	           !model_is(&life->wire, 0, bytes, smaller(len, life->wire.head_len + life->wire.body_len))) {
		run->current = run->newest;
		set_publication(run, run->current, &moment);
		model_answer(&exchange->ask, &moment, &life->wire);
	}
	life->last = moment.close;
	life->answers++;
	exchange->moment = moment;
	exchange->at = life->submitted;
	exchange->len = life->wire.head_len + life->wire.body_len;
	run->counts.answers[life->wire.status / 100]++;
	run->counts.hits += life->wire.of_page;
	run->counts.named[name_of(life)]++;
	life->wire_at = 0;
	life->more = true;
	sim_trace(run->sim, "client %u: an answer, %u of version %u%s", life->number, life->wire.status, moment.version,
	          moment.close ? ", the last" : "");
	return exchange;
}

static void took(struct life *life, uint64_t len)
{
	life->wire_at += len;
	life->submitted += len;
	if (life->wire_at == life->wire.head_len + life->wire.body_len)
		life->more = false;
}

static void take(struct life *life, const char *bytes, size_t len)
{
	struct exchange *exchange = life->refused ? &life->unasked : NULL;

	while (len > 0) {
		uint64_t left;
		size_t n;

		if (!life->more)
			exchange = begin(life, bytes, len);
		else if (!life->refused)
			exchange = &life->talk.exchange[life->answered - 1];
		left = life->wire.head_len + life->wire.body_len - life->wire_at;
		n = len < left ? len : (size_t)left;
		if (!model_is(&life->wire, life->wire_at, bytes, n))
			wrong(life, exchange, &life->wire, life->wire_at, bytes, n);
		took(life, n);
		bytes += n;
		len -= n;
	}
}

static void take_file(struct life *life, const struct io_file_send *file)
{
	struct run *run = life->run;
	uint64_t at = life->wire_at - life->wire.head_len;
	enum page page = PAGES;
	unsigned content = 0;

	for (unsigned i = run->oldest; i <= run->newest; i++)
		if (run->publication[i].snapshot &&
		    shelf_knows(run->publication[i].snapshot, file->file, &page, &content))
			break;
	run_require(run, page != PAGES, "client %u: a file that is nobody's", life->number);
	run_require(run, life->more && life->wire_at >= life->wire.head_len,
	            "client %u: bytes of a file, and no answer", life->number);
	for (unsigned i = 0; i < life->wire.pieces; i++) {
		const struct piece *piece = &life->wire.piece[i];

		if (at >= piece->len) {
			at -= piece->len;
			continue;
		}
		run_require(run,
		            !piece->text && piece->page == page && piece->content == content &&
		                    piece->from + at == file->offset && file->len <= piece->len - at,
		            "client %u: bytes %llu + %llu of %s, and right are %llu + %llu of %s", life->number,
		            (unsigned long long)file->offset, (unsigned long long)file->len, model_pages[page].path,
		            (unsigned long long)(piece->from + at), (unsigned long long)(piece->len - at),
		            model_pages[piece->page].path);
		took(life, file->len);
		return;
	}
	sim_fail(run->sim, "client %u: bytes of a file behind an answer's end", life->number);
}

void judge_send(struct life *life, const struct iovec *iov, unsigned n, const struct io_file_send *file)
{
	struct run *run = life->run;
	uint64_t before = life->submitted;

	for (unsigned i = 0; i < n; i++)
		take(life, iov[i].iov_base, iov[i].iov_len);
	if (file)
		take_file(life, file);
	life->sending = life->submitted - before;
	run_require(run, !life->more || (life->wire.streamed && life->wire.pieces > 1),
	            "client %u: %llu bytes are missing of an answer", life->number,
	            (unsigned long long)(life->wire.head_len + life->wire.body_len - life->wire_at));
	/* It has looked, perhaps, at one more request, which had no room beside these. */
	if (life->answered < life->talk.n && !life->last && life->delivered >= life->talk.exchange[life->answered].by &&
	    run->current != run->newest)
		run->may_be_newest = true;
}

static struct exchange *own_exchange(struct life *life)
{
	return life->refused ? &life->unasked : &life->talk.exchange[life->own_answers];
}

void judge_read(struct life *life, const char *bytes, size_t len)
{
	run_require(life->run, life->received + len <= life->submitted, "client %u reads what nobody has sent",
	            life->number);
	life->received += len;
	while (len > 0) {
		struct exchange *exchange = own_exchange(life);
		uint64_t left;
		size_t n;

		if (life->own_at == 0)
			model_answer(&exchange->ask, &exchange->moment, &life->own);
		left = life->own.head_len + life->own.body_len - life->own_at;
		n = len < left ? len : (size_t)left;
		if (!model_is(&life->own, life->own_at, bytes, n))
			wrong(life, exchange, &life->own, life->own_at, bytes, n);
		life->own_at += n;
		bytes += n;
		len -= n;
		if (n == left) {
			life->own_at = 0;
			life->own_answers++;
		}
	}
}

void judge_end(struct life *life, bool reset)
{
	struct run *run = life->run;

	if (life->state == LIFE_OUT || life->state == LIFE_WAITING)
		return;
	sim_trace(run->sim, "client %u: the end (%s), after %u answers", life->number, reset ? "reset" : "FIN",
	          life->own_answers);
	if (life->cut || (reset && sim_is_broken(life->stream)))
		return;
	run_require(run, life->received == life->submitted || (reset && life->abrupt),
	            "client %u: %llu bytes are lost (%s)", life->number,
	            (unsigned long long)(life->submitted - life->received), reset ? "reset" : "FIN");
}
