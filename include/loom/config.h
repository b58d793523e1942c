/*
 * config.h - a configuration file: from its bytes to headings and settings, each with the number of its line. What
 * the names and values mean is options.h's business. Main thread, before any other exists; no state between two
 * calls.
 *
 * The format is INI, as inih reads it, narrowed to what reads the same with every build of that library (man page:
 * loom.conf.5):
 *   - a line is blank, a comment ('#' or ';' is its first character), a [heading], or "name = value" (or "name:
 *     value");
 *   - blanks around names and values do not count, and neither does indentation: no line continues another;
 *   - '#' and ';' inside a value are part of it: a comment has a line of its own;
 *   - a UTF-8 byte order mark at the beginning and a carriage return at the end of a line are passed over;
 *   - control bytes other than the tab, NUL among them, and lines longer than config_line_max() are errors.
 */
#ifndef LOOM_CONFIG_H
#define LOOM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_SIZE_MAX (1024 * 1024) /* bytes of a file */

struct config_line {
	unsigned number;   /* from 1 */
	const char *name;  /* of the setting, not empty; or what stands between the brackets of a heading */
	const char *value; /* perhaps empty; NULL: a heading */
};

/*
 * Called for each heading and setting, in their order; the strings are valid during the call. 0, or -EINVAL with why.
 */
typedef int config_fn(void *context, const struct config_line *line, char *why, size_t size);

/*
 * Reads len bytes. 0; or the error of the first line that is wrong: -EINVAL with its number in *number and one line
 * in why, or -ENOMEM. Nothing is told after an error.
 */
int config_parse(const char *text, size_t len, config_fn *tell, void *context, unsigned *number, char *why,
                 size_t size);

/*
 * The whole content of a file; free(3) it. Regular files, /dev/null, and pipes that the caller has inherited or the
 * shell has made (<(command), /dev/stdin), which get ten seconds to come to their end. A FIFO by its name, a
 * directory, a socket and a file of more than CONFIG_SIZE_MAX bytes are refused; nothing blocks on what it opens.
 * *is_pipe: it cannot be read again, and lies in no directory. 0, or -errno with one line in why.
 */
int config_load(const char *path, char **text, size_t *len, bool *is_pipe, char *why, size_t size);

/* The longest line in bytes that the library takes, without its end. */
size_t config_line_max(void);

/*
 * Whether "name = value" can be a line and is read back as the same value; if not, why not, as a clause. NULL: it
 * can.
 */
const char *config_unwritable(const char *name, const char *value);

#endif
