/*
 * test_features.c - the table of features: every name and every value is read and printed again, every mistake is
 * explained, and what people read of it, help, manual and docs/features.md, has each row as the table has it.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/features.h"

static struct features features;
static char why[512];

static int parse(enum feature_option option, const char *text)
{
	features = features_standard;
	return features_parse(&features, option, text, why, sizeof(why));
}

static void expect(enum feature_option option, const char *text)
{
	ck_assert_msg(parse(option, text) == 0, "%s: %s", text, why);
}

/* Reads it, and it is asked for; prints it, and it is read as the same. */
static void there_and_back(const struct feature *feature, const char *text)
{
	struct features first;
	char printed[64];

	expect(feature->option, text);
	ck_assert_msg(features.asked == UINT64_C(1) << feature_index(feature), "%s", text);
	first = features;
	feature_print(&first, feature, printed, sizeof(printed));
	expect(feature->option, printed);
	ck_assert_msg(memcmp(&first, &features, sizeof(first)) == 0, "%s is printed as %s, which is another", text,
	              printed);
}

START_TEST(every_name_and_value_is_read)
{
	const struct feature *feature;
	unsigned rows = 0, words = 0;

	for (unsigned i = 0; (feature = feature_at(i)) != NULL; i++, rows++) {
		char text[64];

		if (feature->can_be_off) {
			snprintf(text, sizeof(text), "no-%s", feature->name);
			there_and_back(feature, text);
			ck_assert_uint_eq(feature_value(&features, feature), 0);
		}
		if (feature->kind == FEATURE_SWITCH || feature->kind == FEATURE_IDLE) {
			there_and_back(feature, feature->name);
			ck_assert_uint_eq(feature_value(&features, feature),
			                  feature->kind == FEATURE_IDLE ? feature->implied : 1);
		}
		for (const char *word = feature->values; feature->kind == FEATURE_CHOICE && *word; words++) {
			size_t n = strcspn(word, "|");

			snprintf(text, sizeof(text), "%s=%.*s", feature->name, (int)n, word);
			there_and_back(feature, text);
			word += n + (word[n] != '\0');
		}
		if (feature->kind == FEATURE_NUMBER || feature->kind == FEATURE_SIZE || feature->kind == FEATURE_IDLE) {
			const uint32_t bounds[] = { feature->min, feature->max };

			for (unsigned j = 0; j < 2; j++) {
				snprintf(text, sizeof(text), "%s=%u", feature->name, bounds[j]);
				there_and_back(feature, text);
				ck_assert_uint_eq(feature_value(&features, feature), bounds[j]);
			}
		}
	}
	ck_assert_uint_eq(rows, 26);
	ck_assert_uint_eq(words, 21);
	there_and_back(feature_find(FEATURE_URING, "wait", 4), "wait=1");
	there_and_back(feature_find(FEATURE_URING, "wait", 4), "wait=16:250");
	ck_assert_uint_eq(features.uring.wait, 16);
	ck_assert_uint_eq(features.uring.wait_usec, 250);
	expect(FEATURE_URING, "zc-min=1M,recv-cap=4K,sqpoll=20");
	ck_assert_uint_eq(features.uring.zc_min, 1 << 20);
	ck_assert_uint_eq(features.uring.recv_cap, 4096);
	ck_assert_uint_eq(features.uring.sqpoll, 20);
}
END_TEST

START_TEST(the_defaults_are_those_of_the_table)
{
	const struct feature *feature;

	ck_assert_uint_eq(features_standard.asked, 0);
	for (unsigned i = 0; (feature = feature_at(i)) != NULL; i++) {
		char text[64], printed[64];

		if (feature->kind == FEATURE_SWITCH || strcmp(feature->standard, "off") == 0) {
			if (feature->kind == FEATURE_CHOICE)
				continue; /* a word, below */
			ck_assert_uint_eq(feature_value(&features_standard, feature),
			                  strcmp(feature->standard, "on") == 0);
		} else if (!strchr(feature->standard, ' ')) {
			snprintf(text, sizeof(text), "%s=%s", feature->name, feature->standard);
			feature_print(&features_standard, feature, printed, sizeof(printed));
			ck_assert_str_eq(printed, text);
		}
	}
	ck_assert_uint_eq(features_standard.uring.zc, ZC_OFF);
}
END_TEST

START_TEST(the_later_of_two_counts_and_a_mistake_changes_nothing)
{
	struct features before;

	expect(FEATURE_URING, "zc=on,no-sqarray,zc=off,sqarray,recv=poll");
	ck_assert_uint_eq(features.uring.zc, ZC_OFF);
	ck_assert_uint_eq(features.uring.sqarray, 1);
	ck_assert(features_asked(&features, &features.uring.zc) && features_asked(&features, &features.uring.recv));
	ck_assert(!features_asked(&features, &features.uring.send));
	ck_assert(features_asked_any(&features, FEATURE_URING) && !features_asked_any(&features, FEATURE_EPOLL));
	before = features;
	ck_assert_int_eq(features_parse(&features, FEATURE_URING, "send=inline,zc=maybe", why, sizeof(why)), -EINVAL);
	ck_assert(memcmp(&before, &features, sizeof(before)) == 0);
}
END_TEST

START_TEST(all_of_it_is_printed_and_read_again)
{
	struct features first;
	char text[FEATURES_TEXT];

	for (unsigned i = 0; i < 2; i++) {
		/* The longest values of all. */
		expect(FEATURE_URING, "sqpoll=60000,entries=32768,cq-entries=65536,ring-fd,napi=1000000,recv-bundle,"
		                      "recv-poll-first,recv-cap=1000000,buf-count=32768,buf-inc,send=inline,send-vec,"
		                      "zc=on,zc-min=1073741823,wait=4096:1000000,accept=multishot,recv=multishot");
		first = features;
		features_print(&first, FEATURE_URING, i, text, sizeof(text));
		ck_assert_uint_lt(strlen(text), sizeof(text) - 1);
		expect(FEATURE_URING, text);
		ck_assert_mem_eq(&first.uring, &features.uring, sizeof(first.uring));
	}
	features_print(&features_standard, FEATURE_EPOLL, false, text, sizeof(text));
	ck_assert_str_eq(text, "trigger=edge,read=short,write=first,exclusive");
	features_print(&features_standard, FEATURE_EPOLL, true, text, sizeof(text));
	ck_assert_str_eq(text, "trigger=edge,read=short,write=first,exclusive,no-busy-poll");
}
END_TEST

static const struct {
	enum feature_option option;
	const char *text, *part;
} mistakes[] = {
	{ FEATURE_URING, "", "there is no feature ''" },
	{ FEATURE_URING, "zc=on,", "there is no feature ''" },
	{ FEATURE_URING, "zerocopy", "there is no feature 'zerocopy' (there are taskrun sqpoll" },
	{ FEATURE_URING, "trigger=edge", "there is no feature 'trigger=edge'" },
	{ FEATURE_EPOLL, "zc=on", "there is no feature 'zc=on' (there are trigger read write exclusive busy-poll)" },
	{ FEATURE_URING, "no-", "there is no feature 'no-'" },
	{ FEATURE_URING, "ring", "there is no feature 'ring'" },
	{ FEATURE_URING, "zc", "zc needs a value (write zc=off|on|fixed)" },
	{ FEATURE_URING, "zc=", "'' is no value of zc (write zc=off|on|fixed)" },
	{ FEATURE_URING, "zc=fix", "'fix' is no value of zc (write zc=off|on|fixed)" },
	{ FEATURE_URING, "zc=o", "'o' is no value of zc" },
	{ FEATURE_URING, "no-zc", "zc cannot be off (write zc=off|on|fixed)" },
	{ FEATURE_URING, "no-taskrun", "taskrun cannot be off" },
	{ FEATURE_URING, "ring-fd=1", "ring-fd takes no value (write ring-fd or no-ring-fd)" },
	{ FEATURE_URING, "no-ring-fd=1", "no-ring-fd takes no value" },
	{ FEATURE_URING, "napi", "napi needs a value (write napi=USEC)" },
	{ FEATURE_URING, "napi=0", "napi=0 is out of range (1 to 1000000)" },
	{ FEATURE_URING, "napi=1000001", "out of range" },
	{ FEATURE_URING, "napi=99999999999999999999", "'99999999999999999999' is no value of napi" },
	{ FEATURE_URING, "napi=-1", "'-1' is no value of napi" },
	{ FEATURE_URING, "napi=5us", "'5us' is no value of napi" },
	{ FEATURE_URING, "napi=1K", "'1K' is no value of napi" },
	{ FEATURE_URING, "entries=100", "entries=100 is out of range (2 to 32768, a power of two)" },
	{ FEATURE_URING, "entries=65536", "out of range" },
	{ FEATURE_URING, "buf-size=32K", "buf-size=32K is out of range (64 to 16384, a power of two)" },
	{ FEATURE_URING, "buf-size=1G", "'1G' is no value of buf-size" },
	{ FEATURE_URING, "zc-min=1K", "zc-min=1K is out of range (16384 to" },
	{ FEATURE_URING, "wait=0", "wait=0" },
	{ FEATURE_URING, "wait=8", "wait=8: 1 completion is waited for without a time, more with the longest one" },
	{ FEATURE_URING, "wait=1:100", "write wait=1 or wait=8:200" },
	{ FEATURE_URING, "wait=8:", "'8:' is no value of wait" },
	{ FEATURE_URING, "wait=8:1:1", "'8:1:1' is no value of wait" },
	{ FEATURE_URING, "wait=5000:10", "wait=5000:10 is out of range (1 to 4096)" },
	{ FEATURE_EPOLL, "exclusive=yes", "exclusive takes no value" },
	{ FEATURE_EPOLL, "read=long", "'long' is no value of read (write read=short|drain)" },
};

START_TEST(mistakes_are_explained)
{
	*why = '\0';
	ck_assert_msg(parse(mistakes[_i].option, mistakes[_i].text) == -EINVAL, "%s: taken", mistakes[_i].text);
	ck_assert_msg(strstr(why, mistakes[_i].part), "%s: '%s' lacks '%s'", mistakes[_i].text, why, mistakes[_i].part);
	ck_assert_ptr_null(strchr(why, '\n'));
}
END_TEST

/* A file of docs/, without the backslashes that its format needs. */
static char *document(const char *name)
{
	char path[512];
	char *text = malloc(1 << 20), *to = text;
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "%.*sdocs/%s", (int)(strlen(__FILE__) - strlen("tests/unit/test_features.c")),
	         __FILE__, name);
	file = fopen(path, "re");
	ck_assert_msg(file && text, "no %s", path);
	while ((c = fgetc(file)) != EOF)
		if (c != '\\')
			*to++ = (char)c;
	*to = '\0';
	fclose(file);
	return text;
}

static void expect_in(const char *where, const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "%s lacks '%s'", where, part);
}

START_TEST(help_manual_and_docs_know_each_feature)
{
	char *manual = document("loom.1"), *table = document("features.md");
	char *help = NULL;
	size_t size;
	FILE *out = open_memstream(&help, &size);
	const struct feature *feature;

	features_help(out);
	fclose(out);
	for (unsigned i = 0; (feature = feature_at(i)) != NULL; i++) {
		char usage[64], part[512];

		feature_usage(feature, usage, sizeof(usage));
		snprintf(part, sizeof(part), "\n  %s ", usage);
		expect_in("--help", help, part);
		/* The sentence without its capital letter. */
		snprintf(part, sizeof(part), ".B %s\n%c", usage, feature->help[0] & ~('a' - 'A'));
		expect_in("the manual", manual, part);
		snprintf(part, sizeof(part), "%s.\nDefault: %s.\nNeeds ", feature->help + 1, feature->standard);
		expect_in("the manual", manual, part);
		snprintf(part, sizeof(part), "| `%s` | %s | %s | %s |", usage, feature->help, feature->standard,
		         feature->since);
		expect_in("docs/features.md", table, part);
	}
	free(manual);
	free(table);
	free(help);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("features");
	TCase *tcase = tcase_create("features");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, every_name_and_value_is_read);
	tcase_add_test(tcase, the_defaults_are_those_of_the_table);
	tcase_add_test(tcase, the_later_of_two_counts_and_a_mistake_changes_nothing);
	tcase_add_test(tcase, all_of_it_is_printed_and_read_again);
	tcase_add_loop_test(tcase, mistakes_are_explained, 0, sizeof(mistakes) / sizeof(mistakes[0]));
	tcase_add_test(tcase, help_manual_and_docs_know_each_feature);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
