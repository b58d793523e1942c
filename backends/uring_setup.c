/*
 * uring_setup.c - creates a ring, with the features that were asked for, and explains what could not be had. On the thread
 * that will wait on the ring; runs once at start, so it may allocate.
 *
 * The probe is a creation that is undone; every creation ends with the self-test (uring_test.c). What nobody has asked for
 * may be less on an older kernel. What somebody has asked for is had, or is an error that names it: which one it is, is
 * found out by trying them one by one.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "uring.h"

#if __has_include(<liburing/io_uring_version.h>)
#include <liburing/io_uring_version.h>
#define URING_TEXT_OF(x) #x
#define URING_TEXT(x)    URING_TEXT_OF(x)
const char io_uring_library[] = URING_TEXT(IO_URING_VERSION_MAJOR) "." URING_TEXT(IO_URING_VERSION_MINOR);
#else
const char io_uring_library[] = "2.3"; /* the last without a version, and the oldest that the build takes */
#endif

/* How long the kernel may take to give back the memory of rings that were closed. */
#define URING_TEARDOWN_MS 50

/* By enum feature_taskrun; what is not asked for is tried in turn, until the kernel knows all flags. */
static const unsigned uring_rungs[] = {
	[TASKRUN_DEFER] = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
	[TASKRUN_COOP] = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,    /* 5.19 */
	[TASKRUN_NONE] = 0,
};

#define URING_COMMON   (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL)
#define URING_FEATURES (IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG)

static int uring_disabled(void)
{
	FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

/* One line: what was tried, how it failed, what that means here and what to do. Returns err, a -errno. */
static int uring_explain(int err, const char *what, char *why, size_t size)
{
	char cause[200] = "";
	struct utsname os = { .release = "?" };
	struct rlimit limit = { 0 };
	int disabled;

	uname(&os);
	switch (err) {
	case -ENOSYS:
		snprintf(cause, sizeof(cause),
		         "this kernel (%s) is built without io_uring, or a seccomp filter hides it: "
		         "allow io_uring_setup, io_uring_enter and io_uring_register",
		         os.release);
		break;
	case -EPERM:
	case -EACCES:
		disabled = uring_disabled();
		if (disabled == 2)
			snprintf(cause, sizeof(cause), "it is switched off: sysctl kernel.io_uring_disabled=0");
		else if (disabled == 1 && geteuid() != 0)
			snprintf(cause, sizeof(cause),
			         "kernel.io_uring_disabled=1 keeps it for privileged users: "
			         "set it to 0, or put this user's group into kernel.io_uring_group");
		else
			snprintf(cause, sizeof(cause),
			         "a seccomp filter, such as a container's default one, or a security "
			         "module denies it: allow io_uring_setup, io_uring_enter and io_uring_register");
		break;
	case -ENOMEM:
		getrlimit(RLIMIT_MEMLOCK, &limit);
		snprintf(cause, sizeof(cause),
		         "the limit on locked memory is %llu KiB for all of this user's rings: raise it "
		         "(ulimit -l, LimitMEMLOCK=), or use fewer workers",
		         (unsigned long long)limit.rlim_cur / 1024);
		break;
	case -EMFILE:
	case -ENFILE:
		snprintf(cause, sizeof(cause), "raise the limit on open files (ulimit -n, LimitNOFILE=)");
		break;
	case -EINVAL:
	case -EOPNOTSUPP:
		snprintf(cause, sizeof(cause), "Linux 5.19 or newer is needed, this is %s", os.release);
		break;
	case -ETIME:
		snprintf(cause, sizeof(cause), "it did not complete; please report this, with the kernel's version, %s",
		         os.release);
		break;
	}
	snprintf(why, size, "io_uring cannot be used: %s: %s%s%s%s", what, strerror(-err), *cause ? " (" : "", cause,
	         *cause ? ")" : "");
	return err;
}

/*
 * io_uring_queue_init_params() in two steps, as it writes to the array of indices whether there is one or not: in its place lie
 * the queue's head and tail then.
 */
static int uring_make(struct io_uring *ring, unsigned entries, struct io_uring_params *params)
{
	int fd = syscall(__NR_io_uring_setup, entries, params), ret;

	if (fd < 0)
		return -errno;
	ret = io_uring_queue_mmap(fd, params, ring);
	if (ret) {
		close(fd);
		return ret;
	}
	ring->features = params->features;
	ring->enter_ring_fd = fd;
	return 0;
}

/* Bit by bit, what somebody has asked for of the set-up itself, and must have. */
struct uring_asked {
	bool taskrun, entries;
};

/* The largest ring up to what is useful, on the highest rung of the ladder that can be had; or what was asked for. */
static int uring_setup(struct uring *uring, const struct io_config *config, struct uring_asked asked)
{
	struct uring_features *features = &uring->io.features.uring;
	unsigned cq = features->cq_entries ? features->cq_entries : URING_CQ_MIN;
	unsigned sq, waited = 0;

	while (!features->cq_entries && cq < URING_CQ_MAX && (cq < 4ULL * config->conns || cq < features->entries))
		cq *= 2;
	sq = cq / 2 < URING_SQ_ENTRIES ? cq / 2 : URING_SQ_ENTRIES;
	if (features->entries)
		sq = features->entries;
	if (cq < sq)
		cq = sq;
	for (;;) {
		struct io_uring_params params = {
			.flags = uring_rungs[features->taskrun] | URING_COMMON |
			         (features->sqpoll ? IORING_SETUP_SQPOLL : 0) |
			         (features->sqarray ? 0 : IORING_SETUP_NO_SQARRAY) |
			         (config->contain ? IORING_SETUP_R_DISABLED : 0),
			.cq_entries = cq,
			.sq_thread_idle = features->sqpoll,
		};
		int ret = uring_make(&uring->ring, sq, &params);

		if (ret == 0) {
			features->entries = uring->ring.sq.ring_entries;
			features->cq_entries = uring->ring.cq.ring_entries;
			uring->enter_fd = uring->ring.ring_fd;
			return 0;
		}
		if (ret == -EINVAL && !asked.taskrun && features->taskrun < TASKRUN_NONE) {
			features->taskrun++;
		} else if (ret == -ENOMEM && waited < URING_TEARDOWN_MS) {
			/* The memory of a ring that was closed, by the probe for one, is only given back after a while. */
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
			waited += 10;
		} else if (ret == -ENOMEM && cq > URING_CQ_MIN && !asked.entries) {
			cq /= 2;
			sq = cq / 2 < sq ? cq / 2 : sq;
		} else {
			uring->ring.ring_fd = -1;
			return ret;
		}
	}
}

static void uring_map(struct uring *uring)
{
	const struct io_uring *ring = &uring->ring;

	uring->sqes = ring->sq.sqes;
	uring->sq_mask = ring->sq.ring_mask;
	uring->sq_entries = ring->sq.ring_entries;
	uring->cqes = ring->cq.cqes;
	uring->cq_mask = ring->cq.ring_mask;
	/* The index array has no use for a queue that is submitted in order: set once, it is never looked at again. */
	for (unsigned i = 0; uring->io.features.uring.sqarray && i < uring->sq_entries; i++)
		ring->sq.array[i] = i;
	uring->enter_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	if (ring->features & IORING_FEAT_NO_IOWAIT)
		uring->enter_flags |= IORING_ENTER_NO_IOWAIT;
}

/* As in pool.c: requests are mostly short, and their buffers' first lines would share a few sets of the caches. */
#define BUFFER_STAGGER 320

/*
 * The buffers and, in pages of their own behind them, the rings that offer them to the kernel. With recv=poll there is one
 * buffer, and no ring.
 */
static int uring_map_buffers(struct uring *uring)
{
	const unsigned entries[URING_GROUPS] = { uring->polls ? 0 : uring->singles,
		                                 uring->multishot ? uring->io.features.uring.buf_count : 0 };
	const unsigned buffers = entries[URING_SINGLE] + entries[URING_SHARED];
	size_t page = sysconf(_SC_PAGESIZE);
	size_t sizes[URING_GROUPS];
	uint8_t *memory;

	uring->buf_stride = uring->buf_size % page == 0 ? uring->buf_size + BUFFER_STAGGER : uring->buf_size;
	uring->memory_size = uring->polls ? IO_RECV_MAX : (size_t)buffers * uring->buf_stride;
	uring->memory_size = (uring->memory_size + page - 1) / page * page;
	for (unsigned i = 0; i < URING_GROUPS; i++) {
		sizes[i] = (entries[i] * sizeof(struct io_uring_buf) + page - 1) / page * page;
		uring->memory_size += sizes[i];
	}
	memory = mmap(NULL, uring->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	uring->buffers = uring->scratch = memory;
	memory += uring->memory_size;
	for (unsigned i = 0; i < URING_GROUPS; i++) {
		uring->group[i].ring = &uring->no_ring;
		if (!entries[i])
			continue;
		memory -= sizes[i];
		uring->group[i].ring = (struct io_uring_buf_ring *)memory;
		uring->group[i].mask = entries[i] - 1;
	}
	uring->held = calloc(buffers + 1, sizeof(*uring->held));
	if (!uring->held)
		return -ENOMEM;
	for (unsigned i = 0; i < buffers; i++)
		uring_give_back(uring, i);
	uring_publish(uring);

	for (unsigned i = 0; i < URING_GROUPS; i++) {
		struct uring_buf_reg reg = {
			.ring_addr = (uintptr_t)uring->group[i].ring,
			.ring_entries = entries[i],
			.bgid = i,
			.flags = uring->inc ? URING_BUF_RING_INC : 0,
		};
		int ret;

		if (!entries[i])
			continue;
		ret = uring_register(uring, IORING_REGISTER_PBUF_RING, &reg, 1);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* One attempt: 0, or -errno with *what that failed. */
static int uring_try(struct io **io, const struct io_config *config, const struct features *features,
                     struct uring_asked asked, const char **what)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int ret = -ENOMEM;

	*what = "memory for it";
	if (!uring)
		return ret;
	uring->io.ops = &io_uring_ops;
	uring->io.features = *features;
	uring->conns = config->conns;
	uring->lent = -1;
	uring->accepted = -1;
	uring->ring.ring_fd = -1;
	uring->wake_fd = -1;

	*what = "io_uring_setup";
	ret = uring_setup(uring, config, asked);
	if (ret)
		goto fail;
	*what = "io_uring_setup's features";
	ret = -EOPNOTSUPP;
	if ((uring->ring.features & URING_FEATURES) != URING_FEATURES)
		goto fail;
	uring_adopt(uring);
	uring_map(uring);
	*what = "buffer rings";
	ret = uring_map_buffers(uring);
	if (ret)
		goto fail;
	uring->registered = config->registered;
	if (!uring->registered.iov_len) /* a probe, or who sends from elsewhere: what the self-test takes is enough */
		uring->registered = (struct iovec){ uring->buffers, sysconf(_SC_PAGESIZE) };
	ret = uring_register_features(uring, what);
	if (ret)
		goto fail;
	*what = "io_uring_register's enabling of a restricted ring";
	ret = config->contain ? uring_contain(uring, config->files, config->sealed) : 0;
	if (ret)
		goto fail;
	*what = "memory for it";
	ret = uring->zc ? uring_zc_create(uring) : 0;
	if (ret)
		goto fail;
	ret = -ENOMEM;
	uring->message = calloc(uring->sq_entries, sizeof(*uring->message));
	if (!uring->message)
		goto fail;
	*what = "eventfd";
	uring->wake_fd = eventfd(0, EFD_CLOEXEC); /* blocking, or the ring would not wait on it */
	ret = -errno;
	if (uring->wake_fd < 0)
		goto fail;
	ret = uring_self_test(uring, what);
	if (ret)
		goto fail;
	*what = "memory for sending files";
	ret = config->files ? uring_files_create(uring) : 0;
	if (ret)
		goto fail;
	if (config->sealed)
		file_splicer_create(&uring->sender.splicer, &uring->io.figures[URING_SPLICED]);
	uring->cq_end = uring->cq_head;
	*io = &uring->io;
	return 0;
fail:
	uring_destroy(&uring->io);
	return ret;
}

/* The features that were asked for, or some of them: 0, or -errno; *what is NULL when why holds all there is to say. */
static int uring_try_asked(struct io **io, const struct io_config *config, const struct features *asked,
                           const char **what, char *why, size_t size)
{
	struct features features = *asked;
	const struct uring_asked must = {
		.taskrun = features_asked(asked, &asked->uring.taskrun) || asked->uring.sqpoll,
		.entries = features_asked(asked, &asked->uring.entries) ||
		           features_asked(asked, &asked->uring.cq_entries),
	};
	int ret = uring_resolve(&features.uring, asked, why, size);

	*what = NULL;
	return ret ? ret : uring_try(io, config, &features, must, what);
}

/* Whether a ring can be made so. It is not kept. */
static int uring_would(const struct io_config *config, const struct features *asked, const char **what)
{
	struct io *io;
	char why[8];
	int ret = uring_try_asked(&io, config, asked, what, why, sizeof(why));

	if (ret == 0)
		uring_destroy(io);
	return ret;
}

/*
 * A ring could not be made as it was asked for: which of the features is it? -IO_EFEATURE with a line in why; 0 when none
 * of them is to blame, since there is no ring without them either.
 */
static int uring_blame(const struct io_config *config, const struct features *asked, int err, const char *what,
                       char *why, size_t size)
{
	const struct feature *feature;
	struct utsname os = { .release = "?" };
	const char *which = what;

	if (!features_asked_any(asked, FEATURE_URING) || uring_would(config, &features_standard, &which) < 0)
		return 0;
	uname(&os);
	for (unsigned i = 0; (feature = feature_at(i)) != NULL; i++) {
		struct features one = features_standard;
		char text[64], reason[8];
		int ret;

		if (feature->option != FEATURE_URING || !(asked->asked >> i & 1))
			continue;
		feature_print(asked, feature, text, sizeof(text));
		if (features_parse(&one, FEATURE_URING, text, reason, sizeof(reason)))
			continue;
		ret = uring_would(config, &one, &which);
		if (ret == 0 || !which)
			continue;
		snprintf(why, size, "--uring: %s cannot be had here: %s: %s (it needs Linux %s; this is %s)", text,
		         which, strerror(-ret), feature->since, os.release);
		return -IO_EFEATURE;
	}
	snprintf(why, size, "--uring: these features cannot be had together here: %s: %s (this is Linux %s)", what,
	         strerror(-err), os.release);
	return -IO_EFEATURE;
}

int uring_create(struct io **io, const struct io_config *config, char *why, size_t size)
{
	const struct features *asked = config->features ? config->features : &features_standard;
	const char *what;
	int ret;

	assert(config->conns >= 1 && config->listeners >= 1);
	ret = uring_try_asked(io, config, asked, &what, why, size);
	if (ret == 0)
		return 0;
	if (!what || uring_blame(config, asked, ret, what, why, size))
		return -IO_EFEATURE;
	return uring_explain(ret, what, why, size);
}

void uring_destroy(struct io *io)
{
	struct uring *uring = uring_of(io);
	struct io_uring_cqe cqe;

	assert(!uring->open && !uring->swept);
	/* The kernel ends a closed ring in its own time; what may still write to our memory is ended here. */
	if (uring->wake_armed) {
		uring_cancel(uring, URING_WAKE, URING_TEST);
		while (uring_test_wait(uring, &cqe) == 0 && cqe.user_data != URING_WAKE)
			;
	}
	if (uring->ring.ring_fd >= 0)
		io_uring_queue_exit(&uring->ring);
	uring_files_destroy(uring);
	file_splicer_destroy(&uring->sender.splicer);
	if (uring->buffers)
		munmap(uring->buffers, uring->memory_size);
	if (uring->wake_fd >= 0)
		close(uring->wake_fd);
	free(uring->message);
	free(uring->held);
	free(uring->lents);
	free(uring);
}

int uring_probe(const struct features *features, char *why, size_t size)
{
	const struct io_config config = { .conns = 1, .listeners = 1, .features = features };
	struct io *io = NULL;
	int ret = uring_create(&io, &config, why, size);

	if (ret == 0)
		uring_destroy(io);
	return ret;
}

void uring_describe(struct io *io, char *text, size_t size)
{
	features_print(&io->features, FEATURE_URING, false, text, size);
}
