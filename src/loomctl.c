/*
 * loomctl.c - asks a running loom by its admin socket (docs/admin.md): one command, its answer on standard output, an
 * error on standard error. On a terminal, top and status go on from second to second.
 *
 * Exit status: 0; 1 when loom answers with an error or cannot be asked; 2 when the command line is wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 1000
#define TOP_ASKED    1000 /* paths whose counts are remembered from second to second */

static void usage(FILE *out)
{
	fprintf(out,
	        "usage: loomctl [-1] [-s SOCKET] COMMAND [ARGUMENT ...]\n"
	        "\n"
	        "  -s SOCKET   unix:/path or /path, as loom --admin has it; default: $LOOM_ADMIN\n"
	        "  -1          once: top and status do not go on on a terminal\n"
	        "\n"
	        "commands: status, snapshots, diff A [B], reload, pin [ID], rollback [ID], unpin, top [N], upgrade,\n"
	        "          help\n");
}

/* Always 1, the exit status of what went wrong. */
static int complain(const char *what, const char *why)
{
	fprintf(stderr, "loomctl: %s%s\n", what, why);
	return 1;
}

static void explain(const char *name, const char *why)
{
	fprintf(stderr, "loomctl: %s: %s\n", name, why);
}

/* A stream to the socket, or NULL when it has been said why not. */
static FILE *connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	FILE *stream = NULL;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		explain(path, "too long for a Unix socket");
		return NULL;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		stream = fdopen(fd, "r+");
	if (stream)
		return stream;
	switch (errno) {
	case ENOENT:
		explain(path, "there is no such socket (is loom running, with --admin?)");
		break;
	case ECONNREFUSED:
		explain(path, "nobody listens there (loom has ended)");
		break;
	case EACCES:
		explain(path, "permission denied (only loom's own user and root may ask)");
		break;
	default:
		explain(path, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

typedef void line_fn(void *context, char *line);

/* Sends a command, and has each line of data told. 0, or 1 when it has been said why not. */
static int ask(FILE *stream, const char *command, line_fn *tell, void *context)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	int status = -1;

	fprintf(stream, "%s\n", command);
	if (fflush(stream) != 0)
		return complain("the connection is lost: ", strerror(errno));
	while (status < 0 && (len = getline(&line, &room, stream)) > 0) {
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		if (line[0] == ' ')
			tell(context, line + 1);
		else if (strcmp(line, "ok") == 0)
			status = 0;
		else if (strncmp(line, "error: ", 7) == 0)
			status = complain(line + 7, "");
		else
			status = complain("no loom answers there: ", line);
	}
	free(line);
	if (status < 0)
		status = complain("the connection ended in the middle of the answer", "");
	return status;
}

static void print_line(void *context, char *line)
{
	(void)context;
	puts(line);
}

struct count {
	char *path;
	uint64_t requests;
	double rate;
};

struct counts {
	struct count *counts;
	size_t count, room;
	char id[64];
	uint64_t since, requests, paths;
	struct timespec at;
};

static void free_counts(struct counts *counts)
{
	for (size_t i = 0; i < counts->count; i++)
		free(counts->counts[i].path);
	free(counts->counts);
	*counts = (struct counts){ 0 };
}

static void read_count(void *context, char *line)
{
	struct counts *counts = context;
	char *path;

	if (counts->id[0] == '\0') {
		if (sscanf(line, "snapshot %63s since %" SCNu64 " requests %" SCNu64 " paths %" SCNu64, counts->id,
		           &counts->since, &counts->requests, &counts->paths) != 4)
			counts->id[0] = '?';
		return;
	}
	path = strchr(line, ' ');
	if (!path)
		return;
	if (counts->count == counts->room) {
		size_t room = counts->room ? counts->room * 2 : 64;
		struct count *more = reallocarray(counts->counts, room, sizeof(*more));

		if (!more)
			return;
		counts->counts = more;
		counts->room = room;
	}
	path = strdup(path + 1);
	if (path)
		counts->counts[counts->count++] = (struct count){ path, strtoull(line, NULL, 10), 0 };
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct count *)a)->path, ((const struct count *)b)->path);
}

static int by_rate(const void *a, const void *b)
{
	const struct count *left = a, *right = b;

	if (left->rate != right->rate)
		return left->rate < right->rate ? 1 : -1;
	return (left->requests < right->requests) - (left->requests > right->requests);
}

static uint64_t before(const struct counts *counts, const char *path)
{
	struct count key = { .path = (char *)(uintptr_t)path };
	const struct count *found = counts->count ? bsearch(&key, counts->counts, counts->count, sizeof(key), by_path)
	                                          : NULL;

	return found ? found->requests : 0;
}

static void clear_screen(void)
{
	fputs("\033[H\033[2J", stdout);
}

static unsigned rows(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 4 ? size.ws_row : 24;
}

static unsigned columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* One picture: what has been asked for since the last one, by rate. */
static void draw_top(struct counts *now, struct counts *last)
{
	bool same = last->at.tv_sec && last->since == now->since && strcmp(last->id, now->id) == 0;
	double seconds = same ? (double)(now->at.tv_sec - last->at.tv_sec) +
	                                 (double)(now->at.tv_nsec - last->at.tv_nsec) / 1e9
	                      : 0;
	unsigned most = rows() - 3;

	for (size_t i = 0; seconds > 0 && i < now->count; i++) {
		uint64_t was = before(last, now->counts[i].path);

		now->counts[i].rate = now->counts[i].requests > was ? (double)(now->counts[i].requests - was) / seconds
		                                                    : 0;
	}
	qsort(now->counts, now->count, sizeof(*now->counts), by_rate);
	clear_screen();
	printf("snapshot %s: %" PRIu64 " requests to %" PRIu64 " paths, %.0f a second\n\n", now->id, now->requests,
	       now->paths,
	       seconds > 0 && now->requests > last->requests ? (double)(now->requests - last->requests) / seconds : 0);
	for (size_t i = 0; i < now->count && i < most; i++)
		printf("%10.0f/s %12" PRIu64 "  %.*s\n", now->counts[i].rate, now->counts[i].requests,
		       (int)columns() - 27, now->counts[i].path);
	fflush(stdout);
	qsort(now->counts, now->count, sizeof(*now->counts), by_path);
}

static int live_top(FILE *stream)
{
	struct counts last = { 0 };
	char command[32];

	snprintf(command, sizeof(command), "top %d", TOP_ASKED);
	for (;;) {
		struct counts now = { 0 };

		clock_gettime(CLOCK_MONOTONIC, &now.at);
		if (ask(stream, command, read_count, &now) != 0) {
			free_counts(&now);
			free_counts(&last);
			return 1;
		}
		draw_top(&now, &last);
		free_counts(&last);
		last = now;
		sleep(1);
	}
}

static int live_status(FILE *stream)
{
	for (;;) {
		clear_screen();
		if (ask(stream, "status", print_line, NULL) != 0)
			return 1;
		fflush(stdout);
		sleep(1);
	}
}

int main(int argc, char *argv[])
{
	const char *path = getenv("LOOM_ADMIN");
	char command[LINE_MAX_LEN] = "";
	bool once = !isatty(STDOUT_FILENO);
	FILE *stream;
	int option, status;

	signal(SIGPIPE, SIG_IGN);
	/* "+": what comes behind the command is its own, and an id may begin with a dash. */
	while ((option = getopt(argc, argv, "+1hs:")) != -1) {
		switch (option) {
		case '1':
			once = true;
			break;
		case 's':
			path = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return 2;
	}
	if (path && strncmp(path, "unix:", 5) == 0)
		path += 5;
	if (!path || !*path) {
		complain("no socket: give it with -s, or in LOOM_ADMIN, as loom --admin has it", "");
		return 2;
	}
	for (int i = optind; i < argc; i++) {
		size_t len = strlen(command);

		if (argv[i][0] == '\0' || strpbrk(argv[i], " \r\n") || len + strlen(argv[i]) + 2 > sizeof(command)) {
			explain(argv[i], "no word of a command (empty, with a space, or too long)");
			return 2;
		}
		snprintf(command + len, sizeof(command) - len, "%s%s", len ? " " : "", argv[i]);
	}
	stream = connect_to(path);
	if (!stream)
		return 1;
	if (!once && strcmp(command, "top") == 0)
		status = live_top(stream);
	else if (!once && strcmp(command, "status") == 0)
		status = live_status(stream);
	else
		status = ask(stream, command, print_line, NULL);
	fclose(stream);
	if (fflush(stdout) != 0 && status == 0)
		status = complain("cannot write the answer: ", strerror(errno));
	return status;
}
