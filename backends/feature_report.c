/*
 * feature_report.c - each feature of each backend, for people who choose: what is in effect here, and of what else there is
 * whether it can be had, by making a backend with it. On the main thread, instead of serving: it takes some tenths of a second.
 */
#include <errno.h>
#include <string.h>

#include "backends.h"

#define WHY_MAX 400

/* Whether a backend can be made with what is asked for; described: what is in effect then. */
static int report_try(const struct io_ops *ops, const struct features *features, struct features *effect, char *why,
                      size_t size)
{
	const struct io_config config = { .conns = 64, .listeners = 1, .features = features };
	struct io *io;
	int err = io_create(ops, &io, &config, why, size);

	if (err)
		return err;
	if (effect)
		*effect = io->features;
	io_destroy(io);
	return 0;
}

/* One more value of a row, alone: whether it can be had. */
static void report_other(const struct io_ops *ops, const struct feature *feature, const char *text, FILE *out)
{
	struct features features = features_standard;
	char why[WHY_MAX] = "";
	bool had = features_parse(&features, feature->option, text, why, sizeof(why)) == 0 &&
	           report_try(ops, &features, NULL, why, sizeof(why)) == 0;

	fprintf(out, "%s%s", had ? "also " : "not here ", text);
}

/* What else a row may say: each other word of a choice; and on, where it is off. */
static void report_others(const struct io_ops *ops, const struct feature *feature, const char *present, FILE *out)
{
	bool first = true;

	for (const char *word = feature->values; feature->kind == FEATURE_CHOICE && *word;) {
		size_t n = strcspn(word, "|");
		char text[64];

		snprintf(text, sizeof(text), "%s=%.*s", feature->name, (int)n, word);
		if (strcmp(text, present) != 0) {
			fputs(first ? "; " : ", ", out);
			report_other(ops, feature, text, out);
			first = false;
		}
		word += n + (word[n] != '\0');
	}
	if (feature->kind == FEATURE_SWITCH) {
		char text[64];

		if (strncmp(present, "no-", 3) == 0)
			snprintf(text, sizeof(text), "%s", feature->name);
		else
			snprintf(text, sizeof(text), "no-%s", feature->name);
		fputs("; ", out);
		report_other(ops, feature, text, out);
	} else if (strncmp(present, "no-", 3) == 0) {
		char text[64];

		snprintf(text, sizeof(text), "%s=%u", feature->name,
		         feature->implied    ? feature->implied
		         : feature->min < 50 ? 50
		                             : feature->min);
		fputs("; ", out);
		report_other(ops, feature, text, out);
	} else if (feature->kind == FEATURE_WAIT && strcmp(present, "wait=1") == 0) {
		fputs("; ", out);
		report_other(ops, feature, "wait=2:100", out);
	}
}

static int report_backend(const struct io_ops *ops, enum feature_option option, const struct features *features,
                          FILE *out)
{
	struct features effect;
	const struct feature *feature;
	char why[WHY_MAX] = "";
	int err = report_try(ops, features, &effect, why, sizeof(why));

	if (err) {
		fprintf(out, "%s\n", why);
		return err == -IO_EFEATURE ? -EINVAL : 0;
	}
	fprintf(out, "%s, as --%s has it here:\n", ops->name, feature_option_name(option));
	for (unsigned i = 0; (feature = feature_at(i)) != NULL; i++) {
		char present[64];

		if (feature->option != option)
			continue;
		feature_print(&effect, feature, present, sizeof(present));
		fprintf(out, "  %-20s %s (default %s; needs %s", present, feature->help, feature->standard,
		        feature->since);
		report_others(ops, feature, present, out);
		fprintf(out, ")\n");
	}
	return 0;
}

int io_feature_report(const struct features *features, FILE *out)
{
	int err = 0;

#ifdef HAVE_LIBURING
	err = report_backend(&io_uring_ops, FEATURE_URING, features, out);
#endif
	if (report_backend(&io_epoll_ops, FEATURE_EPOLL, features, out))
		err = -EINVAL;
	return err;
}
