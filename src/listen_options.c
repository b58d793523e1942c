/*
 * listen_options.c - what stands behind an address in a value of --listen, and what of it the kernel is told. Main
 * thread; owns nothing.
 */
#include "listen_address.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "loom/units.h"

#define BACKLOG_MAX   (1024 * 1024)
#define FAST_OPEN_MAX (64 * 1024)
#define DEFER_MAX     (60 * 60) /* seconds */

#define FAST_OPEN_CONTROL  "/proc/sys/net/ipv4/tcp_fastopen"
#define CONGESTION_DEFAULT "/proc/sys/net/ipv4/tcp_congestion_control"
#define CONGESTION_CONTROL "/proc/sys/net/ipv4/tcp_available_congestion_control"

static const char *const names[] = {
	[LISTEN_BACKLOG] = "backlog",     [LISTEN_NO_DELAY] = "nodelay",      [LISTEN_DEFER_ACCEPT] = "defer-accept",
	[LISTEN_FAST_OPEN] = "fast-open", [LISTEN_CONGESTION] = "congestion", [LISTEN_MODE] = "mode",
	[LISTEN_PROXY] = "proxy",
};
#define NAMES (sizeof(names) / sizeof(names[0]))

/* Those that have no meaning for a Unix socket. */
static const uint32_t of_tcp = 1 << LISTEN_NO_DELAY | 1 << LISTEN_DEFER_ACCEPT | 1 << LISTEN_FAST_OPEN |
                               1 << LISTEN_CONGESTION;

static int parse_switch(const char *name, const char *value, bool *on, char *why, size_t size)
{
	*on = strcmp(value, "on") == 0;
	if (!*on && strcmp(value, "off") != 0)
		return listen_explain(why, size, "%s=%s: it is on or off", name, value);
	return 0;
}

static int parse_number(const char *name, const char *value, unsigned most, int *number, char *why, size_t size)
{
	const char *end;
	uint64_t n;

	if (units_number(value, &end, &n) < 0 || *end != '\0' || n < 1 || n > most)
		return listen_explain(why, size, "%s=%s: it is a number from 1 to %u", name, value, most);
	*number = (int)n;
	return 0;
}

/* The kernel counts in seconds, and rounds up to the retransmissions of a SYN-ACK (tcp(7)). */
static int parse_defer(const char *name, const char *value, int *seconds, char *why, size_t size)
{
	int64_t ms = units_duration(value);

	if (ms < 1000 || ms % 1000 != 0 || ms / 1000 > DEFER_MAX)
		return listen_explain(why, size, "%s=%s: it is whole seconds, from 1s to 1h", name, value);
	*seconds = (int)(ms / 1000);
	return 0;
}

static int parse_congestion(const char *name, const char *value, char *out, char *why, size_t size)
{
	size_t len = strlen(value);

	if (len == 0 || len >= LISTEN_CONGESTION_MAX)
		return listen_explain(why, size, "%s=%s: it is a name like cubic or bbr, of at most %d bytes", name,
		                      value, LISTEN_CONGESTION_MAX - 1);
	memcpy(out, value, len + 1);
	return 0;
}

static int parse_mode(const char *name, const char *value, mode_t *mode, char *why, size_t size)
{
	size_t len = strlen(value);
	mode_t bits = 0;

	for (const char *at = value; *at >= '0' && *at <= '7' && at < value + 4; at++, len--)
		bits = bits * 8 + (mode_t)(*at - '0');
	if (*value == '\0' || len > 0 || bits > 0777)
		return listen_explain(why, size, "%s=%s: it is octal, as in 0660", name, value);
	*mode = bits;
	return 0;
}

static int parse_one(struct listen_options *options, enum listen_option option, const char *value, char *why,
                     size_t size)
{
	const char *name = names[option];

	switch (option) {
	case LISTEN_BACKLOG:
		return parse_number(name, value, BACKLOG_MAX, &options->backlog, why, size);
	case LISTEN_NO_DELAY:
		return parse_switch(name, value, &options->no_delay, why, size);
	case LISTEN_DEFER_ACCEPT:
		return parse_defer(name, value, &options->defer_accept, why, size);
	case LISTEN_FAST_OPEN:
		return parse_number(name, value, FAST_OPEN_MAX, &options->fast_open, why, size);
	case LISTEN_CONGESTION:
		return parse_congestion(name, value, options->congestion, why, size);
	case LISTEN_MODE:
		return parse_mode(name, value, &options->mode, why, size);
	case LISTEN_PROXY:
		return parse_switch(name, value, &options->proxy, why, size);
	}
	return -EINVAL;
}

/* What of the options has no meaning for such a listener; of a passed one it is known when it is looked at. */
static int check_kind(const struct listen_address *address, const char *text, char *why, size_t size)
{
	uint32_t given = address->options.given;
	bool internet = address->addr.ss_family == AF_INET || address->addr.ss_family == AF_INET6;

	if (given & 1 << LISTEN_MODE && internet)
		return listen_explain(why, size, "'%s': mode is for the file of a Unix socket, which this is not",
		                      text);
	if (given & 1 << LISTEN_MODE && address->source != LISTEN_OWN)
		return listen_explain(why, size,
		                      "'%s': mode is decided by who opens the socket (SocketMode= in a socket unit)",
		                      text);
	return address_is_unix(address) ? listen_check_local(address, text, why, size) : 0;
}

int listen_check_local(const struct listen_address *address, const char *text, char *why, size_t size)
{
	for (size_t i = 0; i < NAMES; i++)
		if (address->options.given & of_tcp & 1u << i)
			return listen_explain(why, size, "'%s': %s is for TCP, and this is a Unix socket", text,
			                      names[i]);
	return 0;
}

/* "fd:3" and "systemd:NAME"; 1: it is neither. */
static int parse_passed(const char *text, struct listen_address *address, char *why, size_t size)
{
	const char *end;
	uint64_t number;

	if (strncmp(text, "fd:", 3) == 0) {
		if (units_number(text + 3, &end, &number) < 0 || *end != '\0' || number < 3 || number > INT_MAX)
			return listen_explain(why, size, "'%s': it is a descriptor from 3 up (as in fd:3)", text);
		address->source = LISTEN_DESCRIPTOR;
		address->descriptor = (int)number;
	} else if (strncmp(text, "systemd:", 8) == 0) {
		size_t len = strlen(text + 8);

		if (len == 0 || len >= sizeof(address->name) || strchr(text + 8, ':'))
			return listen_explain(
				why, size,
				"'%s' lacks the name of a socket (FileDescriptorName= in its unit, or * for "
				"all)",
				text);
		address->source = LISTEN_SYSTEMD;
		memcpy(address->name, text + 8, len + 1);
	} else {
		return 1;
	}
	snprintf(address->text, sizeof(address->text), "%.*s", (int)sizeof(address->text) - 1, text);
	return 0;
}

/* One "name=value". */
static int parse_option(struct listen_options *options, char *one, char *why, size_t size)
{
	char *value = strchr(one, '=');
	size_t i;

	if (value)
		*value++ = '\0';
	for (i = 0; i < NAMES; i++)
		if (strcmp(one, names[i]) == 0)
			break;
	if (i == NAMES)
		return listen_explain(why, size,
		                      "'%s' is no option of a listener (backlog, nodelay, defer-accept, fast-open, "
		                      "congestion, mode, proxy)",
		                      one);
	if (!value || *value == '\0')
		return listen_explain(why, size, "%s lacks its value (%s=...)", one, one);
	if (options->given & 1u << i)
		return listen_explain(why, size, "%s is given twice", one);
	options->given |= 1u << i;
	return parse_one(options, (enum listen_option)i, value, why, size);
}

int listen_parse_value(const char *text, struct listen_address *address, char *why, size_t size)
{
	struct listen_options options = { .no_delay = true };
	char copy[512], reason[256];
	char *rest = copy, *one;
	int err;

	if (strlen(text) >= sizeof(copy))
		return listen_explain(why, size, "'%.40s...' is too long for an address", text);
	strcpy(copy, text);
	one = strsep(&rest, ",");
	*address = (struct listen_address){ 0 };
	err = parse_passed(one, address, why, size);
	if (err > 0)
		err = listen_parse(one, address, why, size);
	if (err)
		return err;
	while ((one = strsep(&rest, ",")) != NULL)
		if (parse_option(&options, one, reason, sizeof(reason)) < 0)
			return listen_explain(why, size, "'%s': %s", text, reason);
	address->options = options;
	return check_kind(address, text, why, size);
}

bool listen_is_option(const char *text)
{
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyz-")] == '=';
}

/* The first line of a small file; "" when it cannot be read. */
static void read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");

	*line = '\0';
	if (!file)
		return;
	if (!fgets(line, (int)size, file))
		*line = '\0';
	line[strcspn(line, "\n")] = '\0';
	fclose(file);
}

static int refuse_option(const struct listen_address *address, const char *option, int error, char *why, size_t size)
{
	struct address_name name;

	address_name(address, &name);
	listen_explain(why, size, "cannot listen on %s with %s: %s", name.text, option, strerror(-error));
	return error;
}

static int tune_congestion(const struct listen_address *address, int fd, char *why, size_t size)
{
	const char *name = address->options.congestion;
	char there[256], option[64];
	int error;

	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0)
		return 0;
	error = -errno;
	snprintf(option, sizeof(option), "congestion=%s", name);
	if (error != -ENOENT)
		return refuse_option(address, option, error, why, size);
	read_line(CONGESTION_CONTROL, there, sizeof(there));
	listen_explain(why, size, "%s: this kernel has not got it (it has: %s; modprobe tcp_%s may bring it)", option,
	               *there ? there : "see net.ipv4.tcp_available_congestion_control", name);
	return error;
}

/* The kernel takes the option, and does without, unless the server's half is turned on for the whole machine. */
static int tune_fast_open(const struct listen_address *address, int fd, char *why, size_t size)
{
	int queue = address->options.fast_open;
	char line[32];
	unsigned mask;

	read_line(FAST_OPEN_CONTROL, line, sizeof(line));
	if (sscanf(line, "%u", &mask) == 1 && !(mask & 2)) {
		listen_explain(why, size,
		               "fast-open=%d: net.ipv4.tcp_fastopen is %u, which leaves it off for servers (sysctl -w "
		               "net.ipv4.tcp_fastopen=%u)",
		               queue, mask, mask | 2);
		return -EOPNOTSUPP;
	}
	if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)) < 0)
		return refuse_option(address, "fast-open", -errno, why, size);
	return 0;
}

/* What the system has for those that nobody chooses otherwise. Whoever may not read it may leave it. */
static void untune_congestion(int fd)
{
	char is[LISTEN_CONGESTION_MAX + 1] = "", usual[LISTEN_CONGESTION_MAX + 1];
	socklen_t len = LISTEN_CONGESTION_MAX;

	read_line(CONGESTION_DEFAULT, usual, sizeof(usual));
	if (*usual && getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, is, &len) == 0 && strcmp(is, usual) != 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, usual, (socklen_t)strlen(usual));
}

void listen_untune(const struct listen_address *address, int fd)
{
	const struct listen_options *options = &address->options;
	const int none = 0;

	if (address_is_unix(address) || address->source != LISTEN_OWN)
		return;
	/* Nothing here can fail for a socket that listens; and where it does, it stays as it was. */
	if (!options->defer_accept)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &none, sizeof(none));
	if (!options->fast_open)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &none, sizeof(none));
	if (!*options->congestion)
		untune_congestion(fd);
}

int listen_tune(const struct listen_address *address, int fd, char *why, size_t size)
{
	const struct listen_options *options = &address->options;
	const int no_delay = options->no_delay;
	int err;

	if (address_is_unix(address))
		return 0;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof(no_delay)) < 0)
		return refuse_option(address, "nodelay", -errno, why, size);
	if (options->defer_accept &&
	    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &options->defer_accept, sizeof(options->defer_accept)) < 0)
		return refuse_option(address, "defer-accept", -errno, why, size);
	err = options->fast_open ? tune_fast_open(address, fd, why, size) : 0;
	if (!err && *options->congestion)
		err = tune_congestion(address, fd, why, size);
	return err;
}
