/*
 * option_texts.c - reads the values of options that have a form of their own: paths, addresses, patterns, lists. See
 * option_values.c for those of a kind. Main thread, before any other exists.
 */
#include "option_values.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "loom/coding.h"
#include "loom/listen.h"
#include "loom/units.h"

#define CACHE_CONTROL_MAX 512
#define GATE_PERCENT      50 /* of vanished files, when the rule does not say */

int option_set_root(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row, (void)complaint;
	options->root = text;
	return 0;
}

/* Has been read before the other options, most of which may be in it. */
int option_set_config(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row, (void)options, (void)text, (void)complaint;
	return 0;
}

int option_set_index(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (*text == '\0' || strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		return option_complain(complaint, "'%s' is no file name (a name without slashes, like index.html)",
		                       text);
	options->index = text;
	return 0;
}

/* A field value (RFC 9110 5.5) that does not make a head too long. */
int option_set_cache_control(const struct row *row, struct options *options, const char *text,
                             struct complaint *complaint)
{
	size_t len = strlen(text);

	(void)row;
	if (len == 0 || len > CACHE_CONTROL_MAX || text[0] == ' ' || text[len - 1] == ' ')
		return option_complain(complaint,
		                       "'%s' is no field value (write it as \"max-age=60\", at most %d bytes)", text,
		                       CACHE_CONTROL_MAX);
	for (const char *at = text; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			return option_complain(complaint, "it holds a byte that no field value may have");
	options->cache_control = text;
	return 0;
}

/* "unix:/path", the only kind there is: who may use it is a matter of its mode. */
int option_set_admin(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	struct listen_address address;
	char why[256];

	(void)row;
	if (strncmp(text, "unix:", 5) != 0 || text[5] != '/')
		return option_complain(complaint, "'%s' is no Unix socket (write it as unix:/run/loom/admin)", text);
	if (listen_parse(text, &address, why, sizeof(why)) < 0)
		return option_complain(complaint, "%s", why);
	options->admin = text + strlen("unix:");
	return 0;
}

int option_set_metrics(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	struct listen_address address;
	char why[256];

	(void)row;
	if (listen_parse(text, &address, why, sizeof(why)) < 0)
		return option_complain(complaint, "%s", why);
	options->metrics = text;
	return 0;
}

/* As it stands in requests, without what a request may say in several ways. */
int option_set_health(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	size_t len = strlen(text);
	bool plain = text[0] == '/' && len > 1 && len <= HEALTH_MAX && !strstr(text, "//") && text[1] != '.' &&
	             !strstr(text, "/.");

	(void)row;
	for (size_t i = 0; i < len; i++)
		plain &= (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
		         (text[i] >= '0' && text[i] <= '9') || strchr("/-._~", text[i]);
	if (!plain)
		return option_complain(
			complaint,
			"'%s' is no path for it (write it as /healthz: letters, digits and -._~/, at most %d)", text,
			HEALTH_MAX);
	options->health = text;
	return 0;
}

int option_set_pid_file(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (*text == '\0' || text[strlen(text) - 1] == '/')
		return option_complain(complaint, "'%s' is no file", text);
	options->pid_file = text;
	return 0;
}

int option_set_user(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (*text == '\0')
		return option_complain(complaint, "'' is no user (write a name or a number)");
	options->user = text;
	return 0;
}

int option_set_group(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (*text == '\0')
		return option_complain(complaint, "'' is no group (write a name or a number)");
	options->group = text;
	return 0;
}

int option_set_sandbox_read(const struct row *row, struct options *options, const char *text,
                            struct complaint *complaint)
{
	(void)row;
	if (*text == '\0')
		return option_complain(complaint, "'' is no path");
	if (options->sandbox_reads == OPTIONS_SANDBOX_READ_MAX)
		return option_complain(complaint, "'%s' is one path too many (at most %d)", text,
		                       OPTIONS_SANDBOX_READ_MAX);
	options->sandbox_read[options->sandbox_reads++] = text;
	return 0;
}

int option_set_cache_dir(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (*text == '\0')
		return option_complain(complaint, "'' is no directory");
	options->cache_dir = text;
	return 0;
}

/* One more pattern, auto, or none. */
int option_set_immutable(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	if (strcmp(text, "auto") == 0) {
		options->immutable_auto = true;
	} else if (*text != '/' && *text != '*' && *text != '[' && *text != '?' && strcmp(text, "none") != 0) {
		return option_complain(complaint,
		                       "'%s' matches no path (paths begin with a slash: '/assets/*', or write '*.js')",
		                       text);
	} else if (strcmp(text, "none") != 0) {
		if (options->immutables == OPTIONS_IMMUTABLE_MAX)
			return option_complain(complaint, "'%s' is one pattern too many (at most %d)", text,
			                       OPTIONS_IMMUTABLE_MAX);
		options->immutable[options->immutables++] = text;
	}
	return 0;
}

/* "gzip,br", or "none". */
int option_set_encodings(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	options->encodings = 0;
	if (strcmp(text, "none") == 0)
		return 0;
	for (;;) {
		size_t len = strcspn(text, ",");
		enum content_coding coding = coding_by_name(text, len);

		if (coding == CODINGS || coding == CODING_IDENTITY)
			return option_complain(complaint, "'%.*s' is none of gzip, br, zstd (or write none alone)",
			                       (int)len, text);
		options->encodings |= (uint8_t)(1 << coding);
		if (text[len] == '\0')
			return 0;
		text += len + 1;
	}
}

/* "vanished" or "vanished=N%". */
static int parse_vanished(struct gate_rules *rules, const char *text, size_t len, struct complaint *complaint)
{
	const char *end = text;
	uint64_t percent = GATE_PERCENT;

	rules->vanished = true;
	if (len > strlen("vanished")) {
		text += strlen("vanished=");
		if (units_number(text, &end, &percent) || (*end != '%' && *end != ',' && *end != '\0') ||
		    percent > 99 || (*end == '%' && end[1] != ',' && end[1] != '\0'))
			return option_complain(complaint, "'vanished=%.*s' is no share of the files (from 0%% to 99%%)",
			                       (int)strcspn(text, ","), text);
	}
	rules->percent = (uint8_t)percent;
	return 0;
}

/* "index,vanished=50%,links", or "none". */
int option_set_gate(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	struct gate_rules rules = { 0 };

	(void)row;
	options->gate = rules;
	if (strcmp(text, "none") == 0)
		return 0;
	for (;;) {
		size_t len = strcspn(text, ",");

		if (len == 5 && memcmp(text, "index", len) == 0)
			rules.index = true;
		else if (len == 5 && memcmp(text, "links", len) == 0)
			rules.links = true;
		else if (len < 8 || memcmp(text, "vanished", 8) != 0 || (len > 8 && text[8] != '='))
			return option_complain(complaint,
			                       "'%.*s' is none of index, vanished=50%%, links (or write none alone)",
			                       (int)len, text);
		else if (parse_vanished(&rules, text, len, complaint))
			return -EINVAL;
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	options->gate = rules;
	return 0;
}

static int set_features(struct options *options, enum feature_option option, const char *text,
                        struct complaint *complaint)
{
	char why[512];

	if (features_parse(&options->features, option, text, why, sizeof(why)))
		return option_complain(complaint, "%s", why);
	return 0;
}

int option_set_uring(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	return set_features(options, FEATURE_URING, text, complaint);
}

int option_set_epoll(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	(void)row;
	return set_features(options, FEATURE_EPOLL, text, complaint);
}

bool option_is_log_word(const char *text)
{
	static const char *const words[] = { "off", "stdout", "stderr", "syslog" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return strncmp(text, "syslog:", 7) == 0;
}

/* A word of those that this log knows, or a path. */
static int check_log(const char *text, const char *const words[3], struct complaint *complaint)
{
	if (*text == '\0')
		return option_complain(complaint, "'' is no file");
	if (strncmp(text, "syslog:", 7) == 0 && text[7] != '/')
		return option_complain(complaint, "'%s' is no socket of a log daemon (write it as syslog:/dev/log)",
		                       text);
	if (!option_is_log_word(text) || strncmp(text, "syslog", 6) == 0 || strcmp(text, words[0]) == 0 ||
	    strcmp(text, words[1]) == 0)
		return 0;
	return option_complain(complaint, "'%s' is not for this log: %s (a file of that name is ./%s)", text, words[2],
	                       text);
}

int option_set_access_log(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const char *const words[] = { "off", "stdout", "off, stdout, syslog or a path" };

	(void)row;
	if (check_log(text, words, complaint))
		return -EINVAL;
	options->access_log = strcmp(text, "off") == 0 ? NULL : text;
	return 0;
}

int option_set_error_log(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	static const char *const words[] = { "stderr", "stderr", "stderr, syslog or a path" };

	(void)row;
	if (check_log(text, words, complaint))
		return -EINVAL;
	options->error_log = text;
	return 0;
}

/* One more address. */
int option_set_listen(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	struct listen_address address;
	char why[256];

	(void)row;
	if (options->listens == OPTIONS_LISTEN_MAX)
		return option_complain(complaint, "'%s' is one address too many (at most %d)", text,
		                       OPTIONS_LISTEN_MAX);
	if (listen_parse_value(text, &address, why, sizeof(why)) < 0)
		return option_complain(complaint, "%s", why);
	options->listen[options->listens++] = text;
	return 0;
}

/* More networks, with commas between them. */
int option_set_proxy_from(const struct row *row, struct options *options, const char *text, struct complaint *complaint)
{
	char one[64], why[256];

	(void)row;
	for (;;) {
		size_t len = strcspn(text, ",");

		if (options->proxy_froms == OPTIONS_PROXY_FROM_MAX)
			return option_complain(complaint, "'%.*s' is one network too many (at most %d)", (int)len, text,
			                       OPTIONS_PROXY_FROM_MAX);
		snprintf(one, sizeof(one), "%.*s", (int)len, text);
		if (network_parse(one, &options->proxy_from[options->proxy_froms], why, sizeof(why)) < 0)
			return option_complain(complaint, "%s", why);
		options->proxy_froms++;
		if (text[len] == '\0')
			return 0;
		text += len + 1;
	}
}
