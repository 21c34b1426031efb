/* What stands in a tracer's way: io_uring, filters, foreign system calls, unreadable memory, signals, lost folders. */
#define _GNU_SOURCE
#include "file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

static int mode_io_uring(char **arguments)
{
    char parameters[120] = {0}; /* struct io_uring_params */
    (void)arguments;
    result("io_uring_setup", syscall(SYS_io_uring_setup, 4, parameters) < 0 ? errno : 0);
    return 0;
}

/* A sandbox of the program's own, as browsers and package managers have it. */
static int mode_own_filter(char **arguments)
{
    struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, allow};
    (void)arguments;
    touch("before-own-filter");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        fail("seccomp");
    touch("after-own-filter");
    return 0;
}

/* An unreadable process: seen, or a loss. */
static int mode_undumpable(char **arguments)
{
    (void)arguments;
    touch("before-undumpable");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        fail("prctl");
    touch("undumpable");
    return 0;
}

#ifdef __x86_64__
/* open(2) by way of the 32-bit entry of the kernel: seen, refused, or a loss. */
static int mode_foreign_calls(char **arguments)
{
    char *path = below("foreign-i386"), *low;
    long answer;
    (void)arguments;
    low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        fail("mmap");
    strcpy(low, path);
    result("x32", syscall(0x40000000 + SYS_open, below("foreign-x32"), O_RDONLY) < 0 ? errno : 0);
    __asm__ volatile("int $0x80" : "=a"(answer) : "0"(5L), "b"(low), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
    result("i386", answer < 0 ? -answer : 0);
    return 0;
}
#else
static int mode_foreign_calls(char **arguments)
{
    (void)arguments;
    result("x32", ENOSYS);
    result("i386", ENOSYS);
    return 0;
}
#endif

static volatile sig_atomic_t alarms;

static void count_alarm(int number)
{
    (void)number;
    alarms++;
}

/* A timer that interrupts every 200 microseconds while 2,000 files are opened. `restart`: with SA_RESTART. */
static int mode_storm(char **arguments)
{
    struct sigaction action = {.sa_handler = count_alarm};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    long failures = 0;
    if (arguments[0] && strcmp(arguments[0], "restart") == 0)
        action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 2000; i++) {
        char *path = below("storm-%d", i);
        int file;
        while ((file = open(path, O_RDONLY | O_CREAT, 0666)) < 0)
            failures++;
        close(file);
        free(path);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < 2000; i++)
        expect_below("opened", "storm-%d", i);
    result("interrupted", failures);
    result("alarms", alarms);
    return 0;
}

/* A working folder, and the folder of a descriptor, that are gone. */
static int mode_removed(char **arguments)
{
    (void)arguments;
    if (mkdir(below("gone"), 0777) < 0 || mkdir(below("gone-too"), 0777) < 0 || chdir(below("gone")) < 0)
        fail("mkdir");
    int at = open(below("gone-too"), O_PATH | O_DIRECTORY);
    if (rmdir(below("gone")) < 0 || rmdir(below("gone-too")) < 0)
        fail("rmdir");
    result("relative", open("in-gone", O_RDONLY) < 0 ? errno : 0);
    result("at", openat(at, "in-gone-too", O_RDONLY) < 0 ? errno : 0);
    touch("after-gone");
    return 0;
}

static int mode_exit(char **arguments)
{
    return atoi(arguments[0]);
}

static int mode_raise(char **arguments)
{
    raise(atoi(arguments[0]));
    return 0;
}

/* Says that it is there, then waits for a signal. */
static int mode_wait(char **arguments)
{
    (void)arguments;
    touch("waiting");
    result("ready", 1);
    for (;;)
        pause();
    return 0;
}

const struct mode odd_modes[] = {
    {"io_uring", mode_io_uring}, {"own-filter", mode_own_filter}, {"undumpable", mode_undumpable},
    {"foreign-calls", mode_foreign_calls}, {"storm", mode_storm}, {"removed", mode_removed}, {"exit", mode_exit},
    {"raise", mode_raise}, {"wait", mode_wait}, {NULL, NULL},
};
