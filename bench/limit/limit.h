/*
 * limit.h - what the limit servers share: options, the listening socket, the counting of requests and the answers.
 *
 * A limit server is the least that a server of small files can do on one event interface: find the blank line that
 * ends a request, send bytes that were made at start. It has no HTTP, no files, no timers and no error answers, and is
 * of use only as the lower bound that bench/compare sets loom against.
 */
#ifndef LOOM_BENCH_LIMIT_H
#define LOOM_BENCH_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One answer, repeated, so that answers to a pipelined batch leave in one send without being copied. */
struct limit_answer {
	char *bytes;
	size_t size;   /* of one answer */
	size_t length; /* of bytes: a multiple of size */
};

struct limit {
	int listener;
	unsigned conns; /* descriptors are smaller than this */
	struct limit_answer keep;
	struct limit_answer last; /* says Connection: close */
};

/* A connection, in a table indexed by descriptor: 16 bytes, and memory that was never touched costs nothing. */
struct limit_conn {
	uint64_t left;     /* bytes of answers that are still to be handed to the kernel */
	uint32_t inflight; /* io_uring: bytes of the send that the kernel has now; 0 when there is none */
	uint8_t matched;   /* bytes of CR LF CR LF at the end of what was received */
	bool begun : 1;    /* something has been received */
	bool closing : 1;  /* the client asked for it: one answer, then close */
	bool done : 1;     /* that answer has been added to left */
	bool ended : 1;    /* io_uring: nothing more will be received */
};

/* Reads the command line, listens and makes the answers. Ends the process when it cannot. */
void limit_setup(struct limit *limit, int argc, char *argv[], bool nonblocking);

/* A socket that listens on that port of 127.0.0.1; what it accepts has TCP_NODELAY. Ends the process when it cannot. */
int limit_listen(uint16_t port, bool nonblocking);

/* Says what failed, with errno's text or that of -error, and ends the process. */
_Noreturn void limit_die(const char *what, int error);

/* Adds the answers to the requests that end in these bytes to conn->left. */
void limit_receive(const struct limit *limit, struct limit_conn *conn, const char *bytes, size_t len);

/* The bytes to send next: as many of conn->left as lie in one piece. */
static inline const char *limit_next(const struct limit *limit, const struct limit_conn *conn, size_t *len)
{
	const struct limit_answer *answer = conn->closing ? &limit->last : &limit->keep;
	size_t rest = conn->left % answer->size;
	size_t at = rest ? answer->size - rest : 0;

	*len = conn->left < answer->length - at ? conn->left : answer->length - at;
	return answer->bytes + at;
}

#endif
