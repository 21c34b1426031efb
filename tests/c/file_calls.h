/* A program for tests of tracing backends: it touches files in known ways and says which.
 *
 * One line on standard output for each path that a tracer must report: HOW, a tab, the absolute path, where HOW is
 * looked-up, opened, executed or listed and the path is written as slimagent.paths.to_text does for bytes (`\xNN`
 * for every byte that is not printable ASCII, `\\` for a backslash). HOW is `refused` for a path whose call failed with
 * EPERM or ENOSYS: a container's own seccomp profile may have answered before anybody could see the call.
 * Other lines are results: a word, a tab, a value.
 */
#ifndef FILE_CALLS_H
#define FILE_CALLS_H

#include <stddef.h>

extern const char *folder; /* argv[1]: absolute, without symbolic links */

/* A path below the folder; each call has memory of its own that is never freed. */
char *below(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Say that a tracer must report this path. One write(2), so that threads and processes do not mix their lines. */
void expect(const char *how, const char *path);
void expect_below(const char *how, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Say a result for the test to look at. */
void result(const char *word, long value);

/* End with a message: something went wrong that is not the tracer's doing. */
void fail(const char *what) __attribute__((noreturn));

/* Open a file below the folder, make it if it is missing, close it, and say so. Not all tracers see a missing file. */
void touch(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Make a file with some content, for `prepare`. */
void make_file(const char *path, unsigned mode);
/* A hard link to a copy of this program, for `prepare`. */
void make_program(const char *path);
void make_directory(const char *path);

/* Start `program` (as `leaf NAME`) in a child and wait for it. */
void run_leaf(const char *program, const char *name);
void wait_for(int process);

int mode_prepare(char **arguments); /* everything that the other modes want to find; not to be traced */
void prepare_calls(void);
void prepare_processes(void);
void prepare_rights(void);

struct mode {
    const char *name;
    int (*run)(char **arguments); /* what follows the mode on the command line, NULL at the end */
};
extern const struct mode call_modes[], process_modes[], odd_modes[], robust_modes[], rights_modes[];

#endif
