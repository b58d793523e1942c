/*
 * option_changes.c - what differs between two readings of the options, by the table of them. Main thread.
 */
#include "option_values.h"

#include <stdio.h>
#include <string.h>

/* Whether both readings of an option come to the same: by its texts, or ("5s" and "5000ms") by what they set. */
static bool is_same(const struct row *row, const struct given *one, const struct given *other,
                    struct option_store *store)
{
	struct options a, b;
	char why[256];
	struct complaint complaint = { .text = why, .size = sizeof(why), .subject = "" };
	bool same = one->values == other->values;

	if (row->unsaid && (one->source > SOURCE_DEFAULT) != (other->source > SOURCE_DEFAULT))
		return false;
	if (!row->argument)
		return (one->values > 0 && option_is_on(one->text[0])) ==
		       (other->values > 0 && option_is_on(other->text[0]));
	for (unsigned i = 0; same && i < one->values; i++)
		same = strcmp(one->text[i], other->text[i]) == 0;
	if (same || one->values != 1 || other->values != 1)
		return same;
	memset(&a, 0, sizeof(a)); /* padding too */
	memset(&b, 0, sizeof(b));
	a.store = b.store = store;
	return row->set(row, &a, one->text[0], &complaint) == 0 && row->set(row, &b, other->text[0], &complaint) == 0 &&
	       memcmp(&a, &b, sizeof(a)) == 0; /* NOLINT(*-memory-comparison,cert-*): padding is cleared above */
}

unsigned options_changes(const struct options *one, const struct options *other, bool live, char *out, size_t size)
{
	const struct row *row;
	unsigned changes = 0;
	size_t len = 0;

	*out = '\0';
	for (size_t i = 0; (row = option_row(i)) != NULL; i++) {
		int n;

		if (!row->set || row->not_in_file || row->live != live ||
		    is_same(row, &one->store->given[i], &other->store->given[i], other->store))
			continue;
		n = snprintf(out + len, size - len, "%s%s", changes++ ? ", " : "", row->name);
		len = n > 0 && len + (size_t)n < size ? len + (size_t)n : len;
	}
	return changes;
}

bool options_can_reread(const struct options *options)
{
	return options->store && options->store->file && !options->store->is_pipe;
}
