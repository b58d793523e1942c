/*
 * metrics_text.c - see metrics_text.h. The thread that writes metrics; owns the text until it is handed over.
 */
#include "metrics_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct metrics_text *text, size_t more)
{
	size_t room = text->room ? text->room : 16384;
	char *bytes;

	if (text->failed)
		return false;
	while (room < text->len + more)
		room *= 2;
	if (room == text->room)
		return true;
	bytes = realloc(text->bytes, room);
	if (!bytes) {
		text->failed = true;
		return false;
	}
	text->bytes = bytes;
	text->room = room;
	return true;
}

static void add(struct metrics_text *text, const char *bytes, size_t len)
{
	if (!reserve(text, len))
		return;
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void add_text(struct metrics_text *text, const char *string)
{
	add(text, string, strlen(string));
}

static __attribute__((format(printf, 2, 3))) void add_format(struct metrics_text *text, const char *format, ...)
{
	char line[256];
	va_list arguments;
	int len;

	va_start(arguments, format);
	len = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (len > 0)
		add(text, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

/* Both formats have a quote escaped in label values; in help OpenMetrics does, and the other takes it for what it is. */
static void add_escaped(struct metrics_text *text, const char *string, bool quotes)
{
	for (; *string; string++) {
		if (*string == '\\')
			add_text(text, "\\\\");
		else if (*string == '\n')
			add_text(text, "\\n");
		else if (*string == '"' && quotes)
			add_text(text, "\\\"");
		else
			add(text, string, 1);
	}
}

/* The suffix that all samples of the family have, histograms apart. */
static const char *suffix(enum family_kind kind)
{
	return kind == FAMILY_COUNTER ? "_total" : kind == FAMILY_INFO ? "_info" : "";
}

static const char *type(const struct metrics_text *text)
{
	switch (text->kind) {
	case FAMILY_COUNTER:
		return "counter";
	case FAMILY_INFO:
		return text->format == METRICS_OPENMETRICS ? "info" : "gauge";
	case FAMILY_HISTOGRAM:
		return "histogram";
	case FAMILY_GAUGE:
		break;
	}
	return "gauge";
}

void text_family(struct metrics_text *text, enum family_kind kind, const char *name, const char *help)
{
	const char *end;

	text->name = name;
	text->kind = kind;
	end = text->format == METRICS_OPENMETRICS ? "" : suffix(kind);
	add_text(text, "# HELP ");
	add_text(text, name);
	add_text(text, end);
	add_text(text, " ");
	add_escaped(text, help, text->format == METRICS_OPENMETRICS);
	add_text(text, "\n# TYPE ");
	add_text(text, name);
	add_text(text, end);
	add_text(text, " ");
	add_text(text, type(text));
	add_text(text, "\n");
}

static void add_name(struct metrics_text *text, const char *end, const struct label *labels)
{
	add_text(text, text->name);
	add_text(text, end);
	if (labels && labels->name) {
		for (const struct label *label = labels; label->name; label++) {
			add_text(text, label == labels ? "{" : ",");
			add_text(text, label->name);
			add_text(text, "=\"");
			add_escaped(text, label->value, true);
			add_text(text, "\"");
		}
		add_text(text, "}");
	}
	add_text(text, " ");
}

void text_number(struct metrics_text *text, const struct label *labels, uint64_t value)
{
	add_name(text, suffix(text->kind), labels);
	add_format(text, "%" PRIu64 "\n", value);
}

void text_real(struct metrics_text *text, const struct label *labels, double value)
{
	add_name(text, suffix(text->kind), labels);
	add_format(text, "%.9f\n", value);
}

void text_histogram(struct metrics_text *text, const char *const ends[], unsigned count, const uint64_t bucket[],
                    double sum)
{
	uint64_t total = 0;

	for (unsigned i = 0; i <= count; i++) {
		const struct label labels[] = { { "le", i < count ? ends[i] : "+Inf" }, { NULL, NULL } };

		total += bucket[i];
		add_name(text, "_bucket", labels);
		add_format(text, "%" PRIu64 "\n", total);
	}
	add_name(text, "_sum", NULL);
	add_format(text, "%.9f\n", sum);
	add_name(text, "_count", NULL);
	add_format(text, "%" PRIu64 "\n", total);
}

void text_end(struct metrics_text *text)
{
	if (text->format == METRICS_OPENMETRICS)
		add_text(text, "# EOF\n");
}
