/*
 * load.c - the load generator's command line: opens connections to one server, runs for a time, flat out or at a fixed rate,
 * and prints one line of JSON. With --control it does that again and again, as it is told on standard input, and
 * keeps its connections: so servers can take turns without opening thousands of connections for each.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "client.h"

static const char usage_text[] =
	"usage: load [OPTIONS] [PATH]\n"
	"Asks an HTTP/1.1 server for PATH (/ by default) and prints what came of it, one line of JSON.\n"
	"\n"
	"  --host ADDRESS       IPv4, 127.0.0.1 by default\n"
	"  --port N             8080 by default\n"
	"  --connections N      open at a time, 64 by default\n"
	"  --active N           of these send requests, all by default; the others are idle after one answer each\n"
	"  --rate N             requests a second; latency counts from when each was due. 0, the default: flat out, each\n"
	"                       connection asks again when it has its answer\n"
	"  --arrivals HOW       at a fixed rate: even (default) or poisson, as of clients that know nothing of each other\n"
	"  --depth N            requests a batch, which is sent as a whole (pipelining), 1 by default, 64 at most\n"
	"  --close              the active connections are opened anew for each request\n"
	"  --header 'NAME: V'   one more field line; may be repeated\n"
	"  --seconds S          5 by default\n"
	"  --spin               never sleep; for a core of its own\n"
	"  --control            print {\"ready\": true}, then read lines from standard input: 'run SECONDS RATE' until its end\n";

static _Noreturn void usage(const char *why, const char *what)
{
	fprintf(stderr, "load: %s: %s\n%s", why, what, usage_text);
	exit(2);
}

static double number(const char *text, double min, double max, const char *name)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		usage("no valid value", name);
	return value;
}

static void print_latencies(const char *name, const struct latencies *latencies)
{
	static const struct {
		const char *name;
		double fraction;
	} percentiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "p9999", 0.9999 } };

	printf("\"%s\": {\"count\": %" PRIu64 ", \"mean\": %.1f", name, latencies->count,
	       latencies->count ? (double)latencies->sum / (double)latencies->count / 1000 : 0.0);
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(*percentiles); i++)
		printf(", \"%s\": %.1f", percentiles[i].name,
		       (double)latencies_at(latencies, percentiles[i].fraction) / 1000);
	printf(", \"max\": %.1f}", (double)latencies->max / 1000);
}

/* Times in microseconds, but for the run's. */
static void print_result(const struct client_result *result, double rate)
{
	double seconds = (double)result->ns / 1e9;

	printf("{\"seconds\": %.3f, \"rate\": %.1f, \"answered\": %" PRIu64 ", \"late\": %" PRIu64
	       ", \"unanswered\": %" PRIu64 ", \"per_second\": %.1f, \"bytes\": %" PRIu64 ", \"bad\": %" PRIu64
	       ", \"broken\": %" PRIu64 ", \"idle_lost\": %" PRIu64 ", \"client_busy\": %.3f, ",
	       seconds, rate, result->answered, result->late, result->unanswered, (double)result->answered / seconds,
	       result->bytes, result->bad, result->broken, result->idle_lost,
	       (double)result->cpu_ns / (double)result->ns);
	print_latencies("latency", &result->latency);
	printf(", ");
	print_latencies("delay", &result->delay);
	printf("}\n");
	fflush(stdout);
}

static void obey(struct client *client)
{
	static struct client_result result;
	char line[256];
	double seconds, rate;

	printf("{\"ready\": true}\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "run %lf %lf", &seconds, &rate) != 2 || !(seconds > 0 && seconds <= 3600) ||
		    !(rate >= 0 && rate <= 1e9))
			usage("not understood", line);
		client_run(client, seconds, rate, &result);
		print_result(&result, rate);
	}
}

static void add_header(char **fields, const char *line)
{
	size_t before = strlen(*fields);

	if (!strchr(line, ':') || strpbrk(line, "\r\n"))
		usage("not a field line", line);
	*fields = realloc(*fields, before + strlen(line) + 3);
	if (!*fields)
		client_die("realloc", errno);
	sprintf(*fields + before, "%s\r\n", line);
}

int main(int argc, char *argv[])
{
	enum {
		HOST = 1,
		PORT,
		CONNECTIONS,
		ACTIVE,
		RATE,
		ARRIVALS,
		DEPTH,
		CLOSE,
		HEADER,
		SECONDS,
		SPIN,
		CONTROL,
		HELP
	};
	static const struct option rows[] = {
		{ "host", required_argument, NULL, HOST },
		{ "port", required_argument, NULL, PORT },
		{ "connections", required_argument, NULL, CONNECTIONS },
		{ "active", required_argument, NULL, ACTIVE },
		{ "rate", required_argument, NULL, RATE },
		{ "arrivals", required_argument, NULL, ARRIVALS },
		{ "depth", required_argument, NULL, DEPTH },
		{ "close", no_argument, NULL, CLOSE },
		{ "header", required_argument, NULL, HEADER },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "spin", no_argument, NULL, SPIN },
		{ "control", no_argument, NULL, CONTROL },
		{ "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	struct client_options options = {
		.address = { .sin_family = AF_INET,
		             .sin_port = htons(8080),
		             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
		.path = "/",
		.connections = 64,
		.depth = 1,
	};
	struct rlimit files;
	double seconds = 5, rate = 0;
	bool control = false;
	char *fields = strdup("");
	struct client *client;
	int option;

	if (!fields)
		client_die("strdup", errno);
	while ((option = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		switch (option) {
		case HOST:
			if (inet_pton(AF_INET, optarg, &options.address.sin_addr) != 1)
				usage("not an IPv4 address", optarg);
			break;
		case PORT:
			options.address.sin_port = htons((uint16_t)number(optarg, 1, UINT16_MAX, "--port"));
			break;
		case CONNECTIONS:
			options.connections = (unsigned)number(optarg, 1, 1e6, "--connections");
			break;
		case ACTIVE:
			options.active = (unsigned)number(optarg, 1, 1e6, "--active");
			break;
		case RATE:
			rate = number(optarg, 0, 1e9, "--rate");
			break;
		case ARRIVALS:
			if (strcmp(optarg, "even") != 0 && strcmp(optarg, "poisson") != 0)
				usage("neither even nor poisson", optarg);
			options.seed = *optarg == 'p' ? 0x9e3779b97f4a7c15 : 0;
			break;
		case DEPTH:
			options.depth = (unsigned)number(optarg, 1, DEPTH_MAX, "--depth");
			break;
		case CLOSE:
			options.close = true;
			break;
		case HEADER:
			add_header(&fields, optarg);
			break;
		case SECONDS:
			seconds = number(optarg, 0.01, 3600, "--seconds");
			break;
		case SPIN:
			options.spin = true;
			break;
		case CONTROL:
			control = true;
			break;
		case HELP:
			fputs(usage_text, stdout);
			return 0;
		default:
			return 2;
		}
	}
	if (optind < argc)
		options.path = argv[optind++];
	if (optind < argc || *options.path != '/')
		usage("not a path", argv[optind - 1]);
	if (!options.active)
		options.active = options.connections;
	if (options.active > options.connections)
		usage("more active connections than connections", "--active");
	if (options.close && options.depth > 1)
		usage("a connection for each request has no pipelining", "--depth");
	options.fields = fields;

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_TIMERSLACK, 1); /* ns; the default lets each wake-up be 50 us late */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	client = client_open(&options);
	if (control) {
		obey(client);
	} else {
		static struct client_result result;

		client_run(client, seconds, rate, &result);
		print_result(&result, rate);
	}
	client_close(client);
	free(fields);
	return 0;
}
