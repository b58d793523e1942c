/*
 * test_gate.c - what each rule of the gate refuses and lets pass, on snapshots that are really built; and what it says.
 */
#include "loom/gate.h"
#include "tree.h"

static struct snapshot *before, *now;
static char said[512];
static char told[16384];
static unsigned comparing;
static uint64_t reason;

static void setup(void)
{
	tree_setup();
	tree.options.gate = (struct gate_rules){ .percent = 50 };
}

static void teardown(void)
{
	build_free(before);
	build_free(now);
	before = now = NULL;
	tree_teardown();
}

/* Builds the next snapshot and asks the gate. */
static int gate(void)
{
	build_free(before);
	before = now;
	now = tree_snapshot(before);
	memset(said, 'x', sizeof(said));
	return gate_check(&tree.options, now, before, &reason, said, sizeof(said));
}

static void passes(void)
{
	ck_assert_msg(gate() == 0, "%s", said);
	ck_assert_str_eq(said, "");
}

static void refuses(const char *words)
{
	ck_assert_int_eq(gate(), -EPERM);
	ck_assert_msg(strstr(said, words), "'%s' lacks '%s'", said, words);
	ck_assert_msg(strstr(said, tree.root) && strstr(said, "--gate"), "%s", said);
}

static void tell(void *context, const struct gate_violation *violation)
{
	size_t len = strlen(told);

	ck_assert_ptr_null(context);
	ck_assert(violation->subject > 0 && violation->subject <= strlen(violation->text));
	comparing += violation->compares;
	snprintf(told + len, sizeof(told) - len, "%s\n", violation->text);
}

static void tells(const char *text)
{
	told[0] = '\0';
	gate_inspect(&tree.options, now, before, tell, NULL);
	ck_assert_str_eq(told, text);
}

static void delete (const char *path)
{
	ck_assert_int_eq(unlink(tree_path(path)), 0);
}

static void put_files(unsigned from, unsigned to, const char *content)
{
	char path[32];

	for (unsigned i = from; i < to; i++) {
		snprintf(path, sizeof(path), "f/%02u.txt", i);
		tree_put(path, content);
	}
}

static void delete_files(unsigned from, unsigned to)
{
	char path[32];

	for (unsigned i = from; i < to; i++) {
		snprintf(path, sizeof(path), "f/%02u.txt", i);
		delete (path);
	}
}

START_TEST(without_rules_everything_passes)
{
	tree.options.gate.chosen = true;
	put_files(0, 20, "x");
	tree_put("index.html", "<img src=missing>");
	passes();
	delete ("index.html");
	delete_files(0, 20);
	passes();
}
END_TEST

START_TEST(an_index_that_was_asked_for_must_be_there)
{
	tree.options.gate.index = tree.options.gate.chosen = true;
	tree_put("a/index.html", "not of ROOT");
	refuses("index: /index.html is missing");
	ck_assert_ptr_nonnull(strstr(said, "mend what is served"));
	tree_put("index.html", "");
	refuses("index: /index.html is empty");
	tree_put("index.html", "x");
	passes();
	delete ("index.html");
	refuses("index: /index.html is missing");
	tree.options.index = "start.htm";
	refuses("index: /start.htm is missing");
}
END_TEST

START_TEST(by_default_only_the_loss_of_an_index_is_refused)
{
	tree.options.gate.index = true;
	tree_put("a.txt", "no index");
	passes();
	tree_put("b.txt", "and none now");
	passes();
	tree_put("index.html", "");
	passes();
	tree_put("index.html", "home");
	passes();
	tree_put("index.html", "");
	refuses("index: /index.html is empty");
	ck_assert_ptr_nonnull(strstr(said, "restart loom"));
}
END_TEST

START_TEST(vanished_files_are_counted)
{
	tree.options.gate.vanished = tree.options.gate.chosen = true;
	put_files(0, 8, "12345678");
	passes(); /* there is nothing to compare with */
	delete_files(0, 4);
	passes(); /* half of it is not more than half */
	delete_files(4, 7);
	refuses("vanished: more than 50 % of the files and bytes: 4 files of 32 bytes were served, and 1 of 8 are there "
	        "now; among them /f/04.txt, /f/05.txt, /f/06.txt (if that is meant, restart loom");
	tree.options.gate.percent = 0;
	put_files(1, 3, "12345678");
	passes();
	delete_files(2, 3);
	refuses("vanished: more than 0 %");
	tree.options.gate.percent = 99;
	delete_files(1, 2);
	passes();
	delete_files(7, 8);
	refuses("and 0 of 0 are there now; among them /f/07.txt");
}
END_TEST

START_TEST(vanished_bytes_are_counted)
{
	tree.options.gate.vanished = tree.options.gate.chosen = true;
	put_files(0, 12, "12345678");
	passes();
	put_files(0, 12, "1234");
	passes();
	put_files(0, 12, "1");
	refuses("more than 50 % of the bytes: 12 files of 48 bytes were served, and 12 of 12 are there now (if");
	/* By default they are not: one file may be most of them. */
	put_files(0, 12, "12345678");
	passes();
	tree.options.gate.chosen = false;
	put_files(0, 12, "1");
	passes();
}
END_TEST

START_TEST(an_emptied_file_has_vanished)
{
	tree.options.gate.vanished = true;
	put_files(0, 12, "12345678");
	passes();
	put_files(0, 6, "");
	passes();
	put_files(0, 12, "12345678");
	passes();
	put_files(5, 12, "");
	refuses("more than 50 % of the files: 12 files of 96 bytes were served, and 5 of 40 are there now; among them "
	        "/f/05.txt (now empty), /f/06.txt (now empty), /f/07.txt (now empty) (");
}
END_TEST

/* What is told once stays the same while a deploy goes on. */
START_TEST(numbers_are_no_reason)
{
	uint64_t first;

	tree.options.gate = (struct gate_rules){ .vanished = true, .links = true, .percent = 50 };
	put_files(0, 12, "x");
	passes();
	delete_files(0, 9);
	refuses("and 3 of 3 are");
	first = reason;
	build_free(now);
	now = before;
	before = NULL;
	delete_files(9, 10);
	refuses("and 2 of 2 are");
	ck_assert_uint_eq(reason, first);
	tree_put("p.html", "<img src=x>");
	put_files(0, 12, "x");
	refuses("links: /x is missing");
	ck_assert_uint_ne(reason, first);
	first = reason;
	tree_put("q.html", "<img src=x>");
	refuses("links: /x is missing, named by /p.html and 1 more");
	ck_assert_uint_eq(reason, first);
	tree_put("q.html", "<img src=y>");
	refuses("links: /y is missing");
	ck_assert_uint_ne(reason, first);
}
END_TEST

/* Every deploy of a site with hashed assets does that. */
START_TEST(new_names_are_no_loss)
{
	tree.options.gate.vanished = tree.options.gate.chosen = true;
	put_files(0, 20, "12345678");
	passes();
	delete_files(0, 20);
	put_files(20, 40, "87654321");
	passes();
}
END_TEST

START_TEST(by_default_small_trees_may_shrink)
{
	tree.options.gate.vanished = true;
	put_files(0, GATE_FILES_MIN - 1, "12345678");
	passes();
	delete_files(1, GATE_FILES_MIN - 1);
	passes();
	delete_files(0, 1);
	passes();
	put_files(0, GATE_FILES_MIN, "12345678");
	passes();
	delete_files(1, GATE_FILES_MIN);
	refuses("vanished: more than 50 %");
}
END_TEST

START_TEST(missing_links_are_told_by_name)
{
	tree.options.gate.links = tree.options.gate.chosen = true;
	tree_put("index.html", "<link rel=stylesheet href=a.css><script src=/d/b.js?v=1></script><img src='c%20d.png'>"
	                       "<a href=nowhere>");
	tree_put("d/index.html", "<script src=b.js></script><script src=b.js></script>");
	tree_put("d/e.html", "<script src=b.js></script><img src='../c d.png'>");
	tree_put("not.txt", "<img src=x.png>");
	refuses("links: /d/b.js is missing, named by /d/e.html and 2 more pages; links: /c d.png is missing, named by "
	        "/d/e.html and 1 more page; links: /a.css is missing, named by /index.html (mend what is served, or");
	tells("links: /d/b.js is missing, named by /d/e.html and 2 more pages\n"
	      "links: /c d.png is missing, named by /d/e.html and 1 more page\n"
	      "links: /a.css is missing, named by /index.html\n");
	tree_put("d/b.js", "");
	tree_put("c d.png", "");
	refuses("links: /a.css is missing");
	tree_put("a.css", "");
	passes();
	delete ("d/b.js");
	refuses("links: /d/b.js is missing");
}
END_TEST

/* It would have to be read for that. */
START_TEST(a_page_that_is_streamed_is_passed_over)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	char text[512] = "";

	tree.options.gate.links = tree.options.gate.chosen = true;
	tree.options.stream_above = 20;
	tree_clock_ahead = 10;
	tree_put("large.html", "<img src=missing.png alt='more than twenty bytes'>");
	tree_put("small.html", "<img src=/x.png>");
	dup2(log, STDERR_FILENO);
	refuses("links: /x.png is missing, named by /small.html (");
	dup2(saved, STDERR_FILENO);
	ck_assert_int_gt(pread(log, text, sizeof(text) - 1, 0), 0);
	ck_assert_ptr_nonnull(strstr(text, "1 HTML file was not looked at"));
	close(saved);
	close(log);
}
END_TEST

START_TEST(whatever_answers_is_there)
{
	tree.options.gate.links = true;
	tree_put("index.html", "<img src=d/><img src=d><img src=/><img src=a.png#x><img src=http://h/x>");
	tree_put("d/index.html", "");
	tree_put("a.png", "");
	passes();
	tree_put("e/x", "");
	tree_put(".hidden", "");
	tree_put("p.html", "<img src=e/><img src=.hidden><img src=%2F>");
	refuses("/e/ is missing");
	tells("links: /e/ is missing, named by /p.html\nlinks: /.hidden is missing, named by /p.html\n"
	      "links: %2F is missing, named by /p.html\n");
}
END_TEST

START_TEST(many_missing_links_are_counted)
{
	char html[8192] = "";

	tree.options.gate.links = true;
	for (unsigned i = 0; i < GATE_NAMES_MAX + 20; i++)
		sprintf(html + strlen(html), "<img src=%03u-a-name-of-some-length.png>", i);
	tree_put("index.html", html);
	refuses("; and 9");
	ck_assert_uint_lt(strlen(said), sizeof(said) - 1);
	ck_assert_int_eq(said[strlen(said) - 1], ')');
	told[0] = '\0';
	ck_assert_uint_eq(gate_inspect(&tree.options, now, before, tell, NULL), GATE_NAMES_MAX + 1);
	ck_assert_ptr_nonnull(strstr(told, "/099-a"));
	ck_assert_ptr_null(strstr(told, "/100-a"));
	ck_assert_ptr_nonnull(strstr(told, "links: 20 more links to other files that are missing\n"));
}
END_TEST

START_TEST(long_names_are_cut)
{
	char path[400], html[500];

	tree.options.gate.links = true;
	memset(path, 'a', 200);
	strcpy(path + 200, ".html");
	snprintf(html, sizeof(html), "<img src=b%.200s.png>", path);
	tree_put(path, html);
	refuses("links: ...aaa");
	ck_assert_ptr_nonnull(strstr(said, "aaa.png is missing, named by ...aaa"));
	ck_assert_ptr_nonnull(strstr(said, "(mend what is served, or choose other rules with --gate)"));
}
END_TEST

START_TEST(the_rules_come_in_their_order)
{
	tree.options.gate = (struct gate_rules){ .index = true, .vanished = true, .links = true, .percent = 50 };
	put_files(0, 12, "x");
	tree_put("index.html", "x");
	passes();
	delete_files(0, 10);
	delete ("index.html");
	tree_put("p.html", "<img src=x>");
	refuses("index: /index.html is missing; vanished: more than 50 % of the files: ");
	comparing = 0;
	told[0] = '\0';
	before = (build_free(before), NULL);
	ck_assert_uint_eq(gate_inspect(&tree.options, now, before, tell, NULL), 1);
	ck_assert_str_eq(told, "links: /x is missing, named by /p.html\n");
	ck_assert_uint_eq(comparing, 0);
}
END_TEST

/* A line that is too short for all of it is ended. */
START_TEST(a_short_line_is_ended)
{
	char why[512];

	tree.options.gate.links = tree.options.gate.index = tree.options.gate.chosen = true;
	tree_put("p.html", "<img src=x>");
	(void)gate();
	for (size_t size = 1; size <= sizeof(why); size++) {
		memset(why, 'x', sizeof(why));
		ck_assert_int_eq(gate_check(&tree.options, now, NULL, &reason, why, size), -EPERM);
		ck_assert_uint_lt(strnlen(why, size), size);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gate");
	TCase *tcase = tcase_create("gate");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, without_rules_everything_passes);
	tcase_add_test(tcase, an_index_that_was_asked_for_must_be_there);
	tcase_add_test(tcase, by_default_only_the_loss_of_an_index_is_refused);
	tcase_add_test(tcase, vanished_files_are_counted);
	tcase_add_test(tcase, vanished_bytes_are_counted);
	tcase_add_test(tcase, an_emptied_file_has_vanished);
	tcase_add_test(tcase, numbers_are_no_reason);
	tcase_add_test(tcase, new_names_are_no_loss);
	tcase_add_test(tcase, by_default_small_trees_may_shrink);
	tcase_add_test(tcase, missing_links_are_told_by_name);
	tcase_add_test(tcase, a_page_that_is_streamed_is_passed_over);
	tcase_add_test(tcase, whatever_answers_is_there);
	tcase_add_test(tcase, many_missing_links_are_counted);
	tcase_add_test(tcase, long_names_are_cut);
	tcase_add_test(tcase, the_rules_come_in_their_order);
	tcase_add_test(tcase, a_short_line_is_ended);
	suite_add_tcase(suite, tcase);
	return tree_run(suite);
}
