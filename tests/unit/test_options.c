/*
 * test_options.c - what the environment and the command line say is what struct options holds; a mistake is explained;
 * the manual page knows every option.
 */
#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "loom/coding.h"
#include "loom/access_format.h"
#include "loom/log.h"
#include "loom/options.h"
#include "loom/units.h"

static struct options options;
static char error[512];

/* Parses a command line that is written as one string, with blanks between its words. */
static enum options_action parse(const char *line)
{
	static char name[] = "loom", copy[1024];
	char *argv[128] = { name };
	char *rest = copy, *word;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((word = strsep(&rest, " ")) != NULL) {
		ck_assert_int_lt(argc + 1, (int)(sizeof(argv) / sizeof(argv[0])));
		if (*word)
			argv[argc++] = word;
	}
	argv[argc] = NULL;
	options_free(&options);
	return options_parse(&options, argc, argv, error, sizeof(error));
}

static void expect_run(const char *line)
{
	ck_assert_msg(parse(line) == OPTIONS_RUN, "loom %s: %s", line, error);
}

static void expect_error(const char *line, const char *part)
{
	ck_assert_msg(parse(line) == OPTIONS_ERROR, "loom %s: taken", line);
	ck_assert_msg(strstr(error, part) != NULL, "loom %s: '%s' lacks '%s'", line, error, part);
	ck_assert_ptr_null(strchr(error, '\n'));
}

static void let_go(void)
{
	options_free(&options);
}

/* Nothing of the shell that runs the test. */
static void clean_environment(void)
{
	clearenv();
}

START_TEST(defaults_are_those_of_the_manual)
{
	cpu_set_t set;

	expect_run("");
	ck_assert_str_eq(options.root, ".");
	ck_assert_uint_eq(options.listens, 1);
	ck_assert_str_eq(options.listen[0], "[::]:8080");
	ck_assert_str_eq(options.backend, "auto");
	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	ck_assert_int_eq((int)options.workers, CPU_COUNT(&set));
	ck_assert_uint_eq(options.max_memory, 512u << 20);
	ck_assert_str_eq(options.index, "index.html");
	ck_assert(!options.hidden);
	ck_assert_int_eq(options.symlinks, SYMLINKS_CONTAIN);
	ck_assert_uint_eq(options.settle, 500);
	ck_assert(options.gate.index && options.gate.vanished && !options.gate.links && !options.gate.chosen);
	ck_assert_uint_eq(options.gate.percent, 50);
	ck_assert_int_eq(options.watch, WATCH_AUTO);
	ck_assert_uint_eq(options.settle_max, 10000);
	ck_assert_uint_eq(options.stream_above, 64 << 20);
	ck_assert_uint_eq(options.splice_above, 128 << 10);
	ck_assert_uint_eq(options.keep_generations, 3);
	ck_assert_uint_eq(options.keep_for, 3600000);
	ck_assert_ptr_null(options.admin);
	ck_assert_ptr_null(options.metrics);
	ck_assert_ptr_null(options.health);
	ck_assert(!options.snapshot_header);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_INFO);
	ck_assert_ptr_null(options.access_log);
	ck_assert_int_eq(options.access_format, ACCESS_COMBINED);
	ck_assert_str_eq(options.error_log, "stderr");
	ck_assert_uint_eq(options.timeouts.keepalive, 5000);
	ck_assert_uint_eq(options.timeouts.header, 10000);
	ck_assert_uint_eq(options.timeouts.send, 30000);
	ck_assert_uint_eq(options.timeouts.grace, 10000);
	ck_assert_uint_eq(options.drain_delay, 0);
	ck_assert_uint_eq(options.limits.request_line, 8192);
	ck_assert_uint_eq(options.limits.head, 16384);
	ck_assert_uint_eq(options.limits.fields, 100);
	ck_assert_uint_eq(options.limits.body, 65536);
	ck_assert_uint_eq(options.limits.requests, 0);
	ck_assert_uint_eq(options.encodings, 1 << CODING_GZIP | 1 << CODING_BR | 1 << CODING_ZSTD);
	ck_assert(options.compress);
	ck_assert_ptr_null(options.cache_dir);
	ck_assert_ptr_null(options.cache_control);
	ck_assert_uint_eq(options.immutables, 0);
	ck_assert(options.immutable_auto);
	ck_assert(options.nosniff);
}
END_TEST

START_TEST(every_option_is_read)
{
	expect_run(
		"-l 127.0.0.1:0 --listen=unix:/run/x --backend epoll -w 3 --keepalive-timeout 1m "
		"--header-timeout 250ms --send-timeout=7 --max-connections 100 --max-memory 64K --index home.htm "
		"--hidden --symlinks deny --settle 0 --settle-max 1m --watch poll --stream-above off --splice-above off --keep-generations 0 "
		"--keep-for 5s --admin unix:/run/admin --metrics :9100 --health /healthz --snapshot-header --drain-delay 5s --grace 1h -v --max-request-line 1K --max-head=4K "
		"--max-fields 7 --max-body 2M --max-requests 1000 --encodings br,gzip --no-compress "
		"--cache-dir /var/cache/loom --cache-control max-age=60 --immutable /assets/* --immutable *.woff2 "
		"--no-nosniff --gate links,vanished=7% --user www-data --group 33 --sandbox on --sandbox-read /srv/a "
		"--sandbox-read=b --when-full 503 --max-connections-per-ip 12 --max-unsent 64K --min-send-rate 1K "
		"--min-recv-rate=500 --recv-window 250ms site");
	ck_assert_str_eq(options.root, "site");
	ck_assert_uint_eq(options.listens, 2);
	ck_assert_str_eq(options.listen[0], "127.0.0.1:0");
	ck_assert_str_eq(options.listen[1], "unix:/run/x");
	ck_assert_str_eq(options.backend, "epoll");
	ck_assert_uint_eq(options.workers, 3);
	ck_assert_uint_eq(options.timeouts.keepalive, 60000);
	ck_assert_uint_eq(options.timeouts.header, 250);
	ck_assert_uint_eq(options.timeouts.send, 7000);
	ck_assert_uint_eq(options.max_connections, 100);
	ck_assert_uint_eq(options.max_memory, 65536);
	ck_assert_str_eq(options.index, "home.htm");
	ck_assert(options.hidden);
	ck_assert_int_eq(options.symlinks, SYMLINKS_DENY);
	ck_assert_uint_eq(options.settle, 0);
	ck_assert_int_eq(options.watch, WATCH_POLL);
	ck_assert_uint_eq(options.settle_max, 60000);
	ck_assert(options.stream_above == UINT64_MAX);
	ck_assert(options.splice_above == UINT64_MAX);
	ck_assert_str_eq(options.user, "www-data");
	ck_assert_str_eq(options.group, "33");
	ck_assert_int_eq(options.sandbox, SANDBOX_ON);
	ck_assert_uint_eq(options.sandbox_reads, 2);
	ck_assert_str_eq(options.sandbox_read[0], "/srv/a");
	ck_assert_str_eq(options.sandbox_read[1], "b");
	ck_assert_uint_eq(options.keep_generations, 0);
	ck_assert_uint_eq(options.keep_for, 5000);
	ck_assert_str_eq(options.admin, "/run/admin");
	ck_assert_str_eq(options.metrics, ":9100");
	ck_assert_str_eq(options.health, "/healthz");
	ck_assert(options.snapshot_header);
	ck_assert_uint_eq(options.drain_delay, 5000);
	ck_assert_uint_eq(options.timeouts.grace, 3600000);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_DEBUG);
	ck_assert_uint_eq(options.limits.request_line, 1024);
	ck_assert_uint_eq(options.limits.head, 4096);
	ck_assert_uint_eq(options.limits.fields, 7);
	ck_assert_uint_eq(options.limits.body, 2 << 20);
	ck_assert_uint_eq(options.limits.requests, 1000);
	ck_assert_uint_eq(options.encodings, 1 << CODING_GZIP | 1 << CODING_BR);
	ck_assert(!options.compress);
	ck_assert_str_eq(options.cache_dir, "/var/cache/loom");
	ck_assert_str_eq(options.cache_control, "max-age=60");
	ck_assert_uint_eq(options.immutables, 2);
	ck_assert_str_eq(options.immutable[0], "/assets/*");
	ck_assert_str_eq(options.immutable[1], "*.woff2");
	ck_assert(!options.immutable_auto);
	ck_assert(!options.nosniff);
	ck_assert(!options.gate.index && options.gate.vanished && options.gate.links && options.gate.chosen);
	ck_assert_uint_eq(options.gate.percent, 7);
	ck_assert_int_eq(options.when_full, WHEN_FULL_503);
	ck_assert_uint_eq(options.max_per_ip, 12);
	ck_assert_uint_eq(options.max_unsent, 65536);
	ck_assert_uint_eq(options.limits.send_rate, 1024);
	ck_assert_uint_eq(options.limits.recv_rate, 500);
	ck_assert_uint_eq(options.timeouts.recv_window, 250);
}
END_TEST

START_TEST(every_variable_is_read)
{
	setenv("LOOM_ROOT", "site", 1);
	setenv("LOOM_LISTEN", "127.0.0.1:0,unix:/run/x", 1);
	setenv("LOOM_BACKEND", "io_uring", 1);
	setenv("LOOM_WORKERS", "3", 1);
	setenv("LOOM_KEEPALIVE_TIMEOUT", "1m", 1);
	setenv("LOOM_HEADER_TIMEOUT", "250ms", 1);
	setenv("LOOM_SEND_TIMEOUT", "7", 1);
	setenv("LOOM_MAX_CONNECTIONS", "100", 1);
	setenv("LOOM_MAX_MEMORY", "1g", 1);
	setenv("LOOM_INDEX", "home.htm", 1);
	setenv("LOOM_HIDDEN", "yes", 1);
	setenv("LOOM_SYMLINKS", "follow", 1);
	setenv("LOOM_SETTLE", "2s", 1);
	setenv("LOOM_WATCH", "off", 1);
	setenv("LOOM_GRACE", "0", 1);
	setenv("LOOM_QUIET", "true", 1);
	setenv("LOOM_MAX_REQUEST_LINE", "64", 1);
	setenv("LOOM_MAX_HEAD", "128", 1);
	setenv("LOOM_MAX_FIELDS", "1000", 1);
	setenv("LOOM_MAX_BODY", "0", 1);
	setenv("LOOM_MAX_REQUESTS", "4294967295", 1);
	setenv("LOOM_ENCODINGS", "zstd", 1);
	setenv("LOOM_NO_COMPRESS", "1", 1);
	setenv("LOOM_CACHE_DIR", "cache", 1);
	setenv("LOOM_CACHE_CONTROL", "public, max-age=3600", 1);
	setenv("LOOM_IMMUTABLE", "/a/*,auto,*.js", 1);
	setenv("LOOM_NO_NOSNIFF", "on", 1);
	setenv("LOOM_GATE", "index,links", 1);
	expect_run("");
	ck_assert_str_eq(options.root, "site");
	ck_assert_uint_eq(options.listens, 2);
	ck_assert_str_eq(options.listen[0], "127.0.0.1:0");
	ck_assert_str_eq(options.listen[1], "unix:/run/x");
	ck_assert_str_eq(options.backend, "io_uring");
	ck_assert_uint_eq(options.workers, 3);
	ck_assert_uint_eq(options.timeouts.keepalive, 60000);
	ck_assert_uint_eq(options.timeouts.header, 250);
	ck_assert_uint_eq(options.timeouts.send, 7000);
	ck_assert_uint_eq(options.max_connections, 100);
	ck_assert_uint_eq(options.max_memory, 1u << 30);
	ck_assert_str_eq(options.index, "home.htm");
	ck_assert(options.hidden);
	ck_assert_int_eq(options.symlinks, SYMLINKS_FOLLOW);
	ck_assert_uint_eq(options.settle, 2000);
	ck_assert_int_eq(options.watch, WATCH_OFF);
	ck_assert_uint_eq(options.timeouts.grace, 0);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_WARN);
	ck_assert_uint_eq(options.limits.request_line, 64);
	ck_assert_uint_eq(options.limits.head, 128);
	ck_assert_uint_eq(options.limits.fields, 1000);
	ck_assert_uint_eq(options.limits.body, 0);
	ck_assert_uint_eq(options.limits.requests, UINT32_MAX);
	ck_assert_uint_eq(options.encodings, 1 << CODING_ZSTD);
	ck_assert(!options.compress);
	ck_assert_str_eq(options.cache_dir, "cache");
	ck_assert_str_eq(options.cache_control, "public, max-age=3600");
	ck_assert_uint_eq(options.immutables, 2);
	ck_assert_str_eq(options.immutable[0], "/a/*");
	ck_assert_str_eq(options.immutable[1], "*.js");
	ck_assert(options.immutable_auto);
	ck_assert(!options.nosniff);
	ck_assert(options.gate.index && !options.gate.vanished && options.gate.links && options.gate.chosen);

	setenv("LOOM_GATE", "", 1);
	setenv("LOOM_HIDDEN", "0", 1);
	setenv("LOOM_WATCH", "", 1);
	setenv("LOOM_QUIET", "", 1);
	setenv("LOOM_NO_COMPRESS", "no", 1);
	setenv("LOOM_NO_NOSNIFF", "false", 1);
	setenv("LOOM_IMMUTABLE", "", 1);
	setenv("LOOM_CACHE_DIR", "", 1);
	expect_run("");
	ck_assert(options.gate.vanished && !options.gate.chosen);
	ck_assert(options.compress);
	ck_assert(options.nosniff);
	ck_assert(options.immutable_auto);
	ck_assert_uint_eq(options.immutables, 0);
	ck_assert_ptr_null(options.cache_dir);
	ck_assert(!options.hidden);
	ck_assert_int_eq(options.watch, WATCH_AUTO);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_INFO);
}
END_TEST

START_TEST(the_command_line_wins)
{
	setenv("LOOM_ROOT", "one", 1);
	setenv("LOOM_LISTEN", "127.0.0.1:1,127.0.0.1:2", 1);
	setenv("LOOM_WORKERS", "nonsense that nobody reads", 1);
	setenv("LOOM_VERBOSE", "1", 1);
	expect_run("-w 2 -w 1 -l 127.0.0.1:3 -q -- two");
	ck_assert_str_eq(options.root, "two");
	ck_assert_uint_eq(options.listens, 1);
	ck_assert_str_eq(options.listen[0], "127.0.0.1:3");
	ck_assert_uint_eq(options.workers, 1);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_WARN);
	expect_run("-w 1 --port 9");
	ck_assert_uint_eq(options.listens, 1);
	ck_assert_str_eq(options.listen[0], "[::]:9");
	clearenv();
	setenv("LOOM_PORT", "7", 1);
	expect_run("");
	ck_assert_str_eq(options.listen[0], "[::]:7");
	expect_run("-l :8");
	ck_assert_uint_eq(options.listens, 1);
	ck_assert_str_eq(options.listen[0], ":8");
}
END_TEST

/* -v and -q are short for --log-level: the later source wins, and of one source they do. */
START_TEST(levels_have_a_short_form)
{
	static const struct {
		const char *line, *variable;
		enum log_level level;
	} cases[] = {
		{ "--log-level=error", NULL, LOG_LEVEL_ERROR },
		{ "--log-level=warn", NULL, LOG_LEVEL_WARN },
		{ "--log-level=info", NULL, LOG_LEVEL_INFO },
		{ "--log-level=debug", NULL, LOG_LEVEL_DEBUG },
		{ "-v", NULL, LOG_LEVEL_DEBUG },
		{ "-q", NULL, LOG_LEVEL_WARN },
		{ "-v --log-level=error", NULL, LOG_LEVEL_DEBUG },
		{ "--log-level=error", "LOOM_VERBOSE", LOG_LEVEL_ERROR },
		{ "--log-level=error", "LOOM_QUIET", LOG_LEVEL_ERROR },
		{ "-q", "LOOM_LOG_LEVEL", LOG_LEVEL_WARN },
		{ "", "LOOM_LOG_LEVEL", LOG_LEVEL_DEBUG },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		clearenv();
		if (cases[i].variable)
			setenv(cases[i].variable, strcmp(cases[i].variable, "LOOM_LOG_LEVEL") == 0 ? "debug" : "1", 1);
		expect_run(cases[i].line);
		ck_assert_msg(options.log_level == cases[i].level, "%s, %s", cases[i].line, cases[i].variable);
	}
}
END_TEST

START_TEST(logs_have_places)
{
	static const char *const places[] = { "off", "stdout", "syslog", "syslog:/run/x", "a.log", "./off", "/a/b" };
	char line[64];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(line, sizeof(line), "--access-log=%s --access-format json", places[i]);
		expect_run(line);
		ck_assert_pstr_eq(options.access_log, i == 0 ? NULL : places[i]);
		ck_assert_int_eq(options.access_format, ACCESS_JSON);
	}
	expect_run("--error-log=syslog");
	ck_assert_str_eq(options.error_log, "syslog");
	expect_run("--error-log=./stdout");
	ck_assert_str_eq(options.error_log, "./stdout");
}
END_TEST

START_TEST(codings_are_listed)
{
	expect_run("--encodings none");
	ck_assert_uint_eq(options.encodings, 0);
	expect_run("--encodings zstd,br,gzip");
	ck_assert_uint_eq(options.encodings, 1 << CODING_GZIP | 1 << CODING_BR | 1 << CODING_ZSTD);
	expect_run("--encodings GZIP,gzip"); /* as in Accept-Encoding, without regard to case */
	ck_assert_uint_eq(options.encodings, 1 << CODING_GZIP);
	expect_run("--encodings br --encodings gzip"); /* the last one wins */
	ck_assert_uint_eq(options.encodings, 1 << CODING_GZIP);
}
END_TEST

START_TEST(rules_of_the_gate_are_listed)
{
	static const char *const all[] = { "index,vanished,links", "links,vanished=50%,index",
		                           "vanished=50,index,links" };

	expect_run("--gate none");
	ck_assert(!options.gate.index && !options.gate.vanished && !options.gate.links && options.gate.chosen);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		setenv("LOOM_GATE", all[i], 1);
		expect_run("");
		ck_assert(options.gate.index && options.gate.vanished && options.gate.links && options.gate.chosen);
		ck_assert_uint_eq(options.gate.percent, 50);
	}
	expect_run("--gate vanished=0%"); /* the command line wins */
	ck_assert(!options.gate.index && options.gate.vanished && !options.gate.links);
	ck_assert_uint_eq(options.gate.percent, 0);
	expect_run("--gate links --gate vanished=99%"); /* the last one wins */
	ck_assert(options.gate.vanished && !options.gate.links);
	ck_assert_uint_eq(options.gate.percent, 99);
}
END_TEST

/* What is done instead of serving needs ROOT and its options all the same. */
START_TEST(a_check_and_a_plan_read_the_other_options)
{
	ck_assert_int_eq(parse("--check --index home.htm site"), OPTIONS_CHECK);
	ck_assert_str_eq(options.root, "site");
	ck_assert_str_eq(options.index, "home.htm");
	/* Without rules of its own, all that one tree can be checked for. */
	ck_assert(options.gate.chosen && options.gate.index && options.gate.links && !options.gate.vanished);
	ck_assert_int_eq(parse("--gate index site --check"), OPTIONS_CHECK);
	ck_assert(options.gate.chosen && options.gate.index && !options.gate.links);
	setenv("LOOM_GATE", "links", 1);
	ck_assert_int_eq(parse("--check"), OPTIONS_CHECK);
	ck_assert(options.gate.chosen && !options.gate.index && options.gate.links);
	ck_assert_int_eq(parse("--plan --max-memory 1M site"), OPTIONS_PLAN);
	ck_assert_uint_eq(options.max_memory, 1 << 20);
	ck_assert_int_eq(parse("--plan --version"), OPTIONS_VERSION);
	ck_assert_int_eq(parse("--plan -w 0"), OPTIONS_ERROR);
	/* They are no settings: these are variables of somebody else. */
	setenv("LOOM_CHECK", "1", 1);
	setenv("LOOM_PLAN", "1", 1);
	expect_run("");
}
END_TEST

START_TEST(patterns_add_up_and_take_the_place_of_the_default)
{
	char line[1024] = "";

	expect_run("--immutable none");
	ck_assert_uint_eq(options.immutables, 0);
	ck_assert(!options.immutable_auto);
	expect_run("--immutable auto --immutable /a");
	ck_assert_uint_eq(options.immutables, 1);
	ck_assert(options.immutable_auto);
	setenv("LOOM_IMMUTABLE", "/from/the/environment,auto", 1);
	expect_run("--immutable [a-z]* --immutable ?x");
	ck_assert_uint_eq(options.immutables, 2);
	ck_assert_str_eq(options.immutable[0], "[a-z]*");
	ck_assert(!options.immutable_auto);
	for (int i = 0; i < OPTIONS_IMMUTABLE_MAX; i++)
		strcat(line, "--immutable /x ");
	expect_run(line);
	ck_assert_uint_eq(options.immutables, OPTIONS_IMMUTABLE_MAX);
	strcat(line, "--immutable /y");
	expect_error(line, "--immutable: '/y' is one pattern too many (at most 16)");
}
END_TEST

/* What becomes a field value must be one. */
START_TEST(a_field_value_is_checked)
{
	char value[600];

	memset(value, 'a', sizeof(value));
	value[512] = '\0';
	setenv("LOOM_CACHE_CONTROL", value, 1);
	expect_run("");
	ck_assert_uint_eq(strlen(options.cache_control), 512);
	value[512] = 'a';
	value[513] = '\0';
	setenv("LOOM_CACHE_CONTROL", value, 1);
	expect_error("", "LOOM_CACHE_CONTROL:");
	for (int c = 1; c < 256; c++) {
		snprintf(value, sizeof(value), "a%cb", c);
		setenv("LOOM_CACHE_CONTROL", value, 1);
		if (c >= 0x20 && c < 0x7f)
			expect_run("");
		else
			expect_error("", "LOOM_CACHE_CONTROL: it holds a byte that no field value may have");
	}
	setenv("LOOM_CACHE_CONTROL", " a", 1);
	expect_error("", "' a' is no field value");
	setenv("LOOM_CACHE_CONTROL", "a ", 1);
	expect_error("", "'a ' is no field value");
}
END_TEST

START_TEST(a_service_called_loom_is_not_a_port)
{
	setenv("LOOM_PORT", "tcp://10.1.2.3:80", 1);
	setenv("LOOM_SERVICE_HOST", "10.1.2.3", 1);
	expect_run("");
	ck_assert_str_eq(options.listen[0], "[::]:8080");
}
END_TEST

START_TEST(help_and_version_come_first)
{
	setenv("LOOM_WORKERS", "nonsense", 1);
	ck_assert_int_eq(parse("--help"), OPTIONS_HELP);
	ck_assert_int_eq(parse("-h"), OPTIONS_HELP);
	ck_assert_int_eq(parse("--version"), OPTIONS_VERSION);
	ck_assert_int_eq(parse("-w bad --version"), OPTIONS_VERSION);
}
END_TEST

/* A command line, and what the complaint must hold: the option, the value, what would be right. */
static const char *const mistakes[][3] = {
	{ "--access-log=stderr", "--access-log: 'stderr' is not for this log", "off, stdout, syslog or a path" },
	{ "--access-log=", "--access-log: '' is no file", "--access-log" },
	{ "--access-log=syslog:x", "--access-log: 'syslog:x' is no socket", "syslog:/dev/log" },
	{ "--access-format=xml", "--access-format: 'xml'", "neither combined nor json" },
	{ "--error-log=stdout", "--error-log: 'stdout' is not for this log", "./stdout" },
	{ "--error-log=off", "--error-log: 'off' is not for this log", "stderr, syslog or a path" },
	{ "--log-level=warning", "--log-level: 'warning'", "error, warn, info, debug" },
	{ "--frob", "'--frob'", "loom --help" },
	{ "-x", "'-x'", "loom --help" },
	{ "-vx", "'-x'", "loom --help" },
	{ "--port", "--port", "needs a value (N)" },
	{ "-w", "--workers", "needs a value (N|auto)" },
	{ "--hidden=1", "--hidden", "takes no value" },
	{ "one two", "'one' and 'two'", "only one ROOT" },
	{ "-p 80 -l :81", "--listen and --port", "exclude each other" },
	{ "-q -v", "--verbose and --quiet", "exclude each other" },
	{ "-p 65536", "--port: '65536'", "0 to 65535" },
	{ "-p http", "--port: 'http' is no number", "0 to 65535" },
	{ "-l localhost:80", "--listen: 'localhost:80'", "127.0.0.1:8080" },
	{ "--backend kqueue", "--backend: 'kqueue'", "auto|io_uring|epoll" },
	{ "--backend io_urin", "--backend: 'io_urin'", "auto|io_uring|epoll" },
	{ "--backend auto|io_uring", "--backend: 'auto|io_uring'", "not one of" },
	{ "-w 0", "--workers: '0' is out of range", "1 to 1024, or auto" },
	{ "-w many", "--workers: 'many'", "1 to 1024, or auto" },
	{ "-w -1", "--workers: '-1'", "1 to 1024, or auto" },
	{ "-w 99999999999999999999", "out of range", "1 to 1024, or auto" },
	{ "--keepalive-timeout 5d", "--keepalive-timeout: '5d'", "500ms, 5s" },
	{ "--keepalive-timeout 0", "--keepalive-timeout: '0' is out of range", "from 1ms to 24h" },
	{ "--grace 25h", "--grace: '25h' is out of range", "from 0s to 24h" },
	{ "--grace 99999999999999999999", "--grace:", "out of range" },
	{ "--max-memory 1X", "--max-memory: '1X'", "512M" },
	{ "--max-memory 0", "--max-memory: '0' is out of range", "at least 1 byte" },
	{ "--max-connections 0", "--max-connections: '0'", "1 to 1000000" },
	{ "--index a/b", "--index: 'a/b'", "without slashes" },
	{ "--index ..", "--index: '..'", "without slashes" },
	{ "--sandbox maybe", "--sandbox: 'maybe'", "auto|on|off" },
	{ "--user=", "--user: '' is no user", "name or a number" },
	{ "--group=", "--group: '' is no group", "name or a number" },
	{ "--sandbox-read=", "--sandbox-read: '' is no path", "" },
	{ "--symlinks maybe", "--symlinks: 'maybe'", "contain|follow|deny" },
	{ "--max-request-line 63", "--max-request-line: '63' is out of range", "from 64 to 16320 bytes" },
	{ "--max-request-line 16K", "--max-request-line: '16K' is out of range", "from 64 to 16320 bytes" },
	{ "--max-request-line x", "--max-request-line: 'x' is no size", "512K" },
	{ "--max-head 127", "--max-head: '127' is out of range", "from 128 to 16384 bytes" },
	{ "--max-head 16385", "--max-head: '16385' is out of range", "from 128 to 16384 bytes" },
	{ "--max-head 4G", "--max-head: '4G' is out of range", "from 128 to 16384 bytes" },
	{ "--max-head 8K", "--max-request-line must be smaller", "--max-head" },
	{ "--max-request-line 4K --max-head 4096", "--max-request-line must be smaller", "--max-head" },
	{ "--max-fields 0", "--max-fields: '0' is out of range", "1 to 1000" },
	{ "--max-fields 1001", "--max-fields: '1001' is out of range", "1 to 1000" },
	{ "--max-fields many", "--max-fields: 'many' is no number", "1 to 1000" },
	{ "--max-body 2T", "--max-body: '2T' is out of range", "at most 1T" },
	{ "--max-body -1", "--max-body: '-1' is no size", "512K" },
	{ "--max-requests 4294967296", "--max-requests: '4294967296' is out of range", "0 to 4294967295" },
	{ "--when-full 429", "--when-full: '429' is not one of", "wait|503|close" },
	{ "--max-connections-per-ip 65536", "--max-connections-per-ip: '65536' is out of range", "0 to 65535" },
	{ "--max-connections-per-ip -1", "--max-connections-per-ip: '-1'", "0 to 65535" },
	{ "--min-send-rate fast", "--min-send-rate: 'fast' is no size", "" },
	{ "--min-recv-rate 2G", "--min-recv-rate: '2G' is out of range", "0 to 1073741824 bytes" },
	{ "--recv-window 0", "--recv-window: '0' is out of range", "1ms" },
	{ "--max-requests 1K", "--max-requests: '1K' is no number", "0 to 4294967295" },
	{ "--encodings deflate", "--encodings: 'deflate'", "gzip, br, zstd" },
	{ "--encodings gzip,deflate", "--encodings: 'deflate'", "gzip, br, zstd" },
	{ "--encodings gzip,", "--encodings: ''", "none alone" },
	{ "--encodings ,gzip", "--encodings: ''", "none alone" },
	{ "--encodings gzip,none", "--encodings: 'none'", "none alone" },
	{ "--encodings identity", "--encodings: 'identity'", "none alone" },
	{ "--encodings=", "--encodings: ''", "none alone" },
	{ "--immutable assets/*", "--immutable: 'assets/*' matches no path", "'/assets/*'" },
	{ "--immutable=", "--immutable: '' matches no path", "'*.js'" },
	{ "--cache-control=", "--cache-control: '' is no field value", "max-age=60" },
	{ "--cache-dir=", "--cache-dir: ''", "no directory" },
	{ "--cache-dir", "--cache-dir", "needs a value (DIR)" },
	{ "--no-compress=1", "--no-compress", "takes no value" },
	{ "--gate", "--gate", "needs a value (RULES)" },
	{ "--gate=", "--gate: ''", "index, vanished=50%, links" },
	{ "--gate index,", "--gate: ''", "none of index" },
	{ "--gate index,none", "--gate: 'none'", "write none alone" },
	{ "--gate vanishing", "--gate: 'vanishing'", "none of index" },
	{ "--gate vanished,indexes", "--gate: 'indexes'", "none of index" },
	{ "--gate vanished=", "--gate: 'vanished='", "from 0% to 99%" },
	{ "--gate vanished=100%", "--gate: 'vanished=100%'", "from 0% to 99%" },
	{ "--gate vanished=-1%,index", "--gate: 'vanished=-1%'", "from 0% to 99%" },
	{ "--gate vanished=5%%", "--gate: 'vanished=5%%'", "from 0% to 99%" },
	{ "--gate vanished=99999999999999999999%", "--gate: 'vanished=9999", "from 0% to 99%" },
	{ "--metrics localhost:9100", "--metrics: 'localhost:9100'", "127.0.0.1:8080" },
	{ "--metrics=", "--metrics: ''", "127.0.0.1:8080" },
	{ "--health healthz", "--health: 'healthz' is no path", "/healthz" },
	{ "--health /", "--health: '/' is no path", "/healthz" },
	{ "--health /a//b", "--health: '/a//b' is no path", "/healthz" },
	{ "--health /a/../b", "--health: '/a/../b' is no path", "/healthz" },
	{ "--health /a%20b", "--health: '/a%20b' is no path", "/healthz" },
	{ "--health /a?b", "--health: '/a?b' is no path", "/healthz" },
	{ "--check --plan", "--check and --plan", "exclude each other" },
	{ "-T --check", "--check and --dump-config", "exclude each other" },
	{ "-c /nonexistent/loom.conf", "cannot read the configuration /nonexistent/loom.conf", "No such file" },
	{ "-c /tmp", "cannot read the configuration /tmp", "Is a directory" },
	{ "-c", "--config", "needs a value (FILE)" },
	{ "--root=x", "'--root=x'", "loom --help" },
	{ "--check=site", "--check", "takes no value" },
	{ "--admin=localhost:1", "--admin: 'localhost:1' is no Unix socket", "unix:/run/loom/admin" },
	{ "--admin=unix:admin", "--admin: 'unix:admin' is no Unix socket", "unix:/run/loom/admin" },
	{ "--pid-file=/run/", "--pid-file: '/run/' is no file", "--pid-file" },
	{ "--watch=sometimes", "--watch: 'sometimes'", "is not one of" },
	{ "--max-memory=9999999999999T", "--max-memory: '9999999999999T'", "out of range" },
	{ "--proxy-from=10.0.0.0/33", "--proxy-from: ", "10.0.0.0/33" },
	{ "--max 1", "ambiguous option '--max'", "loom --help" },
};

START_TEST(mistakes_are_explained)
{
	expect_error(mistakes[_i][0], mistakes[_i][1]);
	expect_error(mistakes[_i][0], mistakes[_i][2]);
}
END_TEST

START_TEST(mistakes_in_the_environment_name_the_variable)
{
	static const char *const variables[][3] = {
		{ "LOOM_WORKERS", "many", "LOOM_WORKERS: 'many'" },
		{ "LOOM_MAX_MEMORY", "1X", "LOOM_MAX_MEMORY: '1X'" },
		{ "LOOM_LISTEN", ":80,nowhere", "LOOM_LISTEN: 'nowhere' lacks a port" },
		{ "LOOM_LISTEN", ":80,", "LOOM_LISTEN: '' lacks a port" },
		{ "LOOM_HIDDEN", "perhaps", "LOOM_HIDDEN: 'perhaps' is neither 1 nor 0" },
		{ "LOOM_NO_COMPRESS", "2", "LOOM_NO_COMPRESS: '2' is neither 1 nor 0" },
		{ "LOOM_MAX_HEAD", "1G", "LOOM_MAX_HEAD: '1G' is out of range" },
		{ "LOOM_MAX_FIELDS", "-1", "LOOM_MAX_FIELDS: '-1'" },
		{ "LOOM_ENCODINGS", "gzip br", "LOOM_ENCODINGS: 'gzip br' is none of" },
		{ "LOOM_IMMUTABLE", "/a,b", "LOOM_IMMUTABLE: 'b' matches no path" },
		{ "LOOM_IMMUTABLE", "/a,", "LOOM_IMMUTABLE: '' matches no path" },
	};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		clearenv();
		setenv(variables[i][0], variables[i][1], 1);
		expect_error("", variables[i][2]);
	}
	clearenv();
	setenv("LOOM_LISTEN", ":80", 1);
	setenv("LOOM_PORT", "80", 1);
	expect_error("", "LOOM_LISTEN and LOOM_PORT exclude each other");
}
END_TEST

START_TEST(addresses_have_a_most)
{
	char line[1024] = "";

	for (int i = 0; i < OPTIONS_LISTEN_MAX; i++)
		strcat(line, "-l :80 ");
	expect_run(line);
	ck_assert_uint_eq(options.listens, OPTIONS_LISTEN_MAX);
	strcat(line, "-l :81");
	expect_error(line, "--listen: ':81' is one address too many (at most 16)");
}
END_TEST

START_TEST(paths_and_networks_have_a_most)
{
	char line[1024] = "";

	for (int i = 0; i < OPTIONS_SANDBOX_READ_MAX; i++)
		strcat(line, "--sandbox-read /a ");
	expect_run(line);
	strcat(line, "--sandbox-read /b");
	expect_error(line, "--sandbox-read: '/b' is one path too many (at most 16)");
	strcpy(line, "--proxy-from ::1");
	for (int i = 1; i < OPTIONS_PROXY_FROM_MAX; i++)
		strcat(line, ",::1");
	expect_run(line);
	strcat(line, ",::2");
	expect_error(line, "--proxy-from: '::2' is one network too many (at most 32)");
}
END_TEST

START_TEST(numbers_have_units)
{
	static const struct {
		const char *text;
		int64_t duration;
		int64_t size;
	} cases[] = {
		{ "0", 0, 0 },
		{ "5", 5000, 5 },
		{ "500ms", 500, -EINVAL },
		{ "5s", 5000, -EINVAL },
		{ "2m", 120000, 2 << 20 },
		{ "1h", 3600000, -EINVAL },
		{ "4096", 4096000, 4096 },
		{ "512K", -EINVAL, 512 << 10 },
		{ "512k", -EINVAL, 512 << 10 },
		{ "3G", -EINVAL, INT64_C(3) << 30 },
		{ "1T", -EINVAL, INT64_C(1) << 40 },
		{ "8388607T", -EINVAL, INT64_C(8388607) << 40 },
		{ "8388608T", -EINVAL, -ERANGE },
		{ "9223372036854775807", -ERANGE, INT64_MAX },
		{ "9223372036854775808", -ERANGE, -ERANGE },
		{ "99999999999999999999", -ERANGE, -ERANGE },
		{ "", -EINVAL, -EINVAL },
		{ "K", -EINVAL, -EINVAL },
		{ "-1", -EINVAL, -EINVAL },
		{ "+1", -EINVAL, -EINVAL },
		{ " 1", -EINVAL, -EINVAL },
		{ "1 ", -EINVAL, -EINVAL },
		{ "1.5s", -EINVAL, -EINVAL },
		{ "1KB", -EINVAL, -EINVAL },
		{ "0x10", -EINVAL, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(units_duration(cases[i].text) == cases[i].duration, "duration of '%s'", cases[i].text);
		ck_assert_msg(units_size(cases[i].text) == cases[i].size, "size of '%s'", cases[i].text);
	}
}
END_TEST

static void set_descriptors(rlim_t soft, rlim_t hard)
{
	const struct rlimit limit = { soft, hard };

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(connections_fit_the_descriptors)
{
	set_descriptors(200, 1000);
	ck_assert_uint_eq(options_descriptor_limit(), 1000);
	expect_run("-w 2");
	ck_assert_uint_eq(options.max_connections, 920 - 920 / 8); /* 1000 - 64 - 2 * 8 */
	ck_assert_uint_eq(options.max_streams, 920 / 8);
	expect_run("-w 2 -l :1 -l :2 -l :3");
	ck_assert_uint_eq(options.max_connections, 916 - 916 / 8);
	expect_run("-w 2 --max-connections 920");
	ck_assert_uint_eq(options.max_connections, 920);
	ck_assert_uint_eq(options.max_streams, 0);
	expect_error("-w 2 --max-connections 921", "--max-connections: 921 is more than the limit of 1000 open files");
	expect_error("-w 2 --max-connections 921", "at most 920");
	/* Who is told 503 has a descriptor, too. */
	expect_run("-w 2 --max-connections 664 --when-full 503");
	expect_error("-w 2 --max-connections 665 --when-full 503", "at most 664");
	expect_run("-w 2 --max-connections 920 --when-full close");
	set_descriptors(72, 72);
	expect_error("-w 1", "limit of 72 open files leaves none for connections");
	ck_assert_int_eq(parse("--help"), OPTIONS_HELP);
}
END_TEST

/* The whole of a file or of --help. */
static char *slurp(FILE *file)
{
	char *text = calloc(1, 65536);

	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_lt(fread(text, 1, 65535, file), 65535);
	fclose(file);
	return text;
}

static char *help_text(void)
{
	FILE *file = tmpfile();

	ck_assert_ptr_nonnull(file);
	options_help(file);
	rewind(file);
	return slurp(file);
}

/* A manual beside the sources that this test was compiled from, without the backslashes before its dashes. */
static char *page_text(const char *name)
{
	char path[512];
	char *text, *to;

	snprintf(path, sizeof(path), "%.*sdocs/%s", (int)(strlen(__FILE__) - strlen("tests/unit/test_options.c")),
	         __FILE__, name);
	text = slurp(fopen(path, "r"));
	to = text;
	for (const char *from = text; *from; from++) {
		if (*from != '\\' || from[1] != '-')
			*to++ = *from;
	}
	*to = '\0';
	return text;
}

static char *manual_text(void)
{
	return page_text("loom.1");
}

static size_t word_length(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyz-");
}

/* Whether the text holds the option, and not only a longer one that begins with it. */
static bool has_option(const char *text, const char *option, size_t len)
{
	for (const char *at = text; (at = memmem(at, strlen(at), option, len)) != NULL; at += len) {
		if (word_length(at) == len)
			return true;
	}
	return false;
}

START_TEST(the_manual_and_help_know_the_same_options)
{
	char *help = help_text(), *manual = manual_text();
	const char *const texts[] = { help, manual };
	int options_seen[2] = { 0 };

	for (int i = 0; i < 2; i++) {
		for (const char *at = texts[i]; (at = strstr(at, "--")) != NULL; at += word_length(at)) {
			ck_assert_msg(has_option(texts[!i], at, word_length(at)), "'%.*s' is only in the %s",
			              (int)word_length(at), at, i ? "manual" : "help");
			options_seen[i]++;
		}
	}
	ck_assert_int_ge(options_seen[0], 30);
	ck_assert_int_ge(options_seen[1], 30);
	free(help);
	free(manual);
}
END_TEST

/* The manual's entry for an option, cut out of it: from the line after its .TP to the next .TP or heading. */
static char *manual_entry(const char *manual, const char *name)
{
	const char *at = manual;

	while ((at = strstr(at, "\n.TP\n")) != NULL) {
		size_t line, entry;

		at += strlen("\n.TP\n");
		line = strcspn(at, "\n");
		for (entry = line; strncmp(at + entry, "\n.TP", 4) != 0 && strncmp(at + entry, "\n.S", 3) != 0; entry++)
			;
		if (memmem(at, line, name, strlen(name)))
			return strndup(at, entry);
	}
	return NULL;
}

/* Something that is done instead of serving, and no setting. */
static bool is_action(const char *name)
{
	static const char *const actions[] = { "--help", "--version", "--check", "--plan", "--test", "--dump-config" };

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(name, actions[i]) == 0)
			return true;
	return false;
}

/* One line of --help: "  -w, --workers N|auto   what it is [auto]". */
static void compare_with_manual(const char *line, const char *manual)
{
	const char *option = strstr(line, "--"), *standard = strrchr(line, '[');
	char name[64], variable[80], text[80];
	char *entry;

	snprintf(name, sizeof(name), "%.*s", (int)word_length(option), option);
	entry = manual_entry(manual, name);
	ck_assert_msg(entry != NULL, "the manual has no entry for %s", name);
	if (line[3] != '-' && line[2] == '-') {
		snprintf(text, sizeof(text), ".BR -%c \", \" %s", line[3], name);
		ck_assert_msg(strncmp(entry, text, strlen(text)) == 0, "the manual lacks '%s'", text);
	}
	if (standard && line[strlen(line) - 1] == ']') {
		snprintf(text, sizeof(text), "Default: %.*s.", (int)strlen(standard) - 2, standard + 1);
		ck_assert_msg(strstr(entry, text), "%s: the manual lacks '%s'", name, text);
	}
	free(entry);
	if (is_action(name))
		return;
	snprintf(variable, sizeof(variable), ".BR LOOM_%s ", name + 2);
	for (char *c = variable + strlen(".BR "); *c; c++)
		*c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
	ck_assert_msg(strstr(manual, variable), "the manual lacks '%s'", variable);
}

START_TEST(the_manual_knows_the_letters_defaults_and_variables)
{
	char *help = help_text(), *manual = manual_text();
	int compared = 0;

	for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n")) {
		if (strncmp(line, "  -", 3) == 0 || strncmp(line, "      --", 8) == 0) {
			compare_with_manual(line, manual);
			compared++;
		}
	}
	ck_assert_int_eq(compared, 65);
	free(help);
	free(manual);
}
END_TEST

/* One line of --help, and the entry of loom.conf(5): its name, its argument and its default. */
static bool compare_with_file_manual(const char *line, const char *manual)
{
	const char *option = strstr(line, "--"), *standard = strrchr(line, '['), *argument;
	char name[64], text[128];
	char *entry;

	snprintf(name, sizeof(name), "%.*s", (int)word_length(option), option);
	if (is_action(name) || strcmp(name, "--config") == 0) {
		snprintf(text, sizeof(text), ".TP\n.BI \"%s = ", name + 2);
		ck_assert_msg(!strstr(manual, text), "loom.conf(5) has an entry for %s", name);
		return false;
	}
	argument = option + strlen(name);
	argument += *argument == ' ';
	snprintf(text, sizeof(text), ".BI \"%s = \" %.*s\n", name + 2,
	         *argument == ' ' ? 6 : (int)strcspn(argument, " "), *argument == ' ' ? "yes|no" : argument);
	ck_assert_msg(strstr(manual, text), "loom.conf(5) lacks '%s'", text);
	snprintf(text, sizeof(text), ".BI \"%s = ", name + 2);
	entry = manual_entry(manual, text);
	ck_assert_msg(entry != NULL, "loom.conf(5) has no entry for %s", name);
	if (standard && line[strlen(line) - 1] == ']') {
		snprintf(text, sizeof(text), "Default: %.*s.", (int)strlen(standard) - 2, standard + 1);
		ck_assert_msg(strstr(entry, text), "%s: loom.conf(5) lacks '%s'", name, text);
	} else if (*argument == ' ') {
		ck_assert_msg(strstr(entry, "Default: no."), "%s: loom.conf(5) lacks 'Default: no.'", name);
	}
	free(entry);
	return true;
}

START_TEST(the_manual_of_the_file_knows_the_settings_and_defaults)
{
	char *help = help_text(), *manual = page_text("loom.conf.5");
	int compared = 0, entries = 0;

	for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "  -", 3) == 0 || strncmp(line, "      --", 8) == 0)
			compared += compare_with_file_manual(line, manual);
	for (const char *at = manual; (at = strstr(at, "\n.BI \"")) != NULL; at++)
		entries++;
	ck_assert_int_eq(compared, 58);
	ck_assert_int_eq(entries, compared + 1); /* root */
	free(help);
	free(manual);
}
END_TEST

START_TEST(help_fits_a_terminal)
{
	char *help = help_text();

	for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
		ck_assert_msg(strlen(line) <= 100, "%zu columns: %s", strlen(line), line);
	free(help);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("options");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, clean_environment, let_go);
	tcase_add_test(tcase, defaults_are_those_of_the_manual);
	tcase_add_test(tcase, every_option_is_read);
	tcase_add_test(tcase, every_variable_is_read);
	tcase_add_test(tcase, the_command_line_wins);
	tcase_add_test(tcase, levels_have_a_short_form);
	tcase_add_test(tcase, logs_have_places);
	tcase_add_test(tcase, codings_are_listed);
	tcase_add_test(tcase, rules_of_the_gate_are_listed);
	tcase_add_test(tcase, a_check_and_a_plan_read_the_other_options);
	tcase_add_test(tcase, patterns_add_up_and_take_the_place_of_the_default);
	tcase_add_test(tcase, a_field_value_is_checked);
	tcase_add_test(tcase, a_service_called_loom_is_not_a_port);
	tcase_add_test(tcase, help_and_version_come_first);
	tcase_add_loop_test(tcase, mistakes_are_explained, 0, (int)(sizeof(mistakes) / sizeof(mistakes[0])));
	tcase_add_test(tcase, mistakes_in_the_environment_name_the_variable);
	tcase_add_test(tcase, addresses_have_a_most);
	tcase_add_test(tcase, paths_and_networks_have_a_most);
	tcase_add_test(tcase, numbers_have_units);
	tcase_add_test(tcase, connections_fit_the_descriptors);
	tcase_add_test(tcase, the_manual_and_help_know_the_same_options);
	tcase_add_test(tcase, the_manual_knows_the_letters_defaults_and_variables);
	tcase_add_test(tcase, the_manual_of_the_file_knows_the_settings_and_defaults);
	tcase_add_test(tcase, help_fits_a_terminal);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
