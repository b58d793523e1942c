/*
 * rig_file.c - files for the contract suite; see contract.h.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The name is kept in a table, for file_unmake(). */
#define FILES_MAX 8

static struct {
	int fd;
	char path[256];
} files[FILES_MAX];

void file_make(struct file *file, uint64_t size)
{
	const struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	const char *folder = getenv("TMPDIR");
	unsigned slot = 0;
	struct stat stat;
	int fd;

	while (slot < FILES_MAX && *files[slot].path)
		slot++;
	ck_assert_uint_lt(slot, FILES_MAX);
	snprintf(files[slot].path, sizeof(files[slot].path), "%s/loom-contract-XXXXXX", folder ? folder : "/tmp");
	fd = mkostemp(files[slot].path, O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	files[slot].fd = fd;
	for (uint64_t at = 0; at < size;) {
		size_t len = size - at < PATTERN ? size - at : PATTERN;
		ssize_t res = write(fd, pattern + at % PATTERN, len);

		ck_assert_int_gt(res, 0);
		at += (size_t)res;
	}
	/* An old time, so that every write shows, however coarse the file system's clock may be. */
	ck_assert_int_eq(futimens(fd, old), 0);
	ck_assert_int_eq(fstat(fd, &stat), 0);
	*file = (struct file){
		.fd = fd, .size = size, .mtime = stat.st_mtim, .ctime = stat.st_ctim, .nlink = (uint32_t)stat.st_nlink
	};
}

void file_unname(const struct file *file)
{
	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (!*files[i].path || files[i].fd != file->fd)
			continue;
		unlink(files[i].path);
		*files[i].path = '\0';
	}
}

void file_unmake(struct file *file)
{
	file_unname(file);
	close(file->fd);
	file->fd = -1;
}

void file_seal(struct file *file, uint64_t size)
{
	uint8_t *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(bytes, MAP_FAILED);
	for (uint64_t at = 0, len; at < size; at += len) {
		len = size - at < PATTERN ? size - at : PATTERN;
		memcpy(bytes + at, pattern + at % PATTERN, len);
	}
	ck_assert_int_eq(mprotect(bytes, size, PROT_READ), 0);
	*file = (struct file){ .fd = -1, .size = size, .bytes = bytes };
}

void file_unseal(struct file *file)
{
	munmap((void *)(uintptr_t)file->bytes, file->size);
	file->bytes = NULL;
}

#define FILE_MIB (1u << 20)

/* A number from a file in /proc/sys, the last one. */
static uint64_t sysctl_last(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long value = 0;

	while (file && fscanf(file, "%llu", &value) == 1)
		;
	if (file)
		fclose(file);
	return value;
}

uint64_t file_large(void)
{
	uint64_t window = sysctl_last("/proc/sys/net/ipv4/tcp_wmem") + sysctl_last("/proc/sys/net/ipv4/tcp_rmem") +
	                  2 * sysctl_last("/proc/sys/net/core/wmem_max") +
	                  2 * sysctl_last("/proc/sys/net/core/rmem_max");

	return (window > 48 * FILE_MIB ? window : 48 * FILE_MIB) + 8 * FILE_MIB;
}

void link_take_ranges(struct link *link, const struct file *file)
{
	struct rig *rig = link->rig;
	const size_t size = file->size;

	for (unsigned i = 0; i < 200; i++) {
		size_t sizes[IO_SEND_IOVS];
		unsigned n = i < 8 ? i % 2 : i % 50 == 49 ? IO_SEND_IOVS : rig_random(rig, 4);
		uint64_t offset = i < 2 ? 0 : i < 4 ? size - 1 : rig_random(rig, size);
		uint64_t len = i < 2 ? size : i < 8 ? 1 : 1 + rig_random(rig, size - offset);

		for (unsigned k = 0; k < n; k++)
			sizes[k] = 1 + rig_random(rig, i % 3 ? 300 : 20000);
		link_send_file(link, file, offset, len, sizes, n);
		link_read_all(link, link->sent - link->read);
		RIG_UNTIL(rig, link->sents == i + 1);
		ck_assert_int_eq(link->sent_res, 0);
	}
	rig_quiet(rig);
	ck_assert_uint_eq(link->sents, 200);
}

void link_lose_peer(struct link *link)
{
	rig_quiet(link->rig);
	ck_assert(link->sending);
	link->peer.ops->reset(&link->peer);
	RIG_UNTIL(link->rig, !link->sending && !link->credit);
	ck_assert_int_lt(link->sent_res, 0);
	ck_assert_int_ne(link->sent_res, -ESTALE);
}
