/*
 * links.c - see links.h. One pass over the page by a tokenizer that knows tags and what is none, and for each URL that
 * counts: decoded, resolved, read as a target. No memory but the stack's.
 */
#include "loom/links.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "loom/chars.h"
#include "loom/target.h"

struct span {
	const char *text; /* NULL: not there */
	size_t len;
};

struct attribute {
	struct span name;
	struct span value;
};

struct scan {
	const char *at, *end;
	bool closed;        /* the last tag ended with '>'; at the end of the page it does not count */
	unsigned templates; /* that are open around this place */

	/* What relative URLs are resolved against: a path that ends with a slash. */
	char base[LINKS_URL_MAX];
	size_t base_len;
	bool based;  /* by a <base>; only the first one counts */
	bool remote; /* on another site: all that follows leads there */

	links_fn *found;
	void *context;
};

/* Elements whose content is text, up to their end tag, whatever it looks like. */
static const char *const raw_elements[] = { "script",   "style",  "textarea", "title",
	                                    "noframes", "iframe", "noembed",  "xmp" };

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool is_letter(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Whether the span is this name of lower-case letters, in any case. */
static bool is(struct span span, const char *name)
{
	return span.len == strlen(name) && chars_equal(span.text, name, span.len);
}

static size_t left(const struct scan *scan)
{
	return (size_t)(scan->end - scan->at);
}

static void skip_spaces(struct scan *scan)
{
	while (scan->at < scan->end && is_space(*scan->at))
		scan->at++;
}

/* Behind the '=', if there is one. */
static struct span read_value(struct scan *scan)
{
	struct span value = { 0 };
	const char *close;

	skip_spaces(scan);
	if (scan->at == scan->end || *scan->at != '=')
		return value;
	scan->at++;
	skip_spaces(scan);
	value.text = scan->at;
	if (scan->at < scan->end && (*scan->at == '"' || *scan->at == '\'')) {
		value.text++;
		close = memchr(value.text, *scan->at, left(scan) - 1);
		scan->at = close ? close + 1 : scan->end;
		value.len = (size_t)((close ? close : scan->end) - value.text);
		return value;
	}
	while (scan->at < scan->end && !is_space(*scan->at) && *scan->at != '>')
		scan->at++;
	value.len = (size_t)(scan->at - value.text);
	return value;
}

/* False at the end of the tag, behind it. */
static bool next_attribute(struct scan *scan, struct attribute *attribute)
{
	scan->closed = false;
	while (scan->at < scan->end && (is_space(*scan->at) || *scan->at == '/'))
		scan->at++;
	if (scan->at == scan->end)
		return false;
	if (*scan->at == '>') {
		scan->at++;
		scan->closed = true;
		return false;
	}
	/* The first byte belongs to the name whatever it is, '=' too. */
	attribute->name.text = scan->at;
	do
		scan->at++;
	while (scan->at < scan->end && !is_space(*scan->at) && !strchr("/>=", *scan->at ? *scan->at : ' '));
	attribute->name.len = (size_t)(scan->at - attribute->name.text);
	attribute->value = read_value(scan);
	return true;
}

/* Text in the making, of at most LINKS_URL_MAX bytes. */
struct text {
	char *bytes;
	size_t len;
	bool full; /* not all of it has found room */
};

static void add(struct text *text, char c)
{
	if (text->len < LINKS_URL_MAX)
		text->bytes[text->len++] = c;
	else
		text->full = true;
}

static void add_utf8(struct text *text, uint32_t c)
{
	if (c < 0x80) {
		add(text, (char)c);
		return;
	}
	if (c < 0x800) {
		add(text, (char)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			add(text, (char)(0xe0 | c >> 12));
		} else {
			add(text, (char)(0xf0 | c >> 18));
			add(text, (char)(0x80 | (c >> 12 & 0x3f)));
		}
		add(text, (char)(0x80 | (c >> 6 & 0x3f)));
	}
	add(text, (char)(0x80 | (c & 0x3f)));
}

/* "#38;" or "#x26;", the semicolon optional. The bytes read, or 0: it is none, and *c stays what it is. */
static size_t read_number(const char *at, const char *end, uint32_t *c)
{
	bool hex = end - at > 1 && (at[1] | 0x20) == 'x';
	const char *from = at + 1 + hex, *digit = from;
	uint32_t number = 0;

	for (; digit < end; digit++) {
		int value = chars_hex_digit(*digit);

		if (value < 0 || (!hex && value > 9))
			break;
		if (number <= 0x10ffff) /* no further: it must not overflow */
			number = number * (hex ? 16 : 10) + (uint32_t)value;
	}
	if (digit == from)
		return 0;
	*c = number == 0 || number > 0x10ffff || (number >= 0xd800 && number < 0xe000) ? 0xfffd : number;
	return (size_t)(digit - at) + (digit < end && *digit == ';');
}

/* What stands behind an '&'. The bytes read, or 0: the '&' means itself. */
static size_t read_reference(const char *at, const char *end, uint32_t *c)
{
	static const struct {
		const char *name;
		char c;
	} names[] = { { "amp;", '&' }, { "lt;", '<' }, { "gt;", '>' }, { "quot;", '"' }, { "apos;", '\'' } };

	if (at < end && *at == '#')
		return read_number(at, end, c);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i].name);

		if ((size_t)(end - at) >= len && memcmp(at, names[i].name, len) == 0) {
			*c = (unsigned char)names[i].c;
			return len;
		}
	}
	return 0;
}

/* An attribute's value as a URL: references decoded, tabs and line ends taken out, and what is not printed around it. */
static void read_url(struct span value, struct text *url)
{
	const char *at = value.text, *end = at + value.len;

	while (at < end) {
		uint32_t c = (unsigned char)*at++;
		size_t read = c == '&' ? read_reference(at, end, &c) : 0;

		at += read;
		if (c == '\t' || c == '\n' || c == '\r' || (c <= ' ' && url->len == 0))
			continue;
		if (read)
			add_utf8(url, c);
		else
			add(url, (char)c);
	}
	while (url->len > 0 && (unsigned char)url->bytes[url->len - 1] <= ' ')
		url->len--;
}

static bool has_scheme(const struct text *url)
{
	if (url->len == 0 || !is_letter(url->bytes[0]))
		return false;
	for (size_t i = 1; i < url->len; i++) {
		char c = url->bytes[i];

		if (c == ':')
			return true;
		if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '+' && c != '-' && c != '.')
			return false;
	}
	return false;
}

/* The number of dots that a segment consists of, written as they are or as "%2e": 1 or 2; otherwise 0. */
static unsigned count_dots(struct span segment)
{
	unsigned dots = 0;

	for (size_t i = 0; i < segment.len; i++) {
		if (segment.text[i] == '%' && segment.len - i >= 3 && segment.text[i + 1] == '2' &&
		    (segment.text[i + 2] | 0x20) == 'e')
			i += 2;
		else if (segment.text[i] != '.')
			return 0;
		if (++dots > 2)
			return 0;
	}
	return dots;
}

static void add_segment(struct text *path, struct span segment)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < segment.len; i++) {
		unsigned char c = (unsigned char)segment.text[i];

		if (chars_in(CHARS_PATH, (char)c)) {
			add(path, (char)c);
			continue;
		}
		add(path, '%');
		add(path, digits[c >> 4]);
		add(path, digits[c & 15]);
	}
}

/* Goes on from path, which ends with a slash: encodes what browsers encode; ".." does not leave the root. */
static void resolve(struct text *path, struct span relative)
{
	const char *at = relative.text, *end = at + relative.len;

	for (;;) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		struct span segment = { at, (size_t)((slash ? slash : end) - at) };
		unsigned dots = count_dots(segment);

		if (dots == 2 && path->len > 1) {
			do
				path->len--;
			while (path->bytes[path->len - 1] != '/');
		} else if (dots == 0) {
			add_segment(path, segment);
			if (slash)
				add(path, '/');
		}
		if (!slash || path->full)
			return;
		at = slash + 1;
	}
}

enum place {
	PLACE_ITSELF, /* nothing, a query or a fragment alone */
	PLACE_REMOTE,
	PLACE_LOCAL,
	PLACE_NOWHERE, /* on this site, and too long to be there */
};

/* Where a URL leads; path is set for PLACE_LOCAL. The path part of url is rewritten with slashes only. */
static enum place locate(const struct scan *scan, struct text *url, struct text *path)
{
	struct span part = { .text = url->bytes };

	if (has_scheme(url))
		return PLACE_REMOTE;
	while (part.len < url->len && url->bytes[part.len] != '?' && url->bytes[part.len] != '#') {
		if (url->bytes[part.len] == '\\')
			url->bytes[part.len] = '/';
		part.len++;
	}
	if (part.len > 1 && part.text[0] == '/' && part.text[1] == '/')
		return PLACE_REMOTE;
	if (part.len == 0)
		return PLACE_ITSELF;
	if (scan->remote)
		return PLACE_REMOTE;
	if (url->full && part.len == url->len)
		return PLACE_NOWHERE;
	if (part.text[0] == '/') {
		add(path, '/');
		part.text++;
		part.len--;
	} else {
		memcpy(path->bytes, scan->base, scan->base_len);
		path->len = scan->base_len;
	}
	resolve(path, part);
	return path->full ? PLACE_NOWHERE : PLACE_LOCAL;
}

static int tell(struct scan *scan, struct span value)
{
	char url_bytes[LINKS_URL_MAX], path_bytes[LINKS_URL_MAX], scratch[LINKS_URL_MAX];
	struct text url = { .bytes = url_bytes }, path = { .bytes = path_bytes };
	struct links_link link = { .url = url_bytes };
	struct target target;
	enum place place;

	if (!value.text || scan->templates > 0)
		return 0;
	read_url(value, &url);
	place = locate(scan, &url, &path);
	if (place == PLACE_ITSELF || place == PLACE_REMOTE)
		return 0;
	link.url_len = url.len;
	if (place == PLACE_LOCAL && target_parse(path.bytes, path.len, scratch, &target) == 0) {
		link.key = target.path;
		link.key_len = target.path_len;
	}
	return scan->found(scan->context, &link);
}

/* The path, without its last segment, is what relative URLs are resolved against. */
static void set_base(struct scan *scan, const char *path, size_t len)
{
	while (len > 0 && path[len - 1] != '/')
		len--;
	memmove(scan->base, path, len); /* which path may be */
	scan->base_len = len;
}

static void read_base(struct scan *scan, struct span href)
{
	char url_bytes[LINKS_URL_MAX], path_bytes[LINKS_URL_MAX];
	struct text url = { .bytes = url_bytes }, path = { .bytes = path_bytes };
	enum place place;

	if (!href.text || scan->based || scan->templates > 0)
		return;
	scan->based = true;
	read_url(href, &url);
	place = locate(scan, &url, &path);
	scan->remote = place == PLACE_REMOTE || place == PLACE_NOWHERE;
	if (place == PLACE_LOCAL)
		set_base(scan, path.bytes, path.len);
}

/* Whether a <link> of this kind is needed. */
static bool is_needed(struct span rel)
{
	static const char *const kinds[] = { "stylesheet", "modulepreload", "preload", "icon" };
	const char *at = rel.text, *end = at + rel.len;

	while (at < end) {
		struct span word = { .text = at };

		while (at < end && !is_space(*at))
			at++;
		word.len = (size_t)(at - word.text);
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (is(word, kinds[i]))
				return true;
		at += at < end;
	}
	return false;
}

/* Over text that is no markup, to the end tag of the element that it is in. */
static void skip_raw(struct scan *scan, const char *name)
{
	size_t len = strlen(name);

	for (; (scan->at = memchr(scan->at, '<', left(scan))) != NULL; scan->at++) {
		const char *at = scan->at;

		if (left(scan) > len + 2 && at[1] == '/' && chars_equal(at + 2, name, len) &&
		    (is_space(at[len + 2]) || at[len + 2] == '/' || at[len + 2] == '>'))
			return;
	}
	scan->at = scan->end;
}

/* Over the end of a comment, from the "--" that begins it: "<!-->" is a whole one. */
static void skip_comment(struct scan *scan)
{
	for (; (scan->at = memchr(scan->at, '-', left(scan))) != NULL; scan->at++) {
		size_t more = left(scan);

		if (more > 2 && memcmp(scan->at, "-->", 3) == 0) {
			scan->at += 3;
			return;
		}
		if (more > 3 && memcmp(scan->at, "--!>", 4) == 0) {
			scan->at += 4;
			return;
		}
	}
	scan->at = scan->end;
}

/* Over "<!doctype ...>" and whatever else is no tag. */
static void skip_declaration(struct scan *scan)
{
	const char *close = memchr(scan->at, '>', left(scan));

	scan->at = close ? close + 1 : scan->end;
}

/* A tag's name, which begins at a letter. */
static struct span read_name(struct scan *scan)
{
	struct span name = { .text = scan->at };

	while (scan->at < scan->end && !is_space(*scan->at) && *scan->at != '/' && *scan->at != '>')
		scan->at++;
	name.len = (size_t)(scan->at - name.text);
	return name;
}

static void keep_first(struct span *kept, struct span value)
{
	if (!kept->text)
		*kept = value.text ? value : (struct span){ .text = "" };
}

static int start_tag(struct scan *scan)
{
	struct span name = read_name(scan), src = { 0 }, href = { 0 }, rel = { 0 };
	struct attribute attribute;
	int err = 0;

	while (next_attribute(scan, &attribute)) {
		if (is(attribute.name, "src"))
			keep_first(&src, attribute.value);
		else if (is(attribute.name, "href"))
			keep_first(&href, attribute.value);
		else if (is(attribute.name, "rel"))
			keep_first(&rel, attribute.value);
	}
	if (!scan->closed)
		return 0;
	if (is(name, "script") || is(name, "img"))
		err = tell(scan, src);
	else if (is(name, "link") && rel.text && is_needed(rel))
		err = tell(scan, href);
	else if (is(name, "base"))
		read_base(scan, href);
	else if (is(name, "template"))
		scan->templates++;
	else if (is(name, "plaintext"))
		scan->at = scan->end;
	for (size_t i = 0; i < sizeof(raw_elements) / sizeof(raw_elements[0]); i++)
		if (is(name, raw_elements[i]))
			skip_raw(scan, raw_elements[i]);
	return err;
}

static void end_tag(struct scan *scan)
{
	struct span name = read_name(scan);
	struct attribute attribute;

	while (next_attribute(scan, &attribute))
		;
	if (scan->closed && is(name, "template") && scan->templates > 0)
		scan->templates--;
}

int links_scan(const char *key, size_t key_len, const char *html, size_t len, links_fn *found, void *context)
{
	struct scan scan = { .at = html, .end = html + len, .found = found, .context = context };
	struct text base = { .bytes = scan.base };
	int err = 0;

	assert(key_len > 0 && key[0] == '/');
	/* The key is a name, and the base a URL: what is special in the one must not be in the other. */
	for (size_t i = 0; i < key_len; i++) {
		if (key[i] == '/')
			add(&base, '/');
		else if (key[i] == '%')
			add_segment(&base, (struct span){ "%25", 3 });
		else
			add_segment(&base, (struct span){ &key[i], 1 });
	}
	set_base(&scan, base.bytes, base.len);
	scan.remote = base.full;

	while (!err && scan.at < scan.end && (scan.at = memchr(scan.at, '<', left(&scan))) != NULL) {
		size_t more;

		scan.at++;
		more = left(&scan);
		if (more == 0)
			break;
		if (is_letter(*scan.at)) {
			err = start_tag(&scan);
		} else if (more > 1 && *scan.at == '/' && is_letter(scan.at[1])) {
			scan.at++;
			end_tag(&scan);
		} else if (more > 2 && memcmp(scan.at, "!--", 3) == 0) {
			scan.at++;
			skip_comment(&scan);
		} else if (strchr("!?/", *scan.at ? *scan.at : ' ')) {
			skip_declaration(&scan);
		}
	}
	return err;
}
