/*
 * judge.c - see judge.h.
 */
#include "judge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX 8192

__attribute__((format(printf, 2, 3))) static enum judge_progress wrong(char why[256], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, 256, format, arguments);
	va_end(arguments);
	return JUDGE_WRONG;
}

void judge_reset(struct judge *judge)
{
	free(judge->collected);
	memset(judge, 0, sizeof(*judge));
}

static void copy(char *to, size_t room, const char *value, size_t len)
{
	if (len >= room)
		len = room - 1;
	memcpy(to, value, len);
	to[len] = '\0';
}

/* Whether the line is of this field; its value then. */
static bool field(const char *line, size_t len, const char *name, const char **value, size_t *value_len)
{
	size_t name_len = strlen(name);

	if (len < name_len + 2 || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
		return false;
	*value = line + name_len + 1 + (line[name_len + 1] == ' ');
	*value_len = (size_t)(line + len - *value);
	return true;
}

static bool read_range(const char *value, struct judge *judge)
{
	return sscanf(value, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &judge->first, &judge->last, &judge->total) ==
	               3 &&
	       judge->first <= judge->last && judge->last < judge->total;
}

/* Reads the fields that matter here. NULL, or what is wrong with the head. */
static const char *read_head(struct judge *judge, const char *head, size_t len)
{
	const char *end = head + len, *line = memchr(head, '\n', len);
	bool length = false, date = false;

	if (len < 13 || memcmp(head, "HTTP/1.1 ", 9) != 0)
		return "not a status line";
	judge->status = (unsigned)atoi(head + 9);
	for (line++; line < end - 2;) {
		const char *next = memchr(line, '\r', (size_t)(end - line)), *value;
		char text[128];
		size_t n;

		if (field(line, (size_t)(next - line), "Content-Length", &value, &n)) {
			judge->len = strtoull(value, NULL, 10);
			length = true;
		} else if (field(line, (size_t)(next - line), "ETag", &value, &n)) {
			copy(judge->etag, sizeof(judge->etag), value, n);
		} else if (field(line, (size_t)(next - line), "Last-Modified", &value, &n)) {
			copy(judge->modified, sizeof(judge->modified), value, n);
		} else if (field(line, (size_t)(next - line), "Content-Type", &value, &n)) {
			copy(judge->type, sizeof(judge->type), value, n);
		} else if (field(line, (size_t)(next - line), "Date", &value, &n)) {
			date = true;
		} else if (field(line, (size_t)(next - line), "Content-Encoding", &value, &n)) {
			copy(text, sizeof(text), value, n);
			judge->coding = site_coding_of(text);
			if (judge->coding == SITE_IDENTITY || judge->coding == SITE_CODINGS)
				return "an unknown content coding";
		} else if (field(line, (size_t)(next - line), "Content-Range", &value, &n)) {
			copy(text, sizeof(text), value, n);
			judge->ranged = true;
			if (judge->status == 206 && !read_range(text, judge))
				return "not a Content-Range";
			if (judge->status == 416)
				judge->total = strtoull(text + (n > 8 ? 8 : n), NULL, 10);
		} else if (field(line, (size_t)(next - line), "Connection", &value, &n)) {
			judge->close = n == 5 && strncasecmp(value, "close", 5) == 0;
		} else if (field(line, (size_t)(next - line), "Transfer-Encoding", &value, &n)) {
			return "Transfer-Encoding";
		}
		line = next + 2;
	}
	if (!date)
		return "no Date";
	if (!length && judge->status != 304)
		return "no Content-Length";
	judge->multipart = strncmp(judge->type, "multipart/byteranges; boundary=", 31) == 0;
	return NULL;
}

static bool length_is_known(const struct site_file *file, uint64_t len)
{
	for (unsigned i = 0; i < file->versions; i++) {
		if (file->len[i] == len)
			return true;
	}
	return false;
}

/* What an ETag that has been seen before allows: this file, this coding, not out of date. */
static enum judge_progress check_tag(const struct judge *judge, const struct site *site, const struct ask *ask,
                                     const struct site_tag *tag, char why[256])
{
	if (tag->file != ask->file)
		return wrong(why, "ETag %s stands for %s", tag->text, site->files[tag->file].target);
	if (judge->status != 304 && tag->coding != judge->coding)
		return wrong(why, "ETag %s stands for another coding", tag->text);
	if (!site_allows(site, ask->file, tag->version, ask->floor))
		return wrong(why, "version %u, which is out of date: %u to %u modulo %u may be served", tag->version,
		             ask->floor, site->table->files[ask->file].ceiling, site->files[ask->file].versions);
	return JUDGE_MORE;
}

/* A 206 of one range: that which was asked for, cut to the length that it says. */
static enum judge_progress check_range(const struct judge *judge, const struct site *site, const struct ask *ask,
                                       char why[256])
{
	uint64_t last = ask->last[0] < judge->total ? ask->last[0] : judge->total - 1;

	if (!judge->ranged || !length_is_known(&site->files[ask->file], judge->total) ||
	    judge->first != ask->first[0] || judge->last != last || judge->len != last - ask->first[0] + 1)
		return wrong(why,
		             "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 " in %" PRIu64 " bytes for %" PRIu64 "-%" PRIu64,
		             judge->first, judge->last, judge->total, judge->len, ask->first[0], ask->last[0]);
	return JUDGE_MORE;
}

/* Whether the status may follow from the request at all. */
static bool status_is_due(const struct judge *judge, const struct site *site, const struct ask *ask)
{
	enum site_kind kind = site->files[ask->file].kind;

	if (kind == SITE_ABSENT)
		return judge->status == 404;
	switch (judge->status) {
	case 200: /* with a range only if its condition has failed */
		return ask->how != ASK_RANGE && ask->how != ASK_RANGES && ask->how != ASK_BEYOND;
	case 206:
		return ask->how == ASK_RANGE || ask->how == ASK_IF_RANGE || ask->how == ASK_RANGES;
	case 304:
		return ask->how == ASK_MATCH || ask->how == ASK_SINCE;
	case 404:
		return kind == SITE_GONE;
	case 416:
		return ask->how == ASK_BEYOND;
	default:
		return false;
	}
}

static enum judge_progress check_head(struct judge *judge, struct site *site, const struct ask *ask, char why[256])
{
	const struct site_file *file = &site->files[ask->file];
	struct site_tag *tag = judge->etag[0] ? site_find_tag(site, judge->etag) : NULL;

	if (!status_is_due(judge, site, ask))
		return wrong(why, "status %u", judge->status);
	if (judge->close && !ask->close && !ask->draining && !site->table->draining)
		return wrong(why, "Connection: close, which nobody asked for");
	if (judge->status == 404)
		return JUDGE_MORE;
	if (judge->status == 416) {
		if (!length_is_known(file, judge->total))
			return wrong(why, "416 of a length of %" PRIu64, judge->total);
		return JUDGE_MORE;
	}
	if (!judge->etag[0])
		return wrong(why, "no ETag");
	if (judge->coding && !(ask->coding >> judge->coding & 1))
		return wrong(why, "a coding that was not asked for");
	if (tag && check_tag(judge, site, ask, tag, why) == JUDGE_WRONG)
		return JUDGE_WRONG;
	if (judge->status == 304) {
		if (ask->how == ASK_MATCH && strcmp(judge->etag, ask->tag->text) != 0)
			return wrong(why, "304 with ETag %s for %s", judge->etag, ask->tag->text);
		return JUDGE_MORE;
	}
	if (ask->how == ASK_MATCH && tag == ask->tag)
		return wrong(why, "%u with the ETag that was sent", judge->status);
	if (ask->how == ASK_IF_RANGE && (judge->status == 206) != (strcmp(judge->etag, ask->tag->text) == 0))
		return wrong(why, "%u with ETag %s for If-Range %s", judge->status, judge->etag, ask->tag->text);
	if (judge->status == 206 && ask->how == ASK_RANGES) {
		if (!judge->multipart)
			return wrong(why, "one range for several");
		return JUDGE_MORE;
	}
	if (judge->status == 206 && check_range(judge, site, ask, why) == JUDGE_WRONG)
		return JUDGE_WRONG;
	if (tag) {
		if (judge->status == 206 ? judge->total != tag->len : judge->len != tag->len)
			return wrong(why, "a length of %" PRIu64 " for ETag %s, which stands for %zu bytes", judge->len,
			             tag->text, tag->len);
		judge->expected = tag->bytes + (judge->status == 206 ? judge->first : 0);
		if (tag->coding == SITE_IDENTITY)
			site->files[ask->file].newest = tag;
	} else if (judge->status == 200 && !judge->coding && !length_is_known(file, judge->len)) {
		return wrong(why, "%" PRIu64 " bytes, which no version has", judge->len);
	}
	return JUDGE_MORE;
}

/*
 * The bytes from `first` on must be those of some version that may be served, of an ETag that is not known yet. NULL,
 * or what is wrong.
 */
static const char *check_part(const struct site *site, const struct ask *ask, const char *bytes, uint64_t first,
                              uint64_t len)
{
	const struct site_file *file = &site->files[ask->file];
	const char *why = "a part that differs from what was written";

	for (unsigned i = 0; i < file->versions; i++) {
		if (first + len > file->len[i] || memcmp(file->bytes[i] + first, bytes, len) != 0)
			continue;
		if (site_allows(site, ask->file, i, ask->floor))
			return NULL;
		why = "a part of a version that is out of date";
	}
	return why;
}

/* multipart/byteranges (RFC 9110 14.6): each range that was asked for, in order, of one version, and nothing else. */
static enum judge_progress check_parts(const struct judge *judge, const struct site *site, const struct ask *ask,
                                       char why[256])
{
	const struct site_tag *tag = site_find_tag(site, judge->etag);
	const char *at = judge->collected, *end = at + judge->len, *boundary = judge->type + 31;
	size_t boundary_len = strlen(boundary);

	for (unsigned i = 0; i <= ask->ranges; i++) {
		struct judge part = { .status = 206 };
		const char *head, *line, *what;
		uint64_t len, last;

		if (i > 0) {
			if (end - at < 2 || memcmp(at, "\r\n", 2) != 0)
				return wrong(why, "no CRLF behind part %u", i);
			at += 2;
		}
		if ((size_t)(end - at) < boundary_len + 4 || memcmp(at, "--", 2) != 0 ||
		    memcmp(at + 2, boundary, boundary_len) != 0)
			return wrong(why, "no boundary in front of part %u", i);
		at += 2 + boundary_len;
		if (i == ask->ranges)
			break;
		head = at;
		at = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
		line = at ? memmem(head, (size_t)(at - head), "\r\nContent-Range: ", 17) : NULL;
		if (!line || !read_range(line + 17, &part))
			return wrong(why, "part %u has no Content-Range", i);
		at += 4;
		len = part.last - part.first + 1;
		last = ask->last[i] < part.total ? ask->last[i] : part.total - 1;
		if (part.first != ask->first[i] || part.last != last || (uint64_t)(end - at) < len)
			return wrong(why, "part %u is bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, i, part.first, part.last,
			             part.total);
		if (tag && (part.total != tag->len || memcmp(at, tag->bytes + part.first, len) != 0))
			return wrong(why, "part %u differs from what was written", i);
		what = tag ? NULL : check_part(site, ask, at, part.first, len);
		if (what)
			return wrong(why, "part %u: %s", i, what);
		at += len;
	}
	if (end - at != 4 || memcmp(at, "--\r\n", 4) != 0)
		return wrong(why, "the parts do not end rightly");
	return JUDGE_MORE;
}

/* All of the body is here. */
static enum judge_progress finish(struct judge *judge, struct site *site, const struct ask *ask, struct tally *tally,
                                  char why[256])
{
	if (judge->collected && judge->status == 206 && judge->multipart) {
		if (check_parts(judge, site, ask, why) == JUDGE_WRONG)
			return JUDGE_WRONG;
	} else if (judge->collected && judge->status == 206) {
		const char *what = check_part(site, ask, judge->collected, judge->first, judge->len);

		if (what)
			return wrong(why, "%s", what);
	} else if (judge->collected && judge->status == 200) {
		const char *reason;
		struct site_tag *tag = site_learn(site, judge->etag, ask->file, judge->coding, judge->modified,
		                                  judge->collected, judge->len, &reason);

		if (!tag)
			return wrong(why, "ETag %s: %s", judge->etag, reason);
		if (check_tag(judge, site, ask, tag, why) == JUDGE_WRONG)
			return JUDGE_WRONG;
		if (tag->coding == SITE_IDENTITY)
			site->files[ask->file].newest = tag;
	}
	tally->answers++;
	tally->bytes += ask->head ? 0 : judge->len;
	tally->heads += ask->head;
	tally->coded += judge->status == 200 && judge->coding;
	tally->whole += judge->status == 200 && !judge->coding;
	tally->not_modified += judge->status == 304;
	tally->partial += judge->status == 206 && !judge->multipart;
	tally->multipart += judge->status == 206 && judge->multipart;
	tally->unsatisfiable += judge->status == 416;
	tally->absent += judge->status == 404;
	return JUDGE_DONE;
}

static enum judge_progress read_body(struct judge *judge, struct site *site, const struct ask *ask, const char *bytes,
                                     size_t len, size_t *used, struct tally *tally, char why[256])
{
	size_t n = len < judge->left ? len : (size_t)judge->left;

	if (judge->expected) {
		if (memcmp(judge->expected + judge->at, bytes, n) != 0) {
			size_t i = 0;

			while (judge->expected[judge->at + i] == bytes[i])
				i++;
			return wrong(why, "ETag %s: byte %" PRIu64 " differs from what was written", judge->etag,
			             judge->first + judge->at + i);
		}
	} else {
		memcpy(judge->collected + judge->at, bytes, n);
	}
	judge->at += n;
	judge->left -= n;
	*used += n;
	return judge->left ? JUDGE_MORE : finish(judge, site, ask, tally, why);
}

enum judge_progress judge_read(struct judge *judge, struct site *site, const struct ask *ask, const char *bytes,
                               size_t len, size_t *used, struct tally *tally, char why[256])
{
	const char *end, *what;

	*used = 0;
	if (judge->state == JUDGE_HEAD) {
		end = memmem(bytes, len, "\r\n\r\n", 4);
		if (!end)
			return len < HEAD_MAX ? JUDGE_MORE : wrong(why, "a head without an end");
		judge_reset(judge);
		*used = (size_t)(end + 4 - bytes);
		what = read_head(judge, bytes, *used);
		if (what)
			return wrong(why, "%s", what);
		if (check_head(judge, site, ask, why) == JUDGE_WRONG)
			return JUDGE_WRONG;
		if (judge->status == 304)
			judge->len = 0;
		judge->left = ask->head ? 0 : judge->len;
		if (judge->left == 0) { /* of a HEAD nothing can be learned */
			enum judge_progress progress = finish(judge, site, ask, tally, why);

			return progress;
		}
		if (judge->left > 64 << 20)
			return wrong(why, "%" PRIu64 " bytes", judge->left);
		if (!judge->expected) {
			judge->collected = malloc(judge->len);
			if (!judge->collected)
				abort();
		}
		judge->state = JUDGE_BODY;
	}
	if (*used == len)
		return JUDGE_MORE;
	{
		enum judge_progress progress = read_body(judge, site, ask, bytes + *used, len - *used, used, tally,
		                                         why);

		if (progress == JUDGE_DONE)
			judge->state = JUDGE_HEAD;
		return progress;
	}
}
