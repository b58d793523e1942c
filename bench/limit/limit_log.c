/*
 * limit_log.c - the least that an access log takes: lines that are ready, written to a file in the pieces in which loom
 * writes them. Prints the CPU time of a line in nanoseconds, the kernel's included; what brings pages to the disk later is
 * not. The least of some runs, each to an empty file, as others may be at work on the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "limit.h"

#define PIECE     (192 * 1024) /* FLUSH_AT of src/access_log.c */
#define RUNS      9
#define RUN_BYTES (64 << 20)

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* As one thread of loom's finds them: with lines that it has just written into its buffer. */
static void fill(char *piece, size_t length)
{
	for (size_t at = 0; at + length <= PIECE; at += length) {
		memset(piece + at, 'x', length - 1);
		piece[at + length - 1] = '\n';
	}
}

/* Nanoseconds a line of one run; filling the piece is not counted. */
static double run(int fd, char *piece, size_t length)
{
	const size_t lines = PIECE / length;
	uint64_t spent = 0, written = 0;

	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		limit_die("empty the file", errno);
	while (written * length < RUN_BYTES) {
		uint64_t began;

		fill(piece, length);
		began = cpu_ns();
		if (write(fd, piece, lines * length) != (ssize_t)(lines * length))
			limit_die("write", errno);
		spent += cpu_ns() - began;
		written += lines;
	}
	return (double)spent / (double)written;
}

int main(int argc, char *argv[])
{
	size_t length = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	char *piece = malloc(PIECE);
	double least = 0;
	int fd;

	if (length < 2 || length > PIECE) {
		fprintf(stderr, "usage: %s FILE LENGTH   (of a line, its end included)\n", argv[0]);
		return 2;
	}
	fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!piece || fd < 0)
		limit_die(argv[1], errno);
	for (unsigned i = 0; i < RUNS; i++) {
		double ns = run(fd, piece, length);

		if (i == 0 || ns < least)
			least = ns;
	}
	printf("%.1f\n", least);
	unlink(argv[1]);
	free(piece);
	return 0;
}
