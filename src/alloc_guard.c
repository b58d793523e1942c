/*
 * alloc_guard.c - see alloc_guard.h. Replaces the allocation functions of the C library for the whole program, libraries
 * included, and hands on to glibc's own.
 */
#include "loom/alloc_guard.h"

#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *old);

static _Thread_local bool forbidden;

void alloc_guard(bool forbid)
{
	forbidden = forbid;
}

static void check(void)
{
	static const char message[] =
		"loom: alloc_guard: the event loop allocates or frees memory, at (addr2line -fe PROGRAM):\n";
	void *frames[16];

	if (!forbidden)
		return;
	forbidden = false; /* what follows may allocate */
	if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
		abort();
	backtrace_symbols_fd(frames, backtrace(frames, sizeof(frames) / sizeof(frames[0])), STDERR_FILENO);
	abort();
}

void *malloc(size_t size)
{
	check();
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	check();
	return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	check();
	return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
	check();
	return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	check();
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	check();
	*out = __libc_memalign(alignment, size);
	return *out ? 0 : ENOMEM;
}

void free(void *old)
{
	if (old)
		check();
	__libc_free(old);
}
