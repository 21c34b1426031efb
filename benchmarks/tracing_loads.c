/* Loads for benchmarks/tracing.py, as small as they can be: what is measured is what a tracer adds to each call.
 *
 *     tracing_loads calls N     N times stat and open of one of a hundred files
 *     tracing_loads getppid N   N calls that have nothing to do with files
 *     tracing_loads processes N PROGRAM   N processes, one after the other
 *
 * Prints the seconds of its loop: its own start is not what is asked about.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 100 };
static char names[FILES][64];

static void prepare(void) {
    for (int i = 0; i < FILES; i++) {
        snprintf(names[i], sizeof names[i], "/var/tmp/tracing-load-%d", i);
        int file = open(names[i], O_CREAT | O_RDONLY, 0644);
        if (file < 0) exit(1);
        close(file);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int run(int count, char **arguments) {
    if (count < 3) return 2;
    long times = atol(arguments[2]);
    if (!strcmp(arguments[1], "calls")) {
        for (long i = 0; i < times; i++) {
            struct stat found;
            if (stat(names[i % FILES], &found)) return 1;
            int file = open(names[i % FILES], O_RDONLY);
            if (file < 0) return 1;
            close(file);
        }
        return 0;
    }
    if (!strcmp(arguments[1], "getppid")) {
        for (long i = 0; i < times; i++) syscall(SYS_getppid);
        return 0;
    }
    if (!strcmp(arguments[1], "processes") && count > 3) {
        for (long i = 0; i < times; i++) {
            char *argv[] = {arguments[3], NULL}, *env[] = {NULL};
            pid_t process;
            int status;
            if (posix_spawn(&process, arguments[3], NULL, NULL, argv, env)) return 1;
            if (waitpid(process, &status, 0) != process || status) return 1;
        }
        return 0;
    }
    return 2;
}

int main(int count, char **arguments) {
    prepare();
    double started = now();
    int status = run(count, arguments);
    printf("%.6f\n", now() - started);
    return status;
}
