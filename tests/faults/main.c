/*
 * main.c - loom's backends with each fault of rows.c at each place of a fixed scenario, one cell after the other.
 *
 *     faults BACKEND|io_uring-zc|reloader [--slice N|--first] [--jobs N] [--table FILE] [--row TEXT]
 *
 * A child process plays the cells, so that one that crashes or hangs is a result and not the end; the parent goes on behind
 * it. --slice N: the first error of each row and an Nth of the others, and an Nth of the places, for a quick look; --first: the
 * first error of each row, at all places. The table is a line a row, for ci/faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loom/io.h"
#include "rows.h"
#include "stage.h"
#include "tree_show.h"

#define HANG_SECONDS 60
#define PLACES_MAX   5000
#define FIRST_TRIES  4
#define TASKS_MAX    2000
#define AGAIN        77 /* exit status of a child: it has failed, and is to try once more */

/* What a child tells, and where the next one goes on after its death. */
struct tally {
	unsigned at; /* the place that is being tried */
	unsigned tried, cut, failed, stopped;
	unsigned turns;    /* the most that a cell took */
	unsigned missed;   /* runs in which it did not come to the first place */
	unsigned patience; /* so many times this place has been tried again */
	bool over;
	char wrong[420]; /* of the first that failed */
};

/* A row with one of its values in one act: all places, by one child after the other. */
struct task {
	const struct row *row;
	const struct value *value;
	enum act act;
	unsigned from; /* the first place */
	pid_t pid;
	struct tally *tally; /* shared with the child */
	struct tally result;
};

static struct task task[TASKS_MAX];
static unsigned tasks;
static const struct io_ops *ops; /* NULL: the reloader */
static bool zc;                  /* io_uring, with zc=fixed, and what that adds to it */
#define PATIENCE 100 /* of a stage that leaves the kernel's threads as much time as a busy machine may take from them */
#define TRIES    3   /* with it, of a cell that has failed without */

static unsigned slice = 1, jobs = 6;
static bool first_errors;

static void fail(struct tally *tally, const char *what)
{
	if (!tally->failed++)
		snprintf(tally->wrong, sizeof(tally->wrong), "at %u: %s", tally->at, what);
}

static void judge(const struct value *value, struct verdict *verdict)
{
	unsigned may = !verdict->fired || value->effect == PASSES ? 0 : 1;

	if (verdict->cut > may && !verdict->wrong[0] && !verdict->stopped)
		snprintf(verdict->wrong, sizeof(verdict->wrong), "%u clients were cut off", verdict->cut);
}

/*
 * A child's life: the places from tally->at on. A cell that fails is tried again with more patience in a process of its own: on
 * a machine that has much to do the kernel's threads may take their time. What is wrong is wrong again.
 */
static void child(const struct task *self, const char *report)
{
	struct tally *tally = self->tally;
	int fd = open(report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	dup2(fd, STDERR_FILENO);
	close(fd);
	for (; tally->at <= PLACES_MAX; tally->at += slice) {
		struct fault plan = {
			.call = self->row->call,
			.how = self->row->how,
			.value = self->value->value,
			.at = tally->at,
		};
		struct verdict verdict;

		alarm(HANG_SECONDS);
		if (ops) {
			stage_run(self->act, &plan, self->value->effect == STOPS, tally->patience ? PATIENCE : 1,
			          &verdict);
			judge(self->value, &verdict);
		} else {
			tree_show_run(&plan, self->value->effect, tally->patience ? 5 : 1, &verdict);
		}
		if (verdict.wrong[0] && tally->patience++ < TRIES)
			_exit(AGAIN);
		tally->patience = 0;
		if (verdict.wrong[0])
			fail(tally, verdict.wrong);
		if (verdict.fired) {
			tally->tried++;
			tally->cut += verdict.cut > 0;
			tally->stopped += verdict.stopped;
			if (verdict.turns > tally->turns)
				tally->turns = verdict.turns;
		} else if (!verdict.wrong[0] && slice == 1 && tally->at == 1 && tally->missed++ < FIRST_TRIES) {
			tally->at -= slice; /* some calls are a matter of timing: it may come to the first one yet */
			continue;
		} else {
			tally->over = true;
		}
		if (!verdict.fired || verdict.ruined) {
			tally->at += slice;
			_exit(0);
		}
	}
	tally->over = true;
	_exit(0);
}

static void read_report(const char *report, char *line, size_t size)
{
	FILE *file = fopen(report, "re");

	*line = '\0';
	if (file && !fgets(line, (int)size, file))
		*line = '\0';
	if (file)
		fclose(file);
	line[strcspn(line, "\n")] = '\0';
}

static void report_of(const struct task *self, char *path, size_t size)
{
	snprintf(path, size, "/tmp/loom-faults-%d-%u", (int)getpid(), (unsigned)(self - task));
}

static void begin(struct task *self)
{
	char report[80];

	report_of(self, report, sizeof(report));
	fflush(stdout);
	self->pid = fork();
	if (self->pid < 0) {
		perror("fork");
		exit(3);
	}
	if (self->pid == 0)
		child(self, report);
}

/* A child has ended. True when another one goes on. */
static bool ended(struct task *self, int status)
{
	struct tally *tally = self->tally;
	char report[80], line[200], text[300];
	bool again = WIFEXITED(status) && WEXITSTATUS(status) == AGAIN;

	report_of(self, report, sizeof(report));
	if (!again && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
		read_report(report, line, sizeof(line));
		if (WIFSIGNALED(status))
			snprintf(text, sizeof(text), "%s: %s",
			         WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)), line);
		else
			snprintf(text, sizeof(text), "exit status %d: %s", WEXITSTATUS(status), line);
		fail(tally, text);
		tally->tried++;
		tally->patience = 0;
		tally->at += slice;
	}
	unlink(report);
	if (!ops)
		tree_show_forget(self->pid);
	self->pid = 0;
	if (tally->over || tally->failed > 20)
		return false;
	begin(self);
	return true;
}

/* The scenario itself, twice: what the parties hear is what they hear again. */
static void check_model(void)
{
	for (enum act act = 0; act < ACTS; act++) {
		static const struct fault none = { .call = FAULT_NONE };
		struct verdict verdict;

		stage_model(act, &verdict);
		if (!verdict.wrong[0])
			stage_run(act, &none, false, PATIENCE, &verdict);
		if (!verdict.wrong[0] && verdict.cut > 0)
			snprintf(verdict.wrong, sizeof(verdict.wrong), "%u clients were cut off", verdict.cut);
		if (verdict.wrong[0]) {
			printf("FAILED without any fault, %s: %s\n", act_names[act], verdict.wrong);
			stage_dismantle();
			exit(1);
		}
	}
}

static const char *how_name(const struct row *row, const struct value *value, char *text, size_t size)
{
	const char *name = strerrorname_np((int)value->value);

	switch (row->how) {
	case FAULT_FAILS:
		return name;
	case FAULT_PERSISTS:
		snprintf(text, size, "%s, %d times", name, FAULT_TIMES);
		break;
	case FAULT_DONE:
		snprintf(text, size, "done, and %s", name);
		break;
	case FAULT_SHORT:
		snprintf(text, size, "short: %ld", value->value);
		break;
	case FAULT_LAST:
		return "the first completion is the last";
	case FAULT_CUT:
		snprintf(text, size, "more, then %s", name);
		break;
	case FAULT_REWRITTEN:
		snprintf(text, size, "says %s", name);
		break;
	}
	return text;
}

static bool wanted(const struct row *row)
{
	return !ops || (strcmp(ops->name, "epoll") == 0 ? row->epoll : row->uring);
}

static void plan(const char *only)
{
	const struct row *row = zc ? zc_rows : ops ? rows : tree_rows;
	const struct row *end = row + (zc ? zc_rows_count : ops ? rows_count : tree_rows_count);

	for (unsigned n = 0; row < end; row++) {
		if (!wanted(row) || (only && !strstr(row->about, only) && strcmp(only, fault_names[row->call]) != 0))
			continue;
		for (const struct value *value = row->values; value->value >= 0; value++, n++) {
			if (first_errors && value != row->values)
				break;
			for (enum act act = 0; act < (ops ? ACTS : 1) && tasks < TASKS_MAX; act++)
				if (value == row->values || n % slice == 0)
					task[tasks++] = (struct task){
						.row = row,
						.value = value,
						.act = act,
						.from = value == row->values ? 1 : 1 + n / slice % slice,
					};
		}
	}
}

static void say(const struct task *self)
{
	const struct tally *result = &self->result;
	char text[64];

	printf("%s %s, %s, %s: %u tried, %u cut off, %u stopped, %u failed %s\n", result->failed ? "FAILED" : "ok",
	       self->row->about, how_name(self->row, self->value, text, sizeof(text)), act_names[self->act],
	       result->tried, result->cut, result->stopped, result->failed, result->wrong);
	fflush(stdout);
}

static void play_all(bool all)
{
	struct tally *tallies = mmap(NULL, jobs * sizeof(*tallies), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                             -1, 0);
	struct task **job = calloc(jobs, sizeof(*job));
	unsigned next = 0, running = 0;

	if (tallies == MAP_FAILED || !job)
		exit(3);
	for (;;) {
		int status;
		pid_t pid;

		for (unsigned i = 0; i < jobs && next < tasks; i++) {
			if (job[i])
				continue;
			job[i] = &task[next++];
			job[i]->tally = &tallies[i];
			tallies[i] = (struct tally){ .at = job[i]->from };
			begin(job[i]);
			running++;
		}
		if (!running)
			break;
		pid = wait(&status);
		for (unsigned i = 0; i < jobs; i++) {
			if (!job[i] || job[i]->pid != pid || ended(job[i], status))
				continue;
			job[i]->result = *job[i]->tally;
			if (all || job[i]->result.failed)
				say(job[i]);
			job[i] = NULL;
			running--;
		}
	}
	free(job);
}

/* What has come of it: a line a task in the table. */
static int tell(FILE *out)
{
	static const char *const effects[] = { [PASSES] = "passes", [HARMS] = "harms", [STOPS] = "stops" };
	const char *name = zc ? "io_uring-zc" : ops ? ops->name : "reloader";
	unsigned cells = 0, failed = 0, never = 0;

	for (unsigned i = 0; i < tasks; i++) {
		const struct task *self = &task[i];
		const struct tally *result = &self->result;
		char text[64];
		const char *how = how_name(self->row, self->value, text, sizeof(text));

		cells += result->tried;
		failed += result->failed;
		if (out)
			fprintf(out, "%s\t%s\t%s\t%s\t%s\t%u\t%u\t%u\t%u\t%u\t%s\n", name, self->row->about, how,
			        act_names[self->act], effects[self->value->effect], result->tried, result->cut,
			        result->stopped, result->failed, result->turns, result->wrong);
		if (slice == 1 && !result->tried && (ops ? self->act == ACT_DRAIN && !self[-1].result.tried : true)) {
			printf("FAILED: the scenario never comes to %s, %s\n", self->row->about, how);
			never++;
		}
	}
	printf("%s: %u cells, %u failed\n", name, cells, failed);
	printf("%u passed, %u failed, 0 skipped\n", cells - failed, failed + never);
	return failed || never ? 1 : 0;
}

/* Each ring has 16 MiB of registered memory, and something else. */
static bool may_lock(void)
{
	struct rlimit limit;

	return geteuid() == 0 ||
	       (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= (jobs + 1) * (20ULL << 20));
}

int main(int argc, char *argv[])
{
	const char *table = NULL, *only = NULL;
	FILE *out = NULL;
	int status;

	for (int i = 2; i < argc; i += 2) {
		if (strcmp(argv[i], "--first") == 0) {
			first_errors = true;
			i--;
		} else if (i + 1 == argc)
			break;
		else if (strcmp(argv[i], "--slice") == 0)
			slice = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--jobs") == 0)
			jobs = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--table") == 0)
			table = argv[i + 1];
		else if (strcmp(argv[i], "--row") == 0)
			only = argv[i + 1];
	}
	zc = argc > 1 && strcmp(argv[1], "io_uring-zc") == 0;
	for (unsigned i = 0; argc > 1 && io_backends[i]; i++)
		if (strcmp(io_backends[i]->name, zc ? "io_uring" : argv[1]) == 0)
			ops = io_backends[i];
	if (argc < 2 || (!ops && strcmp(argv[1], "reloader") != 0) || !slice || !jobs) {
		fprintf(stderr,
		        "faults BACKEND|io_uring-zc|reloader [--slice N|--first] [--jobs N] [--table FILE] [--row TEXT]\n");
		return 2;
	}
	if (table && !(out = fopen(table, "we"))) {
		perror(table);
		return 2;
	}
	if (zc && !may_lock()) {
		printf("io_uring-zc: skipped, as it needs more locked memory (ulimit -l), or root\n");
		return 77; /* of meson: skipped */
	}
	prctl(PR_SET_TIMERSLACK, 1);
	if (ops) {
		stage_prepare(ops, zc ? ZC_FIXED : ZC_OFF);
		check_model();
	} else {
		tree_show_prepare();
	}
	plan(only);
	play_all(only);
	status = tell(out);
	if (ops)
		stage_dismantle();
	else
		tree_show_dismantle();
	if (out)
		fclose(out);
	return status;
}
