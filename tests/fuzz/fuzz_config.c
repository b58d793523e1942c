/*
 * fuzz_config.c - a configuration file (config.h, options.h). The input is the file.
 *
 * What must hold: nothing outside the file is read; headings, settings, their lines and the first line that is wrong
 * are those that a second, simple reading finds; options that are made of it are, written down by options_dump() and
 * read again, the same; and a complaint is one line that begins with the file's name.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loom/config.h"
#include "loom/options.h"

#define LEN_MAX 4096

/* The second reading: where it is in the file, and what comes next. */
struct expected {
	const char *at, *end;
	unsigned number;
	const char *name, *value;
	size_t name_len, value_len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void trim(const char **text, size_t *len)
{
	while (*len > 0 && is_blank(**text))
		(*text)++, (*len)--;
	while (*len > 0 && is_blank((*text)[*len - 1]))
		(*len)--;
}

static bool has_control(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
			return true;
	return false;
}

/* 1: a heading (value NULL) or a setting. 0: the end. -1: the line is wrong. */
static int next(struct expected *expected)
{
	while (expected->at < expected->end) {
		const char *line = expected->at, *stop = memchr(line, '\n', (size_t)(expected->end - line)), *sign;
		size_t len = (size_t)((stop ? stop : expected->end) - line);

		expected->at = stop ? stop + 1 : expected->end;
		expected->number++;
		if (len > 0 && line[len - 1] == '\r')
			len--;
		if (expected->number == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
			line += 3, len -= 3;
		trim(&line, &len);
		if (has_control(line, len) || (len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0))
			return -1;
		if (len == 0 || *line == '#' || *line == ';')
			continue;
		if (len > config_line_max())
			return -1;
		expected->name = line;
		expected->name_len = len;
		expected->value = NULL;
		if (*line == '[') {
			expected->name++;
			expected->name_len = len - 2;
			return memchr(line, ']', len) == line + len - 1 ? 1 : -1;
		}
		for (sign = line; sign < line + len && *sign != '=' && *sign != ':'; sign++)
			;
		if (sign == line || sign == line + len)
			return -1;
		expected->name_len = (size_t)(sign - line);
		trim(&expected->name, &expected->name_len);
		expected->value = sign + 1;
		expected->value_len = len - (size_t)(sign + 1 - line);
		trim(&expected->value, &expected->value_len);
		return 1;
	}
	return 0;
}

static bool is_same(const char *text, const char *bytes, size_t len)
{
	return strlen(text) == len && memcmp(text, bytes, len) == 0;
}

static int told(void *context, const struct config_line *line, char *why, size_t size)
{
	struct expected *expected = context;

	(void)why, (void)size;
	fuzz_require(next(expected) == 1, "line %u is told: %s", line->number, line->name);
	fuzz_require(line->number == expected->number, "line %u is told as %u", expected->number, line->number);
	fuzz_require(is_same(line->name, expected->name, expected->name_len), "line %u: the name %s", line->number,
	             line->name);
	fuzz_require(!line->value == !expected->value, "line %u: a heading or a setting", line->number);
	if (line->value)
		fuzz_require(is_same(line->value, expected->value, expected->value_len), "line %u: the value %s",
		             line->number, line->value);
	return 0;
}

static void read_twice(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(size ? data : (const uint8_t *)"", size ? size : 1), why[512] = "";
	struct expected expected = { .at = text, .end = text + size };
	unsigned number = 0;
	int err = config_parse(text, size, told, &expected, &number, why, sizeof(why)), end = next(&expected);

	fuzz_require(end == (err ? -1 : 0), "taken: %d (%s), expected: %d at line %u", err, why, end, expected.number);
	if (err) {
		fuzz_require(number == expected.number, "the error of line %u is told of line %u: %s", expected.number,
		             number, why);
		fuzz_require(*why && !strchr(why, '\n'), "not one line: %s", why);
	}
	free(text);
}

/* The options that the file in the descriptor makes. */
static enum options_action parse(struct options *options, int fd, char *path, size_t path_size, char *error,
                                 size_t size)
{
	static char name[] = "loom", option[] = "--config";
	char *argv[] = { name, option, path, NULL };

	snprintf(path, path_size, "/proc/self/fd/%d", fd);
	return options_parse(options, 3, argv, error, size);
}

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("loom.conf", MFD_CLOEXEC);

	fuzz_require(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "no file");
	return fd;
}

/* What a dump says, without the comments. */
static char *dump(const struct options *options, int *err)
{
	char *text = NULL, *to, error[512];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	fuzz_require(out != NULL, "no memory");
	*err = options_dump(options, out, error, sizeof(error));
	fclose(out);
	to = text;
	for (char *line = text, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		end += *end == '\n';
		if (*line != '#') {
			memmove(to, line, (size_t)(end - line));
			to += end - line;
		}
	}
	*to = '\0';
	return text;
}

static void make_options(const uint8_t *data, size_t size)
{
	struct options options, again;
	char path[64], error[1024];
	int fd = file_of(data, size), err;
	enum options_action action;
	char *text, *same;

	action = parse(&options, fd, path, sizeof(path), error, sizeof(error));
	close(fd);
	if (action == OPTIONS_ERROR) {
		fuzz_require(*error && !strchr(error, '\n'), "not one line: %s", error);
		fuzz_require(strncmp(error, path, strlen(path)) == 0, "not about the file: %s", error);
		fuzz_require(!options.store, "a store after an error");
		return;
	}
	fuzz_require(action == OPTIONS_RUN, "action %d", action);
	text = dump(&options, &err);
	if (!err) {
		fd = file_of(text, strlen(text));
		action = parse(&again, fd, path, sizeof(path), error, sizeof(error));
		close(fd);
		fuzz_require(action == OPTIONS_RUN, "what was dumped is refused: %s", error);
		same = dump(&again, &err);
		fuzz_require(!err && strcmp(text, same) == 0, "dumped %s and then %s", text, same);
		options_free(&again);
		free(same);
	}
	free(text);
	options_free(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > LEN_MAX)
		return 0;
	clearenv();
	read_twice(data, size);
	make_options(data, size);
	return 0;
}
