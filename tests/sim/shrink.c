/*
 * shrink.c - see simulate.h: delta debugging (Zeller and Hildebrandt, 2002) over the parts of a plan. Every try is a
 * process of its own, that may crash as it likes.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "simulate.h"

#define TRY_SECONDS 10
#define CUT_MAX     4096

static uint64_t seed_of;
static char cause[64]; /* how the whole plan fails: a line without its numbers */
static time_t until;
static unsigned tries;

/* What is wrong, as far as it is the same for other times and clients. */
static void read_cause(FILE *file, char to[sizeof(cause)])
{
	char line[1000];

	to[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, "ms: ");
		size_t n = 0;

		if (strncmp(line, "sim: at ", 8) != 0 && !strstr(line, "Assertion"))
			continue;
		at = at ? at + 4 : line;
		for (; *at && *at != '\n' && n < sizeof(cause) - 1; at++)
			if ((*at < '0' || *at > '9') && (n < sizeof(cause) - 1))
				to[n++] = *at;
		to[n] = '\0';
	}
}

/* Whether the plan fails with this cut; how, when that is not known yet. */
static bool fails(const char *cut)
{
	static const struct itimerval limit = { .it_value = { .tv_sec = TRY_SECONDS } };
	static struct plan plan;
	char found[sizeof(cause)];
	int pipes[2], status = 0;
	FILE *file;
	pid_t pid;

	tries++;
	if (pipe(pipes) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		sigset_t none;

		signal(SIGABRT, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		signal(SIGPROF, SIG_DFL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setitimer(ITIMER_PROF, &limit, NULL);
		dup2(pipes[1], STDERR_FILENO);
		plan_make(&plan, seed_of);
		if (!plan_cut(&plan, cut))
			_exit(0);
		simulate(&plan);
		_exit(0);
	}
	close(pipes[1]);
	file = fdopen(pipes[0], "r");
	if (file) {
		read_cause(file, found);
		fclose(file);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (status == 0)
		return false;
	if (!*cause)
		snprintf(cause, sizeof(cause), "%s", *found ? found : "?");
	return strcmp(cause, *found ? found : "?") == 0;
}

/* Adds the parts to the cut if it goes on failing. */
static bool try_parts(char cut[CUT_MAX], const char *parts)
{
	char longer[2 * CUT_MAX];

	if (time(NULL) >= until)
		return false;
	snprintf(longer, sizeof(longer), "%s%s%s", cut, *cut ? "," : "", parts);
	if (strlen(longer) >= CUT_MAX || !fails(longer))
		return false;
	snprintf(cut, CUT_MAX, "%s", longer);
	return true;
}

static bool is_gone(const struct plan *plan, const char *kind, unsigned i)
{
	return *kind == 'e' ? plan->event[i].gone : *kind == 'w' ? false : plan->client[i].gone;
}

/* Leaves out as many of the n parts of a kind as it can, half of them at once, then a quarter, ... */
static void leave_out(char cut[CUT_MAX], const char *kind, unsigned n)
{
	static struct plan plan;
	bool gone[PLAN_CLIENTS] = { false };

	plan_make(&plan, seed_of);
	plan_cut(&plan, cut);
	for (unsigned i = 0; i < n; i++)
		gone[i] = is_gone(&plan, kind, i);
	for (unsigned size = (n + 1) / 2; size > 0; size = size > 1 ? (size + 1) / 2 : 0) {
		for (unsigned at = 0; at < n; at += size) {
			char parts[CUT_MAX] = "";
			size_t len = 0;

			for (unsigned i = at; i < at + size && i < n; i++)
				if (!gone[i])
					len += (size_t)snprintf(parts + len, sizeof(parts) - len, "%s%s%u",
					                        len > 0 ? "," : "", kind, i);
			if (len == 0 || !try_parts(cut, parts))
				continue;
			for (unsigned i = at; i < at + size && i < n; i++)
				gone[i] = true;
		}
	}
}

static void fewer_requests(char cut[CUT_MAX], const struct plan *plan)
{
	for (unsigned i = 0; i < plan->clients; i++) {
		if (plan->client[i].gone)
			continue;
		for (unsigned n = 0; n < plan->client[i].requests; n++) {
			char part[32];

			snprintf(part, sizeof(part), "r%u:%u", i, n);
			if (try_parts(cut, part))
				break;
		}
	}
}

static unsigned number_of(const char *part)
{
	return (unsigned)strtoul(part + 1, NULL, 10);
}

/* Whether a cut has the part. */
static bool has(const char *cut, char kind, unsigned i)
{
	for (const char *at = cut; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (*at == kind && number_of(at) == i)
			return true;
	return false;
}

/* The same cut, shorter: parts with following numbers together. */
static void join(char cut[CUT_MAX])
{
	static const char kinds[] = "cewp";
	static char joined[CUT_MAX];
	size_t len = 0;

	for (const char *kind = kinds; *kind; kind++) {
		for (unsigned i = 0; i < PLAN_CLIENTS; i++) {
			unsigned last = i;

			if (!has(cut, *kind, i))
				continue;
			while (has(cut, *kind, last + 1))
				last++;
			len += (size_t)snprintf(joined + len, sizeof(joined) - len, last > i ? "%s%c%u-%u" : "%s%c%u",
			                        len > 0 ? "," : "", *kind, i, last);
			i = last;
		}
	}
	for (char *part = strtok(cut, ","); part; part = strtok(NULL, ","))
		if (*part == 'r')
			len += (size_t)snprintf(joined + len, sizeof(joined) - len, "%s%s", len > 0 ? "," : "", part);
	joined[len] = '\0';
	memcpy(cut, joined, len + 1);
}

void shrink(uint64_t seed, const char *first, unsigned seconds)
{
	static struct plan plan;
	static char cut[CUT_MAX];
	time_t begun = time(NULL);

	seed_of = seed;
	until = begun + seconds;
	snprintf(cut, sizeof(cut), "%s", first);
	plan_make(&plan, seed);
	if (!fails(cut)) {
		printf("simulate: the same seed does not fail again\n");
		return;
	}
	leave_out(cut, "c", plan.clients);
	leave_out(cut, "e", plan.events);
	leave_out(cut, "w", PLAN_KNOBS);
	leave_out(cut, "p", plan.clients);
	plan_make(&plan, seed);
	plan_cut(&plan, cut);
	fewer_requests(cut, &plan);
	leave_out(cut, "e", plan.events);
	if (!*first)
		join(cut);
	plan_make(&plan, seed);
	plan_cut(&plan, cut);
	printf("\nThe same failure, shrunk in %u tries, %lld s:\n", tries, (long long)(time(NULL) - begun));
	plan_print(&plan);
	printf("replay: simulate --seed %llu --cut %s --trace\n", (unsigned long long)seed, cut);
	fflush(stdout);
}
