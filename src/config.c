/*
 * config.c - see config.h.
 *
 * inih takes a line at a time from a function, and gives each name and value to another one. Both are here, and share
 * one struct: the first counts lines, refuses what no line may hold, and takes away what builds of inih read
 * differently (indentation, which may continue the line before; a semicolon or a hash in a value, which may begin a
 * comment); the second passes on what it gets under the number of the line that is being read. A line that should
 * have led to a call, and has not, is malformed.
 */
#include "loom/config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define PIPE_MS         (10 * 1000) /* for whoever writes into a pipe */
#define COMMENTS        "#;"
#define BLANKS          " \t"
#define BYTE_ORDER_MARK "\xef\xbb\xbf"
#define NO_SEMICOLON    '\x01' /* in place of each ';' while inih has the line: no file may hold this byte */
#define NO_HASH         '\x02' /* of each '#', which some builds of inih take for a comment inside a line */

struct reading {
	const char *at, *end;
	unsigned number;
	bool owed;      /* the line at hand is a setting, and inih has not told it yet */
	char begin[32]; /* of that line, for what is said about it */
	int error;
	config_fn *tell;
	void *context;
	char *why;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static void refuse(struct reading *reading, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reading->why, reading->size, format, arguments);
	va_end(arguments);
	reading->error = -EINVAL;
}

static void swap(char *text, size_t len, char from, char to)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == from)
			text[i] = to;
}

/* The first byte that no line may hold, or NULL. */
static const char *bad_byte(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
			return &text[i];
	return NULL;
}

static bool has_mark(const char *line, size_t len)
{
	const size_t mark = sizeof(BYTE_ORDER_MARK) - 1;

	return len >= mark && memcmp(line, BYTE_ORDER_MARK, mark) == 0;
}

/* The next line of the file, without its end and the blanks around it. */
static bool cut_line(struct reading *reading, const char **line, size_t *len)
{
	const char *begin = reading->at, *end;

	if (begin == reading->end)
		return false;
	end = memchr(begin, '\n', (size_t)(reading->end - begin));
	reading->at = end ? end + 1 : reading->end;
	if (!end)
		end = reading->end;
	if (end > begin && end[-1] == '\r')
		end--;
	if (reading->number == 0 && has_mark(begin, (size_t)(end - begin)))
		begin += sizeof(BYTE_ORDER_MARK) - 1;
	while (begin < end && strchr(BLANKS, *begin) && *begin)
		begin++;
	while (begin < end && strchr(BLANKS, end[-1]) && end[-1])
		end--;
	reading->number++;
	*line = begin;
	*len = (size_t)(end - begin);
	return true;
}

static void check_bytes(struct reading *reading, const char *line, size_t len)
{
	const char *bad = bad_byte(line, len);

	if (bad && *bad == '\0')
		refuse(reading, "a NUL byte: this is no text file, or one in UTF-16 (save it as UTF-8)");
	else if (bad)
		refuse(reading, "a control byte (0x%02x), which no setting may hold", (unsigned char)*bad);
	else if (has_mark(line, len)) /* inih would take it from the first line that it sees */
		refuse(reading, "a byte order mark, which may be at the beginning of the file alone");
}

static void tell_heading(struct reading *reading, char *line, size_t len)
{
	const struct config_line heading = { .number = reading->number, .name = line + 1 };

	/* inih would pass over what follows the bracket. */
	if (strchr(line, ']') != line + len - 1) {
		refuse(reading, "a heading stands alone on its line, and in brackets: [Limits]");
		return;
	}
	line[len - 1] = '\0';
	reading->error = reading->tell(reading->context, &heading, reading->why, reading->size);
	line[len - 1] = ']';
}

/* The setting that was handed out last was none: neither '=' nor ':' is in it. */
static void check_owed(struct reading *reading)
{
	if (reading->owed && !reading->error)
		refuse(reading, "'%s' is neither a setting (name = value) nor a [heading] nor a #comment",
		       reading->begin);
	reading->owed = false;
}

/* For inih, like fgets(3): the next line that is a heading or a setting. NULL ends the reading. */
static char *next_line(char *out, int room, void *stream)
{
	struct reading *reading = stream;
	const char *line;
	size_t len;

	check_owed(reading);
	do {
		if (reading->error || !cut_line(reading, &line, &len))
			return NULL;
		check_bytes(reading, line, len);
	} while (reading->error || len == 0 || strchr(COMMENTS, *line));
	/* With its end, a line must leave a byte free: else inih would take it for the first piece of a longer one. */
	if (room < 3 || len > (size_t)room - 3) {
		refuse(reading, "longer than %d bytes", room - 3);
		return NULL;
	}
	memcpy(out, line, len);
	out[len] = '\0';
	if (*out == '[') {
		tell_heading(reading, out, len);
		if (reading->error)
			return NULL;
	} else {
		snprintf(reading->begin, sizeof(reading->begin), "%s", out);
		reading->owed = true;
	}
	swap(out, len, ';', NO_SEMICOLON);
	swap(out, len, '#', NO_HASH);
	memcpy(out + len, "\n", 2);
	return out;
}

/* For inih: a setting. Not 0 as long as all is well. */
static int on_setting(void *user, const char *section, const char *name, const char *value)
{
	struct reading *reading = user;
	struct config_line line = { .number = reading->number };
	char copy[INI_MAX_LINE > 4096 ? INI_MAX_LINE : 4096];
	size_t len = strlen(name), more = value ? strlen(value) : 0;

	(void)section;
	if (!value)
		return 1; /* a build of inih that takes names alone: the call stays owed */
	reading->owed = false;
	if (len == 0 || len + more + 2 > sizeof(copy)) {
		refuse(reading, len == 0 ? "a value without a name" : "too long");
		return 0;
	}
	memcpy(copy, name, len + 1);
	memcpy(copy + len + 1, value, more + 1);
	swap(copy, len + 1 + more, NO_SEMICOLON, ';');
	swap(copy, len + 1 + more, NO_HASH, '#');
	line.name = copy;
	line.value = copy + len + 1;
	reading->error = reading->tell(reading->context, &line, reading->why, reading->size);
	return !reading->error;
}

int config_parse(const char *text, size_t len, config_fn *tell, void *context, unsigned *number, char *why, size_t size)
{
	struct reading reading = {
		.at = text,
		.end = text + len,
		.tell = tell,
		.context = context,
		.why = why,
		.size = size,
	};
	int err = ini_parse_stream(next_line, &reading, on_setting, &reading);

	check_owed(&reading); /* of a build of inih that stops at its first error */
	*number = reading.number;
	if (reading.error)
		return reading.error;
	if (err == -2)
		return -ENOMEM;
	if (err != 0)
		refuse(&reading,
		       "inih does not take this file"); /* a build that is stricter than the ones that are known */
	return reading.error;
}

static char *note_room(char *out, int room, void *stream)
{
	(void)out;
	*(int *)stream = room;
	return NULL;
}

static int on_nothing(void *user, const char *section, const char *name, const char *value)
{
	(void)user, (void)section, (void)name, (void)value;
	return 1;
}

size_t config_line_max(void)
{
	int room = 0;

	ini_parse_stream(note_room, &room, on_nothing, NULL);
	return room > 3 ? (size_t)room - 3 : 0;
}

const char *config_unwritable(const char *name, const char *value)
{
	size_t len = strlen(value);

	if (len == 0)
		return "it is empty";
	if (strchr(BLANKS, value[0]) || strchr(BLANKS, value[len - 1]))
		return "blanks at its ends would be lost";
	if (bad_byte(value, len))
		return "it holds a control byte";
	if (strlen(name) + strlen(" = ") + len > config_line_max())
		return "it is too long for a line";
	return NULL;
}

static int complain(const char *path, int err, const char *what, char *why, size_t size)
{
	snprintf(why, size, "cannot read the configuration %s: %s", path, what ? what : strerror(-err));
	return err;
}

/* What the name leads to, opened without waiting for anybody. A descriptor, or -errno with why. */
static int open_file(const char *path, bool *is_pipe, char *why, size_t size)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), err = 0;
	const char *what = NULL;
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return complain(path, -errno, NULL, why, size);
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0) {
		err = -errno;
	} else if (S_ISDIR(st.st_mode)) {
		err = -EISDIR;
	} else if (S_ISFIFO(st.st_mode)) {
		*is_pipe = true;
		/* One that nobody writes into reads as an empty file, which would be the defaults. */
		if (fs.f_type != PIPEFS_MAGIC)
			err = -EINVAL, what = "it is a FIFO (name a file, or a pipe: <(command) or /dev/stdin)";
	} else if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) {
		err = -EINVAL, what = "it is no file";
	}
	if (!err)
		return fd;
	close(fd);
	return complain(path, err, what, why, size);
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads up to the end, or until the room is full. The number of bytes, or -errno. */
static ssize_t read_all(int fd, char *text, size_t room)
{
	long deadline = milliseconds() + PIPE_MS;
	size_t len = 0;

	while (len < room) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		ssize_t n = read(fd, text + len, room - len);

		if (n == 0)
			break;
		if (n > 0) {
			len += (size_t)n;
		} else if (errno == EAGAIN) {
			long left = deadline - milliseconds();

			if (left <= 0)
				return -ETIMEDOUT;
			poll(&poll_fd, 1, (int)left);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return (ssize_t)len;
}

int config_load(const char *path, char **out, size_t *out_len, bool *is_pipe, char *why, size_t size)
{
	int fd;
	char *text;
	ssize_t len;

	*is_pipe = false;
	fd = open_file(path, is_pipe, why, size);
	if (fd < 0)
		return fd;
	text = malloc(CONFIG_SIZE_MAX + 1);
	len = text ? read_all(fd, text, CONFIG_SIZE_MAX + 1) : -ENOMEM;
	close(fd);
	if (len >= 0 && len <= CONFIG_SIZE_MAX && !(len == 0 && *is_pipe)) {
		*out = text;
		*out_len = (size_t)len;
		return 0;
	}
	free(text);
	if (len > CONFIG_SIZE_MAX)
		return complain(path, -EFBIG, "it has more than 1M", why, size);
	if (len == 0)
		return complain(path, -ENODATA, "the pipe is empty (did the command that writes into it fail?)", why,
		                size);
	if (len == -ETIMEDOUT)
		return complain(path, -ETIMEDOUT, "whoever writes into the pipe does not come to an end", why, size);
	return complain(path, (int)len, NULL, why, size);
}
