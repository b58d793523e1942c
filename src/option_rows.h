/*
 * option_rows.h - the table of options: the one place where an option is added. Included by options.c alone, which
 * makes getopt_long(3), the environment, the defaults and --help from it.
 */
#ifndef LOOM_OPTION_ROWS_H
#define LOOM_OPTION_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"

#define WORKERS_MAX     1024
#define CONNECTIONS_MAX (1000 * 1000)
#define HOUR            (60 * 60 * 1000) /* ms */

struct complaint;
struct row;
typedef int set_fn(const struct row *row, struct options *options, const char *text, struct complaint *complaint);

struct row {
	const char *group;    /* its first option: the heading in --help */
	const char *name;     /* without dashes */
	char letter;          /* 0: none */
	const char *argument; /* as --help shows it; NULL: a flag */
	const char *standard; /* the default, read like a given value; NULL: none, or found out later */
	const char *rival;    /* the option that cannot be given together with this one */
	set_fn *set;          /* NULL: not a setting (--help, --version), so not in the environment either */
	size_t offset; /* into struct options; with flag and bounds, for the setters that serve several options */
	int flag;
	uint32_t min;
	uint32_t max;
	const char *help;
};

static set_fn set_backend, set_duration, set_index, set_listen, set_connections, set_memory, set_port, set_switch,
	set_symlinks, set_verbosity, set_workers;

#define FIELD(field) .offset = offsetof(struct options, field)

static const struct row rows[] = {
	{ .group = "Addresses",
	  .name = "listen",
	  .letter = 'l',
	  .argument = "ADDR",
	  .rival = "port",
	  .set = set_listen,
	  .help = "listen on [::]:8080 (IPv4 too), 127.0.0.1:8080, :8080\n"
	          "or unix:/path; may be repeated, port 0 picks one;\ndefault [::]:8080" },
	{ .name = "port",
	  .letter = 'p',
	  .argument = "N",
	  .rival = "listen",
	  .set = set_port,
	  .max = 65535,
	  .help = "the port of the default address" },

	{ .group = "Event loops",
	  .name = "backend",
	  .argument = "auto|io_uring|epoll",
	  .standard = "auto",
	  .set = set_backend,
	  .help = "how to talk to the kernel; auto takes the best that works" },
	{ .name = "workers",
	  .letter = 'w',
	  .argument = "N|auto",
	  .standard = "auto",
	  .set = set_workers,
	  .min = 1,
	  .max = WORKERS_MAX,
	  .help = "threads; auto is one for each CPU that loom may use" },

	{ .group = "Limits",
	  .name = "keepalive-timeout",
	  .argument = "DURATION",
	  .standard = "5s",
	  .set = set_duration,
	  FIELD(timeouts.keepalive),
	  .min = 1,
	  .max = 24 * HOUR,
	  .help = "idle time between two requests" },
	{ .name = "header-timeout",
	  .argument = "DURATION",
	  .standard = "10s",
	  .set = set_duration,
	  FIELD(timeouts.header),
	  .min = 1,
	  .max = 24 * HOUR,
	  .help = "for a whole request to arrive" },
	{ .name = "send-timeout",
	  .argument = "DURATION",
	  .standard = "30s",
	  .set = set_duration,
	  FIELD(timeouts.send),
	  .min = 1,
	  .max = 24 * HOUR,
	  .help = "for a response that makes no progress" },
	{ .name = "max-connections",
	  .argument = "N",
	  .set = set_connections,
	  .min = 1,
	  .max = CONNECTIONS_MAX,
	  .help = "at a time, in all; default from the descriptor limit" },
	{ .name = "max-memory",
	  .argument = "SIZE",
	  .standard = "512M",
	  .set = set_memory,
	  .help = "for what is served" },

	{ .group = "Files",
	  .name = "index",
	  .argument = "NAME",
	  .standard = "index.html",
	  .set = set_index,
	  .help = "the file that answers for its directory" },
	{ .name = "hidden",
	  .set = set_switch,
	  FIELD(hidden),
	  .flag = true,
	  .help = "serve names that begin with a dot (.well-known always is)" },
	{ .name = "symlinks",
	  .argument = "contain|follow|deny",
	  .standard = "contain",
	  .set = set_symlinks,
	  .help = "follow links inside ROOT only, anywhere, or never" },

	{ .group = "Reloading and ending",
	  .name = "settle",
	  .argument = "DURATION",
	  .standard = "500ms",
	  .set = set_duration,
	  FIELD(settle),
	  .max = HOUR,
	  .help = "quiet time before changed files are taken up" },
	{ .name = "no-watch",
	  .set = set_switch,
	  FIELD(watch),
	  .flag = false,
	  .help = "do not watch the files; SIGHUP reads them again" },
	{ .name = "grace",
	  .argument = "DURATION",
	  .standard = "10s",
	  .set = set_duration,
	  FIELD(timeouts.grace),
	  .max = 24 * HOUR,
	  .help = "for responses in flight to finish after SIGTERM" },

	{ .group = "Messages",
	  .name = "verbose",
	  .letter = 'v',
	  .rival = "quiet",
	  .set = set_verbosity,
	  .flag = 1,
	  .help = "say more" },
	{ .name = "quiet",
	  .letter = 'q',
	  .rival = "verbose",
	  .set = set_verbosity,
	  .flag = -1,
	  .help = "say only what is wrong" },
	{ .name = "version", .help = "print versions, and what this kernel offers" },
	{ .name = "help", .letter = 'h', .help = "print this" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

#endif
