/*
 * listeners.c - see listeners.h. The main thread, at start and at the end; it owns the descriptors until the workers,
 * which close them, have begun.
 */
#include "loom/listeners.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "loom/log.h"

#define WHY_SIZE 512

/* Says what is wrong with a value of --listen. Returns err. */
static int complain(const struct options *options, unsigned value, int err, const char *why)
{
	char origin[512] = "";

	/* An address that is in use is told as it always was; of a passed one the option is what can be mended. */
	if (err != -EADDRINUSE && options->store)
		options_origin(options, "listen", value, origin, sizeof(origin));
	log_error("%s%s%s", origin, *origin ? ": " : "", why);
	return err;
}

static int next_slot(const struct listeners *listeners)
{
	if (listeners->n < OPTIONS_LISTEN_MAX)
		return 0;
	log_error("too many sockets to listen on (at most %d)", OPTIONS_LISTEN_MAX);
	return -E2BIG;
}

static int adopt(struct listeners *listeners, const struct listen_address *like, int fd, char *why, size_t size)
{
	struct listen_address *address = &listeners->address[listeners->n];
	int err;

	*address = *like;
	for (unsigned i = 0; i < listeners->n; i++) {
		if (listeners->fds[i][0] == fd) {
			snprintf(why, size, "%s: descriptor %d is listened on already", like->text, fd);
			return -EINVAL;
		}
	}
	err = listen_take_over(address, &fd, 1, listeners->fds[listeners->n], listeners->workers, why, size);
	if (err == 0)
		listeners->n++;
	return err;
}

/* What systemd has passed, for people. */
static void name_passed(const struct listen_passed passed[], unsigned n, char *text, size_t size)
{
	size_t used = 0;

	*text = '\0';
	for (unsigned i = 0; i < n && used + 1 < size; i++) {
		int len = snprintf(text + used, size - used, "%s%s", i ? ", " : "", passed[i].name);

		used += len > 0 ? (size_t)len : 0;
	}
}

static int adopt_named(struct listeners *listeners, const struct listen_address *like, struct listen_passed passed[],
                       unsigned n, char *why, size_t size)
{
	unsigned found = 0;
	char names[256];
	int err;

	for (unsigned i = 0; i < n; i++) {
		if (strcmp(like->name, "*") != 0 && strcmp(like->name, passed[i].name) != 0)
			continue;
		err = next_slot(listeners);
		if (err) {
			*why = '\0';
			return err;
		}
		err = adopt(listeners, like, passed[i].fd, why, size);
		if (err)
			return err;
		passed[i].taken = true;
		found++;
	}
	if (found)
		return 0;
	name_passed(passed, n, names, sizeof(names));
	if (n == 0)
		snprintf(why, size,
		         "%s: no socket was passed (LISTEN_FDS is not set for this process: start loom by its "
		         "socket unit)",
		         like->text);
	else
		snprintf(why, size, "%s: no socket of that name was passed, but: %s (see FileDescriptorName=)",
		         like->text, names);
	return -ENOENT;
}

static int bind_one(struct listeners *listeners, const char *text, struct listen_passed passed[], unsigned n, char *why,
                    size_t size)
{
	struct listen_address *address = &listeners->address[listeners->n], like;
	int err = listen_parse_value(text, &like, why, size);

	if (err < 0)
		return err;
	switch (like.source) {
	case LISTEN_OWN:
		*address = like;
		err = listen_bind(address, listeners->fds[listeners->n], listeners->workers, why, size);
		if (err == 0)
			listeners->n++;
		return err;
	case LISTEN_DESCRIPTOR:
		return adopt(listeners, &like, like.descriptor, why, size);
	case LISTEN_SYSTEMD:
		return adopt_named(listeners, &like, passed, n, why, size);
	}
	return -EINVAL;
}

/* A socket that nobody takes holds its clients in a backlog that nobody looks at. */
static void warn_of_the_others(const struct listeners *listeners, const struct listen_passed passed[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool taken = passed[i].taken;

		for (unsigned j = 0; j < listeners->n; j++)
			taken |= listeners->fds[j][0] == passed[i].fd;
		if (!taken)
			log_warn(
				"the socket '%s' was passed (descriptor %d), and no --listen takes it: its clients wait in "
				"vain (--listen systemd:%s)",
				passed[i].name, passed[i].fd, passed[i].name);
	}
}

int listeners_bind(struct listeners *listeners, const struct options *options)
{
	struct listen_passed passed[LISTEN_PASSED_MAX];
	char why[WHY_SIZE];
	int n, err;

	assert(options->workers <= LISTENERS_WORKERS_MAX);
	listeners->workers = options->workers;
	n = listen_passed(passed, why, sizeof(why));
	if (n < 0) {
		log_error("%s", why);
		return n;
	}
	for (unsigned i = 0; i < options->listens; i++) {
		err = next_slot(listeners);
		if (err)
			return err;
		err = bind_one(listeners, options->listen[i], passed, (unsigned)n, why, sizeof(why));
		if (err)
			return *why ? complain(options, i, err, why) : err;
	}
	warn_of_the_others(listeners, passed, (unsigned)n);
	return 0;
}

int listeners_start(struct listeners *listeners)
{
	char why[WHY_SIZE];

	for (unsigned i = 0; i < listeners->n; i++) {
		int err = listen_start(&listeners->address[i], listeners->fds[i], listeners->workers, why, sizeof(why));

		if (err < 0) {
			log_error("%s", why);
			return err;
		}
	}
	return 0;
}

void listeners_log(const struct listeners *listeners)
{
	for (unsigned i = 0; i < listeners->n; i++) {
		const struct listen_address *address = &listeners->address[i];
		char from[300] = "";

		if (address->source == LISTEN_DESCRIPTOR)
			snprintf(from, sizeof(from), ", descriptor %d", address->descriptor);
		else if (address->source == LISTEN_SYSTEMD)
			snprintf(from, sizeof(from), ", from systemd");
		log_info("listening on %s%s%s", address->text, from, address->options.proxy ? ", PROXY protocol" : "");
	}
}

void listeners_cleanup(const struct listeners *listeners)
{
	for (unsigned i = 0; i < listeners->n; i++)
		listen_cleanup(&listeners->address[i]);
}

void listeners_close(struct listeners *listeners)
{
	listeners_cleanup(listeners);
	for (unsigned i = 0; i < listeners->n; i++)
		for (unsigned w = 0; w < listeners->workers; w++)
			close(listeners->fds[i][w]);
	listeners->n = 0;
}
