/*
 * acts.c - see acts.h.
 */
#include "acts.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BROKEN 250 /* the test's own failure */

char place[64];

const char *at(const char *name)
{
	static char paths[8][160];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, 160, "%s/%s", place, name);
	return path;
}

static void put(const char *name)
{
	FILE *file = fopen(at(name), "w");

	ck_assert_ptr_nonnull(file);
	fputs("text\n", file);
	fclose(file);
}

void make_place(void)
{
	strcpy(place, "/tmp/loom-sandbox-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(place));
	ck_assert_int_eq(chmod(place, 0755), 0);
	ck_assert_int_eq(mkdir(at("site"), 0755), 0);
	ck_assert_int_eq(mkdir(at("site/root"), 0755), 0);
	ck_assert_int_eq(mkdir(at("outside"), 0755), 0);
	ck_assert_int_eq(mkdir(at("run"), 0777), 0);
	put("site/root/index.html");
	put("outside/secret");
	put("run/admin");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	(void)st, (void)type, (void)walk;
	return remove(path);
}

void remove_place(void)
{
	nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct options standard(void)
{
	return (struct options){ .root = at("site/root"), .sandbox = SANDBOX_ON };
}

int attempt(const struct options *options, enum sandbox_thread kind, act *what)
{
	char why[512] = "";
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		int err = sandbox_enter(options, why, sizeof(why));

		if (err) {
			fprintf(stderr, "%s\n", why);
			_exit(BROKEN);
		}
		if (kind != SANDBOX_ALL)
			sandbox_thread(kind);
		_exit(what());
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status)) {
		ck_assert_int_eq(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	ck_assert_int_ne(WEXITSTATUS(status), BROKEN);
	return WEXITSTATUS(status);
}

const char *lacking(void)
{
	static char why[512];
	struct options options = standard();

	return sandbox_try(&options, why, sizeof(why)) ? why : NULL;
}
