/*
 * select.c - the backends of this binary, and the choice between them: by name, or the best that works here. On the
 * main thread, at start. No other file knows that there are several.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "backends.h"

const struct io_ops *const io_backends[] = {
#ifdef HAVE_LIBURING
	&io_uring_ops,
#endif
	&io_epoll_ops,
	NULL,
};

/* Lines are cut where they would overflow; so are what is put into them. */
#define WHY_MAX 400

/* Appends to a line. */
__attribute__((format(printf, 3, 4))) static void line_add(char *text, size_t size, const char *format, ...)
{
	size_t len = strnlen(text, size);
	va_list args;

	if (len >= size)
		return;
	va_start(args, format);
	vsnprintf(text + len, size - len, format, args);
	va_end(args);
}

static int select_named(const char *name, const struct features *features, const struct io_ops **ops, char *why,
                        size_t size)
{
	char reason[WHY_MAX] = "";
	int ret;

	for (unsigned i = 0; io_backends[i]; i++) {
		if (strcmp(io_backends[i]->name, name) != 0)
			continue;
		ret = io_backends[i]->probe(features, reason, sizeof(reason));
		if (ret == -IO_EFEATURE) {
			snprintf(why, size, "%s", reason);
			return ret;
		}
		if (ret) {
			snprintf(why, size, "%s; or choose another with --backend=auto", reason);
			return ret;
		}
		*ops = io_backends[i];
		snprintf(why, size, "%s, as asked for", name);
		return 0;
	}
#ifndef HAVE_LIBURING
	if (strcmp(name, "io_uring") == 0) {
		snprintf(why, size,
		         "this loom was built without liburing and has no io_uring: "
		         "build it with liburing 2.3 or newer, or use --backend=epoll");
		return -ENOENT;
	}
#endif
	snprintf(why, size, "there is no backend '%s': use auto", name);
	for (unsigned i = 0; io_backends[i]; i++)
		line_add(why, size, "%s%s", io_backends[i + 1] ? ", " : " or ", io_backends[i]->name);
	return -ENOENT;
}

int io_select(const char *name, const struct features *features, const struct io_ops **ops, char *why, size_t size)
{
	char reasons[WHY_MAX] = "";
	int ret = -ENOENT;

	if (strcmp(name, "auto") != 0)
		return select_named(name, features, ops, why, size);
#ifndef HAVE_LIBURING
	line_add(reasons, sizeof(reasons), "; built without liburing, so without io_uring");
#endif
	for (unsigned i = 0; io_backends[i]; i++) {
		char reason[WHY_MAX] = "";

		ret = io_backends[i]->probe(features, reason, sizeof(reason));
		if (ret == -IO_EFEATURE) {
			snprintf(why, size, "%s", reason);
			return ret;
		}
		if (ret == 0) {
			*ops = io_backends[i];
			snprintf(why, size, "%s%s", io_backends[i]->name, *reasons ? reasons : ", which works here");
			return 0;
		}
		line_add(reasons, sizeof(reasons), "; %s", reason);
	}
	snprintf(why, size, "no backend works here%s", reasons);
	return ret;
}

void io_versions(char *text, size_t size)
{
	const struct io_config config = { .conns = 1, .listeners = 1 };
	struct utsname os = { .release = "?" };

	uname(&os);
	*text = '\0';
#ifdef HAVE_LIBURING
	line_add(text, size, "liburing %s; ", io_uring_library);
#else
	line_add(text, size, "no liburing; ");
#endif
	line_add(text, size, "Linux %s offers", os.release);
	for (unsigned i = 0; io_backends[i]; i++) {
		char line[WHY_MAX] = "";
		struct io *io;
		bool works = io_create(io_backends[i], &io, &config, line, sizeof(line)) == 0;

		if (works) {
			io_describe(io, line, sizeof(line));
			io_destroy(io);
		}
		line_add(text, size, "%s %s%s (%s)", i ? "," : "", works ? "" : "no ", io_backends[i]->name, line);
	}
}
