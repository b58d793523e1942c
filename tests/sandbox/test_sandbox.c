/*
 * test_sandbox.c - each kind of thread tries what it must not be able to do, and what it must; and the files, the user and
 * the words around that.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acts.h"
#include "sandbox_parts.h"

#define NOBODY 65534

static int outcome(long result)
{
	return result < 0 ? errno : 0;
}

static int open_a_file(void)
{
	return outcome(open(at("site/root/index.html"), O_RDONLY));
}

static int openat2_a_file(void)
{
	struct open_how how = { .flags = O_RDONLY };

	return outcome(syscall(SYS_openat2, AT_FDCWD, at("site/root/index.html"), &how, sizeof(how)));
}

static int look_at_a_name(void)
{
	struct stat st;

	return outcome(fstatat(AT_FDCWD, at("site/root/index.html"), &st, 0));
}

static int run_a_program(void)
{
	char *arguments[] = { (char *)(uintptr_t) "true", NULL };

	return outcome(execv("/bin/true", arguments));
}

static int run_a_program_by_descriptor(void)
{
	char *arguments[] = { (char *)(uintptr_t) "true", NULL };

	return outcome(syscall(SYS_execveat, 0, "", arguments, arguments + 1, AT_EMPTY_PATH));
}

static int start_a_process(void)
{
	long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (child == 0)
		_exit(0);
	return outcome(child);
}

static int connect_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = htons(9),
		                       .sin_addr = { htonl(INADDR_LOOPBACK) } };

	/* Of what is no socket: only who may call it at all is told that. */
	return outcome(connect(0, (struct sockaddr *)&address, sizeof(address)));
}

static int bind_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	return outcome(bind(0, (struct sockaddr *)&address, sizeof(address)));
}

static int make_a_socket(void)
{
	return outcome(socket(AF_INET, SOCK_STREAM, 0));
}

static int make_a_datagram_socket(void)
{
	return outcome(socket(AF_INET6, SOCK_DGRAM, 0));
}

static int make_a_unix_socket(void)
{
	return outcome(socket(AF_UNIX, SOCK_DGRAM, 0));
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? ENOMEM : outcome(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int map_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int trace(void)
{
	return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int unshare_the_user(void)
{
	return outcome(unshare(CLONE_NEWUSER));
}

static int make_a_ring(void)
{
	return outcome(syscall(SYS_io_uring_setup, 0, NULL));
}

static int wait_for_a_lock(void)
{
	uint32_t word = 1;
	struct timespec moment = { .tv_nsec = 1000000 };

	return outcome(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &moment, NULL, 0));
}

static int wake_who_waits(void)
{
	uint32_t word = 1;

	return outcome(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
}

static int signal_another(void)
{
	return outcome(kill(getppid(), 0));
}

static int signal_its_thread(void)
{
	return outcome(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int signal_itself(void)
{
	return outcome(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0));
}

static int watch_a_directory(void)
{
	int err = outcome(inotify_add_watch(0, at("site"), IN_CREATE));

	return err == EINVAL || err == EBADF ? 0 : err; /* it may be tried: that is no inotify descriptor */
}

static int delete_a_socket(void)
{
	return outcome(unlink(at("run/admin")));
}

static int become_root(void)
{
	return outcome(setuid(0));
}

static int accept_a_client(void)
{
	int err = outcome(accept4(0, NULL, NULL, 0));

	return err == ENOTSOCK || err == EBADF ? 0 : err;
}

static int poll_a_loop(void)
{
	struct epoll_event event;
	int err = outcome(epoll_wait(0, &event, 1, 0));

	return err == EINVAL || err == EBADF ? 0 : err;
}

static int write_to_the_log(void)
{
	return outcome(write(STDERR_FILENO, "", 0));
}

static void *nothing(void *argument)
{
	return argument;
}

static int start_a_thread(void)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, nothing, NULL);

	return err ? err : pthread_join(thread, NULL);
}

static int filter_more(void)
{
	int err = outcome(syscall(SYS_seccomp, 1, 0, NULL)); /* SECCOMP_SET_MODE_FILTER */

	return err == EFAULT ? 0 : err;
}

static int call_what_is_new(void)
{
	return outcome(syscall(100000));
}

/* By system calls, as they are made where the kernel has no vDSO. */
static int ask_the_time(void)
{
	struct timespec now;
	struct timeval also;

	if (syscall(SYS_clock_gettime, CLOCK_REALTIME, &now) < 0 || syscall(SYS_gettimeofday, &also, NULL) < 0)
		return errno;
#ifdef SYS_time
	return syscall(SYS_time, NULL) < 0 ? errno : 0;
#else
	return 0;
#endif
}

static int map_memory_of_a_new_kind(void)
{
	return outcome(syscall(SYS_memfd_create, "x", 0));
}

/* What comes of it, kind by kind, in the order of enum sandbox_thread. */
#define NO EPERM
static const struct {
	const char *name;
	act *act;
	int expected[SANDBOX_THREADS];
} acts[] = {
	/*                            all  main worker disk  reloader reader variants admin metrics log */
	{ "open", open_a_file, { 0, 0, NO, NO, 0, 0, 0, NO, NO, 0 } },
	{ "openat2", openat2_a_file, { 0, 0, NO, NO, 0, 0, 0, NO, NO, 0 } },
	{ "stat by a name", look_at_a_name, { 0, 0, NO, NO, 0, 0, 0, NO, NO, 0 } },
	{ "execve", run_a_program, { NO, NO, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED } },
	{ "execveat",
	  run_a_program_by_descriptor,
	  { NO, NO, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED } },
	{ "fork", start_a_process, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "connect", connect_somewhere, { ENOTSOCK, ENOTSOCK, NO, NO, NO, NO, NO, NO, NO, ENOTSOCK } },
	{ "bind", bind_somewhere, { ENOTSOCK, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "socket", make_a_socket, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "socket, UDP", make_a_datagram_socket, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "socket, Unix", make_a_unix_socket, { 0, 0, NO, NO, NO, NO, NO, NO, NO, 0 } },
	{ "mmap PROT_EXEC", map_code, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "mprotect PROT_EXEC", make_code, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "mmap", map_memory, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "ptrace", trace, { KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED } },
	{ "unshare",
	  unshare_the_user,
	  { KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED, KILLED } },
	{ "io_uring_setup", make_a_ring, { EFAULT, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "futex, wait",
	  wait_for_a_lock,
	  { ETIMEDOUT, ETIMEDOUT, EAGAIN, ETIMEDOUT, ETIMEDOUT, ETIMEDOUT, ETIMEDOUT, ETIMEDOUT, ETIMEDOUT,
	    ETIMEDOUT } },
	{ "futex, wake", wake_who_waits, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "kill", signal_another, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "tgkill of another", signal_its_thread, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "tgkill of itself", signal_itself, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "inotify_add_watch", watch_a_directory, { 0, NO, NO, NO, 0, NO, NO, NO, NO, NO } },
	{ "unlink", delete_a_socket, { 0, 0, NO, NO, NO, NO, 0, NO, NO, NO } },
	{ "setuid", become_root, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
	{ "accept4", accept_a_client, { 0, 0, 0, NO, NO, NO, NO, 0, 0, NO } },
	{ "epoll_wait", poll_a_loop, { 0, NO, 0, NO, NO, NO, NO, NO, NO, NO } },
	{ "write", write_to_the_log, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "pthread_create", start_a_thread, { 0, 0, NO, NO, 0, NO, NO, NO, NO, NO } },
	{ "seccomp", filter_more, { 0, 0, NO, NO, 0, NO, NO, NO, NO, NO } },
	{ "a new system call",
	  call_what_is_new,
	  { ENOSYS, ENOSYS, ENOSYS, ENOSYS, ENOSYS, ENOSYS, ENOSYS, ENOSYS, ENOSYS, ENOSYS } },
	{ "the time", ask_the_time, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ "memfd_create", map_memory_of_a_new_kind, { NO, NO, NO, NO, NO, NO, NO, NO, NO, NO } },
};

START_TEST(each_kind_does_its_work_and_nothing_else)
{
	enum sandbox_thread kind = (enum sandbox_thread)_i;
	struct options options = standard();

	options.admin = at("run/admin");
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		int came = attempt(&options, kind, acts[i].act);

		ck_assert_msg(came == acts[i].expected[kind], "%s, thread kind %d: %d (%s) instead of %d", acts[i].name,
		              kind, came, came == KILLED ? "killed" : strerror(came), acts[i].expected[kind]);
		if (came == 0 && acts[i].act == delete_a_socket)
			close(open(at("run/admin"), O_CREAT | O_WRONLY, 0600));
	}
}
END_TEST

/* Paths, as far as Landlock goes: with the filter of the main thread, which opens files. */
static const char *tried;
static int tried_flags;

static int try_path(void)
{
	return outcome(open(tried, tried_flags, 0600));
}

static int opening(const struct options *options, const char *path, int flags)
{
	tried = path;
	tried_flags = flags;
	return attempt(options, SANDBOX_MAIN, try_path);
}

START_TEST(files_can_be_read_where_root_may_be)
{
	struct options options = standard();

	ck_assert_int_eq(opening(&options, at("site/root/index.html"), O_RDONLY), 0);
	ck_assert_int_eq(opening(&options, at("site"), O_RDONLY | O_DIRECTORY), 0);
	ck_assert_int_eq(opening(&options, at("site/root/index.html"), O_WRONLY), EACCES);
	ck_assert_int_eq(opening(&options, at("site/root/new"), O_WRONLY | O_CREAT), EACCES);
	ck_assert_int_eq(opening(&options, at("outside/secret"), O_RDONLY), EACCES);
	ck_assert_int_eq(opening(&options, at("outside"), O_RDONLY | O_DIRECTORY), EACCES);
	ck_assert_int_eq(opening(&options, at("outside"), O_PATH), 0);
	ck_assert_int_eq(opening(&options, "/etc/passwd", O_RDONLY), EACCES);
	ck_assert_int_eq(opening(&options, "/proc/self/mountinfo", O_RDONLY), 0);
	ck_assert_int_eq(opening(&options, "/proc/self/environ", O_RDONLY), EACCES);
	ck_assert_int_eq(opening(&options, "/proc/sys/net/core/somaxconn", O_RDONLY), 0);
	options.sandbox_read[options.sandbox_reads++] = at("outside");
	ck_assert_int_eq(opening(&options, at("outside/secret"), O_RDONLY), 0);
	ck_assert_int_eq(opening(&options, at("outside/secret"), O_WRONLY), EACCES);
}
END_TEST

START_TEST(the_cache_is_made_and_written_to)
{
	struct options options = standard();
	struct stat st;

	options.cache_dir = at("cache");
	ck_assert_int_eq(opening(&options, at("cache/new"), O_WRONLY | O_CREAT), 0);
	ck_assert_int_eq(stat(at("cache/new"), &st), 0);
	ck_assert_int_eq(opening(&options, at("cache/new"), O_RDONLY), 0);
	ck_assert_int_eq(opening(&options, at("outside/new"), O_WRONLY | O_CREAT), EACCES);
	/* Sockets are removed, nothing else is done there. */
	options.admin = at("run/admin");
	ck_assert_int_eq(opening(&options, at("run/admin"), O_RDONLY), EACCES);
	ck_assert_int_eq(attempt(&options, SANDBOX_MAIN, delete_a_socket), 0);
	options.admin = NULL;
	close(open(at("run/admin"), O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(attempt(&options, SANDBOX_MAIN, delete_a_socket), EACCES);
}
END_TEST

/* Made before the sandbox: a socket that is there does not help either. */
static int early;

static int connect_early(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = htons(9),
		                       .sin_addr = { htonl(INADDR_LOOPBACK) } };

	return outcome(connect(early, (struct sockaddr *)&address, sizeof(address)));
}

static int bind_early(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	return outcome(bind(early, (struct sockaddr *)&address, sizeof(address)));
}

START_TEST(nothing_is_connected_to_or_bound)
{
	struct options options = standard();
	char why[256];

	if (landlock_abi(why, sizeof(why)) < 4) {
		printf("SKIP: TCP is of Landlock ABI 4\n");
		return;
	}
	early = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(early, 0);
	ck_assert_int_eq(attempt(&options, SANDBOX_MAIN, connect_early), EACCES);
	ck_assert_int_eq(attempt(&options, SANDBOX_ALL, bind_early), EACCES);
	close(early);
}
END_TEST

START_TEST(links_say_where_the_next_release_may_lie)
{
	char paths[8][PATH_MAX];
	unsigned n;

	ck_assert_int_eq(mkdir(at("site/releases"), 0755), 0);
	ck_assert_int_eq(mkdir(at("site/releases/41"), 0755), 0);
	ck_assert_int_eq(mkdir(at("site/releases/41/public"), 0755), 0);
	ck_assert_int_eq(symlink("releases/41/public", at("site/current")), 0);
	ck_assert_int_eq(symlink("root", at("site/beside")), 0);
	ck_assert_int_eq(symlink(at("site/releases/41"), at("outside/absolute")), 0);
	ck_assert_int_eq(symlink("../site/current", at("outside/chain")), 0);

	n = sandbox_ancestors(at("site/root"), paths, 8);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(paths[0], at("site/root"));
	ck_assert_str_eq(paths[1], at("site"));

	n = sandbox_ancestors(at("site/current"), paths, 8);
	ck_assert_uint_eq(n, 3);
	ck_assert_str_eq(paths[0], at("site/releases/41/public"));
	ck_assert_str_eq(paths[1], at("site/releases/41"));
	ck_assert_str_eq(paths[2], at("site/releases"));

	n = sandbox_ancestors(at("site/beside"), paths, 8);
	ck_assert_str_eq(paths[n - 1], at("site"));

	n = sandbox_ancestors(at("outside/absolute"), paths, 8);
	ck_assert_str_eq(paths[n - 1], at("site/releases"));

	/* "../site/current" is itself a link; what it leads to is another release, and where that lies is in the list. */
	n = sandbox_ancestors(at("outside/chain"), paths, 8);
	ck_assert_uint_eq(n, 4);
	ck_assert_str_eq(paths[3], at("site/releases"));

	n = sandbox_ancestors("/usr", paths, 8);
	ck_assert_uint_eq(n, 1);
	n = sandbox_ancestors("/", paths, 8);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(sandbox_ancestors(at("nothing"), paths, 8), 0);
	ck_assert_int_eq(chdir(at("site")), 0);
	n = sandbox_ancestors("current", paths, 8);
	ck_assert_str_eq(paths[n - 1], at("site/releases"));
}
END_TEST

static int say_what_may_be_read(void)
{
	return sandbox_may_read(at("site/root")) && sandbox_may_read(at("site")) && sandbox_may_read(at("nothing")) &&
	                       !sandbox_may_read(at("outside")) && !sandbox_may_read("/etc/passwd") &&
	                       !sandbox_may_read("/")
	               ? 0
	               : 1;
}

START_TEST(a_failure_can_be_explained)
{
	struct options options = standard();

	ck_assert_int_eq(attempt(&options, SANDBOX_RELOADER, say_what_may_be_read), 0);
	ck_assert(sandbox_may_read("/"));
}
END_TEST

static char described[1024];

static int describe(void)
{
	sandbox_rings(true, NULL);
	sandbox_describe(described, sizeof(described));
	for (const char *word = tried; *word; word += strlen(word) + 1)
		if (!strstr(described, word)) {
			fprintf(stderr, "no '%s' in: %s\n", word, described);
			return 1;
		}
	return 0;
}

START_TEST(what_is_in_force_is_told)
{
	struct options options = standard();

	ck_assert(sandbox_needs_launcher(&options));
	tried = "no new privileges\0Landlock ABI \0reads /tmp/\0seccomp\0ring restrictions\0";
	ck_assert_int_eq(attempt(&options, SANDBOX_ALL, describe), 0);
	options.sandbox = SANDBOX_OFF;
	ck_assert(!sandbox_needs_launcher(&options));
	options.user = "65534";
	ck_assert(sandbox_needs_launcher(&options));
	options.user = NULL;
	tried = "off\0";
	ck_assert_int_eq(attempt(&options, SANDBOX_ALL, describe), 0);
}
END_TEST

static int be_unprivileged(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0 || data[0].permitted || data[1].permitted)
		return 1;
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
		if (prctl(PR_CAPBSET_READ, capability) != 0)
			return 2;
	if (getuid() != NOBODY || geteuid() != NOBODY || getgid() != NOBODY || getegid() != NOBODY)
		return 3;
	if (getgroups(0, NULL) > 1)
		return 4;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
		return 6;
	return 0;
}

static int complain(const struct options *options, const char *words)
{
	char why[512] = "";
	int err = sandbox_try(options, why, sizeof(why));

	ck_assert_msg(strstr(why, words) != NULL, "no '%s' in: %s", words, why);
	return err;
}

START_TEST(the_user_is_changed_for_good)
{
	struct options options = standard();

	options.user = "no-such-user";
	ck_assert_int_eq(complain(&options, "--user: there is no user 'no-such-user'"), -EINVAL);
	options.user = "4000000";
	ck_assert_int_eq(complain(&options, "--group"), -EINVAL);
	options.user = NULL;
	options.group = "no-such-group";
	ck_assert_int_eq(complain(&options, "--group: there is no group 'no-such-group'"), -EINVAL);
	options.group = "65534";
	options.user = "65534";
	if (geteuid() != 0) {
		ck_assert_int_eq(complain(&options, "only root can become somebody else"), -EPERM);
		printf("SKIP: only root can become another user\n");
		return;
	}
	/* Without the filter, which would not let it ask. tests/e2e/test_sandbox.py looks from outside. */
	options.sandbox = SANDBOX_OFF;
	ck_assert_int_eq(attempt(&options, SANDBOX_ALL, be_unprivileged), 0);
	options.sandbox = SANDBOX_ON;
	options.group = NULL;
	ck_assert_int_eq(opening(&options, at("site/root/index.html"), O_RDONLY), 0);
	options.cache_dir = at("cache");
	ck_assert_int_eq(opening(&options, at("cache/new"), O_WRONLY | O_CREAT), 0);
}
END_TEST

static int status_of_entering(struct options *options, char *why, size_t size)
{
	int ends[2], status;
	pid_t child;

	ck_assert_int_eq(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		int err = sandbox_enter(options, why, size);

		if (write(ends[1], why, strlen(why) + 1) < 0)
			_exit(251);
		_exit(err ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_gt(read(ends[0], why, size), 0);
	close(ends[0]);
	close(ends[1]);
	return WEXITSTATUS(status);
}

START_TEST(what_the_user_cannot_reach_is_told_at_once)
{
	struct options options = standard();
	char why[512] = "";

	options.sandbox_read[options.sandbox_reads++] = at("missing");
	ck_assert_int_eq(status_of_entering(&options, why, sizeof(why)), 1);
	ck_assert_msg(strstr(why, "--sandbox-read: cannot open ") && strstr(why, "No such file"), "%s", why);
	if (geteuid() != 0) {
		printf("SKIP: only root can become another user\n");
		return;
	}
	options = standard();
	options.user = "65534";
	options.group = "65534";
	options.sandbox = SANDBOX_OFF;
	ck_assert_int_eq(chmod(at("site"), 0700), 0);
	ck_assert_int_eq(status_of_entering(&options, why, sizeof(why)), 1);
	ck_assert_msg(strstr(why, "user 65534, group 65534 cannot read ROOT"), "%s", why);
	ck_assert_int_eq(chmod(at("site"), 0755), 0);
	ck_assert_int_eq(mkdir(at("cache"), 0700), 0);
	options.cache_dir = at("cache");
	ck_assert_int_eq(status_of_entering(&options, why, sizeof(why)), 1);
	ck_assert_msg(strstr(why, "cannot write to the cache directory"), "%s", why);
}
END_TEST

int main(void)
{
	TCase *threads, *files, *user;
	SRunner *runner;
	Suite *suite;
	int failed;

	strcpy(place, "/tmp");
	if (lacking()) {
		printf("SKIP: %s\n", lacking());
		return 77;
	}
	suite = suite_create("sandbox");
	threads = tcase_create("threads");
	files = tcase_create("files");
	user = tcase_create("user");
	tcase_set_timeout(threads, PATIENCE);
	tcase_set_timeout(files, PATIENCE);
	tcase_set_timeout(user, PATIENCE);
	tcase_add_checked_fixture(threads, make_place, remove_place);
	tcase_add_loop_test(threads, each_kind_does_its_work_and_nothing_else, 0, SANDBOX_THREADS);
	suite_add_tcase(suite, threads);
	tcase_add_checked_fixture(files, make_place, remove_place);
	tcase_add_test(files, files_can_be_read_where_root_may_be);
	tcase_add_test(files, the_cache_is_made_and_written_to);
	tcase_add_test(files, nothing_is_connected_to_or_bound);
	tcase_add_test(files, links_say_where_the_next_release_may_lie);
	tcase_add_test(files, a_failure_can_be_explained);
	tcase_add_test(files, what_is_in_force_is_told);
	suite_add_tcase(suite, files);
	tcase_add_checked_fixture(user, make_place, remove_place);
	tcase_add_test(user, the_user_is_changed_for_good);
	tcase_add_test(user, what_the_user_cannot_reach_is_told_at_once);
	suite_add_tcase(suite, user);

	runner = srunner_create(suite);
	srunner_add_suite(runner, ring_suite());
	srunner_add_suite(runner, launcher_suite());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
