/* What wears a tracer out: many callers at once, callers killed in the midst, odd names, who forks for ever.
 *
 * Whatever forks for ever ends by itself after LIFE seconds, with the status OUTLIVED: nobody has stopped it. Where it
 * multiplies RLIMIT_NPROC bounds it, too.
 */
#define _GNU_SOURCE
#include "file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_NEW_LISTENER
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#endif
enum { LIFE = 120, OUTLIVED = 3, CALLERS = 4, LONGEST = 4095 };

static void pause_for(long microseconds)
{
    struct timespec time = {0, microseconds * 1000};
    nanosleep(&time, NULL);
}

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    return memory;
}

static int caller, calls_each;

static void *look_up_many(void *thread)
{
    char path[512];
    for (int i = 0; i < calls_each; i++) {
        snprintf(path, sizeof path, "%s/hammer-%d-%d-%d", folder, caller, (int)(intptr_t)thread, i);
        access(path, F_OK);
    }
    return NULL;
}

/* PROCESSES, each with THREADS that make COUNT calls, all at the same time, as fast as they can. */
static int mode_hammer(char **arguments)
{
    int processes = atoi(arguments[0]), threads = atoi(arguments[1]), gate[2];
    calls_each = atoi(arguments[2]);
    pthread_t *running = calloc((size_t)threads, sizeof *running);
    pid_t *children = calloc((size_t)processes, sizeof *children);
    char byte;
    if (!running || !children || pipe(gate) < 0)
        fail("pipe");
    for (caller = 0; caller < processes; caller++) {
        if ((children[caller] = fork()) < 0)
            fail("fork");
        if (children[caller] == 0) {
            close(gate[1]);
            if (read(gate[0], &byte, 1) != 0)
                fail("read");
            for (int i = 0; i < threads; i++)
                if ((errno = pthread_create(&running[i], NULL, look_up_many, (void *)(intptr_t)i)) != 0)
                    fail("pthread_create");
            for (int i = 0; i < threads; i++)
                pthread_join(running[i], NULL);
            _exit(0);
        }
    }
    close(gate[1]);
    for (int i = 0; i < processes; i++)
        wait_for(children[i]);
    for (int i = 0; i < processes; i++)
        for (int j = 0; j < threads; j++)
            for (int k = 0; k < calls_each; k++)
                expect_below("looked-up", "hammer-%d-%d-%d", i, j, k);
    return 0;
}

static volatile int (*done)[CALLERS];

static void *look_up_until_killed(void *thread)
{
    int own = (int)(intptr_t)thread;
    char path[512];
    for (int i = 0;; i++) {
        snprintf(path, sizeof path, "%s/killed-%d-%d-%d", folder, caller, own, i);
        access(path, F_OK);
        done[caller][own] = i + 1;
    }
    return NULL;
}

/* COUNT processes, one after the other, whose threads make calls until SIGKILL ends them. What returned was made. */
static int mode_killed(char **arguments)
{
    int count = atoi(arguments[0]);
    done = shared((size_t)count * sizeof *done);
    for (caller = 0; caller < count; caller++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            pthread_t threads[CALLERS];
            for (long i = 1; i < CALLERS; i++)
                pthread_create(&threads[i], NULL, look_up_until_killed, (void *)(intptr_t)i);
            look_up_until_killed(0);
        }
        pause_for(200 + caller * 37 % 3000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        touch("after-%d", caller);
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < CALLERS; j++)
            for (int k = 0; k < done[i][j]; k++)
                expect_below("looked-up", "killed-%d-%d-%d", i, j, k);
    return 0;
}

/* Looks up COUNT names, and says when the first hundred are done. All must end as they would unwatched. */
static int mode_steady(char **arguments)
{
    int count = atoi(arguments[0]), failures = 0;
    char path[512];
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/steady-%d", folder, i);
        if (access(path, F_OK) == 0 || errno != ENOENT)
            failures++;
        if (i < 100)
            expect("looked-up", path);
        if (i == 99)
            result("ready", i);
    }
    result("failures", failures);
    make_file(below("steady-end"), 0666);
    return 0;
}

static void open_new(const char *path, const char *whole)
{
    int file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0)
        fail(whole);
    close(file);
    expect("opened", whole);
}

/* A file for each byte that a name can have, absolute and relative, and some that look like something else. */
static int mode_names(char **arguments)
{
    static const char *const odd[] = {"line\nbreak", " (deleted)", "gone (deleted)", "\xff\xfe", "\xe2\x82", "a\\x41", "...", " "};
    char name[16];
    (void)arguments;
    if (chdir(folder) < 0)
        fail(folder);
    for (int byte = 1; byte < 256; byte++) {
        if (byte == '/')
            continue;
        snprintf(name, sizeof name, "n%ca", byte);
        open_new(below("%s", name), below("%s", name));
        snprintf(name, sizeof name, "n%cr", byte);
        open_new(name, below("%s", name));
    }
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        open_new(odd[i], below("%s", odd[i]));
        open_new(below("%s", odd[i]), below("%s", odd[i]));
    }
    return 0;
}

/* Folders below the present one until a path through them to a file has exactly `size` bytes; the path is returned. */
static char *dig(const char *from, size_t size)
{
    char *path = calloc(1, size + 1);
    size_t at = strlen(from);
    int here = open(*from ? from : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!path || here < 0)
        fail("dig");
    memcpy(path, from, at);
    while (at < size) {
        size_t left = size - at - (at > 0), length = left > 300 ? 200 : left > 255 ? 100 : left;
        char name[256] = {0};
        memset(name, 'd', length);
        if (at > 0)
            path[at++] = '/';
        memcpy(path + at, name, length);
        at += length;
        if (at == size)
            break;
        if (mkdirat(here, name, 0777) < 0 && errno != EEXIST)
            fail("mkdirat");
        int next = openat(here, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (next < 0)
            fail("openat");
        close(here);
        here = next;
    }
    close(here);
    return path;
}

/* Paths of PATH_MAX bytes with the NUL, absolute and relative: files that are made there. One more is too long. */
static int mode_longest(char **arguments)
{
    (void)arguments;
    if (chdir(folder) < 0)
        fail(folder);
    char *absolute = dig(folder, LONGEST), *relative = dig("", LONGEST);
    char *whole = below("%s", relative), *longer = below("%s", relative);
    open_new(absolute, absolute);
    open_new(relative, whole);
    longer[LONGEST + 1] = '\0';
    result("too-long", open(longer, O_RDONLY) < 0 ? errno : 0);
    return 0;
}

static long install(unsigned flags)
{
    struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, allow};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* Filters of its own: without a listener they are its own business, the other kind gets EBUSY. */
static int mode_own_listener(char **arguments)
{
    (void)arguments;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("prctl");
    result("filter", install(0) < 0 ? errno : 0);
    result("listener", install(SECCOMP_FILTER_FLAG_NEW_LISTENER) < 0 ? errno : 0);
    touch("after-own-listener");
    return 0;
}

static int in_time(time_t since)
{
    return time(NULL) < since + LIFE;
}

/* Each forks the next and ends: nobody lives long enough to be listed. `session`: each in a session of its own. */
static int mode_fork_chain(char **arguments)
{
    time_t start = time(NULL);
    touch("fork-chain");
    signal(SIGTERM, SIG_IGN);
    while (in_time(start)) {
        pid_t child = fork();
        if (child != 0)
            _exit(child < 0);
        if (arguments[0])
            setsid();
    }
    return OUTLIVED;
}

/* Multiplies up to LIMIT processes of USER, and fills every gap. */
static int mode_fork_bomb(char **arguments)
{
    time_t start = time(NULL);
    rlim_t most = (rlim_t)atoi(arguments[0]);
    struct rlimit limit = {most, most};
    uid_t user = (uid_t)atoi(arguments[1]);
    touch("fork-bomb");
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(user) < 0))
        fail("setgid");
    if (setrlimit(RLIMIT_NPROC, &limit) < 0 || (geteuid() == 0 && setuid(user) < 0))
        fail("setuid");
    signal(SIGTERM, SIG_IGN);
    if (access(folder, F_OK) < 0) /* `most` is heeded only without privileges */
        fail(folder);
    result("ready", 1);
    while (in_time(start))
        if (fork() < 0)
            pause_for(1000);
    return OUTLIVED;
}

const struct mode robust_modes[] = {
    {"hammer", mode_hammer}, {"killed", mode_killed}, {"steady", mode_steady}, {"names", mode_names},
    {"longest", mode_longest}, {"own-listener", mode_own_listener}, {"fork-chain", mode_fork_chain},
    {"fork-bomb", mode_fork_bomb}, {NULL, NULL},
};
