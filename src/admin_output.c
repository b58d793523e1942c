/*
 * admin_output.c - see admin_output.h: the lines of an answer, gathered in memory with a bound.
 */
#include "admin_output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A last line always fits. */
#define LAST_LINE 1024

static bool reserve(struct admin_output *output, size_t more, size_t most)
{
	size_t room = output->room ? output->room : 4096;
	char *bytes;

	if (output->len + more > most)
		return false;
	while (room < output->len + more)
		room *= 2;
	if (room == output->room)
		return true;
	bytes = realloc(output->bytes, room);
	if (!bytes)
		return false;
	output->bytes = bytes;
	output->room = room;
	return true;
}

void admin_output_free(struct admin_output *output)
{
	free(output->bytes);
	*output = (struct admin_output){ 0 };
}

static void append(struct admin_output *output, const char *text, size_t len, size_t most)
{
	if (!reserve(output, len, most)) {
		output->cut = true;
		return;
	}
	memcpy(output->bytes + output->len, text, len);
	output->len += len;
}

void admin_say(struct admin_output *output, const char *format, ...)
{
	va_list arguments;
	char *text;
	int len;

	va_start(arguments, format);
	len = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (len < 0 || output->cut || output->len + (size_t)len + 2 > ADMIN_OUTPUT_MAX) {
		output->cut = true;
	} else {
		/* Texts of others come into these lines, and no line may begin where the text ends. */
		for (int i = 0; i < len; i++)
			if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
				text[i] = '?';
		append(output, " ", 1, ADMIN_OUTPUT_MAX);
		append(output, text, (size_t)len, ADMIN_OUTPUT_MAX);
		append(output, "\n", 1, ADMIN_OUTPUT_MAX);
	}
	if (len >= 0)
		free(text);
}

static void last_line(struct admin_output *output, const char *text)
{
	if (output->cut)
		text = "error: the answer is too long, or there is no memory for it";
	output->cut = false;
	append(output, text, strlen(text), ADMIN_OUTPUT_MAX + LAST_LINE);
	append(output, "\n", 1, ADMIN_OUTPUT_MAX + LAST_LINE);
	output->cut = false;
}

void admin_ok(struct admin_output *output)
{
	last_line(output, "ok");
}

void admin_error(struct admin_output *output, const char *format, ...)
{
	char text[LAST_LINE - 64] = "error: ";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + strlen(text), sizeof(text) - strlen(text), format, arguments);
	va_end(arguments);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	last_line(output, text);
}

char *admin_path(const char *key, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";
	char *text = malloc(3 * len + 1), *out = text;

	for (size_t i = 0; text && i < len; i++) {
		unsigned char byte = (unsigned char)key[i];

		if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
		    (byte && strchr("/-._~!$&'()*+,;=:@", byte))) {
			*out++ = (char)byte;
		} else {
			*out++ = '%';
			*out++ = digits[byte >> 4];
			*out++ = digits[byte & 15];
		}
	}
	if (text)
		*out = '\0';
	return text;
}
