/*
 * rig.c - see contract.h. Nothing here asserts on time, but for the patience with which it waits.
 */
#include "contract.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * So many turns of so many milliseconds without an event are taken as quiet: peer.h's 100 ms where time is simulated.
 */
#define QUIET_TURNS          5
#define QUIET_TURN_MS        20
#define QUIET_TURN_KERNEL_MS 6

/* Delayed acknowledgements (40 ms, and more under load) still make room in a stuck sender's socket. */
#define SETTLED_TURNS 15

static const struct contract_row *contract_rows;
const struct features *contract_features;
static uint64_t contract_seed;
uint8_t pattern[2 * PATTERN]; /* twice, so that LINK_SEND_MAX bytes are there from anywhere */

static uint64_t mix(uint64_t *state)
{
	/* splitmix64 (Steele, Lea and Flood, 2014) */
	uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static void pattern_fill(void)
{
	uint64_t state = 1;

	for (size_t i = 0; i < PATTERN; i++)
		pattern[i] = pattern[i + PATTERN] = (uint8_t)mix(&state);
}

static bool pattern_is(size_t place, const void *data, size_t n)
{
	const uint8_t *bytes = data;

	while (n) {
		size_t len = n < PATTERN ? n : PATTERN;

		if (memcmp(bytes, pattern + place % PATTERN, len) != 0)
			return false;
		bytes += len;
		place += len;
		n -= len;
	}
	return true;
}

static void pattern_check(const char *what, size_t place, size_t done, const void *data, size_t n)
{
	ck_assert_msg(pattern_is(place + done, data, n), "%s: a wrong byte in the %zu after %zu", what, n, done);
}

uint64_t rig_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint32_t rig_random(struct rig *rig, uint32_t below)
{
	return (uint32_t)(mix(&rig->random) >> 32) % below;
}

static struct rig *rig_create(int row, unsigned max_links, unsigned listeners, bool files, bool sealed)
{
	struct io_config config = {
		.conns = max_links ? max_links : 1,
		.listeners = listeners ? listeners : 1,
		.files = files,
		.sealed = sealed,
		.features = contract_features,
	};
	struct rig *rig = calloc(1, sizeof(*rig));
	char why[256] = "";
	int err;

	ck_assert_ptr_nonnull(rig);
	rig->row = &contract_rows[row];
	rig->random = contract_seed;
	rig->max_links = max_links;
	rig->links = calloc(max_links + 1, sizeof(*rig->links));
	ck_assert_ptr_nonnull(rig->links);
	err = io_create(rig->row->ops, &rig->io, &config, why, sizeof(why));
	ck_assert_msg(err == 0, "io_create: %s", why);
	return rig;
}

struct rig *rig_start(int row, unsigned max_links, unsigned listeners)
{
	return rig_create(row, max_links, listeners, false, false);
}

struct rig *rig_start_files(int row, unsigned max_links)
{
	signal(SIGPIPE, SIG_IGN);
	return rig_create(row, max_links, 1, true, true);
}

struct rig *rig_start_sealed(int row, unsigned max_links)
{
	signal(SIGPIPE, SIG_IGN);
	return rig_create(row, max_links, 1, false, true);
}

/* The end of a send whose memory is lent still, and the end of that. */
static void rig_lent(struct rig *rig, struct link *link, const void *data)
{
	struct io_lent *lent = (struct io_lent *)(uintptr_t)data;

	rig->lents++;
	link->lents++;
	lent->keep[0] = link;
}

static void rig_released(struct rig *rig, const struct io_event *event)
{
	const struct io_lent *lent = event->data;
	struct link *link = lent->keep[0];

	ck_assert_msg(link >= rig->links && link < rig->links + rig->nlinks, "IO_RELEASED of what was not lent");
	ck_assert_uint_gt(link->lents, 0);
	link->lents--;
	rig->lents--;
	rig->releaseds++;
}

static bool rig_has_open(const struct rig *rig)
{
	for (unsigned i = 0; i < rig->nlinks; i++) {
		if (rig->links[i].open)
			return true;
	}
	return false;
}

void rig_stop(struct rig *rig)
{
	rig->on_event = NULL;
	for (unsigned i = 0; i < rig->nlinks; i++) {
		rig->links[i].keep_crediting = false;
		if (rig->links[i].open && !rig->links[i].closing)
			link_close(&rig->links[i]);
	}
	RIG_UNTIL(rig, !rig_has_open(rig));
	for (unsigned i = 0; i < rig->nlinks; i++)
		rig->row->peers->close(&rig->links[i].peer);
	RIG_UNTIL(rig, rig->lents == 0);
	io_destroy(rig->io);
	free(rig->links);
	free(rig);
}

static void link_received(struct link *link, const struct io_event *event)
{
	ck_assert_msg(link->credit, "IO_RECV without a credit");
	ck_assert_msg(!link->closing, "IO_RECV after io_close()");
	ck_assert_int_le(event->res, IO_RECV_MAX);
	link->credit = false;
	link->recvs++;
	link->recv_res = event->res;
	if (event->res > 0) {
		pattern_check("received", link->in_place, link->received, event->data, (size_t)event->res);
		link->received += (size_t)event->res;
		ck_assert_msg(link->received <= link->written, "more was received than written");
	} else {
		link->ended = true;
	}
}

static void rig_event(struct rig *rig, const struct io_event *event)
{
	struct link *link = NULL;

	rig->events++;
	switch (event->op) {
	case IO_ACCEPT:
		if (event->res < 0)
			rig->accept_errors++;
		else
			rig->accepts++;
		break;
	case IO_UNLISTENED:
		rig->unlisteneds++;
		break;
	case IO_RECV:
	case IO_SENT:
	case IO_CLOSED:
		link = (struct link *)((char *)event->conn - offsetof(struct link, conn));
		ck_assert_msg(link >= rig->links && link < rig->links + rig->nlinks && link->open,
		              "an event (%d) for a connection that is not open", event->op);
		break;
	case IO_RELEASED:
		rig_released(rig, event);
		break;
	default:
		ck_abort_msg("no such event: %d", event->op);
	}

	if ((event->op == IO_SENT || event->op == IO_CLOSED) && event->data)
		rig_lent(rig, link, event->data);
	if (event->op == IO_RECV) {
		link_received(link, event);
	} else if (event->op == IO_SENT) {
		ck_assert_msg(link->sending, "IO_SENT without a send");
		ck_assert_msg(!link->closing, "IO_SENT after io_close()");
		ck_assert_int_le(event->res, 0);
		link->sending = false;
		link->sents++;
		link->sent_res = event->res;
	} else if (event->op == IO_CLOSED) {
		ck_assert_msg(link->closing, "IO_CLOSED without io_close()");
		link->open = link->closing = link->credit = link->sending = false;
		link->closeds++;
		rig->closeds++;
	}

	if (rig->on_event)
		rig->on_event(rig, link, event);
	if (link && event->op == IO_RECV && event->res > 0 && link->keep_crediting && link->open && !link->closing &&
	    !link->credit)
		link_credit(link);
}

bool rig_next(struct rig *rig)
{
	struct io_event event;

	if (!io_next(rig->io, &event))
		return false;
	rig_event(rig, &event);
	return true;
}

unsigned rig_turn(struct rig *rig, int timeout_ms)
{
	unsigned before = rig->events;

	ck_assert_int_eq(io_wait(rig->io, timeout_ms), 0);
	while (rig_next(rig))
		;
	return rig->events - before;
}

static void rig_rest(struct rig *rig, unsigned rest, int turn_ms)
{
	uint64_t deadline = rig_now() + RIG_PATIENCE_MS;

	for (unsigned turns = 0; turns < rest;) {
		ck_assert_msg(rig_now() < deadline, "it does not become quiet");
		turns = rig_turn(rig, turn_ms) ? 0 : turns + 1;
	}
}

void rig_quiet(struct rig *rig)
{
	rig_rest(rig, QUIET_TURNS, rig->row->peers->flags & PEER_KERNEL ? QUIET_TURN_KERNEL_MS : QUIET_TURN_MS);
}

void rig_settle(struct rig *rig)
{
	rig_rest(rig, SETTLED_TURNS, QUIET_TURN_MS);
}

struct link *link_new(struct rig *rig)
{
	struct link *link = &rig->links[rig->nlinks];

	ck_assert_uint_lt(rig->nlinks, rig->max_links);
	rig->nlinks++;
	link->rig = rig;
	link->peer = (struct peer){ .ops = rig->row->peers, .fd = -1 };
	return link;
}

/* Forgets what an earlier life has seen, and takes new places in the table. The io_conn is left as it is. */
static void link_renew(struct link *link)
{
	struct io_conn conn = link->conn;
	struct peer peer = link->peer;
	struct rig *rig = link->rig;

	*link = (struct link){ .conn = conn, .peer = peer, .rig = rig, .lents = link->lents };
	link->in_place = rig_random(rig, PATTERN);
	link->out_place = rig_random(rig, PATTERN);
}

void link_adopt(struct link *link, int fd)
{
	ck_assert(!link->open);
	link_renew(link);
	link->open = true;
	io_open(link->rig->io, &link->conn, fd);
}

void link_reopen(struct link *link)
{
	const struct peer_ops *peers = link->rig->row->peers;
	int fd, err;

	peers->close(&link->peer);
	err = peers->pair(link->rig->io, &link->peer, &fd);
	ck_assert_msg(err == 0, "no pair of sockets: %s", strerror(-err));
	link_adopt(link, fd);
}

struct link *link_open(struct rig *rig)
{
	struct link *link = link_new(rig);

	link_reopen(link);
	return link;
}

void link_credit(struct link *link)
{
	ck_assert(link->open && !link->closing && !link->credit && !link->ended);
	link->credit = true;
	io_recv(link->rig->io, &link->conn);
}

void link_close(struct link *link)
{
	ck_assert(link->open && !link->closing);
	link->closing = true;
	io_close(link->rig->io, &link->conn);
}

static void link_submit(struct link *link, unsigned n)
{
	ck_assert(link->open && !link->closing && !link->sending);
	link->sending = true;
	io_send(link->rig->io, &link->conn, link->iov, n);
}

void link_send_pieces(struct link *link, const size_t *sizes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ck_assert(sizes[i] >= 1 && sizes[i] <= LINK_SEND_MAX);
		link->iov[i].iov_base = pattern + (link->out_place + link->sent) % PATTERN;
		link->iov[i].iov_len = sizes[i];
		link->sent += sizes[i];
	}
	link_submit(link, n);
}

void link_send(struct link *link, size_t n)
{
	link_send_pieces(link, &n, 1);
}

void link_send_memory(struct link *link, void *memory, const size_t *sizes, unsigned n)
{
	char *at = memory;

	RIG_UNTIL(link->rig, link->lents == 0);
	for (unsigned i = 0; i < n; i++) {
		link->iov[i] = (struct iovec){ .iov_base = at, .iov_len = sizes[i] };
		for (size_t left = sizes[i], len; left; left -= len) {
			len = left < PATTERN ? left : PATTERN;
			memcpy(at, pattern + (link->out_place + link->sent) % PATTERN, len);
			link->sent += len;
			at += len;
		}
	}
	link_submit(link, n);
}

void link_send_file(struct link *link, const struct file *file, uint64_t offset, uint64_t len, const size_t *sizes,
                    unsigned n)
{
	size_t memory = 0;

	ck_assert(link->open && !link->closing && !link->sending);
	ck_assert_uint_eq(link->read, link->sent);
	for (unsigned i = 0; i < n; i++)
		memory += sizes[i];
	/* The stream's place becomes the one where the file's bytes come next. */
	link->out_place = (offset % PATTERN + 2 * PATTERN - (link->sent + memory) % PATTERN) % PATTERN;
	for (unsigned i = 0; i < n; i++) {
		ck_assert(sizes[i] >= 1 && sizes[i] <= LINK_SEND_MAX);
		link->iov[i].iov_base = pattern + (link->out_place + link->sent) % PATTERN;
		link->iov[i].iov_len = sizes[i];
		link->sent += sizes[i];
	}
	link->sent += len;
	link->files = (struct io_file_send){
		.iov = link->iov,
		.niov = n,
		.file = file,
		.offset = offset,
		.len = len,
	};
	link->sending = true;
	io_send_file(link->rig->io, &link->conn, &link->files);
}

bool link_matches(const struct link *link, size_t done, const void *data, size_t n)
{
	return pattern_is(link->out_place + done, data, n);
}

void link_get_stuck(struct link *link)
{
	for (unsigned i = 0; !link->sending; i++) {
		ck_assert_uint_lt(i, 10000);
		link_send(link, LINK_SEND_MAX);
		rig_turn(link->rig, 0);
		if (link->sending)
			rig_settle(link->rig);
	}
}

size_t link_write(struct link *link, size_t n)
{
	size_t before = link->written;

	while (n) {
		size_t len = n < PATTERN ? n : PATTERN;
		ssize_t res = link->peer.ops->write(&link->peer, pattern + (link->in_place + link->written) % PATTERN,
		                                    len);

		if (res <= 0) {
			if (res != -EAGAIN)
				link->peer_error = (int)res;
			break;
		}
		link->written += (size_t)res;
		n -= (size_t)res;
	}
	return link->written - before;
}

void link_write_all(struct link *link, size_t n)
{
	size_t end = link->written + n;

	RIG_UNTIL(link->rig, (link_write(link, end - link->written), link->written == end));
}

size_t link_read(struct link *link, size_t n)
{
	static uint8_t buffer[PATTERN];
	size_t before = link->read;

	while (n && !link->peer_eof && !link->peer_error) {
		ssize_t res = link->peer.ops->read(&link->peer, buffer, n < sizeof(buffer) ? n : sizeof(buffer));

		if (res == -EAGAIN)
			break;
		if (res <= 0) {
			link->peer_eof = res == 0;
			link->peer_error = (int)res;
			break;
		}
		pattern_check("the peer read", link->out_place, link->read, buffer, (size_t)res);
		link->read += (size_t)res;
		n -= (size_t)res;
		ck_assert_msg(link->read <= link->sent, "the peer read more than was sent");
	}
	return link->read - before;
}

void link_read_all(struct link *link, size_t n)
{
	size_t end = link->read + n;

	RIG_UNTIL(link->rig, (link_read(link, end - link->read), link->read == end));
}

TCase *contract_case(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 120);
	suite_add_tcase(suite, tcase);
	return tcase;
}

void contract_add(TCase *tcase, int row, const TTest *test, unsigned needs)
{
	if ((contract_rows[row].peers->flags & needs) == needs)
		tcase_add_loop_test(tcase, test, row, row + 1);
}

/* Whether name is one of the words of list. */
static bool word_in(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += len) {
		if ((at == list || at[-1] == ' ' || at[-1] == ',') && (!at[len] || at[len] == ' ' || at[len] == ','))
			return true;
	}
	return false;
}

/* Every word of LOOM_REQUIRE_BACKENDS must be a backend of the table. */
static bool all_known(const struct contract_row *rows, const char *required)
{
	char *words = strdup(required), *save = NULL;
	bool known = true;

	for (char *word = strtok_r(words, " ,", &save); word; word = strtok_r(NULL, " ,", &save)) {
		const struct contract_row *row = rows;

		while (row->ops && strcmp(row->ops->name, word) != 0)
			row++;
		if (!row->ops) {
			fprintf(stderr, "contract: %s is required, and this binary does not have it\n", word);
			known = false;
		}
	}
	free(words);
	return known;
}

static Suite *contract_suite(int row)
{
	static char names[CONTRACT_ROWS][64]; /* Check keeps the pointer */
	Suite *suite;

	snprintf(names[row], sizeof(names[row]), "%s/%s", contract_rows[row].ops->name, contract_rows[row].peers->name);
	suite = suite_create(names[row]);
	contract_recv(suite, row);
	contract_send(suite, row);
	contract_close(suite, row);
	contract_listen(suite, row);
	contract_wait(suite, row);
	contract_load(suite, row);
	contract_file(suite, row);
	contract_version(suite, row);
	contract_sealed(suite, row);
	return suite;
}

/* False, with a word on standard error, when the environment asks for what there is not. */
static bool read_features(void)
{
	static struct features features;
	const char *const texts[] = { [FEATURE_URING] = getenv("LOOM_URING"), [FEATURE_EPOLL] = getenv("LOOM_EPOLL") };
	char why[512];

	features = features_standard;
	for (unsigned i = 0; i < 2; i++) {
		if (!texts[i] || !*texts[i])
			continue;
		if (features_parse(&features, i, texts[i], why, sizeof(why))) {
			fprintf(stderr, "contract: %s\n", why);
			return false;
		}
		contract_features = &features;
	}
	return true;
}

int contract_main(const struct contract_row *rows)
{
	const char *required = getenv("LOOM_REQUIRE_BACKENDS"), *seed = getenv("LOOM_SEED");
	SRunner *runner = srunner_create(NULL);
	bool missing = !all_known(rows, required ? required : "");
	int failed, run;

	if (!read_features())
		return EXIT_FAILURE;
	contract_rows = rows;
	contract_seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	pattern_fill();
	printf("contract: seed %" PRIu64 " (LOOM_SEED replays it)\n", contract_seed);

	for (int row = 0; row < CONTRACT_ROWS && rows[row].ops; row++) {
		char why[256] = "";

		if (rows[row].ops->probe(contract_features, why, sizeof(why)) == 0) {
			srunner_add_suite(runner, contract_suite(row));
			continue;
		}
		fprintf(stderr, "contract: SKIPPED %s/%s: %s\n", rows[row].ops->name, rows[row].peers->name, why);
		if (word_in(required ? required : "", rows[row].ops->name)) {
			fprintf(stderr, "contract: but LOOM_REQUIRE_BACKENDS says that %s must be there\n",
			        rows[row].ops->name);
			missing = true;
		}
	}

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	run = srunner_ntests_run(runner);
	srunner_free(runner);
	return failed || missing ? EXIT_FAILURE : run ? EXIT_SUCCESS : 77;
}
