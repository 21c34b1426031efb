/* file_calls FOLDER MODE [ARGUMENT...]: see file_calls.h; the modes stand at the end of the other files. */
#define _GNU_SOURCE
#include "file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *folder;

static char *format_below(const char *format, va_list values)
{
    char *name, *path;
    if (vasprintf(&name, format, values) < 0 || asprintf(&path, "%s/%s", folder, name) < 0)
        fail("memory");
    free(name);
    return path;
}

char *below(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *path = format_below(format, values);
    va_end(values);
    return path;
}

void expect(const char *how, const char *path)
{
    char line[4 * 4096 + 64];
    size_t at = (size_t)snprintf(line, sizeof line, "%s\t", how);
    for (const unsigned char *byte = (const unsigned char *)path; *byte; byte++) {
        const char *form = *byte == '\\' ? "\\\\" : *byte < 32 || *byte > 126 ? "\\x%02x" : "%c";
        at += (size_t)snprintf(line + at, sizeof line - at, form, *byte);
    }
    line[at++] = '\n';
    if (write(1, line, at) != (ssize_t)at)
        _exit(99);
}

void expect_below(const char *how, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *path = format_below(format, values);
    va_end(values);
    expect(how, path);
    free(path);
}

void result(const char *word, long value)
{
    dprintf(1, "%s\t%ld\n", word, value);
}

void fail(const char *what)
{
    dprintf(2, "file_calls: %s: %s\n", what, strerror(errno));
    _exit(99);
}

void touch(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *path = format_below(format, values);
    va_end(values);
    int file;
    do
        file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666);
    while (file < 0 && errno == EINTR);
    if (file < 0 && errno != ENOENT)
        fail(path);
    if (file >= 0)
        close(file);
    expect("opened", path);
    free(path);
}

void make_file(const char *path, unsigned mode)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    if (file < 0 || write(file, "some content\n", 13) != 13 || close(file) < 0)
        fail(path);
}

void make_directory(const char *path)
{
    if (mkdir(path, 0777) < 0 && errno != EEXIST)
        fail(path);
}

void make_program(const char *path)
{
    static char *copy;
    char block[65536];
    ssize_t size;
    if (!copy) {
        copy = below("program");
        int from = open("/proc/self/exe", O_RDONLY), to = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0777);
        if (from < 0 || to < 0)
            fail(copy);
        while ((size = read(from, block, sizeof block)) > 0)
            if (write(to, block, (size_t)size) != size)
                fail(copy);
        close(from);
        close(to);
    }
    if (strcmp(path, copy) != 0 && link(copy, path) < 0)
        fail(path);
}

void wait_for(int process)
{
    int status;
    pid_t ended;
    do
        ended = waitpid(process, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail("a child did not end well");
}

void run_leaf(const char *program, const char *name)
{
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, folder, "leaf", name, (char *)NULL);
        fail(program);
    }
    wait_for(child);
    expect("executed", program);
}

int mode_prepare(char **arguments)
{
    (void)arguments;
    umask(0);
    prepare_calls();
    prepare_processes();
    prepare_rights();
    return 0;
}

int main(int count, char **arguments)
{
    static const struct mode prepare[] = {{"prepare", mode_prepare}, {NULL, NULL}};
    const struct mode *const lists[] = {prepare, call_modes, process_modes, odd_modes, robust_modes, rights_modes};
    if (count < 3) {
        dprintf(2, "usage: file_calls FOLDER MODE [ARGUMENT...]\n");
        return 2;
    }
    folder = arguments[1];
    for (size_t list = 0; list < sizeof lists / sizeof *lists; list++)
        for (const struct mode *mode = lists[list]; mode->name; mode++)
            if (strcmp(mode->name, arguments[2]) == 0)
                return mode->run(arguments + 3);
    dprintf(2, "file_calls: no mode %s\n", arguments[2]);
    return 2;
}
