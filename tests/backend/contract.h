/*
 * contract.h - the contract of loom/io.h as tests, and the rig that they share. Every test runs for each row of a
 * table: a backend and a kind of peer. The loop variable of Check (_i) is the row.
 *
 * A main() is contract_main() on such a table: main.c has one for the backends of this binary; the simulated one has
 * its own.
 *
 * The rig makes connections ("links") with a peer each, turns the backend, and holds every event against what was
 * asked for: a receive without a credit, a second IO_SENT, anything after IO_CLOSED or a wrong byte fails the test
 * wherever it happens. The bytes of each direction of a link come from one pseudo-random table, from a place of its
 * own, so that bytes that are lost, doubled, out of order or another link's are known as such.
 */
#ifndef LOOM_TESTS_CONTRACT_H
#define LOOM_TESTS_CONTRACT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/io.h"
#include "peer.h"

struct contract_row {
	const struct io_ops *ops; /* NULL ends the table */
	const struct peer_ops *peers;
};

#define CONTRACT_ROWS 16

/*
 * Runs every test on every row and returns the exit status for main(). A backend whose probe fails is skipped, loudly;
 * 77 if nothing was left to run. Environment: LOOM_REQUIRE_BACKENDS="epoll io_uring" makes a missing one a failure;
 * LOOM_SEED replays a run; CK_RUN_SUITE=epoll/tcp, CK_RUN_CASE=send run a part; CK_FORK=no is for debuggers.
 */
int contract_main(const struct contract_row *rows);

/*
 * What the backends are asked for: LOOM_URING and LOOM_EPOLL of the environment, as the options read them; or NULL.
 */
extern const struct features *contract_features;

/* One file each. */
void contract_recv(Suite *suite, int row);
void contract_send(Suite *suite, int row);
void contract_close(Suite *suite, int row);
void contract_listen(Suite *suite, int row);
void contract_wait(Suite *suite, int row);
void contract_load(Suite *suite, int row);
void contract_file(Suite *suite, int row);
void contract_version(Suite *suite, int row);
void contract_sealed(Suite *suite, int row);

TCase *contract_case(Suite *suite, const char *name);

/* Adds a test for the row if its peers can do all that is needed. */
void contract_add(TCase *tcase, int row, const TTest *test, unsigned needs);

/* The table of bytes. Its length is prime, so that no power of two of lost bytes goes unseen. */
#define LINK_SEND_MAX 65521
#define PATTERN       LINK_SEND_MAX
extern uint8_t pattern[2 * PATTERN];

struct rig;

struct link {
	struct io_conn conn;
	struct rig *rig;
	struct peer peer;

	/* asked */
	bool open;
	bool closing;
	bool credit;
	bool sending;
	bool keep_crediting; /* a new credit after each IO_RECV with bytes */

	/* seen */
	unsigned recvs, sents, closeds;
	unsigned lents;         /* sends of it, in this life or an earlier one, whose memory has not come back */
	int recv_res, sent_res; /* of the last one */
	bool ended;             /* IO_RECV with res <= 0 */

	/* The two streams: bytes so far, and where in the table they begin. */
	size_t in_place, written, received; /* peer to server */
	size_t out_place, sent, read;       /* server to peer */
	bool peer_eof;                      /* the peer has read a FIN */
	int peer_error;

	struct iovec iov[IO_SEND_IOVS];
	struct io_file_send files;
};

struct rig {
	const struct contract_row *row;
	struct io *io;
	struct link *links;
	unsigned nlinks; /* of links, made so far */
	unsigned max_links;
	unsigned events; /* of every kind, so far */
	unsigned closeds;

	/* Called for each event after the rig's own checks; link is NULL for a listener's. */
	void (*on_event)(struct rig *rig, struct link *link, const struct io_event *event);
	void *context;
	unsigned accepts, accept_errors, unlisteneds;
	unsigned lents, releaseds; /* of struct io_lent: out, and come back */
	uint64_t random;
};

/* Fails the test if the backend cannot be had. rig_stop() closes all links, awaits their end, and destroys. */
struct rig *rig_start(int row, unsigned max_links, unsigned listeners);
void rig_stop(struct rig *rig);

/* Likewise, with io_config.files. SIGPIPE is ignored from then on, as io_send_file() wants it. With io_config.sealed alone. */
struct rig *rig_start_files(int row, unsigned max_links);
struct rig *rig_start_sealed(int row, unsigned max_links);

/* io_wait() once and pulls everything. The number of events pulled. */
unsigned rig_turn(struct rig *rig, int timeout_ms);

/* Pulls one event, with all checks. */
bool rig_next(struct rig *rig);

/* Turns until nothing comes any more; rig_settle() also waits for what a network does late by itself. */
void rig_quiet(struct rig *rig);
void rig_settle(struct rig *rig);

/* Turns until the condition holds; fails the test when that takes absurdly long. */
#define RIG_UNTIL(rig, condition)                                                                       \
	do {                                                                                            \
		uint64_t rig_deadline_ = rig_now() + RIG_PATIENCE_MS;                                   \
		while (!(condition)) {                                                                  \
			ck_assert_msg(rig_now() < rig_deadline_, "waited in vain for: %s", #condition); \
			rig_turn(rig, 5);                                                               \
		}                                                                                       \
	} while (0)
#define RIG_PATIENCE_MS 20000

uint64_t rig_now(void);
uint32_t rig_random(struct rig *rig, uint32_t below);

/* A new link, open (link_open), or the memory of one (link_new), which may be opened again after its IO_CLOSED. */
struct link *link_new(struct rig *rig);
void link_reopen(struct link *link);
struct link *link_open(struct rig *rig);
void link_adopt(struct link *link, int fd); /* opens on a descriptor from elsewhere; the peer is the caller's */

/* Sends until the peer, which does not read, stops it for good: link->sending stays. */
void link_get_stuck(struct link *link);

void link_credit(struct link *link);
void link_close(struct link *link);

/* Sends the stream's next n bytes as one iovec, or in so many pieces. At most LINK_SEND_MAX an iovec. */
void link_send(struct link *link, size_t n);
void link_send_pieces(struct link *link, const size_t *sizes, unsigned n);
/* Fills memory, when nobody reads it any more, with the stream's next bytes and sends it as adjoining pieces of these sizes. */
void link_send_memory(struct link *link, void *memory, const size_t *sizes, unsigned n);

/*
 * A temporary file of so many bytes, which has been at rest for long.
 * file_unname() removes its name; file_unmake() does so, and closes it.
 */
void file_make(struct file *file, uint64_t size);
void file_unname(const struct file *file);
void file_unmake(struct file *file);

/* Sealed memory (file.h) of so many bytes; file_unseal() lets go of it. */
void file_seal(struct file *file, uint64_t size);
void file_unseal(struct file *file);

/* A size of which more than the end is sent by reference, as long as nobody has made queues of sockets yet larger. */
uint64_t file_large(void);

/*
 * Sends n pieces of memory, not larger than LINK_SEND_MAX, and len bytes of the file from offset as the stream's
 * next. The peer must have read all that was sent before.
 */
void link_send_file(struct link *link, const struct file *file, uint64_t offset, uint64_t len, const size_t *sizes,
                    unsigned n);

/* Sends 200 ranges of any size and place, the whole and single bytes among them, behind any memory; the peer reads all. */
void link_take_ranges(struct link *link, const struct file *file);

/* The peer of a send in flight goes: its end, and that of a credit, are errors, and not one of the file. */
void link_lose_peer(struct link *link);

/* Whether the bytes are those of the stream after done bytes. */
bool link_matches(const struct link *link, size_t done, const void *data, size_t n);

/* The peer writes the stream's next n bytes as far as the socket takes them: how many. link_write_all turns on. */
size_t link_write(struct link *link, size_t n);
void link_write_all(struct link *link, size_t n);

/* The peer reads and checks up to n bytes that are there: how many. link_read_all turns until n bytes were read. */
size_t link_read(struct link *link, size_t n);
void link_read_all(struct link *link, size_t n);

#endif
