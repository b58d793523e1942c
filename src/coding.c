/*
 * coding.c - see coding.h. The grammar of Accept-Encoding (RFC 9110 12.5.3, 12.4.2, 5.6.1): a list of names, each with an
 * optional weight; empty members and white space around commas are allowed.
 */
#include "loom/coding.h"

#include <assert.h>

#include "loom/chars.h"

static const struct {
	const char *name;
	const char *suffix;
} codings[CODINGS] = {
	[CODING_IDENTITY] = { "identity", "" },
	[CODING_GZIP] = { "gzip", ".gz" },
	[CODING_BR] = { "br", ".br" },
	[CODING_ZSTD] = { "zstd", ".zst" },
};

const char *coding_name(enum content_coding coding)
{
	return codings[coding].name;
}

const char *coding_suffix(enum content_coding coding)
{
	return codings[coding].suffix;
}

enum content_coding coding_by_name(const char *name, size_t len)
{
	switch (len) {
	case 2:
		return chars_equal(name, "br", 2) ? CODING_BR : CODINGS;
	case 4:
		if (chars_equal(name, "gzip", 4))
			return CODING_GZIP;
		return chars_equal(name, "zstd", 4) ? CODING_ZSTD : CODINGS;
	case 6:
		return chars_equal(name, "x-gzip", 6) ? CODING_GZIP : CODINGS;
	case 8:
		return chars_equal(name, "identity", 8) ? CODING_IDENTITY : CODINGS;
	}
	return CODINGS;
}

void coding_wishes_init(struct coding_wishes *wishes)
{
	for (unsigned i = 0; i < CODINGS; i++)
		wishes->q[i] = 0;
	wishes->q[CODING_IDENTITY] = CODING_Q_UNSAID;
}

void coding_list_begin(struct coding_list *list, struct coding_wishes *wishes)
{
	list->wishes = wishes;
	list->star = CODING_Q_UNSAID;
	for (unsigned i = 0; i < CODINGS; i++)
		wishes->q[i] = CODING_Q_UNSAID;
}

/* "0", "1", with up to three decimals; thousandths, or -1. Moves *at behind it. */
static int read_qvalue(const char **at, const char *end)
{
	const char *text = *at;
	int value;

	if (text == end || (*text != '0' && *text != '1'))
		return -1;
	value = (*text++ - '0') * CODING_Q_MAX;
	if (text < end && *text == '.') {
		text++;
		for (int unit = CODING_Q_MAX / 10; unit > 0 && text < end && *text >= '0' && *text <= '9'; unit /= 10)
			value += (*text++ - '0') * unit;
	}
	*at = text;
	return value <= CODING_Q_MAX ? value : -1;
}

/* OWS ";" OWS "q=" qvalue, or nothing, up to the end of the member; thousandths, or -1. Moves *at behind it. */
static int read_weight(const char **at, const char *end)
{
	int q;

	*at = chars_skip_space(*at, end);
	if (*at == end || **at == ',')
		return CODING_Q_MAX;
	if (**at != ';')
		return -1;
	*at = chars_skip_space(*at + 1, end);
	if (end - *at < 2 || ((*at)[0] | 0x20) != 'q' || (*at)[1] != '=')
		return -1;
	*at += 2;
	q = read_qvalue(at, end);
	*at = chars_skip_space(*at, end);
	return *at == end || **at == ',' ? q : -1;
}

void coding_list_line(struct coding_list *list, const char *value, size_t len)
{
	const char *at = value, *end = value + len;

	while (at < end) {
		const char *name = at = chars_skip_space(at, end);
		size_t name_len;
		int q;

		while (at < end && chars_in(CHARS_TOKEN, *at))
			at++;
		name_len = (size_t)(at - name);
		q = read_weight(&at, end);
		if (q >= 0 && name_len == 1 && *name == '*') {
			list->star = (int16_t)q;
		} else if (q >= 0) {
			enum content_coding coding = coding_by_name(name, name_len);

			if (coding < CODINGS)
				list->wishes->q[coding] = (int16_t)q;
		}
		while (at < end && *at != ',') /* what was malformed */
			at++;
		if (at < end)
			at++;
	}
}

void coding_list_end(struct coding_list *list)
{
	for (unsigned i = 0; i < CODINGS; i++) {
		int16_t *q = &list->wishes->q[i];

		if (*q == CODING_Q_UNSAID)
			*q = list->star;
		if (*q == CODING_Q_UNSAID && i != CODING_IDENTITY)
			*q = 0;
	}
}

enum content_coding coding_choose(const struct coding_wishes *wishes, const size_t sizes[CODINGS])
{
	enum content_coding best = CODINGS;

	for (unsigned i = 0; i < CODINGS; i++) {
		/* Identity that was not spoken of is acceptable, after everything that was. */
		if (sizes[i] == SIZE_MAX || wishes->q[i] == 0)
			continue;
		if (best == CODINGS || wishes->q[i] > wishes->q[best] ||
		    (wishes->q[i] == wishes->q[best] && sizes[i] < sizes[best]))
			best = i;
	}
	return best;
}
