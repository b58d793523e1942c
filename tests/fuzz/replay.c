/*
 * replay.c - runs a fuzz target over inputs that are there: the corpus, what was once found (tests/fuzz/regression), or
 * one file that ci/fuzz has left in build/fuzz/crashes. Needs no fuzzing engine, and any compiler will do.
 *
 * fuzz_NAME FILE|FOLDER...: folders with all that is in them, files called README.md aside. An input that fails ends
 * the program, and its name is printed.
 */
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

/* No input may take longer. Seconds; under the sanitizers and beside other work. */
#define INPUT_SECONDS 60

static char running[4096];

static void say_which(void)
{
	static const char text[] = "fuzz: the input is ";
	size_t len = strlen(running);

	if (len > 0 && (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 || write(STDERR_FILENO, running, len) < 0 ||
	                write(STDERR_FILENO, "\n", 1) < 0))
		_exit(2);
}

static void died(int signal_number)
{
	say_which();
	if (signal_number == SIGALRM)
		_exit(1); /* it does not end */
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* AddressSanitizer, where there is one, reports bad accesses itself, and calls __asan_on_error(). */
void __asan_init(void) __attribute__((weak));
void __asan_on_error(void);
void __asan_on_error(void)
{
	say_which();
}

static bool run_file(const char *path)
{
	uint8_t *bytes = NULL;
	size_t len = 0, size = 0, got;
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		return false;
	}
	do {
		if (len == size) {
			size = size ? 2 * size : 4096;
			bytes = realloc(bytes, size);
			if (!bytes)
				abort();
		}
		got = fread(bytes + len, 1, size - len, file);
		len += got;
	} while (got > 0);
	fclose(file);

	/* Exactly as long as the input is. */
	uint8_t *exact = fuzz_copy(bytes, len);

	free(bytes);
	snprintf(running, sizeof(running), "%s", path);
	alarm(INPUT_SECONDS);
	LLVMFuzzerTestOneInput(exact, len);
	alarm(0);
	running[0] = '\0';
	free(exact);
	return true;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

int main(int argc, char *argv[])
{
	static char *nothing[] = { NULL };
	FTS *tree = fts_open(argc > 1 ? argv + 1 : nothing, FTS_NOCHDIR | FTS_LOGICAL, by_name);
	unsigned inputs = 0, unread = 0;
	FTSENT *entry;

	if (argc < 2 || !tree) {
		fprintf(stderr, "usage: %s FILE|FOLDER...\n", argv[0]);
		return 2;
	}
	signal(SIGABRT, died);
	signal(SIGALRM, died);
	if (!&__asan_init) {
		signal(SIGSEGV, died);
		signal(SIGBUS, died);
		signal(SIGFPE, died);
	}
	while ((entry = fts_read(tree))) {
		if (entry->fts_info == FTS_F && strcmp(entry->fts_name, "README.md") != 0) {
			inputs++;
			unread += !run_file(entry->fts_path);
		} else if (entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR) {
			fprintf(stderr, "%s: %s\n", entry->fts_path, strerror(entry->fts_errno));
			unread++;
		}
	}
	fts_close(tree);
	printf("%s: %u inputs: %s\n", argv[0], inputs, unread ? "not all could be read" : inputs ? "ok" : "none");
	return unread > 0 || inputs == 0;
}
