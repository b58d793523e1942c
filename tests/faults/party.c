/*
 * party.c - see party.h. Nothing here waits.
 */
#include "party.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

static const struct step steady[] = {
	{ STEP_SAY, 0, GET("/") }, { STEP_HEAR, 1, NULL }, { STEP_SAY, 0, GET("/page.txt") },
	{ STEP_HEAR, 2, NULL },    { STEP_REST, 2, NULL }, { STEP_SAY, 0, GET("/") },
	{ STEP_HEAR, 3, NULL },    { STEP_END, 0, NULL },
};

static const struct step pipelined[] = {
	{ STEP_SAY, 0,
	  GET("/") GET("/missing") GET("/page.txt") "GET /big.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=5-2000\r\n\r\n"
	                                            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ STEP_HEAR, 5, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step pieces[] = {
	{ STEP_SAY, 0, "GET /page.txt HT" },
	{ STEP_REST, 3, NULL },
	{ STEP_SAY, 0, "TP/1.1\r\nHo" },
	{ STEP_REST, 3, NULL },
	{ STEP_SAY, 0, "st: a\r\n\r\n" },
	{ STEP_HEAR, 1, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step large[] = { { STEP_SAY, 0, GET("/big.bin") }, { STEP_HEAR, 1, NULL }, { STEP_END, 0, NULL } };

static const struct step film[] = {
	{ STEP_SAY, 0, GET("/film.bin") },
	{ STEP_HEAR, 1, NULL },
	{ STEP_SAY, 0, GET("/") },
	{ STEP_HEAR, 2, NULL },
	{ STEP_END, 0, NULL },
};

/* By reference from memory: file_sealed.c. */
static const struct step disc[] = {
	{ STEP_SAY, 0, GET("/disc.bin") },
	{ STEP_HEAR, 1, NULL },
	{ STEP_SAY, 0, GET("/") },
	{ STEP_HEAR, 2, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step part_of_disc[] = {
	{ STEP_SAY, 0, "GET /disc.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=4097-340000\r\n\r\n" },
	{ STEP_HEAR, 1, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step part_of_film[] = {
	{ STEP_SAY, 0, "GET /film.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=70000-90000\r\n\r\n" },
	{ STEP_HEAR, 1, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step half_closed[] = {
	{ STEP_SAY, 0, GET("/big.bin") },
	{ STEP_FIN, 0, NULL },
	{ STEP_AWAIT, 0, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step resets[] = { { STEP_SAY, 0, GET("/big.bin") },
	                              { STEP_TAKE, 1000, NULL },
	                              { STEP_RESET, 0, NULL } };

static const struct step resets_film[] = {
	{ STEP_SAY, 0, GET("/film.bin") },
	{ STEP_TAKE, 1000, NULL },
	{ STEP_RESET, 0, NULL },
};

static const struct step resets_disc[] = {
	{ STEP_SAY, 0, GET("/disc.bin") },
	{ STEP_TAKE, 1000, NULL },
	{ STEP_RESET, 0, NULL },
};

static const struct step posts[] = {
	{ STEP_SAY, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n0123456789" },
	{ STEP_REST, 2, NULL },
	{ STEP_SAY, 0, "0123456789" GET("/") },
	{ STEP_HEAR, 2, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step errs[] = {
	{ STEP_SAY, 0, "GET / HTTP/1.1\r\nHost : bad\r\n\r\nand more" },
	{ STEP_AWAIT, 0, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step silent[] = { { STEP_REST, 12, NULL }, { STEP_END, 0, NULL } };

/* Says more and more while nothing of the answers is read: what is received is held, and then receiving is cancelled. */
static const struct step eager[] = {
	{ STEP_SAY, 0, GET("/") },
	{ STEP_HEAR, 1, NULL },
	{ STEP_SAY, 0, GET("/big.bin") },
	{ STEP_REST, 1, NULL },
	{ STEP_SAY, 0, GET("/big.bin") },
	{ STEP_REST, 1, NULL },
	{ STEP_SAY, 0, GET("/") },
	{ STEP_REST, 1, NULL },
	{ STEP_SAY, 0, GET("/") },
	{ STEP_REST, 1, NULL },
	{ STEP_SAY, 0, GET("/page.txt") },
	{ STEP_REST, 1, NULL },
	{ STEP_SAY, 0, GET("/") },
	{ STEP_REST, 1, NULL },
	{ STEP_SAY, 0, GET("/") },
	{ STEP_REST, 4, NULL },
	{ STEP_HEAR, 8, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step forgotten[] = {
	{ STEP_SAY, 0, GET("/") },
	{ STEP_HEAR, 1, NULL },
	{ STEP_AWAIT, 0, NULL },
	{ STEP_END, 0, NULL },
};

/* Takes nothing for longer than the send deadline, and then all. */
static const struct step sulks[] = {
	{ STEP_SAY, 0, GET("/big.bin") },
	{ STEP_SULK, 105, NULL },
	{ STEP_HEAR, 1, NULL },
	{ STEP_END, 0, NULL },
};

static const struct step sulks_at_disc[] = {
	{ STEP_SAY, 0, GET("/disc.bin") },
	{ STEP_SULK, 105, NULL },
	{ STEP_AWAIT, 0, NULL },
	{ STEP_END, 0, NULL },
};

const struct role roles_serve[] = {
	{ .name = "steady", .afterwards = true, .steps = steady },
	{ .name = "pipelined", .afterwards = true, .steps = pipelined },
	{ .name = "in pieces", .steps = pieces },
	{ .name = "large", .steps = large },
	{ .name = "film", .afterwards = true, .steps = film },
	{ .name = "film, slowly", .window = 32768, .pace = 65536, .steps = film },
	{ .name = "part of a film", .steps = part_of_film },
	{ .name = "disc", .afterwards = true, .steps = disc },
	{ .name = "disc, slowly", .narrow = true, .window = 32768, .pace = 65536, .steps = disc },
	{ .name = "part of a disc", .narrow = true, .steps = part_of_disc },
	{ .name = "stuck at the disc", .narrow = true, .stuck = true, .window = 4096, .steps = sulks_at_disc },
	{ .name = "eager", .window = 8192, .steps = eager },
	{ .name = "local", .local = true, .afterwards = true, .steps = steady },
	{ .name = "local, large", .local = true, .pace = 100000, .steps = large },
	{ .name = "local film", .local = true, .steps = film },
	{ .name = "local disc", .local = true, .afterwards = true, .steps = disc },
	{ .name = "local disc, slowly", .local = true, .pace = 30000, .steps = disc },
	{ .name = "local, stuck at the disc", .local = true, .stuck = true, .steps = sulks_at_disc },
	{ .name = "half-closed", .steps = half_closed },
	{ .name = "resets", .wild = true, .pace = 1000, .steps = resets },
	{ .name = "resets the film", .wild = true, .pace = 1000, .window = 8192, .steps = resets_film },
	{ .name = "resets the disc", .narrow = true, .wild = true, .pace = 1000, .window = 8192, .steps = resets_disc },
	{ .name = "posts", .steps = posts },
	{ .name = "errs", .steps = errs },
	{ .name = "silent", .steps = silent },
	{ .name = "sulks", .window = 16384, .steps = sulks },
	{ .name = "forgotten", .steps = forgotten },
	{ .name = "steady too", .steps = steady },
	{ .name = "local and steady", .local = true, .steps = steady },
	{ .name = NULL },
};

static const struct step stays[] = { { STEP_SAY, 0, GET("/") },
	                             { STEP_HEAR, 1, NULL },
	                             { STEP_AWAIT, 0, NULL },
	                             { STEP_END, 0, NULL } };
static const struct step waits[] = { { STEP_AWAIT, 0, NULL }, { STEP_END, 0, NULL } };
static const struct step slow[] = { { STEP_SAY, 0, GET("/big.bin") }, { STEP_AWAIT, 0, NULL }, { STEP_END, 0, NULL } };
static const struct step slow_film[] = { { STEP_SAY, 0, GET("/film.bin") },
	                                 { STEP_AWAIT, 0, NULL },
	                                 { STEP_END, 0, NULL } };
static const struct step slow_disc[] = { { STEP_SAY, 0, GET("/disc.bin") },
	                                 { STEP_AWAIT, 0, NULL },
	                                 { STEP_END, 0, NULL } };
static const struct step half_said[] = {
	{ STEP_SAY, 0, "GET / HTTP/1.1\r\nHo" },
	{ STEP_REST, 8, NULL },
	{ STEP_SAY, 0, "st: a\r\n\r\n" },
	{ STEP_AWAIT, 0, NULL },
	{ STEP_END, 0, NULL },
};

const struct role roles_drain[] = {
	{ .name = "stays", .steps = stays },
	{ .name = "stays, local", .local = true, .steps = stays },
	{ .name = "waits", .steps = waits },
	{ .name = "slow", .window = 16384, .pace = 30000, .steps = slow },
	{ .name = "slow film", .window = 16384, .pace = 100000, .steps = slow_film },
	{ .name = "slow disc", .narrow = true, .window = 16384, .pace = 100000, .steps = slow_disc },
	{ .name = "slow disc, local", .local = true, .pace = 30000, .steps = slow_disc },
	{ .name = "stuck at the disc", .narrow = true, .stuck = true, .window = 4096, .steps = sulks_at_disc },
	{ .name = "stuck at the disc, local", .local = true, .stuck = true, .steps = sulks_at_disc },
	{ .name = "half said", .steps = half_said },
	{ .name = NULL },
};

unsigned roles_count(const struct role *roles)
{
	unsigned n = 0;

	while (roles[n].name)
		n++;
	return n;
}

void party_begin(struct party *party, const struct role *role, const struct venue *venue, char *bytes)
{
	struct sockaddr_in tcp = { .sin_family = AF_INET,
		                   .sin_port = htons(role->narrow ? venue->narrow_port : venue->port) };
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	int err;

	*party = (struct party){ .role = role, .bytes = bytes };
	tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	snprintf(local.sun_path, sizeof(local.sun_path), "%s", venue->path);
	party->fd = socket(role->local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (party->fd < 0)
		abort();
	if (role->window)
		setsockopt(party->fd, SOL_SOCKET, SO_RCVBUF, &role->window, sizeof(role->window));
	if (!role->local)
		setsockopt(party->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	err = role->local ? connect(party->fd, (struct sockaddr *)&local, sizeof(local))
	                  : connect(party->fd, (struct sockaddr *)&tcp, sizeof(tcp));
	if (err < 0 && errno != EINPROGRESS)
		abort();
}

void party_leave(struct party *party)
{
	if (party->fd >= 0)
		close(party->fd);
	party->fd = -1;
	party->done = true;
}

/* Counts the answers that are whole by now. */
static void count_answers(struct party *party)
{
	for (;;) {
		const char *from = party->bytes + party->parsed;
		const char *end = memmem(from, party->heard - party->parsed, "\r\n\r\n", 4);
		const char *field;
		size_t len = 0;

		if (!end)
			return;
		field = memmem(from, (size_t)(end - from), "Content-Length: ", 16);
		if (field)
			len = strtoul(field + 16, NULL, 10);
		if ((size_t)(end + 4 - party->bytes) + len > party->heard)
			return;
		party->parsed = (size_t)(end + 4 - party->bytes) + len;
		party->answers++;
	}
}

static bool hear(struct party *party)
{
	size_t most = party->role->pace ? party->role->pace : PARTY_HEARS;
	ssize_t n;

	if (most > PARTY_HEARS - party->heard)
		most = PARTY_HEARS - party->heard;
	n = recv(party->fd, party->bytes + party->heard, most, 0);
	if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
		return false;
	if (n <= 0) {
		party->ended = true;
		return true;
	}
	party->heard += (size_t)n;
	count_answers(party);
	return true;
}

static bool say(struct party *party, const char *text)
{
	size_t left = strlen(text) - party->said;
	ssize_t n = send(party->fd, text + party->said, left, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno == EAGAIN || errno == ENOTCONN)
			return false;
		party->ended = true;
		return true;
	}
	party->said += (size_t)n;
	if ((size_t)n == left) {
		party->said = 0;
		party->at++;
	}
	return true;
}

bool party_step(struct party *party)
{
	const struct step *step = &party->role->steps[party->at];
	unsigned at = party->at;
	bool heard = false;

	if (party->done)
		return false;
	if (step->op == STEP_HEAR || step->op == STEP_TAKE || step->op == STEP_AWAIT)
		heard = hear(party);
	if (party->ended) {
		if (step->op == STEP_AWAIT)
			party->at++;
		party_leave(party);
		return true;
	}
	switch (step->op) {
	case STEP_SAY:
		return say(party, step->text);
	case STEP_HEAR:
		party->at += party->answers >= step->n;
		break;
	case STEP_TAKE:
		party->at += party->heard >= step->n;
		break;
	case STEP_REST:
		if (++party->rested >= step->n) {
			party->rested = 0;
			party->at++;
		}
		return true;
	case STEP_SULK:
		if (++party->rested >= step->n) {
			party->rested = 0;
			party->at++;
		}
		return false;
	case STEP_FIN:
		shutdown(party->fd, SHUT_WR);
		party->at++;
		break;
	case STEP_RESET:
		setsockopt(party->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
		party_leave(party);
		return true;
	case STEP_AWAIT:
		break;
	case STEP_END:
		party_leave(party);
		return true;
	}
	return heard || party->at != at;
}

enum fate party_fate(const struct party *party, const struct party *model)
{
	size_t same = 0, most = party->heard < model->heard ? party->heard : model->heard;
	const char *rest;

	if (!party->done)
		return FATE_PLAYS;
	while (same < most &&
	       memcmp(party->bytes + same, model->bytes + same, most - same > 4096 ? 4096 : most - same) == 0)
		same += most - same > 4096 ? 4096 : most - same;
	while (same < most && party->bytes[same] == model->bytes[same])
		same++;
	if (party->role->stuck && same == most)
		return FATE_WHOLE;
	if (same == party->heard) {
		if (party->role->wild)
			return FATE_WHOLE;
		return same == model->heard ? FATE_WHOLE : FATE_CUT;
	}
	/* "HTTP/1.1 4", of an answer that it was too slow for, is the same beginning. */
	rest = party->bytes + (same > 10 ? same - 10 : 0);
	for (size_t i = 0; i <= 10 && rest + i + 12 <= party->bytes + party->heard; i++)
		if (memcmp(rest + i, "HTTP/1.1 408", 12) == 0)
			return FATE_CUT;
	return party->role->wild ? FATE_WHOLE : FATE_WRONG;
}
