/*
 * loomctl_top.c - see loomctl.h: the view of `loomctl top`. Each picture is made of three answers, status, metrics and
 * top, and of what is different from those of the picture before. The first one is compared with nothing, so its rates
 * are means since the start.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "loomctl.h"

#define PATHS_ASKED 1000 /* whose counts are remembered from picture to picture */
#define PATHS_PLAIN 10   /* that plain lines show */
#define BUCKETS_MAX 64

/* A line of metrics: name and labels, as they stand there. */
struct sample {
	char *name;
	double value;
};

struct count {
	char *path;
	uint64_t requests;
	double rate;
};

struct status {
	char version[32], state[32], backend[32], snapshot[32], pinned[8], reload[256];
};

struct look {
	struct timespec at;
	struct status status;
	struct sample *samples;
	size_t sample_count, sample_room;
	struct count *counts; /* sorted by path, but for the time of drawing */
	size_t count, count_room;
	char id[64]; /* of what counts are of, */
	uint64_t since;
};

/* Where a picture goes. */
struct canvas {
	bool terminal;
	unsigned rows, columns; /* left; the width */
};

static void free_look(struct look *look)
{
	for (size_t i = 0; i < look->sample_count; i++)
		free(look->samples[i].name);
	for (size_t i = 0; i < look->count; i++)
		free(look->counts[i].path);
	free(look->samples);
	free(look->counts);
	*look = (struct look){ 0 };
}

/* One element more at the end of an array; false: no memory. */
static bool grow(void *array, size_t count, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 64;
	void **at = array, *grown;

	if (count < *room)
		return true;
	grown = reallocarray(*at, more, size);
	if (!grown)
		return false;
	*at = grown;
	*room = more;
	return true;
}

static void read_status(void *context, char *line)
{
	struct status *status = context;
	const struct {
		const char *name;
		char *to;
		size_t size;
	} wanted[] = {
		{ "version: ", status->version, sizeof(status->version) },
		{ "state: ", status->state, sizeof(status->state) },
		{ "backend: ", status->backend, sizeof(status->backend) },
		{ "snapshot: ", status->snapshot, sizeof(status->snapshot) },
		{ "pinned: ", status->pinned, sizeof(status->pinned) },
		{ "reload: ", status->reload, sizeof(status->reload) },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (strncmp(line, wanted[i].name, strlen(wanted[i].name)) == 0)
			snprintf(wanted[i].to, wanted[i].size, "%s", line + strlen(wanted[i].name));
}

static void read_sample(void *context, char *line)
{
	struct look *look = context;
	char *value = strrchr(line, ' '), *name;

	if (line[0] == '#' || !value)
		return;
	*value++ = '\0';
	name = strdup(line);
	if (!name || !grow(&look->samples, look->sample_count, &look->sample_room, sizeof(*look->samples))) {
		free(name);
		return;
	}
	look->samples[look->sample_count++] = (struct sample){ name, strtod(value, NULL) };
}

static void read_count(void *context, char *line)
{
	struct look *look = context;
	char *path = strchr(line, ' ');

	if (look->id[0] == '\0') {
		if (sscanf(line, "snapshot %63s since %" SCNu64, look->id, &look->since) != 2)
			snprintf(look->id, sizeof(look->id), "?");
		return;
	}
	path = path ? strdup(path + 1) : NULL;
	if (!path || !grow(&look->counts, look->count, &look->count_room, sizeof(*look->counts))) {
		free(path);
		return;
	}
	look->counts[look->count++] = (struct count){ path, strtoull(line, NULL, 10), 0 };
}

static int take_look(FILE *stream, struct look *look)
{
	char command[32];

	snprintf(command, sizeof(command), "top %d", PATHS_ASKED);
	clock_gettime(CLOCK_MONOTONIC, &look->at);
	return loomctl_ask(stream, "status", read_status, &look->status) ||
	       loomctl_ask(stream, "metrics", read_sample, look) || loomctl_ask(stream, command, read_count, look);
}

/* The sum of all samples of this name that have this label (code="2xx"); label NULL: of all. */
static double sum(const struct look *look, const char *name, const char *label)
{
	size_t len = strlen(name);
	double total = 0;

	for (size_t i = 0; i < look->sample_count; i++) {
		const char *one = look->samples[i].name;

		if (strncmp(one, name, len) == 0 && (one[len] == '\0' || one[len] == '{') &&
		    (!label || strstr(one + len, label)))
			total += look->samples[i].value;
	}
	return total;
}

/* What has come to it between two looks. A server that was started anew counts from nothing. */
static double more(const struct look *now, const struct look *last, const char *name, const char *label)
{
	double value = sum(now, name, label), before = sum(last, name, label);

	return value >= before ? value - before : value;
}

/* Since the server was started, in seconds. */
static double age(const struct look *look)
{
	struct timespec real;
	double seconds;

	clock_gettime(CLOCK_REALTIME, &real);
	seconds = (double)real.tv_sec + (double)real.tv_nsec / 1e9 - sum(look, "process_start_time_seconds", NULL);
	return seconds > 0.001 ? seconds : 0.001;
}

static double seconds_between(const struct look *now, const struct look *last)
{
	if (!last->at.tv_sec)
		return age(now);
	return (double)(now->at.tv_sec - last->at.tv_sec) + (double)(now->at.tv_nsec - last->at.tv_nsec) / 1e9;
}

/* The quantile of a histogram's durations between two looks, in seconds; less than 0: there were none. */
static double quantile(const struct look *now, const struct look *last, const char *name, double q)
{
	double ends[BUCKETS_MAX], counts[BUCKETS_MAX], rank, below = 0, from = 0;
	size_t n = 0, len;
	char prefix[128];

	len = (size_t)snprintf(prefix, sizeof(prefix), "%s_bucket{le=\"", name);
	for (size_t i = 0; i < now->sample_count && n < BUCKETS_MAX; i++) {
		const char *one = now->samples[i].name;

		if (strncmp(one, prefix, len) != 0)
			continue;
		ends[n] = strtod(one + len, NULL); /* "+Inf" as well */
		counts[n++] = more(now, last, one, NULL);
	}
	if (n < 2 || counts[n - 1] == 0)
		return -1;
	rank = q * counts[n - 1];
	for (size_t i = 0; i + 1 < n; i++) {
		if (counts[i] >= rank)
			return from + (ends[i] - from) * (counts[i] > below ? (rank - below) / (counts[i] - below) : 1);
		below = counts[i];
		from = ends[i];
	}
	return from; /* at least */
}

/* A line of the picture; on a terminal none that there is no room for, and no more of it than its width. */
static __attribute__((format(printf, 2, 3))) void draw(struct canvas *canvas, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	if (canvas->rows == 0)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (canvas->terminal)
		printf("%.*s\033[K\n", (int)canvas->columns, line);
	else
		printf("%s\n", line);
	canvas->rows--;
}

static const char *bytes_text(double bytes, char text[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned i = 0;

	for (; bytes >= 1024 && i < 4; i++)
		bytes /= 1024;
	snprintf(text, 16, i == 0 ? "%.0f %s" : "%.1f %s", bytes, units[i]);
	return text;
}

static const char *time_text(double seconds, char text[16])
{
	if (seconds < 0)
		snprintf(text, 16, "-");
	else if (seconds < 0.001)
		snprintf(text, 16, "%.0f us", seconds * 1e6);
	else if (seconds < 1)
		snprintf(text, 16, "%.1f ms", seconds * 1e3);
	else if (seconds < 120)
		snprintf(text, 16, "%.0f s", seconds);
	else if (seconds < 7200)
		snprintf(text, 16, "%.0f min", seconds / 60);
	else
		snprintf(text, 16, "%.0f h", seconds / 3600);
	return text;
}

static void draw_server(struct canvas *canvas, const struct look *now, const struct look *last, double seconds)
{
	const struct status *status = &now->status;
	char old[16], sent[16], up[16];

	draw(canvas, "loom %s, %.*s, %s for %s; %s", status->version, (int)strcspn(status->backend, " ,"),
	     status->backend, status->state, time_text(age(now), up),
	     last->at.tv_sec ? "rates of the last second" : "means since the start");
	draw(canvas, "snapshot     %.*s, %s old, %.0f files%s", (int)strcspn(status->snapshot, ","), status->snapshot,
	     time_text(sum(now, "loom_snapshot_age_seconds", NULL), old), sum(now, "loom_snapshot_files", NULL),
	     strcmp(status->pinned, "yes") == 0 ? ", pinned" : "");
	draw(canvas, "requests     %.0f/s: 2xx %.0f, 3xx %.0f, 4xx %.0f, 5xx %.0f; %s/s",
	     more(now, last, "loom_http_requests_total", NULL) / seconds,
	     more(now, last, "loom_http_requests_total", "code=\"2xx\"") / seconds,
	     more(now, last, "loom_http_requests_total", "code=\"3xx\"") / seconds,
	     more(now, last, "loom_http_requests_total", "code=\"4xx\"") / seconds,
	     more(now, last, "loom_http_requests_total", "code=\"5xx\"") / seconds,
	     bytes_text(more(now, last, "loom_http_sent_bytes_total", NULL) / seconds, sent));
}

static void draw_durations(struct canvas *canvas, const struct look *now, const struct look *last, double seconds)
{
	static const char request[] = "loom_http_request_duration_seconds", turn[] = "loom_loop_turn_duration_seconds";
	char p50[16], p99[16], p999[16], slowest[16];

	draw(canvas, "latency      p50 %s, p99 %s, p99.9 %s; %.0f turns/s, p99 %s",
	     time_text(quantile(now, last, request, 0.5), p50), time_text(quantile(now, last, request, 0.99), p99),
	     time_text(quantile(now, last, request, 0.999), p999),
	     more(now, last, "loom_loop_turn_duration_seconds_count", NULL) / seconds,
	     time_text(quantile(now, last, turn, 0.99), slowest));
}

static void draw_connections(struct canvas *canvas, const struct look *now, const struct look *last, double seconds)
{
	draw(canvas,
	     "connections  %.0f of %.0f: idle %.0f, reading %.0f, sending %.0f, lingering %.0f; %.0f accepted/s",
	     sum(now, "loom_connections", NULL), sum(now, "loom_connections_max", NULL),
	     sum(now, "loom_connections", "state=\"idle\""), sum(now, "loom_connections", "state=\"reading\""),
	     sum(now, "loom_connections", "state=\"sending\""), sum(now, "loom_connections", "state=\"lingering\""),
	     more(now, last, "loom_connections_accepted_total", NULL) / seconds);
	draw(canvas,
	     "trouble      timeouts %.0f, unfinished %.0f, accept failures %.0f, full %.0f, log records dropped %.0f",
	     sum(now, "loom_http_timeouts_total", NULL), sum(now, "loom_http_unfinished_responses_total", NULL),
	     sum(now, "loom_accept_failures_total", NULL), sum(now, "loom_connections_exhausted_total", NULL),
	     sum(now, "loom_log_records_dropped_total", NULL));
}

static void draw_snapshots(struct canvas *canvas, const struct look *now)
{
	char held[16], limit[16], resident[16];

	draw(canvas, "memory       %s of %s for snapshots, resident %s; kept assets %.0f, served %.0f",
	     bytes_text(sum(now, "loom_memory_held_bytes", NULL), held),
	     bytes_text(sum(now, "loom_memory_max_bytes", NULL), limit),
	     bytes_text(sum(now, "process_resident_memory_bytes", NULL), resident),
	     sum(now, "loom_snapshot_kept_files", NULL), sum(now, "loom_http_kept_responses_total", NULL));
	draw(canvas, "reloads      live %.0f, same %.0f, refused %.0f, failed %.0f; last: %s",
	     sum(now, "loom_reloads_total", "result=\"live\""), sum(now, "loom_reloads_total", "result=\"same\""),
	     sum(now, "loom_reloads_total", "result=\"refused\""), sum(now, "loom_reloads_total", "result=\"failed\""),
	     now->status.reload);
}

/* A line each, as far as a third of the terminal goes. */
static void draw_workers(struct canvas *canvas, const struct look *now, const struct look *last, double seconds)
{
	unsigned workers = (unsigned)sum(now, "loom_workers", NULL),
		 most = canvas->terminal ? canvas->rows / 3 : workers;

	draw(canvas, "%s", "");
	draw(canvas, "worker  connections  accepted/s  requests/s  CPU");
	for (unsigned i = 0; i < workers && i < most; i++) {
		char label[32];

		snprintf(label, sizeof(label), "worker=\"%u\"", i);
		draw(canvas, "%6u %12.0f %11.0f %11.0f %3.0f%%", i, sum(now, "loom_worker_connections", label),
		     more(now, last, "loom_worker_accepted_total", label) / seconds,
		     more(now, last, "loom_worker_requests_total", label) / seconds,
		     100 * more(now, last, "loom_worker_cpu_seconds_total", label) / seconds);
	}
	if (workers > most)
		draw(canvas, "... and %u more", workers - most);
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

static uint64_t requests_before(const struct look *look, const char *path)
{
	const struct count key = { .path = (char *)(uintptr_t)path };
	const struct count *found = look->count ? bsearch(&key, look->counts, look->count, sizeof(key), by_path) : NULL;

	return found ? found->requests : 0;
}

/* Another snapshot counts anew, from its own beginning. */
static void draw_paths(struct canvas *canvas, struct look *now, const struct look *last, double seconds)
{
	bool same = last->at.tv_sec && last->since == now->since && strcmp(last->id, now->id) == 0;

	if (!same)
		seconds = (double)now->at.tv_sec + (double)now->at.tv_nsec / 1e9 - (double)now->since / 1000;
	if (seconds < 0.001)
		seconds = 0.001;
	for (size_t i = 0; i < now->count; i++) {
		struct count *count = &now->counts[i];
		uint64_t before = same ? requests_before(last, count->path) : 0;

		count->rate = count->requests > before ? (double)(count->requests - before) / seconds : 0;
	}
	if (now->count > 0)
		qsort(now->counts, now->count, sizeof(*now->counts), by_rate);
	draw(canvas, "%s", "");
	draw(canvas, "requests/s     requests  path");
	for (size_t i = 0; i < now->count && (canvas->terminal || i < PATHS_PLAIN); i++)
		draw(canvas, "%10.0f %12" PRIu64 "  %s", now->counts[i].rate, now->counts[i].requests,
		     now->counts[i].path);
	if (now->count > 0)
		qsort(now->counts, now->count, sizeof(*now->counts), by_path);
}

static void draw_all(struct look *now, const struct look *last, bool terminal)
{
	struct canvas canvas = { .terminal = terminal, .rows = terminal ? 23 : UINT32_MAX, .columns = 80 };
	double seconds = seconds_between(now, last);
	struct winsize size;

	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 && size.ws_col > 0) {
		canvas.rows = size.ws_row - 1U;
		canvas.columns = size.ws_col;
	}
	if (terminal)
		fputs("\033[H", stdout);
	draw_server(&canvas, now, last, seconds);
	draw_durations(&canvas, now, last, seconds);
	draw_connections(&canvas, now, last, seconds);
	draw_snapshots(&canvas, now);
	draw_workers(&canvas, now, last, seconds);
	draw_paths(&canvas, now, last, seconds);
	fputs(terminal ? "\033[J" : "\n", stdout);
	fflush(stdout);
}

int loomctl_top(FILE *stream, unsigned pictures, bool terminal)
{
	struct look last = { 0 };
	int status = 0;

	if (terminal)
		fputs("\033[H\033[2J", stdout);
	for (unsigned i = 0; pictures == 0 || i < pictures; i++) {
		struct look now = { 0 };

		if (i > 0)
			sleep(1);
		status = take_look(stream, &now);
		if (status == 0)
			draw_all(&now, &last, terminal);
		free_look(&last);
		last = now;
		if (status != 0 || ferror(stdout))
			break;
	}
	free_look(&last);
	return status;
}
