/*
 * loomctl.c - asks a running loom by its admin socket (docs/admin.md): one command, its answer on standard output, an
 * error on standard error. On a terminal, top and status go on from second to second.
 *
 * Exit status: 0; 1 when loom answers with an error or cannot be asked; 2 when the command line is wrong.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "loomctl.h"

#define LINE_MAX_LEN 1000

static void usage(FILE *out)
{
	fprintf(out,
	        "usage: loomctl [-1 | -n N] [-s SOCKET] COMMAND [ARGUMENT ...]\n"
	        "\n"
	        "  -s SOCKET   unix:/path or /path, as loom --admin has it; default: $LOOM_ADMIN\n"
	        "  -1          once: the answers to top and status as they come, also on a terminal\n"
	        "  -n N        top and status N times, a second apart, also when this is no terminal\n"
	        "  -h          print this\n"
	        "\n"
	        "commands: status, snapshots, diff A [B], reload, pin [ID], rollback [ID], unpin, metrics, top [N], upgrade,\n"
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

int loomctl_ask(FILE *stream, const char *command, loomctl_line_fn *tell, void *context)
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

static void clear_screen(void)
{
	fputs("\033[H\033[2J", stdout);
}

/* pictures 0: for ever. */
static int live_status(FILE *stream, unsigned pictures, bool terminal)
{
	for (unsigned i = 0; pictures == 0 || i < pictures; i++) {
		if (i > 0)
			sleep(1);
		if (terminal)
			clear_screen();
		if (loomctl_ask(stream, "status", print_line, NULL) != 0)
			return 1;
		if (!terminal)
			puts("");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char *argv[])
{
	const char *path = getenv("LOOM_ADMIN");
	char command[LINE_MAX_LEN] = "";
	bool terminal = isatty(STDOUT_FILENO), once = !terminal;
	unsigned long pictures = 0;
	char *end;
	FILE *stream;
	int option, status;

	signal(SIGPIPE, SIG_IGN);
	/* "+": what comes behind the command is its own, and an id may begin with a dash. */
	while ((option = getopt(argc, argv, "+1hn:s:")) != -1) {
		switch (option) {
		case '1':
			once = true;
			pictures = 0;
			break;
		case 'n':
			pictures = strtoul(optarg, &end, 10);
			if (optarg[0] < '1' || optarg[0] > '9' || *end || pictures > 1000000) {
				explain(optarg, "no number of pictures (1 to 1000000)");
				return 2;
			}
			once = false;
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
		status = loomctl_top(stream, (unsigned)pictures, terminal);
	else if (!once && strcmp(command, "status") == 0)
		status = live_status(stream, (unsigned)pictures, terminal);
	else
		status = loomctl_ask(stream, command, print_line, NULL);
	fclose(stream);
	if (fflush(stdout) != 0 && status == 0)
		status = complain("cannot write the answer: ", strerror(errno));
	return status;
}
