/* Threads, trees of processes, daemons, changes of user and of root. */
#define _GNU_SOURCE
#include "file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_ms(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void start_thread(pthread_t *thread, void *(*run)(void *), long number)
{
    if ((errno = pthread_create(thread, NULL, run, (void *)(intptr_t)number)) != 0)
        fail("pthread_create");
}

static void *open_many(void *number)
{
    for (int i = 0; i < 200; i++)
        touch("thread-%d-file-%d", (int)(intptr_t)number, i);
    return NULL;
}

static int mode_threads(char **arguments)
{
    pthread_t threads[8];
    (void)arguments;
    for (int i = 0; i < 8; i++)
        start_thread(&threads[i], open_many, i);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static void *open_one(void *number)
{
    touch("churn-%d", (int)(intptr_t)number);
    return NULL;
}

/* Threads that live for one call: four at a time, their numbers come and go. */
static int mode_churn(char **arguments)
{
    pthread_t threads[4];
    (void)arguments;
    for (int i = 0; i < 1000; i += 4) {
        for (int j = 0; j < 4; j++)
            start_thread(&threads[j], open_one, i + j);
        for (int j = 0; j < 4; j++)
            pthread_join(threads[j], NULL);
    }
    return 0;
}

static void *open_in_own_folder(void *number)
{
    int own = (int)(intptr_t)number;
    if (unshare(CLONE_FS) < 0) { /* Docker's default seccomp profile forbids it */
        result("own-folders-refused", errno);
        return NULL;
    }
    if (chdir(below("own-%d", own)) < 0)
        fail("chdir");
    expect_below("looked-up", "own-%d", own);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "relative-%d", i);
        if (open(name, O_RDONLY | O_CREAT | O_CLOEXEC, 0666) < 0)
            fail(name);
        expect_below("opened", "own-%d/relative-%d", own, i);
    }
    return NULL;
}

/* The working folder belongs to the process unless a thread asks for its own: here four threads do. */
static int mode_thread_folders(char **arguments)
{
    pthread_t threads[4];
    (void)arguments;
    for (int i = 0; i < 4; i++)
        start_thread(&threads[i], open_in_own_folder, i);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static void *change_folder(void *number)
{
    (void)number;
    if (chdir(below("own-0")) < 0)
        fail("chdir");
    expect_below("looked-up", "own-0");
    return NULL;
}

/* A chdir in one thread moves the others too. */
static int mode_thread_chdir(char **arguments)
{
    pthread_t thread;
    (void)arguments;
    if (chdir(folder) < 0)
        fail(folder);
    open("before-thread-chdir", O_RDONLY | O_CREAT, 0666);
    expect_below("opened", "before-thread-chdir");
    start_thread(&thread, change_folder, 0);
    pthread_join(thread, NULL);
    open("after-thread-chdir", O_RDONLY | O_CREAT, 0666);
    expect_below("opened", "own-0/after-thread-chdir");
    return 0;
}

static void *execute_leaf(void *number)
{
    (void)number;
    touch("exec-thread-before");
    execl(below("program-exec-thread"), "program", folder, "leaf", "exec-thread-after", (char *)NULL);
    fail("execl");
}

static int mode_exec_thread(char **arguments)
{
    pthread_t thread;
    (void)arguments;
    touch("exec-thread-leader");
    expect_below("executed", "program-exec-thread");
    start_thread(&thread, execute_leaf, 0);
    for (;;)
        pause();
    return 0;
}

static void grow(int node, int count)
{
    pid_t children[2] = {0, 0};
    touch("tree-%d-before", node);
    for (int i = 0; i < 2; i++)
        if (2 * node + 1 + i < count && (children[i] = fork()) == 0) {
            grow(2 * node + 1 + i, count);
            _exit(0);
        }
    for (int i = 0; i < 2; i++)
        if (children[i] > 0)
            wait_for(children[i]);
    touch("tree-%d-after", node);
}

static int mode_forks(char **arguments)
{
    (void)arguments;
    grow(0, 50);
    return 0;
}

/* COUNT processes alive at the same time; each executes something once all are there. */
static int mode_crowd(char **arguments)
{
    int count = atoi(arguments[0]), gate[2];
    pid_t *children = calloc((size_t)count, sizeof *children);
    char name[32];
    if (!children || pipe(gate) < 0)
        fail("pipe");
    expect_below("executed", "program-crowd");
    for (int i = 0; i < count; i++) {
        if ((children[i] = fork()) < 0)
            fail("fork");
        if (children[i] == 0) {
            close(gate[1]);
            touch("crowd-%d-before", i);
            if (read(gate[0], name, 1) != 0)
                fail("read");
            snprintf(name, sizeof name, "crowd-%d-after", i);
            execl(below("program-crowd"), "program", folder, "leaf", name, (char *)NULL);
            fail("execl");
        }
    }
    close(gate[1]);
    for (int i = 0; i < count; i++)
        wait_for(children[i]);
    return 0;
}

static void detach(int gate)
{
    char byte;
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    if (read(gate, &byte, 1) != 0) /* until the one who started us is gone */
        _exit(99);
}

static void write_count(int count)
{
    char *partial = below("daemon-count.partial");
    FILE *file = fopen(partial, "w");
    if (!file || fprintf(file, "%d %d\n", count, (int)getpid()) < 0 || fclose(file) != 0)
        _exit(99);
    rename(partial, below("daemon-count"));
}

/* COUNT files by a daemon after its parents have ended; says in `daemon-count` how many it opened, and its pid. */
static int daemonise(int count, int stay)
{
    int gate[2];
    if (pipe(gate) < 0)
        fail("pipe");
    for (int i = 0; i < count; i++)
        expect_below("opened", "daemon-%d", i);
    pid_t child = fork();
    if (child == 0) {
        close(gate[1]);
        setsid();
        if (fork() != 0)
            _exit(0);
        detach(gate[0]);
        for (int i = 0; i < count; i++) {
            close(open(below("daemon-%d", i), O_RDONLY | O_CREAT, 0666));
            sleep_ms(2);
        }
        write_count(count);
        while (stay)
            pause();
        _exit(0);
    }
    wait_for(child);
    return 0;
}

static int mode_daemon(char **arguments)
{
    return daemonise(atoi(arguments[0]), 0);
}

static int mode_daemon_stays(char **arguments)
{
    return daemonise(atoi(arguments[0]), 1);
}

/* As `daemon-stays`, and deaf to every signal that can be ignored. */
static int mode_daemon_stubborn(char **arguments)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return daemonise(atoi(arguments[0]), 1);
}

static void drop_to(uid_t user)
{
    if (setgroups(0, NULL) < 0 || setgid(user) < 0 || setuid(user) < 0)
        fail("setuid (as root only)");
}

/* Between setuid and execve the process is not dumpable: a tracer without CAP_SYS_PTRACE cannot read it. */
static int mode_setuid(char **arguments)
{
    char *program = below("program-setuid");
    expect("executed", program);
    drop_to((uid_t)atoi(arguments[0]));
    execl(program, program, folder, "calls", (char *)NULL);
    fail(program);
}

static int mode_chroot(char **arguments)
{
    const char *jail = arguments[0];
    char path[4096];
    if (chroot(jail) < 0 || chdir("/") < 0)
        fail("chroot (as root only)");
    int at = open("/folder", O_PATH | O_DIRECTORY);
    open("/absolute", O_RDONLY | O_CREAT, 0666);
    open("relative", O_RDONLY | O_CREAT, 0666);
    if (at < 0 || openat(at, "at", O_RDONLY | O_CREAT, 0666) < 0)
        fail("openat");
    openat(at, "/absolute-at", O_RDONLY);
    struct stat status;
    stat("/looked-up", &status);
    static const char *const inside[] = {"absolute", "relative", "folder/at", "absolute-at"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", jail, inside[i]);
        expect("opened", path);
    }
    snprintf(path, sizeof path, "%s/looked-up", jail);
    expect("looked-up", path);
    return 0;
}

/* The child of posix_spawn runs in its parent's memory until it executes. */
static int mode_vfork(char **arguments)
{
    char *program = below("program-vfork");
    (void)arguments;
    for (int i = 0; i < 20; i++) {
        char name[32], *values[] = {program, (char *)folder, "leaf", name, NULL}, *none[] = {NULL};
        pid_t child;
        snprintf(name, sizeof name, "vfork-child-%d", i);
        touch("vfork-before-%d", i);
        if ((errno = posix_spawn(&child, program, NULL, NULL, values, none)) != 0)
            fail("posix_spawn");
        touch("vfork-meanwhile-%d", i);
        wait_for(child);
        touch("vfork-after-%d", i);
    }
    expect("executed", program);
    return 0;
}

/* One process that executes itself again and again: its memory is another each time. */
static int mode_exec_chain(char **arguments)
{
    int left = atoi(arguments[0]);
    char next[16], *program = below("program-chain-%d", left % 2);
    touch("chain-%d", left);
    if (left == 0)
        return 0;
    snprintf(next, sizeof next, "%d", left - 1);
    expect("executed", program);
    execl(program, program, folder, "exec-chain", next, (char *)NULL);
    fail(program);
}

/* Opens `forever-N` from 0 up until it is killed; says so when there are a hundred. */
static int mode_forever(char **arguments)
{
    (void)arguments;
    for (int i = 0;; i++) {
        close(open(below("forever-%d", i), O_RDONLY | O_CREAT, 0666));
        if (i < 100)
            expect_below("opened", "forever-%d", i);
        if (i == 99)
            result("ready", i);
        sleep_ms(1);
    }
    return 0;
}

void prepare_processes(void)
{
    const char *const programs[] = {
        "program-exec-thread", "program-crowd", "program-setuid", "program-vfork", "program-chain-0", "program-chain-1",
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        make_program(below("%s", programs[i]));
    for (int i = 0; i < 4; i++)
        make_directory(below("own-%d", i));
    make_directory(below("jail"));
    make_directory(below("jail/folder"));
}

const struct mode process_modes[] = {
    {"threads", mode_threads}, {"churn", mode_churn}, {"thread-folders", mode_thread_folders},
    {"thread-chdir", mode_thread_chdir}, {"exec-thread", mode_exec_thread}, {"forks", mode_forks}, {"crowd", mode_crowd},
    {"daemon", mode_daemon}, {"daemon-stays", mode_daemon_stays}, {"daemon-stubborn", mode_daemon_stubborn},
    {"setuid", mode_setuid}, {"chroot", mode_chroot}, {"vfork", mode_vfork},
    {"exec-chain", mode_exec_chain}, {"forever", mode_forever}, {NULL, NULL},
};
