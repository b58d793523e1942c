/*
 * answer.c - see answer.h.
 */
#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of a field line in a head that ends with an empty line, or NULL. */
static const char *find(const char *head, size_t len, const char *name, size_t name_len)
{
	const char *end = head + len, *line = memchr(head, '\n', len);

	while (line && (size_t)(end - ++line) > name_len) {
		if (strncasecmp(line, name, name_len) == 0) {
			line += name_len;
			while (line < end && (*line == ' ' || *line == '\t'))
				line++;
			return line;
		}
		line = memchr(line, '\n', (size_t)(end - line));
	}
	return NULL;
}

/* A complete head, its empty line included. */
static bool read_head(struct answer *answer, const char *head, size_t len)
{
	const char *value;

	if (len < 19 || memcmp(head, "HTTP/1.", 7) != 0)
		return false;
	answer->status = 0;
	for (int i = 9; i < 12; i++) {
		if (head[i] < '0' || head[i] > '9')
			return false;
		answer->status = (uint16_t)(answer->status * 10 + head[i] - '0');
	}
	value = find(head, len, "Connection:", 11);
	answer->close = value && strncasecmp(value, "close", 5) == 0;
	answer->left = 0;
	answer->in_body = true;
	if (answer->status == 304 || answer->status == 204)
		return true;
	value = find(head, len, "Content-Length:", 15);
	if (!value || *value < '0' || *value > '9')
		return false;
	while (*value >= '0' && *value <= '9')
		answer->left = answer->left * 10 + (uint64_t)(*value++ - '0');
	return true;
}

/* Continues a head that came in pieces. The end may lie across the seam. */
static enum answer_progress read_rest(struct answer *answer, const char *bytes, size_t len, size_t *used)
{
	size_t before = answer->head_len, taken = ANSWER_HEAD_MAX - before < len ? ANSWER_HEAD_MAX - before : len;
	size_t from = before > 3 ? before - 3 : 0;
	const char *end;

	memcpy(answer->head + before, bytes, taken);
	answer->head_len += (uint32_t)taken;
	end = memmem(answer->head + from, answer->head_len - from, "\r\n\r\n", 4);
	if (!end) {
		*used = taken;
		return taken < len ? ANSWER_BAD : ANSWER_MORE;
	}
	*used = (size_t)(end + 4 - answer->head) - before;
	answer->head_len = 0;
	return read_head(answer, answer->head, before + *used) ? ANSWER_DONE : ANSWER_BAD;
}

static enum answer_progress begin_head(struct answer *answer, const char *bytes, size_t len, size_t *used)
{
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);

	if (end) {
		*used = (size_t)(end + 4 - bytes);
		return read_head(answer, bytes, *used) ? ANSWER_DONE : ANSWER_BAD;
	}
	if (len > ANSWER_HEAD_MAX)
		return ANSWER_BAD;
	if (!answer->head && !(answer->head = malloc(ANSWER_HEAD_MAX)))
		abort();
	memcpy(answer->head, bytes, len);
	answer->head_len = (uint32_t)len;
	*used = len;
	return ANSWER_MORE;
}

enum answer_progress answer_read(struct answer *answer, const char *bytes, size_t len, size_t *used)
{
	size_t body;

	*used = 0;
	if (!answer->in_body) {
		enum answer_progress head = answer->head_len ? read_rest(answer, bytes, len, used)
		                                             : begin_head(answer, bytes, len, used);

		if (head != ANSWER_DONE)
			return head;
	}
	body = answer->left < len - *used ? (size_t)answer->left : len - *used;
	*used += body;
	return answer_skip(answer, body) ? ANSWER_DONE : ANSWER_MORE;
}

bool answer_skip(struct answer *answer, uint64_t bytes)
{
	answer->left -= bytes;
	if (answer->left)
		return false;
	answer->in_body = false;
	return true;
}

void answer_reset(struct answer *answer)
{
	*answer = (struct answer){ .head = answer->head };
}
