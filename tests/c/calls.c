/* Each path-taking call on a file of its own, in each way that a path can be written. */
#define _GNU_SOURCE
#include "file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than some headers; the same number on every architecture from 424 on. */
#ifndef SYS_statx
#ifdef __x86_64__
#define SYS_statx 332
#else
#define SYS_statx 291
#endif
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fspick 433
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_open_tree_attr
#define SYS_open_tree_attr 467
#endif
#ifndef SYS_file_getattr
#define SYS_file_getattr 468
#define SYS_file_setattr 469
#endif

static char scratch[4096];
static char *no_strings[] = {NULL};
static int inotify, fanotify;
static const struct { uint64_t flags, mode, resolve; } open_to_read = {O_RDONLY | O_CLOEXEC, 0, 0}; /* open_how */
static const struct { uint64_t value; uint32_t size, flags; } xattr_value; /* xattr_args */

static char *second(const char *path)
{
    static char other[4096];
    snprintf(other, sizeof other, "%s-to", path);
    return other;
}

#define CALL(name, how, flags, expression) \
    static long call_##name(int at, const char *path) { (void)at; return expression; }
#include "path_calls.def"
#undef CALL

enum { AT = 1, TWO = 2, RISKY = 4 };
struct call {
    const char *name, *how;
    int flags;
    long (*make)(int at, const char *path);
};
static const struct call calls[] = {
#define CALL(name, how, flags, expression) {#name, how, flags, call_##name},
#include "path_calls.def"
#undef CALL
    {NULL, NULL, 0, NULL},
};

static void make(const struct call *call, int at, const char *path, const char *expected)
{
    errno = 0;
    int refused = call->make(at, path) < 0 && (errno == EPERM || errno == ENOSYS);
    expect(call->how, expected);
    if (call->flags & TWO)
        expect(call->how, second(expected));
    if (refused) {
        expect("refused", expected);
        if (call->flags & TWO)
            expect("refused", second(expected));
    }
}

static void make_each_way(const struct call *call, int at)
{
    char relative[300];
    char *path = below("%s-found", call->name);
    make(call, AT_FDCWD, path, path);
    path = below("%s-missing", call->name);
    make(call, AT_FDCWD, path, path);
    path = below("sub/..//./%s-dots", call->name);
    make(call, AT_FDCWD, path, below("sub/../%s-dots", call->name));
    snprintf(relative, sizeof relative, "%s-cwd", call->name);
    make(call, AT_FDCWD, relative, below("cwd/%s", relative));
    snprintf(relative, sizeof relative, "./../cwd/%s-up", call->name);
    make(call, AT_FDCWD, relative, below("cwd/../cwd/%s-up", call->name));
    if (!(call->flags & AT))
        return;
    snprintf(relative, sizeof relative, "%s-at", call->name);
    make(call, at, relative, below("at/%s", relative));
    path = below("%s-ignored", call->name); /* an absolute path: the descriptor is not looked at, be it open or not */
    make(call, 12345, path, path);
}

static void prepare_each_way(const struct call *call)
{
    char *paths[] = {
        below("%s-found", call->name), below("%s-dots", call->name), below("cwd/%s-cwd", call->name),
        below("cwd/%s-up", call->name), below("at/%s-at", call->name), below("%s-ignored", call->name),
    };
    if (call->flags & RISKY)
        return;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (strcmp(call->how, "listed") == 0)
            make_directory(paths[i]);
        else
            make_file(paths[i], 0666);
}

static const char *const odd_names[] = {
    "new\nline", "latin1-\xe9", "utf8-\xc3\xa9", "back\\slash", "tab\there", " spaces ", "-dash", "\x01\x7f\xff", "%s", "\"'",
};

static void open_odd_names(void)
{
    char longest[256];
    for (size_t i = 0; i < sizeof odd_names / sizeof *odd_names; i++) {
        touch("odd/%s", odd_names[i]);
        touch("odd-missing/%s", odd_names[i]);
    }
    memset(longest, 'n', 255);
    longest[255] = 0;
    touch("odd/%s", longest);
}

/* Where a tracer that reads a fixed number of bytes, or whole pages, goes wrong. */
static void open_at_the_edge_of_memory(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *path = below("edge-of-page"), *across = below("across-pages");
    munmap(pages + page, page);
    memcpy(pages + page - strlen(path) - 1, path, strlen(path) + 1);
    syscall(SYS_openat, AT_FDCWD, pages + page - strlen(path) - 1, O_RDONLY);
    expect("opened", path);

    pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(pages + page - 7, across, strlen(across) + 1);
    syscall(SYS_openat, AT_FDCWD, pages + page - 7, O_RDONLY);
    expect("opened", across);
}

/* PATH_MAX is 4096 with the NUL: 4,095 bytes are the longest path that the kernel takes. */
static void open_longest_paths(void)
{
    char path[4097];
    size_t head = strlen(folder), tail = strlen("/long-found");
    memset(path, '/', sizeof path);
    memcpy(path, folder, head);
    for (size_t at = head + 1; at + 1 < 4095 - tail; at += 2)
        path[at] = '.';
    strcpy(path + 4095 - tail, "/long-found");
    if (syscall(SYS_openat, AT_FDCWD, path, O_RDONLY) < 0)
        fail("the longest path");
    expect_below("opened", "long-found");

    memset(path, 'l', 4095);
    path[4095] = 0;
    memcpy(path, folder, head);
    for (size_t at = head; at < 4095; at += 200)
        path[at] = '/';
    syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    expect("opened", path);
}

/* None of these names a file: there is nothing to report, and nothing lost. */
static void call_without_path(int file)
{
    syscall(SYS_newfstatat, file, "", scratch, AT_EMPTY_PATH);
    syscall(SYS_newfstatat, file, NULL, scratch, AT_EMPTY_PATH);
    syscall(SYS_statx, file, "", AT_EMPTY_PATH, 0xfff, scratch);
    syscall(SYS_statx, file, NULL, AT_EMPTY_PATH, 0xfff, scratch);
    syscall(SYS_utimensat, file, NULL, NULL, 0);
    syscall(SYS_utimensat, file, "", NULL, AT_EMPTY_PATH);
    syscall(SYS_fchownat, file, "", -1, -1, AT_EMPTY_PATH);
    syscall(SYS_faccessat2, file, "", R_OK, AT_EMPTY_PATH);
    syscall(SYS_linkat, file, "", -1, "", AT_EMPTY_PATH);
    syscall(SYS_name_to_handle_at, file, "", scratch, scratch + 64, AT_EMPTY_PATH);
    syscall(SYS_fchmodat2, file, "", 0640, AT_EMPTY_PATH);
    syscall(SYS_readlinkat, file, "", scratch, sizeof scratch);
    syscall(SYS_open_tree, file, "", AT_EMPTY_PATH | O_CLOEXEC);
    syscall(SYS_fanotify_mark, fanotify, 1, 0x20UL, file, NULL);
    syscall(SYS_umount2, NULL, 0);
    syscall(SYS_swapoff, NULL);
    syscall(SYS_quotactl, QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL);
#ifdef SYS_futimesat
    syscall(SYS_futimesat, file, NULL, NULL);
#endif
}

/* Only some of them go through chdir(2): a tracer that remembers the working folder falls behind. */
static void move_around(void)
{
    if (chdir(below("moved")) < 0)
        fail("chdir");
    expect_below("looked-up", "moved");
    syscall(SYS_openat, AT_FDCWD, "after-chdir", O_RDONLY);
    expect_below("opened", "moved/after-chdir");
    if (chdir("inner") < 0)
        fail("chdir inner");
    expect_below("looked-up", "moved/inner");
    syscall(SYS_openat, AT_FDCWD, "after-relative-chdir", O_RDONLY);
    expect_below("opened", "moved/inner/after-relative-chdir");
    if (chdir(below("link-to-moved")) < 0)
        fail("chdir link");
    expect_below("looked-up", "link-to-moved");
    syscall(SYS_openat, AT_FDCWD, "after-chdir-by-link", O_RDONLY);
    expect_below("opened", "moved/after-chdir-by-link");

    int at = open(below("at"), O_PATH | O_DIRECTORY), moved = open(below("moved"), O_PATH | O_DIRECTORY);
    expect_below("looked-up", "moved");
    if (at < 0 || fchdir(moved) < 0)
        fail("fchdir");
    syscall(SYS_openat, AT_FDCWD, "after-fchdir", O_RDONLY);
    expect_below("opened", "moved/after-fchdir");
    dup2(at, 77);
    syscall(SYS_openat, 77, "descriptor-before", O_RDONLY);
    expect_below("opened", "at/descriptor-before");
    dup2(moved, 77);
    syscall(SYS_openat, 77, "descriptor-after", O_RDONLY);
    expect_below("opened", "moved/descriptor-after");

    if (rename(below("moved"), below("renamed")) < 0)
        fail("rename");
    expect_below("looked-up", "moved");
    expect_below("looked-up", "renamed");
    syscall(SYS_openat, AT_FDCWD, "in-renamed-cwd", O_RDONLY);
    expect_below("opened", "renamed/in-renamed-cwd");
    expect_below("opened", "moved/in-renamed-cwd"); /* the name that the directory had before the run */
    syscall(SYS_openat, 77, "in-renamed-descriptor", O_RDONLY);
    expect_below("opened", "renamed/in-renamed-descriptor");
    expect_below("opened", "moved/in-renamed-descriptor");
    if (rename(below("renamed"), below("moved")) < 0 || chdir(folder) < 0)
        fail("back");
}

static void execute(void)
{
    char *script = below("script");
    run_leaf(below("program-absolute"), "after-execve");
    pid_t child = fork();
    if (child == 0) {
        int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char *arguments[] = {"program-at", (char *)folder, "leaf", "after-execveat", NULL};
        syscall(SYS_execveat, at, "program-at", arguments, no_strings, 0);
        fail("execveat");
    }
    wait_for(child);
    expect_below("executed", "program-at");
    child = fork();
    if (child == 0) {
        int file = open(below("program-empty"), O_RDONLY | O_CLOEXEC);
        char *arguments[] = {"program-empty", (char *)folder, "leaf", "after-fexecve", NULL};
        syscall(SYS_execveat, file, "", arguments, no_strings, AT_EMPTY_PATH);
        fail("execveat with an empty path");
    }
    wait_for(child);
    expect_below("executed", "program-empty");
    expect_below("opened", "program-empty");
    child = fork();
    if (child == 0) {
        char *arguments[] = {script, "leaf", "after-script", NULL};
        execve(script, arguments, no_strings);
        fail(script);
    }
    wait_for(child);
    expect("executed", script);
    expect("opened", script); /* by its interpreter */
    expect_below("opened", "after-script"); /* by the shell itself */
}

static int mode_calls(char **arguments)
{
    (void)arguments;
    int at = open(below("at"), O_PATH | O_DIRECTORY | O_CLOEXEC), file = open(below("file"), O_RDONLY | O_CLOEXEC);
    inotify = inotify_init1(IN_CLOEXEC);
    fanotify = (int)syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID: allowed to all since 5.13 */, O_RDONLY);
    if (at < 0 || file < 0 || chdir(below("cwd")) < 0)
        fail("run `prepare` first, without the tracer");
    expect_below("looked-up", "at");
    expect_below("opened", "file");
    expect_below("looked-up", "cwd");
    for (const struct call *call = calls; call->name; call++)
        make_each_way(call, at);
    call_without_path(file);
    open_odd_names();
    open_at_the_edge_of_memory();
    open_longest_paths();
    move_around();
    execute();
    return 0;
}

/* Calls that the kernel refuses before it looks anything up. */
static int mode_refused(char **arguments)
{
    (void)arguments;
    char path[5001];
    memset(path, 'x', 5000);
    path[5000] = 0;
    memcpy(path, folder, strlen(folder));
    path[strlen(folder)] = '/';
    result("too-long", syscall(SYS_openat, AT_FDCWD, path, O_RDONLY) < 0 ? errno : 0);
    result("bad-address", syscall(SYS_openat, AT_FDCWD, (char *)1, O_RDONLY) < 0 ? errno : 0);
    result("null", syscall(SYS_openat, AT_FDCWD, NULL, O_RDONLY) < 0 ? errno : 0);
    result("empty", syscall(SYS_openat, AT_FDCWD, "", O_RDONLY) < 0 ? errno : 0);
    result("bad-descriptor", syscall(SYS_openat, 12345, "relative", O_RDONLY) < 0 ? errno : 0);
    result("negative-descriptor", syscall(SYS_openat, -1, "relative", O_RDONLY) < 0 ? errno : 0);
    touch("after-refused");
    return 0;
}

static int mode_leaf(char **names)
{
    for (; *names; names++)
        touch("%s", *names);
    return 0;
}

/* What four kinds of call say about one file each: 0 or errno. */
static int mode_try(char **names)
{
    for (; *names; names++) {
        char *path = below("%s", *names), word[300];
        snprintf(word, sizeof word, "open %s", *names);
        result(word, syscall(SYS_openat, AT_FDCWD, path, O_RDONLY) < 0 ? errno : 0);
        snprintf(word, sizeof word, "stat %s", *names);
        result(word, syscall(SYS_newfstatat, AT_FDCWD, path, scratch, 0) < 0 ? errno : 0);
        snprintf(word, sizeof word, "access %s", *names);
        result(word, syscall(SYS_faccessat, AT_FDCWD, path, F_OK) < 0 ? errno : 0);
        snprintf(word, sizeof word, "execute %s", *names);
        result(word, syscall(SYS_execve, path, no_strings, no_strings) < 0 ? errno : 0);
        if (chdir(folder) < 0)
            fail(folder);
        snprintf(word, sizeof word, "relative %s", *names);
        result(word, syscall(SYS_openat, AT_FDCWD, *names, O_RDONLY) < 0 ? errno : 0);
    }
    return 0;
}

void prepare_calls(void)
{
    const char *const folders[] = {"at", "cwd", "sub", "odd", "moved", "moved/inner"};
    const char *const programs[] = {"program", "program-absolute", "program-at", "program-empty"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        make_directory(below("%s", folders[i]));
    for (const struct call *call = calls; call->name; call++)
        prepare_each_way(call);
    for (size_t i = 0; i < sizeof odd_names / sizeof *odd_names; i++)
        make_file(below("odd/%s", odd_names[i]), 0666);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        make_program(below("%s", programs[i]));
    make_file(below("file"), 0666);
    make_file(below("long-found"), 0666);
    make_file(below("edge-of-page"), 0666);
    make_file(below("foreign-i386"), 0666);
    make_file(below("foreign-x32"), 0666);
    if (symlink("moved", below("link-to-moved")) < 0)
        fail("link-to-moved");
    char *script = below("script");
    int file = open(script, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0777);
    if (file < 0 || dprintf(file, "#!/bin/sh\n: < '%s'\n", below("after-script")) < 0 || close(file) < 0)
        fail(script);
    make_file(below("after-script"), 0666);
}

const struct mode call_modes[] = {
    {"calls", mode_calls}, {"refused", mode_refused}, {"leaf", mode_leaf}, {"try", mode_try}, {NULL, NULL},
};
