/*
 * metrics_process.c - what the kernel says of this process: the standard process_* metrics. Opened on the main thread,
 * read on those that write metrics. Owns two descriptors of /proc, which go on answering where opening has been
 * forbidden since.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "metrics_process.h"

/* Since the epoch, from the time since the boot that proc(5) tells; 0: not told. */
static double started(void)
{
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	unsigned long long ticks = 0;
	struct timespec now, boot;
	char line[1024], *at;
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	line[n > 0 ? n : 0] = '\0';
	/* The second field may hold anything, and ends with the last parenthesis. This is the 22nd. */
	at = strrchr(line, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%llu", &ticks) != 1)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_nsec - boot.tv_nsec) / 1e9 +
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void metrics_process_open(struct metrics_process *process)
{
	*process = (struct metrics_process){
		.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC),
		.fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.started = started(),
	};
}

void metrics_process_close(struct metrics_process *process)
{
	if (process->statm >= 0)
		close(process->statm);
	if (process->fds >= 0)
		close(process->fds);
	process->statm = process->fds = -1;
}

static bool read_statm(const struct metrics_process *process, uint64_t *size, uint64_t *resident)
{
	char line[256];
	ssize_t n = process->statm < 0 ? -1 : pread(process->statm, line, sizeof(line) - 1, 0);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (n <= 0)
		return false;
	line[n] = '\0';
	if (sscanf(line, "%" SCNu64 " %" SCNu64, size, resident) != 2)
		return false;
	*size *= page;
	*resident *= page;
	return true;
}

/* The directory has one offset for all threads that write metrics. */
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static bool count_entries(int directory, uint64_t *count)
{
	char entries[4096] __attribute__((aligned(8)));
	ssize_t n = lseek(directory, 0, SEEK_SET);

	*count = 0;
	while (n >= 0 && (n = getdents64(directory, entries, sizeof(entries))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *entry = (const void *)(entries + at);

			*count += entry->d_name[0] != '.';
			at += entry->d_reclen;
		}
	}
	return n == 0;
}

/* Linux 6.2: the size of the directory is the number of descriptors. Before that it is 0, and they are counted. */
static bool count_fds(const struct metrics_process *process, uint64_t *count)
{
	struct stat st;
	bool counted;

	if (process->fds < 0 || fstat(process->fds, &st) < 0)
		return false;
	*count = (uint64_t)st.st_size;
	if (st.st_size > 0)
		return true;
	pthread_mutex_lock(&counting);
	counted = count_entries(process->fds, count);
	pthread_mutex_unlock(&counting);
	return counted;
}

static double cpu_seconds(void)
{
	struct timespec used = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

void metrics_process_write(const struct metrics_process *process, struct metrics_text *text)
{
	uint64_t size, resident, count;
	struct rlimit limit;

	text_family(text, FAMILY_COUNTER, "process_cpu_seconds",
	            "User and system CPU time of all threads, in seconds.");
	text_real(text, NULL, cpu_seconds());
	if (read_statm(process, &size, &resident)) {
		text_family(text, FAMILY_GAUGE, "process_virtual_memory_bytes", "Address space, in bytes.");
		text_number(text, NULL, size);
		text_family(text, FAMILY_GAUGE, "process_resident_memory_bytes", "Resident memory, in bytes.");
		text_number(text, NULL, resident);
	}
	if (count_fds(process, &count)) {
		text_family(text, FAMILY_GAUGE, "process_open_fds", "Open file descriptors.");
		text_number(text, NULL, count);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
		text_family(text, FAMILY_GAUGE, "process_max_fds", "The limit of open file descriptors.");
		text_number(text, NULL, limit.rlim_cur);
	}
	if (process->started > 0) {
		text_family(text, FAMILY_GAUGE, "process_start_time_seconds",
		            "When the process was started, in seconds since the epoch.");
		text_real(text, NULL, process->started);
	}
}
