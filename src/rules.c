/*
 * rules.c - see rules.h.
 */
#include "loom/rules.h"

#include <fnmatch.h>
#include <string.h>

#define IMMUTABLE "max-age=31536000, immutable" /* a year, RFC 8246 */

/* Fewer digits are no fingerprint, but a word. */
#define FINGERPRINT_MIN 8

static bool is_figure(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_fingerprint(const char *text, size_t len)
{
	bool letter = false, figure = false;

	for (size_t i = 0; i < len; i++) {
		if (is_figure(text[i]))
			figure = true;
		else if (text[i] >= 'a' && text[i] <= 'f')
			letter = true;
		else
			return false;
	}
	return len >= FINGERPRINT_MIN && letter && figure;
}

/* What build tools put between the fingerprint and the extension. */
static size_t without_suffix(const char *name, size_t len)
{
	static const char *const suffixes[] = { ".min", ".chunk", ".bundle", ".module" };

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && memcmp(name + len - n, suffixes[i], n) == 0)
			return len - n;
	}
	return len;
}

bool rules_is_fingerprinted(const char *name, size_t len)
{
	const char *slash = memrchr(name, '/', len), *base = slash ? slash + 1 : name;
	const char *dot = memrchr(base, '.', len - (size_t)(base - name));
	size_t n, begin;

	if (!dot)
		return false;
	n = without_suffix(base, (size_t)(dot - base));
	for (begin = n; begin > 0 && !strchr(".-_", base[begin - 1]); begin--)
		;
	return begin > 1 && is_fingerprint(base + begin, n - begin);
}

static bool has_type(const char *type, const char *name)
{
	size_t n = strlen(name);

	return strncmp(type, name, n) == 0 && (type[n] == '\0' || type[n] == ';');
}

static bool is_html(const char *type)
{
	return has_type(type, "text/html") || has_type(type, "application/xhtml+xml");
}

struct rules_caching rules_caching(const struct options *options, const char *key, size_t len, const char *type)
{
	struct rules_caching caching = { 0 };

	for (unsigned i = 0; i < options->immutables && !caching.immutable; i++)
		caching.immutable = fnmatch(options->immutable[i], key, 0) == 0;
	if (options->immutable_auto && !is_html(type))
		caching.immutable |= rules_is_fingerprinted(key, len);

	if (caching.immutable)
		caching.cache_control = IMMUTABLE;
	else if (options->cache_control)
		caching.cache_control = options->cache_control;
	else if (is_html(type))
		caching.cache_control = "no-cache";
	return caching;
}

bool rules_is_compressible(const char *type)
{
	static const char *const types[] = {
		"application/javascript",
		"application/json",
		"application/manifest+json",
		"application/wasm",
		"application/xml",
		"application/rtf",
		"application/x-sh",
		"application/ecmascript",
		"application/vnd.ms-fontobject",
		"application/yaml",
		"application/x-httpd-php",
		"application/x-tex",
		"application/sql",
		"application/toml",
		"application/pgp-signature",
		"application/msword",
		"application/x-perl",
		"application/x-tar",
		"font/ttf",
		"font/otf",
		"font/sfnt",
		"font/collection",
		"image/bmp",
		"image/x-ms-bmp",
		"image/vnd.microsoft.icon",
		"image/x-icon",
	};
	size_t len = strcspn(type, ";");

	if (strncmp(type, "text/", 5) == 0)
		return true;
	/* Structured syntax suffixes, RFC 6839: image/svg+xml, application/ld+json. */
	if ((len > 4 && memcmp(type + len - 4, "+xml", 4) == 0) || (len > 5 && memcmp(type + len - 5, "+json", 5) == 0))
		return true;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (has_type(type, types[i]))
			return true;
	return false;
}

bool rules_is_kept(const struct options *options, const char *key, size_t len, const char *type)
{
	static const char *const trees[] = { "font/", "image/", "audio/", "video/" };
	static const char *const types[] = { "text/css", "text/javascript", "application/javascript",
		                             "application/wasm", "application/vnd.ms-fontobject" };

	if (is_html(type))
		return false;
	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
		if (strncmp(type, trees[i], strlen(trees[i])) == 0)
			return true;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (has_type(type, types[i]))
			return true;
	return rules_caching(options, key, len, type).immutable;
}
