/*
 * test_config.c - a configuration file: what it says is what struct options holds; each mistake has the number of its
 * line; nothing is cut, guessed or waited for; what --dump-config prints gives the same options again.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "loom/config.h"
#include "loom/log.h"
#include "loom/options.h"

static char directory[64], file[128], error[512];
static struct options options;

static void set_up(void)
{
	clearenv();
	strcpy(directory, "/tmp/loom-test-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(file, sizeof(file), "%s/loom.conf", directory);
}

static void tear_down(void)
{
	char command[128];

	options_free(&options);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0);
}

static void put_bytes(const char *text, size_t len)
{
	FILE *out = fopen(file, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(text, 1, len, out), len);
	ck_assert_int_eq(fclose(out), 0);
}

static void put(const char *text)
{
	put_bytes(text, strlen(text));
}

/* With --config and, if not NULL, one word more. */
static enum options_action parse(const char *word)
{
	static char name[] = "loom", option[] = "--config", copy[256];
	char *argv[] = { name, option, file, copy, NULL };

	snprintf(copy, sizeof(copy), "%s", word ? word : "");
	options_free(&options);
	return options_parse(&options, word ? 4 : 3, argv, error, sizeof(error));
}

static void expect_run(const char *text)
{
	put(text);
	ck_assert_msg(parse(NULL) == OPTIONS_RUN, "%s: %s", text, error);
}

static void expect_error_bytes(const char *text, size_t len, const char *part)
{
	put_bytes(text, len);
	ck_assert_msg(parse(NULL) == OPTIONS_ERROR, "%s: taken", text);
	ck_assert_msg(strstr(error, part) != NULL, "%s: '%s' lacks '%s'", text, error, part);
	ck_assert_ptr_null(strchr(error, '\n'));
	ck_assert_ptr_null(options.store);
}

/* The complaint holds "FILE:", and behind it the part, which begins with the number of the line. */
static void expect_error(const char *text, const char *part)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s:%s", file, part);
	expect_error_bytes(text, strlen(text), whole);
}

START_TEST(every_setting_is_read)
{
	char path[160];

	expect_run("root = /srv/www\n"
	           "[Addresses]\nlisten = 127.0.0.1:0\nlisten = unix:run/x\nbackend = epoll\nworkers=3\n"
	           "[limits]\nkeepalive-timeout = 1m\nmax-connections : 100\nmax-memory=64K\n"
	           "[event-loops]\n[Files]\nindex = home.htm\nhidden = yes\nsymlinks = deny\n"
	           "[Caching and compression]\nno-compress = on\nno-nosniff=1\nimmutable=/a/*\nimmutable = *.js\n"
	           "cache-dir = ./cache\n[reloading and ending]\nsettle=0\nadmin = unix:admin\nsnapshot-header = true\n"
	           "gate = links\nstream-above = off\n[MESSAGES]\nverbose = no\nquiet = yes\n");
	ck_assert_str_eq(options.root, "/srv/www");
	ck_assert_uint_eq(options.listens, 2);
	ck_assert_str_eq(options.listen[0], "127.0.0.1:0");
	snprintf(path, sizeof(path), "unix:%s/run/x", directory);
	ck_assert_str_eq(options.listen[1], path);
	ck_assert_str_eq(options.backend, "epoll");
	ck_assert_uint_eq(options.workers, 3);
	ck_assert_uint_eq(options.timeouts.keepalive, 60000);
	ck_assert_uint_eq(options.max_connections, 100);
	ck_assert_uint_eq(options.max_memory, 65536);
	ck_assert_str_eq(options.index, "home.htm");
	ck_assert(options.hidden);
	ck_assert_int_eq(options.symlinks, SYMLINKS_DENY);
	ck_assert(!options.compress && !options.nosniff);
	ck_assert_uint_eq(options.immutables, 2);
	ck_assert_str_eq(options.immutable[1], "*.js");
	ck_assert(!options.immutable_auto);
	snprintf(path, sizeof(path), "%s/cache", directory);
	ck_assert_str_eq(options.cache_dir, path);
	ck_assert_uint_eq(options.settle, 0);
	snprintf(path, sizeof(path), "%s/admin", directory);
	ck_assert_str_eq(options.admin, path);
	ck_assert(options.snapshot_header);
	ck_assert(options.gate.chosen && options.gate.links && !options.gate.index);
	ck_assert(options.stream_above == UINT64_MAX);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_WARN);
}
END_TEST

/* An empty file is no mistake: all defaults. */
START_TEST(an_empty_file_is_all_defaults)
{
	expect_run("");
	ck_assert_uint_eq(options.settle, 500);
	ck_assert_str_eq(options.root, ".");
}
END_TEST

START_TEST(blanks_comments_and_ends_do_not_matter)
{
	expect_run("\xef\xbb\xbfsettle = 1s\r\n\r\n  # no setting = 5\r\n\t; nor this\r\n"
	           "[limits]\r\n \t max-fields\t=\t7 \t\r\n"
	           "   grace = 2s");
	ck_assert_uint_eq(options.settle, 1000);
	ck_assert_uint_eq(options.limits.fields, 7);
	ck_assert_uint_eq(options.timeouts.grace, 2000); /* indented, and no second line of max-fields */
	/* Comments have lines of their own. */
	expect_run("cache-control = private ;x #y =z\n");
	ck_assert_str_eq(options.cache_control, "private ;x #y =z");
	expect_run(";settle = 1\n#settle = 2\n");
	ck_assert_uint_eq(options.settle, 500);
}
END_TEST

/* A file, and what the complaint must hold behind the name of the file. */
static const char *const mistakes[][2] = {
	{ "settle = 1s\n\n# x\nsettle-max = 5x\n", "4: settle-max: '5x' is no duration (write it as 500ms" },
	{ "max_memory = 1G\n", "1: unknown setting 'max_memory' (did you mean max-memory?)" },
	{ "\nworker = 2\n", "2: unknown setting 'worker' (did you mean workers?)" },
	{ "setlte = 2\n", "1: unknown setting 'setlte' (did you mean settle?)" },
	{ "max-mem = 2\n", "1: unknown setting 'max-mem' (did you mean max-memory?)" },
	{ "compress = no\n", "1: unknown setting 'compress' (did you mean no-compress?)" },
	{ "no-hidden = no\n", "1: unknown setting 'no-hidden' (did you mean hidden?)" },
	{ "--hidden = no\n", "1: unknown setting '--hidden' (did you mean hidden?)" },
	{ "Hidden = no\n", "1: unknown setting 'Hidden' (did you mean hidden?)" },
	{ "server_name = x\n", "1: unknown setting 'server_name' (settings are named like" },
	{ "config = other.conf\n", "1: config is for the command line and the environment, and no setting" },
	{ "help = yes\n", "1: help is for the command line, and no setting" },
	{ "check = yes\n", "1: check is for the command line, and no setting" },
	{ "hidden = perhaps\n", "1: hidden: 'perhaps' is neither 1 nor 0" },
	{ "hidden\n", "1: 'hidden' is neither a setting (name = value)" },
	{ "settle = 1\nhidden\n\n[limits]\n", "2: 'hidden' is neither a setting" },
	{ "hidden\nsettle = 5x\n", "1: 'hidden' is neither a setting" },
	{ "= 5\n", "1: a value without a name" },
	{ "settle =\n", "1: settle: no value" },
	{ "settle = \t \n", "1: settle: no value" },
	{ "immutable =\n", "1: immutable: no value" },
	{ "settle = 1\ngrace = 1\nsettle = 1\n", "3: settle: given before, in line 1" },
	{ "root = a\nroot = a\n", "2: root: given before, in line 1" },
	{ "hidden = yes\n[files]\nhidden = yes\n", "3: hidden: given before, in line 1" },
	{ "[example.com]\nroot = x\n",
	  "1: unknown section [example.com] (sections only group, and are [Addresses] [Event loops]" },
	{ "settle = 1s\n[]\n", "2: unknown section []" },
	{ "[Configuration]\n", "1: unknown section [Configuration]" },
	{ "[Instead of serving]\n", "1: unknown section" },
	{ "[limits\n", "1: a heading stands alone" },
	{ "[limits] settle = 1s\n", "1: a heading stands alone" },
	{ "[limits]]\n", "1: a heading stands alone" },
	{ "[limits] ; x\n", "1: a heading stands alone" },
	{ "workers = 2 ; two\n", "1: workers: '2 ; two' is no number" },
	{ "listen = :80\nlisten = nowhere\n", "2: listen: 'nowhere' lacks a port" },
	{ "listen = :80, :81\n", "1: listen: ':80, :81'" },
	{ "grace = 1\nport = 80\n#\nlisten = :81\n", "4: listen and port (line 2) exclude each other" },
	{ "verbose = yes\nquiet = yes\n", "2: quiet and verbose (line 1) exclude each other" },
	{ "max-request-line = 8K\n\nmax-head = 4K\n", "1: max-request-line: --max-request-line must be smaller" },
	{ "max-head = 4K\n", "1: max-head: --max-request-line must be smaller" },
	{ "max-connections = 1000000\n", "1: max-connections: --max-connections: 1000000 is more than" },
	{ "x = a\x01"
	  "b\n",
	  "1: a control byte (0x01)" },
	{ "settle = 1s\n# a\x1b[2J\n", "2: a control byte (0x1b)" },
	{ "\xef\xbb\xbf\xef\xbb\xbf[limits]=\n", "1: a byte order mark" },
	{ "#\n\xef\xbb\xbfsettle = 1s\n", "2: a byte order mark" },
	{ "settle = 1s\rgrace = 1s\n", "1: a control byte (0x0d)" },
};

START_TEST(mistakes_have_a_line)
{
	const struct rlimit limit = { 1000, 1000 };

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_error(mistakes[_i][0], mistakes[_i][1]);
}
END_TEST

/* What other sources say does not make a wrong file right, so that it is found before it is needed. */
START_TEST(a_file_is_right_or_wrong_by_itself)
{
	put("grace = 5x\n");
	ck_assert_int_eq(parse("--grace=1s"), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "loom.conf:1: grace: '5x'"));
	ck_assert_int_eq(parse("--help"), OPTIONS_HELP);
	ck_assert_int_eq(parse("--version"), OPTIONS_VERSION);
	/* The first mistake of the file, and not that of the first option. */
	expect_error("settle = x\nworkers = x\n", "1: settle:");
	setenv("LOOM_WORKERS", "x", 1);
	expect_error("settle = x\n", "1: settle:");
}
END_TEST

START_TEST(nul_bytes_are_refused)
{
	expect_error_bytes("settle = 1s\ngrace = 1\0s\n", 23, "loom.conf:2: a NUL byte");
	expect_error_bytes("\xff\xfes\0e\0t\0", 8, "loom.conf:1: a NUL byte: this is no text file, or one in UTF-16");
	expect_error_bytes("\0", 1, "loom.conf:1: a NUL byte");
}
END_TEST

/* The line and the one that is a byte longer. */
START_TEST(a_long_line_is_an_error)
{
	const size_t max = config_line_max(), before = strlen("cache-control = ");
	char text[8192];

	ck_assert_uint_ge(max, 100);
	ck_assert_uint_lt(max, 512);
	memset(text, 'a', sizeof(text));
	memcpy(text, "\ncache-control = ", before + 1);
	text[max + 1] = '\0';
	expect_run(text);
	ck_assert_uint_eq(strlen(options.cache_control), max - before);
	text[max + 1] = 'a';
	text[max + 2] = '\0';
	expect_error(text, "2: longer than ");
	/* Where inih would cut it, a setting begins. */
	memcpy(text + max + 1, "\ngrace = 1s\n", 13);
	expect_run(text);
	ck_assert_uint_eq(options.timeouts.grace, 1000);
	/* A comment may be as long as it likes. */
	memset(text, '#', sizeof(text));
	strcpy(text + sizeof(text) - 16, "\ngrace = 2s\n");
	expect_run(text);
	ck_assert_uint_eq(options.timeouts.grace, 2000);
}
END_TEST

START_TEST(patterns_and_addresses_have_a_most)
{
	char text[1024] = "";

	for (int i = 0; i < OPTIONS_IMMUTABLE_MAX; i++)
		strcat(text, "immutable = /x\n");
	expect_run(text);
	ck_assert_uint_eq(options.immutables, OPTIONS_IMMUTABLE_MAX);
	strcat(text, "immutable = /y\nimmutable = /z\n");
	expect_error(text, "17: immutable: '/y' is one pattern too many (at most 16)");
}
END_TEST

START_TEST(what_is_no_file_is_refused_at_once)
{
	char link[160];
	int fds[2];

	ck_assert_int_eq(mkfifo(file, 0600), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "it is a FIFO"));
	/* One with a writer is no better: the same file may be read again. */
	ck_assert_int_ge(open(file, O_RDWR | O_NONBLOCK), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "it is a FIFO"));
	ck_assert_int_eq(unlink(file), 0);

	ck_assert_int_eq(mkdir(file, 0700), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "Is a directory"));
	ck_assert_int_eq(rmdir(file), 0);

	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "No such file"));
	ck_assert_int_eq(symlink("loom.conf", file), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "symbolic links"));
	ck_assert_int_eq(unlink(file), 0);

	ck_assert_int_eq(symlink("/dev/zero", file), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "it has more than 1M"));
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(symlink("/dev/null", file), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN);
	ck_assert_int_eq(unlink(file), 0);

	/* A pipe that the shell has made: what is in it, and nothing in it. */
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], "root = x\ngrace = 3s\n", 20), 20);
	close(fds[1]);
	snprintf(link, sizeof(link), "/dev/fd/%d", fds[0]);
	strcpy(file, link);
	ck_assert_msg(parse(NULL) == OPTIONS_RUN, "%s", error);
	ck_assert_uint_eq(options.timeouts.grace, 3000);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "the pipe is empty"));
}
END_TEST

START_TEST(a_socket_is_refused)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, file);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(parse(NULL), OPTIONS_ERROR);
	ck_assert_ptr_nonnull(strstr(error, "cannot read the configuration"));
	close(fd);
}
END_TEST

START_TEST(a_file_has_a_most)
{
	size_t len = CONFIG_SIZE_MAX;
	char *text = malloc(len + 1);

	memset(text, '\n', len + 1);
	put_bytes(text, len);
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN);
	memcpy(text + len - 8, "nonsense", 8);
	expect_error_bytes(text, len, "loom.conf:1048569: 'nonsense' is neither");
	expect_error_bytes(text, len + 1, "it has more than 1M");
	free(text);
}
END_TEST

/* default < file < environment < command line */
START_TEST(each_source_wins_over_the_one_before)
{
	put("grace = 1s\nlisten = :1\nlisten = :2\nroot = one\nhidden = yes\nquiet = yes\n");
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN);
	ck_assert_uint_eq(options.timeouts.grace, 1000);
	ck_assert_uint_eq(options.listens, 2);
	ck_assert(options.hidden);
	setenv("LOOM_GRACE", "2s", 1);
	setenv("LOOM_LISTEN", ":3", 1);
	setenv("LOOM_ROOT", "two", 1);
	setenv("LOOM_HIDDEN", "no", 1);
	setenv("LOOM_VERBOSE", "1", 1);
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN);
	ck_assert_uint_eq(options.timeouts.grace, 2000);
	ck_assert_uint_eq(options.listens, 1);
	ck_assert_str_eq(options.listen[0], ":3");
	ck_assert_str_eq(options.root, "two"); /* relative to where loom is started */
	ck_assert(!options.hidden);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_DEBUG);
	ck_assert_int_eq(parse("--grace=3s"), OPTIONS_RUN);
	ck_assert_uint_eq(options.timeouts.grace, 3000);
	ck_assert_int_eq(parse("--port=9"), OPTIONS_RUN);
	ck_assert_uint_eq(options.listens, 1);
	ck_assert_str_eq(options.listen[0], "[::]:9");
	ck_assert_int_eq(parse("three"), OPTIONS_RUN);
	ck_assert_str_eq(options.root, "three");
	ck_assert_int_eq(parse("--quiet"), OPTIONS_RUN);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_WARN);
}
END_TEST

START_TEST(the_environment_names_a_file)
{
	char name[] = "loom", *argv[] = { name, NULL };

	put("grace = 1s\n");
	setenv("LOOM_CONFIG", "/nonexistent", 1);
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN); /* the command line names another */
	options_free(&options);
	ck_assert_int_eq(options_parse(&options, 1, argv, error, sizeof(error)), OPTIONS_ERROR);
	setenv("LOOM_CONFIG", file, 1);
	ck_assert_int_eq(options_parse(&options, 1, argv, error, sizeof(error)), OPTIONS_RUN);
	ck_assert_uint_eq(options.timeouts.grace, 1000);
	ck_assert_str_eq(options_file(&options), file);
	options_free(&options);
	setenv("LOOM_CONFIG", "", 1);
	ck_assert_int_eq(options_parse(&options, 1, argv, error, sizeof(error)), OPTIONS_RUN);
	ck_assert_uint_eq(options.timeouts.grace, 10000);
	ck_assert_ptr_null(options_file(&options));
}
END_TEST

/* By the directory of the file, wherever that is named from; those of pipes by the working directory. */
START_TEST(relative_paths_are_by_the_file)
{
	char expected[160];

	put("root = .\n");
	ck_assert_int_eq(chdir(directory), 0);
	strcpy(file, "loom.conf");
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN);
	ck_assert_str_eq(options.root, directory);
	put("root = ../x\ncache-dir = .//c\nadmin = unix:/a\nlisten = unix:s\nlisten = :0\naccess-log = l/a\n"
	    "error-log = stderr\n");
	snprintf(file, sizeof(file), "../%s/loom.conf", strrchr(directory, '/') + 1);
	ck_assert_int_eq(parse(NULL), OPTIONS_RUN);
	snprintf(expected, sizeof(expected), "%s/../%s/../x", directory, strrchr(directory, '/') + 1);
	ck_assert_str_eq(options.root, expected);
	snprintf(expected, sizeof(expected), "%s/../%s/c", directory, strrchr(directory, '/') + 1);
	ck_assert_str_eq(options.cache_dir, expected);
	snprintf(expected, sizeof(expected), "%s/../%s/l/a", directory, strrchr(directory, '/') + 1);
	ck_assert_str_eq(options.access_log, expected);
	ck_assert_str_eq(options.error_log, "stderr");
	ck_assert_str_eq(options.admin, "/a");
	ck_assert_str_eq(options.listen[1], ":0");
	/* What became too long by it is an error here. */
	memset(expected, 'x', sizeof(expected));
	snprintf(expected, sizeof(expected), "listen = unix:%.100s",
	         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	expect_error(expected, "1: listen: 'unix:/");
}
END_TEST

/* Options that threads use stay what they are while the file is read anew. */
START_TEST(a_second_reading_leaves_the_first_alone)
{
	char name[] = "loom", option[] = "-c", port[] = "--immutable=/argv",
	     *argv[] = { name, option, file, port, NULL };
	struct options first, second;

	setenv("LOOM_LISTEN", ":1,:2", 1);
	put("index = one\ncache-control = x\n");
	ck_assert_int_eq(options_parse(&first, 4, argv, error, sizeof(error)), OPTIONS_RUN);
	setenv("LOOM_LISTEN", ":3,:4", 1);
	put("index = two\n");
	ck_assert_int_eq(options_parse(&second, 4, argv, error, sizeof(error)), OPTIONS_RUN);
	ck_assert_str_eq(first.index, "one");
	ck_assert_str_eq(first.cache_control, "x");
	ck_assert_str_eq(first.listen[1], ":2");
	ck_assert_str_eq(second.index, "two");
	ck_assert_ptr_null(second.cache_control);
	ck_assert_str_eq(second.listen[1], ":4");
	options_free(&first);
	ck_assert_str_eq(second.index, "two");
	put("index = a/b\n");
	ck_assert_int_eq(options_parse(&first, 4, argv, error, sizeof(error)), OPTIONS_ERROR);
	ck_assert_str_eq(second.listen[0], ":3");
	options_free(&second);
}
END_TEST

/* What options_dump() prints; for free(3). */
static char *dump(int expected)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(out);
	ck_assert_msg(options_dump(&options, out, error, sizeof(error)) == expected, "%s", error);
	fclose(out);
	return text;
}

/* The same without the lines that say where a value is from. */
static char *without_comments(char *text)
{
	char *to = text;

	for (char *line = text, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		end += *end == '\n';
		if (*line != '#') {
			memmove(to, line, (size_t)(end - line));
			to += end - line;
		}
	}
	*to = '\0';
	return text;
}

__attribute__((format(printf, 2, 3))) static void expect_line(const char *text, const char *format, ...)
{
	char line[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	ck_assert_msg(strstr(text, line), "lacks '%s':\n%s", line, text);
}

START_TEST(a_dump_says_where_each_value_is_from)
{
	char *text;

	put("\ngrace = 1s\nimmutable = /a\n\nimmutable = none\nroot = x\nquiet = yes\n");
	setenv("LOOM_MAX_MEMORY", "1G", 1);
	setenv("LOOM_LISTEN", ":1,:2", 1);
	ck_assert_int_eq(parse("--settle=7s"), OPTIONS_RUN);
	text = dump(0);
	expect_line(text, "\n# %s:2\ngrace = 1s\n", file);
	expect_line(text, "\n# %s:3\nimmutable = /a\n", file);
	expect_line(text, "\n# %s:5\nimmutable = none\n", file);
	expect_line(text, "/x\n\n[Addresses]\n# environment: LOOM_LISTEN\nlisten = :1\nlisten = :2\n");
	expect_line(text, "\n# environment: LOOM_MAX_MEMORY\nmax-memory = 1G\n");
	expect_line(text, "\n# command line\nsettle = 7s\n");
	expect_line(text, "\n# default\nsettle-max = 10s\n");
	expect_line(text, "\n# default\nhidden = no\n");
	expect_line(text, "\n# %s:7\nquiet = yes\n", file);
	expect_line(text, "\n# default: none\n#cache-dir = DIR\n");
	expect_line(text, "\n#gate = index,vanished=50%%\n");
	free(text);
}
END_TEST

/* All that options can be set to, in turns, and the options that they are again. */
START_TEST(a_dump_gives_the_same_options)
{
	static const char *const files[] = {
		"",
		"port = 81\nverbose = on\n",
		"access-log = a log\naccess-format = json\nerror-log = syslog:/run/log\nlog-level = error\n",
		"access-log = /x\nerror-log = e\nlog-level = error\nverbose = on\n",
		"access-log = syslog\nlog-level = warn\nquiet = no\n",
		"root = /srv/a b;c #d\nlisten = :1\nlisten = unix:/x y\nlisten=127.0.0.1:0\nbackend = epoll\n"
		"workers = 2\n"
		"keepalive-timeout = 1\nheader-timeout=250ms\nmax-connections = 50\nmax-memory=1g\nstream-above = off\n"
		"index = [x]\nhidden = 1\nsymlinks = follow\ncache-control = a ;b\nimmutable = auto\nimmutable = /a=b\n"
		"no-nosniff = yes\nencodings = none\nno-compress = yes\ncache-dir = c\nwatch = off\n"
		"keep-generations = 0\nwhen-full = close\nmax-connections-per-ip = 9\nmax-unsent = 0\nmin-send-rate = 2k\n"
		"min-recv-rate = 7\nrecv-window = 9s\n"
		"gate = index,vanished=50%\nadmin = unix:/a\nsnapshot-header = yes\ndrain-delay = 3s\ngrace = 0\nuser = loom\ngroup = 5\n"
		"sandbox = off\nsandbox-read = /a\nsandbox-read = /b c\nquiet = 1\n",
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *text, *again;
		struct options before;

		expect_run(files[i]);
		before = options;
		text = dump(0);
		put(text);
		options.store = NULL;
		ck_assert_msg(parse(NULL) == OPTIONS_RUN, "%s in\n%s", error, text);
		again = dump(0);
		ck_assert_str_eq(without_comments(again), without_comments(text));
		ck_assert_uint_eq(options.listens, before.listens);
		for (unsigned j = 0; j < options.listens; j++)
			ck_assert_str_eq(options.listen[j], before.listen[j]);
		ck_assert_uint_eq(options.immutables, before.immutables);
		ck_assert_int_eq(options.immutable_auto, before.immutable_auto);
		ck_assert_int_eq(options.gate.chosen, before.gate.chosen);
		ck_assert_int_eq(options.compress, before.compress);
		ck_assert_int_eq(options.nosniff, before.nosniff);
		ck_assert_int_eq(options.log_level, before.log_level);
		ck_assert_int_eq(options.access_format, before.access_format);
		ck_assert_pstr_eq(options.access_log, before.access_log);
		ck_assert_str_eq(options.error_log, before.error_log);
		ck_assert_uint_eq(options.max_connections, before.max_connections);
		ck_assert_uint_eq(options.stream_above, before.stream_above);
		ck_assert_int_eq(memcmp(&options.limits, &before.limits, sizeof(options.limits)), 0);
		ck_assert_int_eq(memcmp(&options.timeouts, &before.timeouts, sizeof(options.timeouts)), 0);
		free(text);
		free(again);
		options_free(&before);
	}
}
END_TEST

/* What no line can hold is said, and is a comment. */
START_TEST(a_dump_leaves_out_what_no_file_can_hold)
{
	static const char *const roots[][2] = { { "/a\nhidden = yes", "a control byte" },
		                                { "/a ", "blanks at its ends" },
		                                { "/\t/\x1b", "a control byte" } };
	char long_root[256];
	char *text;

	put("");
	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		ck_assert_int_eq(parse(roots[i][0]), OPTIONS_RUN);
		text = dump(-EINVAL);
		ck_assert_ptr_nonnull(strstr(error, "the value of root cannot be written in a file"));
		ck_assert_ptr_nonnull(strstr(error, roots[i][1]));
		ck_assert_ptr_null(strstr(without_comments(text), "root"));
		ck_assert_ptr_nonnull(strstr(text, "hidden = no\n"));
		free(text);
	}
	memset(long_root, '/', sizeof(long_root));
	long_root[config_line_max() - strlen("root = ")] = '\0';
	ck_assert_int_eq(parse(long_root), OPTIONS_RUN);
	free(dump(0));
	strcat(long_root, "/");
	ck_assert_int_eq(parse(long_root), OPTIONS_RUN);
	free(dump(-EINVAL));
	ck_assert_ptr_nonnull(strstr(error, "too long for a line"));
}
END_TEST

START_TEST(origins_are_told)
{
	char text[256], expected[256];

	put("listen = :1\n\nlisten = :2\n");
	setenv("LOOM_GRACE", "1", 1);
	ck_assert_int_eq(parse("--settle=7s"), OPTIONS_RUN);
	snprintf(expected, sizeof(expected), "%s:3: listen", file);
	ck_assert_str_eq(options_origin(&options, "listen", 1, text, sizeof(text)), expected);
	ck_assert_str_eq(options_origin(&options, "grace", 0, text, sizeof(text)), "LOOM_GRACE");
	ck_assert_str_eq(options_origin(&options, "settle", 0, text, sizeof(text)), "--settle");
	ck_assert_str_eq(options_origin(&options, "root", 0, text, sizeof(text)), "");
	ck_assert_int_eq(parse("site"), OPTIONS_RUN);
	ck_assert_str_eq(options_origin(&options, "root", 0, text, sizeof(text)), "ROOT");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("config");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, every_setting_is_read);
	tcase_add_test(tcase, an_empty_file_is_all_defaults);
	tcase_add_test(tcase, blanks_comments_and_ends_do_not_matter);
	tcase_add_loop_test(tcase, mistakes_have_a_line, 0, (int)(sizeof(mistakes) / sizeof(mistakes[0])));
	tcase_add_test(tcase, a_file_is_right_or_wrong_by_itself);
	tcase_add_test(tcase, nul_bytes_are_refused);
	tcase_add_test(tcase, a_long_line_is_an_error);
	tcase_add_test(tcase, patterns_and_addresses_have_a_most);
	tcase_add_test(tcase, what_is_no_file_is_refused_at_once);
	tcase_add_test(tcase, a_socket_is_refused);
	tcase_add_test(tcase, a_file_has_a_most);
	tcase_add_test(tcase, each_source_wins_over_the_one_before);
	tcase_add_test(tcase, the_environment_names_a_file);
	tcase_add_test(tcase, relative_paths_are_by_the_file);
	tcase_add_test(tcase, a_second_reading_leaves_the_first_alone);
	tcase_add_test(tcase, a_dump_says_where_each_value_is_from);
	tcase_add_test(tcase, a_dump_gives_the_same_options);
	tcase_add_test(tcase, a_dump_leaves_out_what_no_file_can_hold);
	tcase_add_test(tcase, origins_are_told);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
