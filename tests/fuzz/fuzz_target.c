/*
 * fuzz_target.c - request targets (target.h). The input is the target.
 *
 * What must hold: a path that comes out is one that a key may be (absolute, no empty or dot segments, no control
 * bytes); it is what a second reading of the rules says (docs/http.md); encoded anew and read again it is the same
 * path, so that nothing is decoded twice; the query is what stood behind the first '?', and nothing of it can break a
 * line.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "loom/target.h"
#include "model.h"

#define LEN_MAX 4096

/* A reading, its memory exactly as long as it must be. */
struct reading {
	char *text;
	char *scratch;
	struct target target;
	int result;
};

static struct reading read_target(const void *bytes, size_t len)
{
	struct reading reading = { .text = fuzz_copy(bytes, len), .scratch = fuzz_memory(len) };

	reading.result = target_parse(reading.text, len, reading.scratch, &reading.target);
	fuzz_require(reading.result == 0 || reading.result == -EINVAL || reading.result == -ENOENT, "the result is %d",
	             reading.result);
	return reading;
}

static void forget(struct reading *reading)
{
	free(reading->text);
	free(reading->scratch);
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static void check_path(const struct target *target)
{
	const char *path = target->path, *end = path + target->path_len;

	fuzz_require(target->path_len > 0 && path[0] == '/', "no absolute path");
	while (path < end) {
		const char *slash = memchr(path + 1, '/', (size_t)(end - path - 1)), *next = slash ? slash : end;
		size_t len = (size_t)(next - path - 1);

		fuzz_require(len > 0 || next == end, "an empty segment");
		fuzz_require(!(len == 1 && path[1] == '.'), "a dot segment");
		fuzz_require(!(len == 2 && path[1] == '.' && path[2] == '.'), "a double-dot segment");
		for (const char *at = path + 1; at < next; at++)
			fuzz_require(!is_control((unsigned char)*at), "a control byte");
		path = next;
	}
}

static void check_query(const struct reading *reading, size_t len)
{
	const struct target *target = &reading->target;
	const char *mark = memchr(reading->text, '?', len);

	if (!target->query) {
		fuzz_require(!mark, "the query is lost");
		return;
	}
	fuzz_require(target->query == mark && target->query + target->query_len == reading->text + len,
	             "the query is not what stands behind the first '?'");
	for (size_t i = 0; i < target->query_len; i++)
		fuzz_require(target->query[i] > 0x20 && target->query[i] < 0x7f, "a byte of the query");
}

static int hex(unsigned char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)((at - digits) % 16) : -1;
}

/* Percent-encodings of the path, the first thing that is wrong with them being what counts. */
static int model_decode(const unsigned char *text, size_t len, unsigned char *out, size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < len; i++) {
		int c = text[i];

		if (c == '%') {
			if (i + 2 >= len || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
				return -EINVAL;
			c = 16 * hex(text[i + 1]) + hex(text[i + 2]);
			i += 2;
			if (c == '/')
				return -ENOENT;
			if (is_control((unsigned char)c))
				return -EINVAL;
		}
		out[(*n)++] = (unsigned char)c;
	}
	return 0;
}

/*
 * The rules again, for what begins with a slash: a stack of segments, and a path made of what is left on it. The result
 * as target_parse() has it; path: as long as the text.
 */
static int model(const unsigned char *text, size_t len, char *path, size_t *path_len)
{
	static unsigned char decoded[LEN_MAX];
	static struct {
		size_t at, len;
	} stack[LEN_MAX];
	size_t n = 0, depth = 0, query = 0;
	bool folder = false;
	int err;

	while (query < len && text[query] != '?')
		query++;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7f || strchr("\"#<>", text[i]) || (i < query && text[i] == '\\'))
			return -EINVAL;
	err = model_decode(text, query, decoded, &n);
	if (err)
		return err;

	for (size_t at = 1, end; at <= n; at = end + 1) {
		for (end = at; end < n && decoded[end] != '/'; end++)
			;
		folder = end == at || (end - at <= 2 && memcmp(decoded + at, "..", end - at) == 0);
		if (end - at == 2 && folder) {
			if (depth == 0)
				return -EINVAL;
			depth--;
		} else if (!folder) {
			stack[depth].at = at;
			stack[depth++].len = end - at;
		}
	}
	*path_len = 0;
	for (size_t i = 0; i < depth; i++) {
		path[(*path_len)++] = '/';
		memcpy(path + *path_len, decoded + stack[i].at, stack[i].len);
		*path_len += stack[i].len;
	}
	if (folder)
		path[(*path_len)++] = '/';
	return 0;
}

static void compare_with_model(const struct reading *reading, const void *text, size_t len)
{
	char *path = fuzz_memory(len);
	size_t path_len = 0;
	int expected = model(text, len, path, &path_len);

	fuzz_require(reading->result == expected, "the result is %d, and should be %d", reading->result, expected);
	if (expected == 0)
		fuzz_require(reading->target.path_len == path_len && memcmp(reading->target.path, path, path_len) == 0,
		             "the path is %s, and should be %s",
		             fuzz_text(reading->target.path, reading->target.path_len), fuzz_text(path, path_len));
	free(path);
}

/* Every byte but the slashes encoded, as no client would do it. */
static void read_again(const struct target *target)
{
	char *encoded = fuzz_memory(3 * target->path_len);
	struct reading again;
	size_t n = 0;

	for (size_t i = 0; i < target->path_len; i++) {
		unsigned char c = (unsigned char)target->path[i];

		encoded[n++] = c == '/' ? '/' : '%';
		if (c == '/')
			continue;
		encoded[n++] = "0123456789ABCDEF"[c >> 4];
		encoded[n++] = "0123456789abcdef"[c & 15];
	}
	again = read_target(encoded, n);
	fuzz_require(again.result == 0 && again.target.form == TARGET_PATH && !again.target.query,
	             "a path, encoded, is none");
	fuzz_require(again.target.path_len == target->path_len &&
	                     memcmp(again.target.path, target->path, target->path_len) == 0,
	             "a path, encoded, is another: %s", fuzz_text(again.target.path, again.target.path_len));
	forget(&again);
	free(encoded);
}

/* Where the path of an absolute-form begins, or its query, or its end. False when the form is none, by the model. */
static bool model_absolute(const uint8_t *text, size_t len, size_t *path)
{
	const char *http = (const char *)text;
	size_t begin = len >= 7 && strncasecmp(http, "http://", 7) == 0 ? 7 : 0;
	size_t host_len;
	bool has_port;

	for (*path = begin; *path < len && text[*path] != '/' && text[*path] != '?'; (*path)++)
		;
	return begin > 0 && model_authority(text + begin, *path - begin, &host_len, &has_port) && host_len > 0;
}

static void check_other_form(const struct reading *reading, const uint8_t *text, size_t len)
{
	const struct target *target = &reading->target;
	size_t path = 0, host_len;
	bool has_port;

	if (model_absolute(text, len, &path)) {
		fuzz_require(reading->result || target->form == TARGET_PATH, "not taken for an absolute-form");
		if (path < len && text[path] == '/')
			compare_with_model(reading, text + path, len - path);
		else if (!reading->result)
			fuzz_require(target->path_len == 1, "no path, and yet one");
	} else if (len == 1 && text[0] == '*') {
		fuzz_require(!reading->result && target->form == TARGET_ASTERISK, "not taken for an asterisk");
	} else if (model_authority(text, len, &host_len, &has_port) && host_len > 0 && has_port) {
		fuzz_require(!reading->result && target->form == TARGET_AUTHORITY, "not taken for an authority");
	} else {
		fuzz_require(reading->result == -EINVAL, "the result is %d, and should be -EINVAL", reading->result);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading reading;

	if (size > LEN_MAX)
		return 0;
	reading = read_target(data, size);
	if (size > 0 && data[0] == '/') {
		fuzz_require(reading.result || reading.target.form == TARGET_PATH, "not taken for a path");
		compare_with_model(&reading, data, size);
	} else {
		check_other_form(&reading, data, size);
	}
	if (!reading.result && reading.target.form == TARGET_PATH) {
		check_path(&reading.target);
		check_query(&reading, size);
		read_again(&reading.target);
	} else if (!reading.result) {
		fuzz_require(!reading.target.path && !reading.target.query, "no path, and yet one");
	}
	forget(&reading);
	return 0;
}
