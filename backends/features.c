/*
 * features.c - see features.h. Pure; any thread; owns nothing.
 */
#include "loom/features.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* As io.h has it: the most bytes of one IO_RECV, which a buffer lends at once. */
#define BUF_SIZE_MAX (16 * 1024)

/* Memory that is this large in one piece is a snapshot's, and stays as long as it is pinned: io.h, IO_LENT_MIN. */
#define ZC_MIN (16 * 1024)

/* As --help has it for options. */
#define HELP_COLUMN 33
#define HELP_WIDTH  94

#define URING(member) .option = FEATURE_URING, .offset = offsetof(struct features, uring.member)
#define EPOLL(member) .option = FEATURE_EPOLL, .offset = offsetof(struct features, epoll.member)

const struct features features_standard = {
	.uring = {
		.taskrun = TASKRUN_DEFER,
		.sqarray = 1,
		.accept = ACCEPT_MULTISHOT,
		.files = FILES_NORMAL,
		.recv = RECV_MULTISHOT,
		.buf_count = 512,
		.buf_size = 4096,
		.send = SEND_RING,
		.zc = ZC_OFF,
		.zc_min = 64 * 1024,
		.wait = 1,
	},
	.epoll = {
		.trigger = TRIGGER_EDGE,
		.read = READ_SHORT,
		.write = WRITE_FIRST,
		.exclusive = 1,
	},
};

static const struct feature rows[] = {
	{ URING(taskrun), .name = "taskrun", .kind = FEATURE_CHOICE, .values = "defer|coop|none", .standard = "defer",
	  .since = "defer: 6.1, coop: 5.19",
	  .help = "completions run when the worker waits, at its next system call, or interrupt it" },
	{ URING(sqpoll), .name = "sqpoll", .kind = FEATURE_IDLE, .values = "MS", .standard = "off", .min = 1,
	  .max = 60000, .implied = 1000, .can_be_off = true, .since = "5.19, taskrun=none, a processor of its own",
	  .help = "a thread of the kernel's submits, until it has been idle for so many ms (1000)" },
	{ URING(entries), .name = "entries", .kind = FEATURE_NUMBER, .values = "N",
	  .standard = "up to 512, by connections", .min = 2, .max = 32768, .power_of_two = true,
	  .since = "5.19, memory that may be locked",
	  .help = "of the submission queue; a full one costs a system call" },
	{ URING(cq_entries), .name = "cq-entries", .kind = FEATURE_NUMBER, .values = "N",
	  .standard = "128 to 16384, by connections", .min = 4, .max = 65536, .power_of_two = true,
	  .since = "5.19, memory that may be locked", .help = "of the completion queue, no fewer than entries" },
	{ URING(sqarray), .name = "sqarray", .kind = FEATURE_SWITCH, .standard = "on", .can_be_off = true,
	  .since = "off: 6.6", .help = "an array of indices between the submission queue and the kernel" },
	{ URING(ring_fd), .name = "ring-fd", .kind = FEATURE_SWITCH, .standard = "off", .can_be_off = true,
	  .since = "5.18", .help = "the ring itself is registered: no descriptor is looked up when it is entered" },
	{ URING(napi), .name = "napi", .kind = FEATURE_NUMBER, .values = "USEC", .standard = "off", .min = 1,
	  .max = 1000000, .can_be_off = true, .since = "6.9, CONFIG_NET_RX_BUSY_POLL, a network card",
	  .help = "a wait polls the card for so long before it sleeps" },
	{ URING(accept), .name = "accept", .kind = FEATURE_CHOICE, .values = "multishot|oneshot",
	  .standard = "multishot", .since = "multishot: 5.19",
	  .help = "one submission accepts until it is cancelled, or one connection" },
	{ URING(files), .name = "files", .kind = FEATURE_CHOICE, .values = "normal|direct", .standard = "normal",
	  .since = "direct: 6.13",
	  .help = "direct: connections are registered with the ring, which then looks no descriptor up" },
	{ URING(recv), .name = "recv", .kind = FEATURE_CHOICE, .values = "multishot|oneshot|poll",
	  .standard = "multishot", .since = "multishot: 6.0",
	  .help = "one submission receives until it is cancelled, or once, or only tells when recv(2) is due" },
	{ URING(recv_bundle), .name = "recv-bundle", .kind = FEATURE_SWITCH, .standard = "off", .can_be_off = true,
	  .since = "6.10, recv=multishot", .help = "one completion for several buffers that were filled" },
	{ URING(recv_poll_first), .name = "recv-poll-first", .kind = FEATURE_SWITCH, .standard = "off",
	  .can_be_off = true, .since = "5.19, not recv=poll",
	  .help = "a receive that is no multishot waits for bytes before it looks for them" },
	{ URING(recv_cap), .name = "recv-cap", .kind = FEATURE_SIZE, .values = "SIZE", .standard = "off", .min = 64,
	  .max = 1 << 20, .can_be_off = true, .since = "6.17, recv=multishot",
	  .help = "a multishot receive ends after so many bytes, and is submitted anew for the next ones" },
	{ URING(buf_count), .name = "buf-count", .kind = FEATURE_NUMBER, .values = "N", .standard = "512", .min = 2,
	  .max = 32768, .power_of_two = true, .since = "5.19, not recv=poll",
	  .help = "receive buffers, of all connections of a worker" },
	{ URING(buf_size), .name = "buf-size", .kind = FEATURE_SIZE, .values = "SIZE", .standard = "4K", .min = 64,
	  .max = BUF_SIZE_MAX, .power_of_two = true, .since = "5.19, not recv=poll", .help = "of each of them" },
	{ URING(buf_inc), .name = "buf-inc", .kind = FEATURE_SWITCH, .standard = "off", .can_be_off = true,
	  .since = "6.12, recv=oneshot", .help = "receives share a buffer, each taking as much of it as it needs" },
	{ URING(send), .name = "send", .kind = FEATURE_CHOICE, .values = "ring|inline", .standard = "ring",
	  .since = "5.19", .help = "inline: send(2) at once, and the ring for what the socket does not take" },
	{ URING(send_vec), .name = "send-vec", .kind = FEATURE_SWITCH, .standard = "off", .can_be_off = true,
	  .since = "6.17", .help = "several pieces are sent without a struct msghdr" },
	{ URING(zc), .name = "zc", .kind = FEATURE_CHOICE, .values = "off|on|fixed", .standard = "off",
	  .since = "6.2, memory that may be locked, a network card",
	  .help = "large bodies are sent without a copy, fixed: short answers, too, from registered memory; off by itself "
	          "while the kernel copies all the same" },
	{ URING(zc_min), .name = "zc-min", .kind = FEATURE_SIZE, .values = "SIZE", .standard = "64K", .min = ZC_MIN,
	  .max = 1 << 30, .since = "zc=on", .help = "bodies, and what is left of them, from this size on" },
	{ URING(wait), .name = "wait", .kind = FEATURE_WAIT, .values = "1|N:USEC", .standard = "1", .min = 1,
	  .max = 4096, .since = "N: 6.12",
	  .help = "a wait ends with the first completion, or with N, or with any after so many microseconds" },
	{ EPOLL(trigger), .name = "trigger", .kind = FEATURE_CHOICE, .values = "edge|level", .standard = "edge",
	  .since = "4.5", .help = "connections are told of when something changes, or as long as it is so" },
	{ EPOLL(read), .name = "read", .kind = FEATURE_CHOICE, .values = "short|drain", .standard = "short",
	  .since = "4.5", .help = "a short read says that there is no more, or only EAGAIN does" },
	{ EPOLL(write), .name = "write", .kind = FEATURE_CHOICE, .values = "first|wait", .standard = "first",
	  .since = "4.5", .help = "send at once, or when epoll_wait(2) has said that there is room" },
	{ EPOLL(exclusive), .name = "exclusive", .kind = FEATURE_SWITCH, .standard = "on", .can_be_off = true,
	  .since = "4.5", .help = "a connection wakes one of the workers that share its listening socket" },
	{ EPOLL(busy_poll), .name = "busy-poll", .kind = FEATURE_NUMBER, .values = "USEC", .standard = "off", .min = 1,
	  .max = 1000000, .can_be_off = true, .since = "6.9, CONFIG_NET_RX_BUSY_POLL, a network card",
	  .help = "epoll_wait(2) polls the card for so long before it sleeps" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

_Static_assert(ROWS <= FEATURES_MAX && FEATURES_MAX <= 64, "a bit of struct features for each row");

const struct feature *feature_at(unsigned index)
{
	return index < ROWS ? &rows[index] : NULL;
}

unsigned feature_index(const struct feature *feature)
{
	assert(feature >= rows && feature < rows + ROWS);
	return (unsigned)(feature - rows);
}

const struct feature *feature_find(enum feature_option option, const char *name, size_t len)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].option == option && strncmp(rows[i].name, name, len) == 0 && rows[i].name[len] == '\0')
			return &rows[i];
	return NULL;
}

const char *feature_option_name(enum feature_option option)
{
	return option == FEATURE_URING ? "uring" : "epoll";
}

static uint32_t *value_of(struct features *features, const struct feature *feature)
{
	return (uint32_t *)((char *)features + feature->offset);
}

/* Where the output stands, cut where it would overflow. */
struct line {
	char *text;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line->text + line->len, line->size - line->len, format, args);
	va_end(args);
	line->len = (size_t)n < line->size - line->len ? line->len + (size_t)n : line->size - 1;
}

__attribute__((format(printf, 3, 4))) static int complain(char *why, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, size, format, args);
	va_end(args);
	return -EINVAL;
}

/* A whole number without a sign, with K or M behind it where it is a size: its value and the number of its bytes; or 0. */
static size_t read_number(const char *text, size_t len, bool sizes, uint64_t *number)
{
	size_t n = 0;

	*number = 0;
	for (; n < len && text[n] >= '0' && text[n] <= '9' && n < 12; n++)
		*number = *number * 10 + (uint64_t)(text[n] - '0');
	if (n > 0 && n < len && sizes && (text[n] == 'K' || text[n] == 'M'))
		*number <<= text[n++] == 'K' ? 10 : 20;
	return n;
}

static int out_of_range(const struct feature *feature, const char *text, size_t len, char *why, size_t size)
{
	return complain(why, size, "%s=%.*s is out of range (%" PRIu32 " to %" PRIu32 "%s)", feature->name, (int)len,
	                text, feature->min, feature->max, feature->power_of_two ? ", a power of two" : "");
}

static int no_value(const struct feature *feature, const char *text, size_t len, char *why, size_t size)
{
	return complain(why, size, "'%.*s' is no value of %s (write %s=%s)", (int)len, text, feature->name,
	                feature->name, feature->values);
}

static int set_choice(struct features *features, const struct feature *feature, const char *text, size_t len, char *why,
                      size_t size)
{
	const char *word = feature->values;

	for (uint32_t i = 0; *word; i++) {
		size_t n = strcspn(word, "|");

		if (n == len && memcmp(word, text, len) == 0) {
			*value_of(features, feature) = i;
			return 0;
		}
		word += n + (word[n] != '\0');
	}
	return no_value(feature, text, len, why, size);
}

static int set_number(struct features *features, const struct feature *feature, const char *text, size_t len, char *why,
                      size_t size)
{
	uint64_t number;
	size_t n = read_number(text, len, feature->kind == FEATURE_SIZE, &number);

	if (n == 0 || n < len)
		return no_value(feature, text, len, why, size);
	if (number < feature->min || number > feature->max || (feature->power_of_two && (number & (number - 1))))
		return out_of_range(feature, text, len, why, size);
	*value_of(features, feature) = (uint32_t)number;
	return 0;
}

/* Two values: what the row's offset names, and the one behind it. */
static int set_wait(struct features *features, const struct feature *feature, const char *text, size_t len, char *why,
                    size_t size)
{
	uint64_t count, usec = 0;
	size_t n = read_number(text, len, false, &count);

	if (n > 0 && n < len && text[n] == ':') {
		size_t m = read_number(text + n + 1, len - n - 1, false, &usec);

		n = m > 0 ? n + 1 + m : 0;
	}
	if (n == 0 || n < len)
		return no_value(feature, text, len, why, size);
	if ((count != 1) != (usec != 0))
		return complain(why, size,
		                "wait=%.*s: 1 completion is waited for without a time, more with the longest one "
		                "(write wait=1 or wait=8:200)",
		                (int)len, text);
	if (count < feature->min || count > feature->max || usec > 1000000)
		return out_of_range(feature, text, len, why, size);
	features->uring.wait = (uint32_t)count;
	features->uring.wait_usec = (uint32_t)usec;
	return 0;
}

static int set_value(struct features *features, const struct feature *feature, const char *text, size_t len, char *why,
                     size_t size)
{
	switch (feature->kind) {
	case FEATURE_CHOICE:
		return set_choice(features, feature, text, len, why, size);
	case FEATURE_NUMBER:
	case FEATURE_SIZE:
	case FEATURE_IDLE:
		return set_number(features, feature, text, len, why, size);
	case FEATURE_WAIT:
		return set_wait(features, feature, text, len, why, size);
	case FEATURE_SWITCH:
		break;
	}
	return complain(why, size, "%s takes no value (write %s or no-%s)", feature->name, feature->name,
	                feature->name);
}

static int unknown(enum feature_option option, const char *text, size_t len, char *why, size_t size)
{
	struct line line = { .text = why, .size = size };

	add(&line, "there is no feature '%.*s' (there are", (int)len, text);
	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].option == option)
			add(&line, " %s", rows[i].name);
	add(&line, ")");
	return -EINVAL;
}

static int parse_one(struct features *features, enum feature_option option, const char *text, size_t len, char *why,
                     size_t size)
{
	const char *equals = memchr(text, '=', len);
	bool off = len > 3 && memcmp(text, "no-", 3) == 0;
	const char *name = off ? text + 3 : text;
	size_t name_len = equals ? (size_t)(equals - name) : len - (size_t)(name - text);
	const struct feature *feature = feature_find(option, name, name_len);
	int err = 0;

	if (!feature)
		return unknown(option, text, len, why, size);
	if (off && !feature->can_be_off)
		return complain(why, size, "%s cannot be off (write %s=%s)", feature->name, feature->name,
		                feature->values);
	if (off && equals)
		return complain(why, size, "no-%s takes no value", feature->name);
	if (equals)
		err = set_value(features, feature, equals + 1, len - (size_t)(equals + 1 - text), why, size);
	else if (off)
		*value_of(features, feature) = 0;
	else if (feature->kind == FEATURE_SWITCH)
		*value_of(features, feature) = 1;
	else if (feature->kind == FEATURE_IDLE)
		*value_of(features, feature) = feature->implied;
	else
		return complain(why, size, "%s needs a value (write %s=%s)", feature->name, feature->name,
		                feature->values);
	features->asked |= UINT64_C(1) << feature_index(feature);
	return err;
}

int features_parse(struct features *features, enum feature_option option, const char *text, char *why, size_t size)
{
	struct features read = *features;

	for (;;) {
		size_t len = strcspn(text, ",");
		int err = parse_one(&read, option, text, len, why, size);

		if (err)
			return err;
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	*features = read;
	return 0;
}

bool features_asked(const struct features *features, const uint32_t *member)
{
	size_t offset = (size_t)((const char *)member - (const char *)features);

	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].offset == offset)
			return features->asked >> i & 1;
	assert(!"a member that no row names");
	return false;
}

bool features_asked_any(const struct features *features, enum feature_option option)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].option == option && features->asked >> i & 1)
			return true;
	return false;
}

static void print_size(struct line *line, uint32_t value)
{
	if (value && value % 1024 == 0)
		add(line, "%" PRIu32 "K", value / 1024);
	else
		add(line, "%" PRIu32, value);
}

static void print_row(struct line *line, const struct features *features, const struct feature *feature)
{
	uint32_t value = feature_value(features, feature);
	const char *word = feature->values;

	if (feature->kind == FEATURE_SWITCH || (value == 0 && feature->can_be_off)) {
		add(line, "%s%s", value ? "" : "no-", feature->name);
		return;
	}
	add(line, "%s=", feature->name);
	switch (feature->kind) {
	case FEATURE_CHOICE:
		while (value--)
			word += strcspn(word, "|") + 1;
		add(line, "%.*s", (int)strcspn(word, "|"), word);
		break;
	case FEATURE_SIZE:
		print_size(line, value);
		break;
	default:
		add(line, "%" PRIu32, value);
		if (feature->kind == FEATURE_WAIT && features->uring.wait_usec)
			add(line, ":%" PRIu32, features->uring.wait_usec);
	}
}

void feature_print(const struct features *features, const struct feature *feature, char *text, size_t size)
{
	struct line line = { .text = text, .size = size };

	*text = '\0';
	print_row(&line, features, feature);
}

/* Whether a row means anything beside the others: where it does not, it cannot be asked for either. */
static bool has_meaning(const struct features *features, const struct feature *feature)
{
	const struct uring_features *uring = &features->uring;

	if (feature->offset == offsetof(struct features, uring.zc_min))
		return uring->zc != ZC_OFF;
	if (feature->offset == offsetof(struct features, uring.buf_count) ||
	    feature->offset == offsetof(struct features, uring.buf_size))
		return uring->recv != RECV_POLL;
	return true;
}

void features_print(const struct features *features, enum feature_option option, bool all, char *text, size_t size)
{
	struct line line = { .text = text, .size = size };

	*text = '\0';
	for (unsigned i = 0; i < ROWS; i++) {
		bool off = feature_value(features, &rows[i]) == 0 && rows[i].kind != FEATURE_CHOICE;

		if (rows[i].option != option || !has_meaning(features, &rows[i]))
			continue;
		/* Nor what is off by default, unless all is asked for, and what cannot be off and is left to the backend. */
		if (off && (!rows[i].can_be_off || (!all && feature_value(&features_standard, &rows[i]) == 0)))
			continue;
		add(&line, "%s", line.len ? "," : "");
		print_row(&line, features, &rows[i]);
	}
}

void feature_usage(const struct feature *feature, char *text, size_t size)
{
	const char *open = feature->kind == FEATURE_IDLE ? "[" : "", *close = *open ? "]" : "";

	snprintf(text, size, "%s%s%s%s%s", feature->name, open, feature->values ? "=" : "",
	         feature->values ? feature->values : "", close);
}

/* Words from column used on, in lines that begin at HELP_COLUMN and end before HELP_WIDTH. */
static void help_words(FILE *out, const char *text, int used)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (used > HELP_COLUMN && used + 1 + len > HELP_WIDTH) {
			fputc('\n', out);
			used = 0;
		}
		used += fprintf(out, "%*s%.*s", used < HELP_COLUMN ? HELP_COLUMN - used : 1, "", len, text);
		text += len + (text[len] == ' ');
	}
}

void features_help(FILE *out)
{
	for (unsigned i = 0; i < ROWS; i++) {
		char text[200];
		int used;

		if (i == 0 || rows[i].option != rows[i - 1].option)
			fprintf(out, "\nFeatures of %s, with commas between them; no-FEATURE turns off what can be:\n",
			        rows[i].option == FEATURE_URING ? "--uring" : "--epoll");
		feature_usage(&rows[i], text, sizeof(text));
		used = fprintf(out, "  %s", text);
		snprintf(text, sizeof(text), "%s [%s]", rows[i].help, rows[i].standard);
		help_words(out, text, used);
		fputc('\n', out);
	}
}
