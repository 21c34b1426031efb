/* Processes that nobody may look into any more: after a change of user, or because they say so (see file_calls.h). */
#define _GNU_SOURCE
#include "file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    long number;
    int argument, others; /* which argument is the user's or group's number, and what the rest is */
} ways[] = {
    {"setuid", SYS_setuid, 0, -1},       {"setgid", SYS_setgid, 0, -1},       {"setreuid", SYS_setreuid, 1, -1},
    {"setregid", SYS_setregid, 1, -1},   {"setresuid", SYS_setresuid, 1, -1}, {"setresgid", SYS_setresgid, 1, -1},
    {"setfsuid", SYS_setfsuid, 0, -1},   {"setfsgid", SYS_setfsgid, 0, -1},   {"dumpable", SYS_prctl, 0, 0},
};

/* Be out of reach by one system call. */
static void conceal(const char *way, long user)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcmp(ways[i].name, way) == 0) {
            long arguments[3] = {ways[i].others, ways[i].others, ways[i].others};
            arguments[ways[i].argument] = ways[i].number == SYS_prctl ? PR_SET_DUMPABLE : user;
            if (syscall(ways[i].number, arguments[0], arguments[1], arguments[2], 0, 0) < 0)
                fail(way);
            return;
        }
    fail("no such way");
}

static void give_up(uid_t user)
{
    if (setgroups(0, NULL) < 0 || setgid(user) < 0 || setuid(user) < 0)
        fail("setuid (as root only)");
}

static void enter(const char *name)
{
    if (chdir(below("%s", name)) < 0)
        fail(name);
}

/* Open a file in the working directory, which is `where` below the folder. */
static void touch_here(const char *where, const char *name)
{
    int file = open(name, O_RDONLY | O_CREAT, 0666);
    if (file < 0)
        fail(name);
    close(file);
    expect_below("opened", "%s/%s", where, name);
}

/* conceal WAY USER: open by absolute and relative paths, and look up what is not there. */
static int mode_conceal(char **arguments)
{
    struct stat status;
    enter("own-0");
    touch("before-%s", arguments[0]);
    conceal(arguments[0], atol(arguments[1]));
    touch("after-%s", arguments[0]);
    touch_here("own-0", "relative");
    expect_below("looked-up", "missing-%s", arguments[0]);
    return stat(below("missing-%s", arguments[0]), &status) == 0;
}

/* Of all its calls the first is the change of user: nobody has looked into the child before. */
static int mode_conceal_child(char **arguments)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            give_up((uid_t)atoi(arguments[0]));
            touch("conceal-child-%d", i);
            _exit(0);
        }
        wait_for(child);
        touch("conceal-parent-%d", i);
    }
    return 0;
}

static void *touch_in_thread(void *name)
{
    touch("%s", (const char *)name);
    return NULL;
}

static void touch_by_thread(char *name)
{
    pthread_t thread;
    if ((errno = pthread_create(&thread, NULL, touch_in_thread, name)) != 0)
        fail("pthread_create");
    pthread_join(thread, NULL);
}

static pthread_barrier_t barrier;

static void *touch_later(void *name)
{
    pthread_barrier_wait(&barrier);
    return touch_in_thread(name);
}

/* A thread that was there before, one that begins after, and what happens more than a second later. */
static int mode_conceal_threads(char **arguments)
{
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    if ((errno = pthread_create(&thread, NULL, touch_later, "thread-before")) != 0)
        fail("pthread_create");
    give_up((uid_t)atoi(arguments[0]));
    touch("thread-main");
    touch_by_thread("thread-after");
    sleep(2);
    touch("thread-main-later");
    touch_by_thread("thread-later");
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    return 0;
}

/* Executions that fail leave the memory as it is; the one that works is known, too. */
static int mode_conceal_exec(char **arguments)
{
    char *program = below("program-setuid");
    give_up((uid_t)atoi(arguments[0]));
    for (int i = 0; i < 3; i++) {
        char *missing = below("missing-program-%d", i);
        execl(missing, missing, (char *)NULL);
        expect("executed", missing);
        touch("after-failed-%d", i);
    }
    expect("executed", program);
    execl(program, program, folder, "calls", (char *)NULL);
    fail(program);
}

/* Changes of the working directory that work, and one that does not. */
static int mode_conceal_moves(char **arguments)
{
    enter("own-0");
    give_up((uid_t)atoi(arguments[0]));
    touch_here("own-0", "moves");
    enter("own-1");
    touch_here("own-1", "moves");
    if (chdir(below("missing-folder")) == 0)
        fail("chdir");
    touch_here("own-1", "moves-not");
    return 0;
}

/* A child of vfork(2) gives up its user in its parent's memory: the parent is out of reach as well. */
static int mode_conceal_parent(char **arguments)
{
    char *program = below("program-vfork"), *const values[] = {program, (char *)folder, "leaf", "vfork-leaf", NULL};
    char *const none[] = {NULL};
    long user = atol(arguments[0]);
    pid_t child = vfork();
    if (child == 0) {
        if (syscall(SYS_setgid, user) == 0 && syscall(SYS_setuid, user) == 0)
            execve(program, values, none);
        _exit(98);
    }
    wait_for(child);
    expect("executed", program);
    touch("vfork-parent");
    return 0;
}

/* The child of posix_spawn, which nobody may look into either, executes a symbolic link. */
static int mode_conceal_spawns(char **arguments)
{
    char *program = below("linked-program"), *values[] = {program, (char *)folder, "leaf", "spawned", NULL};
    char *none[] = {NULL};
    pid_t child;
    give_up((uid_t)atoi(arguments[0]));
    if ((errno = posix_spawn(&child, program, NULL, NULL, values, none)) != 0)
        fail("posix_spawn");
    wait_for(child);
    expect("executed", program);
    touch("spawned-it");
    return 0;
}

/* What follows is out of reach for good without CAP_SYS_PTRACE: the child of a fork has memory of its own. */
static int mode_conceal_forks(char **arguments)
{
    give_up((uid_t)atoi(arguments[0]));
    enter("own-1");
    pid_t child = fork();
    if (child == 0) {
        touch("forked-child");
        _exit(0);
    }
    wait_for(child);
    touch("forked-parent");
    return 0;
}

/* A program that its user may execute and not read. */
static int mode_conceal_program(char **arguments)
{
    char *program = below("program-unreadable"), *copy = below("program-readable");
    if (arguments[1]) {
        execl(program, program, folder, "leaf", "by-unreadable", (char *)NULL);
        fail(program);
    }
    expect("executed", program);
    expect("executed", copy);
    give_up((uid_t)atoi(arguments[0]));
    execl(copy, copy, folder, "conceal-program", arguments[0], "again", (char *)NULL);
    fail(copy);
}

/* A working directory that only a descriptor names. */
static int mode_conceal_fchdir(char **arguments)
{
    int to = open(below("own-2"), O_PATH | O_DIRECTORY);
    enter("own-0");
    give_up((uid_t)atoi(arguments[0]));
    if (fchdir(to) < 0)
        fail("fchdir");
    touch_here("own-2", "fchdir");
    return 0;
}

static int mode_conceal_at(char **arguments)
{
    int at = open(below("own-3"), O_PATH | O_DIRECTORY);
    give_up((uid_t)atoi(arguments[0]));
    if (openat(at, "at", O_RDONLY | O_CREAT, 0666) < 0)
        fail("openat");
    expect_below("opened", "own-3/at");
    return 0;
}

/* A child that shares its parent's directories, which the parent changes once the child is out of reach. */
static pid_t sharing_child(void)
{
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
    if (child < 0)
        fail("clone");
    return child;
}

static int turns[2][2];

/* 0: of the parent, 1: of the child. */
static void take_turn(int whose)
{
    char byte;
    if (read(turns[whose][0], &byte, 1) != 1)
        fail("read");
}

static void give_turn(int whose)
{
    if (write(turns[whose][1], "", 1) != 1)
        fail("write");
}

static void begin_turns(void)
{
    if (pipe(turns[0]) < 0 || pipe(turns[1]) < 0)
        fail("pipe");
}

static int mode_conceal_shared(char **arguments)
{
    begin_turns();
    enter("own-0");
    pid_t child = sharing_child();
    if (child == 0) {
        give_up((uid_t)atoi(arguments[0]));
        give_turn(0);
        take_turn(1);
        touch_here("own-1", "shared");
        _exit(0);
    }
    take_turn(0);
    enter("own-1");
    give_turn(1);
    wait_for(child);
    return 0;
}

/* The same with the root directory. */
static int mode_conceal_shared_root(char **arguments)
{
    begin_turns();
    touch("own-0/root");
    pid_t child = sharing_child();
    if (child == 0) {
        give_up((uid_t)atoi(arguments[0]));
        give_turn(0);
        take_turn(1);
        if (open("/root", O_RDONLY) < 0)
            fail("/root");
        expect_below("opened", "own-0/root");
        _exit(0);
    }
    take_turn(0);
    if (chroot(below("own-0")) < 0)
        fail("chroot");
    give_turn(1);
    wait_for(child);
    return 0;
}

/* The parent moves a directory that both share, and the child then says by itself where it wants to be. Who goes where
 * both are already moves nobody. */
static int mode_conceal_returns(char **arguments)
{
    begin_turns();
    enter("own-0");
    pid_t child = sharing_child();
    if (child == 0) {
        give_up((uid_t)atoi(arguments[0]));
        give_turn(0);
        take_turn(1);
        enter("own-2");
        give_turn(0);
        take_turn(1);
        touch_here("own-2", "returns");
        _exit(0);
    }
    take_turn(0);
    enter("own-1");
    give_turn(1);
    take_turn(0);
    enter("own-2");
    give_turn(1);
    wait_for(child);
    return 0;
}

/* Somebody in another directory goes elsewhere: that moves nobody here. */
static int mode_conceal_strangers(char **arguments)
{
    begin_turns();
    enter("own-1");
    pid_t child = fork();
    if (child == 0) {
        enter("own-0");
        give_up((uid_t)atoi(arguments[0]));
        give_turn(0);
        take_turn(1);
        touch_here("own-0", "strangers");
        _exit(0);
    }
    take_turn(0);
    int here = open(".", O_PATH | O_DIRECTORY);
    enter("own-2");
    if (fchdir(here) < 0)
        fail("fchdir");
    give_turn(1);
    wait_for(child);
    return 0;
}

static char stack[1 << 16];
static const char *goes_to;

static int go_and_open(void *nothing)
{
    (void)nothing;
    if (syscall(SYS_chdir, goes_to) == 0)
        give_turn(0);
    take_turn(1);
    if (syscall(SYS_openat, AT_FDCWD, "of-thread", O_RDONLY | O_CREAT, 0666) >= 0)
        give_turn(0);
    for (;;)
        syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

/* A thread with directories of its own (no CLONE_FS), which goes elsewhere. */
static void begin_thread(const char *to)
{
    int flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES;
    begin_turns();
    goes_to = below("%s", to);
    if (clone(go_and_open, stack + sizeof stack, flags, NULL) < 0)
        fail("clone");
    take_turn(0);
}

static int mode_conceal_thread(char **arguments)
{
    enter("own-0");
    give_up((uid_t)atoi(arguments[0]));
    begin_thread("own-1");
    touch_here("own-0", "thread");
    return 0;
}

/* One that went elsewhere before. */
static int mode_conceal_apart(char **arguments)
{
    enter("own-0");
    begin_thread("own-1");
    conceal("dumpable", atol(arguments[0]));
    give_turn(1);
    take_turn(0);
    expect_below("opened", "own-1/of-thread");
    return 0;
}

/* conceal-masked USER NAME: whether NAME is there after giving up rights. */
static int mode_conceal_masked(char **arguments)
{
    give_up((uid_t)atoi(arguments[0]));
    int file = open(below("%s", arguments[1]), O_RDONLY);
    result("found", file >= 0);
    result("error", file < 0 ? errno : 0);
    return 0;
}

void prepare_rights(void)
{
    char *unreadable = below("program-unreadable");
    make_program(below("program-readable"));
    make_file(unreadable, 0777);
    /* not a hard link: its mode is its own */
    int from = open(below("program"), O_RDONLY), to = open(unreadable, O_WRONLY | O_TRUNC);
    char block[65536];
    ssize_t size;
    while ((size = read(from, block, sizeof block)) > 0)
        if (write(to, block, (size_t)size) != size)
            fail(unreadable);
    close(from);
    if (close(to) < 0 || chmod(unreadable, 0711) < 0)
        fail(unreadable);
    if (symlink("program-setuid", below("linked-program")) < 0)
        fail("symlink");
}

const struct mode rights_modes[] = {
    {"conceal", mode_conceal}, {"conceal-child", mode_conceal_child}, {"conceal-threads", mode_conceal_threads},
    {"conceal-exec", mode_conceal_exec}, {"conceal-moves", mode_conceal_moves}, {"conceal-parent", mode_conceal_parent},
    {"conceal-spawns", mode_conceal_spawns}, {"conceal-forks", mode_conceal_forks},
    {"conceal-program", mode_conceal_program}, {"conceal-fchdir", mode_conceal_fchdir}, {"conceal-at", mode_conceal_at},
    {"conceal-shared", mode_conceal_shared}, {"conceal-shared-root", mode_conceal_shared_root},
    {"conceal-returns", mode_conceal_returns}, {"conceal-strangers", mode_conceal_strangers},
    {"conceal-thread", mode_conceal_thread}, {"conceal-apart", mode_conceal_apart},
    {"conceal-masked", mode_conceal_masked}, {NULL, NULL},
};
