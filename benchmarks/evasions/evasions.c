/* Ways to use a file of an image without calling it by its name, one at a time, for benchmarks/evasions and the contract.
 *
 *     evasions DIR prepare    make the image's part below DIR; not traced
 *     evasions DIR list       the names of all ways
 *     evasions DIR WAY        try one way
 *
 * Prints "read\tPATH" for each file of the image whose content it got, "ran\tPATH" for each that it executed, "used\tPATH"
 * for each that it only looked up, by the name that the file has in the image; and "refused\tWHAT" where this machine does
 * not let it. Whoever watches must have seen those, or must say that it lost something.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPENAT2 = 437, OPEN_TREE = 428, MOVE_MOUNT = 429, FSOPEN = 430, FSCONFIG = 431, FSMOUNT = 432, SECRET = 447 };
enum { PIDFD_OPEN = 434, NO_XDEV = 1, BENEATH = 8, IN_ROOT = 16, HANDLE_BYTES = 128 };
struct how { uint64_t flags, mode, resolve; };
struct handle { unsigned bytes; int type; unsigned char data[HANDLE_BYTES]; };

static const char *dir, *self;

/* A path below DIR; one of many buffers, as a call may want several. */
static char *at(const char *format, ...)
{
    static char paths[16][4096];
    static int next;
    char *path = paths[next++ % 16];
    int head = snprintf(path, 4096, "%s/", dir);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + head, 4096 - head, format, arguments);
    va_end(arguments);
    return path;
}

static char *text(const char *format, ...)
{
    static char texts[16][4096];
    static int next;
    char *place = texts[next++ % 16];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(place, 4096, format, arguments);
    va_end(arguments);
    return place;
}

static void say(const char *word, const char *what)
{
    char line[4200];
    int size = snprintf(line, sizeof line, "%s\t%s\n", word, what);
    if (write(1, line, size) != size)
        _exit(9);
}

static void refuse(const char *what)
{
    say("refused", text("%s: %s", what, strerror(errno)));
    _exit(0);
}

/* Each file of the image has its own name in it. */
static void take(int file, const char *name)
{
    char data[4096];
    ssize_t size = file < 0 ? -1 : read(file, data, sizeof data - 1);
    if (size < 0)
        refuse(name);
    data[size] = 0;
    if (strcmp(data, name) != 0) {
        say("refused", text("%s: other content", name));
        return;
    }
    close(file);
    say("read", at("%s", name));
}

static void open_and_take(const char *path, const char *name)
{
    take(open(path, O_RDONLY), name);
}

static int must(long result, const char *what)
{
    if (result < 0)
        refuse(what);
    return (int)result;
}

static int folder(const char *path)
{
    return must(open(path, O_PATH | O_DIRECTORY), path);
}

static int open_how(int directory, const char *path, uint64_t resolve)
{
    struct how how = {O_RDONLY, 0, resolve};
    return (int)syscall(OPENAT2, directory, path, &how, sizeof how);
}

static void make(const char *name)
{
    int file = open(at("%s", name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, name, strlen(name)) < 0)
        refuse(name);
    close(file);
}

static void copy_self(const char *name)
{
    static char data[1 << 20];
    int from = open(self, O_RDONLY), to = open(at("%s", name), O_WRONLY | O_CREAT | O_TRUNC, 0755);
    ssize_t size;
    while ((size = read(from, data, sizeof data)) > 0)
        if (write(to, data, size) != size)
            refuse(name);
    close(from);
    close(to);
}

static void prepare(void)
{
    static const char *const folders[] = {"d", "d/below", "other", "made", "mounts", "old", "old/older"};
    for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdir(at("%s", folders[i]), 0755) < 0 && errno != EEXIST)
            refuse(folders[i]);
    make("d/file");
    make("d/below/file");
    make("d/in-root");
    make("other/file");
    make("old/older/file");
    copy_self("d/program");
    struct handle handle = {HANDLE_BYTES, 0, {0}};
    int mount, file = open(at("made/handle"), O_WRONLY | O_CREAT, 0644);
    if (name_to_handle_at(AT_FDCWD, at("d/file"), (void *)&handle, &mount, 0) == 0 && write(file, &handle, sizeof handle) < 0)
        refuse("handle");
    if (symlink("file", at("d/link")) < 0 || symlink("/in-root", at("d/link-in-root")) < 0 ||
        symlink(at("d"), at("link-before")) < 0 || symlink("/proc/self/fd/9", at("link-to-fd")) < 0)
        refuse("symlink");
    if (chmod(at("made"), 0777) < 0 || chmod(dir, 0777) < 0 || chmod(at("mounts"), 0777) < 0)
        refuse("chmod");
}

/* A child that does what the caller's process must not do to itself. */
static void in_child(void (*act)(void))
{
    pid_t child = fork();
    int status;
    if (child == 0) {
        act();
        _exit(0);
    }
    waitpid(child, &status, 0);
}

static void run(const char *program, const char *name)
{
    pid_t child = fork();
    int status;
    if (child == 0) {
        execl(program, program, dir, "nothing", NULL);
        _exit(errno);
    }
    waitpid(child, &status, 0);
    if (status == 0)
        say("ran", at("%s", name));
    else
        refuse(text("execute %s", program));
}

static void nothing(void) {}

/* openat2 */
static void in_root_absolute(void) { take(open_how(folder(at("d")), "/in-root", IN_ROOT), "d/in-root"); }
static void in_root_dotdot(void) { take(open_how(folder(at("d")), "../../../below/file", IN_ROOT), "d/below/file"); }
static void in_root_link(void) { take(open_how(folder(at("d")), "link-in-root", IN_ROOT), "d/in-root"); }
static void in_root_cwd(void)
{
    must(chdir(at("d")), "chdir");
    take(open_how(AT_FDCWD, "/in-root", IN_ROOT), "d/in-root");
}
static void beneath(void) { take(open_how(folder(at("d")), "below/../file", BENEATH), "d/file"); }
static void one_device(void) { take(open_how(AT_FDCWD, at("d/link"), NO_XDEV), "d/file"); }

/* Magic links */
#define BY_PATH(function, path, name) static void function(void) { open_and_take(path, name); }
BY_PATH(proc_self_root, text("/proc/self/root%s", at("d/file")), "d/file")
BY_PATH(proc_dot_self_root, text("/proc/./self/root%s", at("d/file")), "d/file")
BY_PATH(proc_slashes, text("//proc//self///root%s", at("d/file")), "d/file")
BY_PATH(proc_dotdot, text("/sys/../proc/self/root%s", at("d/file")), "d/file")
BY_PATH(proc_self_task, text("/proc/self/task/%ld/root%s", syscall(SYS_gettid), at("d/file")), "d/file")
BY_PATH(proc_thread_self, text("/proc/thread-self/root%s", at("d/file")), "d/file")
BY_PATH(proc_number_root, text("/proc/%d/root%s", getpid(), at("d/file")), "d/file")
BY_PATH(proc_number_task, text("/proc/%d/task/%d/root%s", getpid(), getpid(), at("d/file")), "d/file")
BY_PATH(proc_twice, text("/proc/self/root/proc/thread-self/root%s", at("d/file")), "d/file")
BY_PATH(proc_init, text("/proc/1/root%s", at("d/file")), "d/file")
BY_PATH(proc_self_fd, text("/proc/self/fd/%d/file", folder(at("d"))), "d/file")
BY_PATH(proc_self_fd_up, text("/proc/self/fd/%d/../file", folder(at("d/below"))), "d/file")
BY_PATH(proc_task_fd, text("/proc/self/task/%ld/fd/%d/file", syscall(SYS_gettid), folder(at("d"))), "d/file")
BY_PATH(dev_fd, text("/dev/fd/%d/file", folder(at("d"))), "d/file")
BY_PATH(dev_fd_file, text("/dev/fd/%d", must(open(at("d/file"), O_PATH), "O_PATH")), "d/file")
BY_PATH(proc_fd_link, text("/proc/self/fd/%d/link-before/file", folder(dir)), "d/file")

static void proc_self_cwd(void)
{
    must(chdir(at("d")), "chdir");
    open_and_take("/proc/self/cwd/file", "d/file");
}
static void proc_number_cwd(void)
{
    must(chdir(at("d/below")), "chdir");
    open_and_take(text("/proc/%d/cwd/../file", getpid()), "d/file");
}
static void proc_relative(void)
{
    must(chdir("/"), "chdir");
    open_and_take(text("proc/self/root%s", at("d/file")), "d/file");
}
static void proc_parent(void)
{
    folder(at("d"));
    pid_t child = fork();
    if (child == 0) {
        for (int i = 3; i < 10; i++)
            close(i);
        open_and_take(text("/proc/%d/fd/3/file", getppid()), "d/file");
        _exit(0);
    }
    waitpid(child, NULL, 0);
}
static void dev_stdin(void)
{
    dup2(must(open(at("d/file"), O_PATH), "O_PATH"), 0);
    open_and_take("/dev/stdin", "d/file");
}
static void link_to_fd(void)
{
    dup2(folder(at("d")), 9);
    open_and_take(at("link-to-fd/file"), "d/file");
}
static void made_link_to_proc(void)
{
    must(symlink("/proc/self/root", at("made/root")), "symlink");
    open_and_take(text("%s%s", at("made/root"), at("d/file")), "d/file");
    unlink(at("made/root"));
}
static void proc_exec(void) { run(text("/proc/self/root%s", at("d/program")), "d/program"); }
static void dev_fd_exec(void) { run(text("/dev/fd/%d", must(open(at("d/program"), O_PATH), "O_PATH")), "d/program"); }

/* Links and directories that are made and moved */
static void temporary_link(void)
{
    must(symlink(at("d/file"), at("made/link")), "symlink");
    int file = open(at("made/link"), O_RDONLY);
    unlink(at("made/link"));
    take(file, "d/file");
}
static void temporary_link_relative(void)
{
    must(chdir(at("made")), "chdir");
    must(symlink("../d", "link"), "symlink");
    int file = open("link/below/../file", O_RDONLY);
    unlink("link");
    take(file, "d/file");
}
static void temporary_link_run(void)
{
    must(symlink(at("d/program"), at("made/program")), "symlink");
    run(at("made/program"), "d/program");
    unlink(at("made/program"));
}
static void temporary_chain(void)
{
    must(symlink(at("made/second"), at("made/first")), "symlink");
    must(symlink(at("link-before"), at("made/second")), "symlink");
    int file = open(at("made/first/file"), O_RDONLY);
    unlink(at("made/first"));
    unlink(at("made/second"));
    take(file, "d/file");
}
static void link_once_more(void) /* the same path, to one file and then to another */
{
    must(symlink(at("other/file"), at("made/again")), "symlink");
    open_and_take(at("made/again"), "other/file");
    unlink(at("made/again"));
    must(symlink(at("d/file"), at("made/again")), "symlink");
    open_and_take(at("made/again"), "d/file");
    unlink(at("made/again"));
}
static void link_replaced(void) /* one of the image's, by another, and back */
{
    open_and_take(at("link-before/file"), "d/file");
    must(symlink(at("other"), at("made/new")), "symlink");
    must(rename(at("link-before"), at("made/kept")), "rename");
    must(rename(at("made/new"), at("link-before")), "rename");
    int file = open(at("link-before/file"), O_RDONLY);
    unlink(at("link-before"));
    rename(at("made/kept"), at("link-before"));
    take(file, "other/file");
}
static void moved_and_back(const char *from, const char *to, const char *inside, const char *name)
{
    must(rename(at("%s", from), at("%s", to)), "rename");
    int file = open(at("%s/%s", to, inside), O_RDONLY);
    rename(at("%s", to), at("%s", from));
    take(file, name);
}
static void moved_directory(void) { moved_and_back("d", "made/d", "file", "d/file"); }
static void moved_ancestor(void) { moved_and_back("old", "made/old", "older/file", "old/older/file"); }
static void moved_twice(void)
{
    must(rename(at("old/older"), at("made/older")), "rename");
    must(rename(at("made"), at("done")), "rename");
    int file = open(at("done/older/file"), O_RDONLY);
    rename(at("done"), at("made"));
    rename(at("made/older"), at("old/older"));
    take(file, "old/older/file");
}
static void exchanged(void)
{
    must(renameat2(AT_FDCWD, at("d"), AT_FDCWD, at("other"), RENAME_EXCHANGE), "renameat2");
    int file = open(at("other/below/file"), O_RDONLY);
    renameat2(AT_FDCWD, at("d"), AT_FDCWD, at("other"), RENAME_EXCHANGE);
    take(file, "d/below/file");
}
static void moved_working_directory(void)
{
    must(chdir(at("d")), "chdir");
    must(rename(at("d"), at("made/d")), "rename");
    int file = open("file", O_RDONLY);
    rename(at("made/d"), at("d"));
    take(file, "d/file");
}
static void moved_descriptor(void)
{
    int directory = folder(at("d"));
    must(rename(at("d"), at("made/d")), "rename");
    int file = openat(directory, "below/file", O_RDONLY);
    rename(at("made/d"), at("d"));
    take(file, "d/below/file");
}
static void link_in_moved(void)
{
    must(rename(at("d"), at("made/d")), "rename");
    must(symlink("below", at("made/d/new")), "symlink");
    int file = open(at("made/d/new/file"), O_RDONLY);
    unlink(at("made/d/new"));
    rename(at("made/d"), at("d"));
    take(file, "d/below/file");
}
static void hard_link(void)
{
    must(link(at("d/file"), at("made/hard")), "link");
    int file = open(at("made/hard"), O_RDONLY);
    unlink(at("made/hard"));
    take(file, "d/file");
}
static void hard_link_of_descriptor(void)
{
    int opened = must(open(at("d/file"), O_PATH), "O_PATH");
    must(linkat(AT_FDCWD, text("/proc/self/fd/%d", opened), AT_FDCWD, at("made/hard"), AT_SYMLINK_FOLLOW), "linkat");
    int file = open(at("made/hard"), O_RDONLY);
    unlink(at("made/hard"));
    take(file, "d/file");
}
static void hard_link_of_link(void)
{
    must(link(at("link-before"), at("made/hard")), "link");
    int file = open(at("made/hard/file"), O_RDONLY);
    unlink(at("made/hard"));
    take(file, "d/file");
}
static void moved_file(void)
{
    must(rename(at("d/file"), at("made/file")), "rename");
    int file = open(at("made/file"), O_RDONLY);
    rename(at("made/file"), at("d/file"));
    take(file, "d/file");
}

/* Memory */
static char *secret(size_t size)
{
    int memory = must(syscall(SECRET, 0), "memfd_secret");
    must(ftruncate(memory, size), "ftruncate");
    char *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (place == MAP_FAILED)
        refuse("mmap");
    return place;
}
static void secret_memory(void) { open_and_take(strcpy(secret(4096), at("d/file")), "d/file"); }
static void secret_rest(void) /* a path that begins in plain memory, and goes on in secret memory */
{
    char *hidden = secret(4096), *path = at("d/file");
    char *place = mmap(hidden - 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (place == MAP_FAILED)
        refuse("mmap");
    memcpy(hidden - 5, path, strlen(path) + 1);
    open_and_take(hidden - 5, "d/file");
}
static void secret_how(void)
{
    struct how *how = (void *)secret(4096);
    *how = (struct how){O_RDONLY, 0, IN_ROOT};
    take((int)syscall(OPENAT2, folder(at("d")), "/in-root", how, sizeof *how), "d/in-root");
}
static char *faulting;
static void *serve_faults(void *descriptor)
{
    struct uffd_msg message;
    static char page[4096];
    strcpy(page, at("d/file"));
    if (read((int)(intptr_t)descriptor, &message, sizeof message) > 0) {
        struct uffdio_copy copy = {(uintptr_t)faulting, (uintptr_t)page, 4096, 0, 0};
        ioctl((int)(intptr_t)descriptor, UFFDIO_COPY, &copy);
    }
    return NULL;
}
static void fault_memory(void)
{
    int descriptor = must(syscall(SYS_userfaultfd, O_CLOEXEC), "userfaultfd");
    struct uffdio_api api = {UFFD_API, 0, 0};
    must(ioctl(descriptor, UFFDIO_API, &api), "UFFDIO_API");
    faulting = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {{(uintptr_t)faulting, 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
    must(ioctl(descriptor, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
    pthread_t server;
    pthread_create(&server, NULL, serve_faults, (void *)(intptr_t)descriptor);
    open_and_take(faulting, "d/file");
}
static void address_zero(void)
{
    char *zero = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zero == MAP_FAILED)
        refuse("mmap at 0");
    char *path = at("d/file");
    for (size_t i = 0; i <= strlen(path); i++)
        *(volatile char *)((uintptr_t)zero + i) = path[i];
    take((int)syscall(SYS_openat, AT_FDCWD, (void *)zero, O_RDONLY), "d/file");
}
static void shared_memory(void)
{
    char *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    open_and_take(strcpy(place, at("d/file")), "d/file");
}
static void not_readable(void) /* the kernel does not read it either: nothing is lost */
{
    char *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(place, at("d/file"));
    mprotect(place, 4096, PROT_NONE);
    open_and_take(place, "d/file");
}
static char *volatile changing;
static void *change(void *end)
{
    size_t last = strlen(changing) - 1;
    while (!*(volatile int *)end) {
        changing[last] = 'e';
        changing[last] = '_';
    }
    return NULL;
}
static void changed_path(void) /* by a thread, between the supervisor's look and the kernel's */
{
    volatile int end = 0;
    pthread_t thread;
    changing = strdup(at("d/file"));
    pthread_create(&thread, NULL, change, (void *)&end);
    int file = -1;
    for (int i = 0; i < 2000 && file < 0; i++)
        file = open(changing, O_RDONLY);
    end = 1;
    pthread_join(thread, NULL);
    take(file, "d/file");
}

/* Other calls, programs, sockets */
static void execveat_descriptor(void)
{
    int program = must(open(at("d/program"), O_PATH), "O_PATH");
    pid_t child = fork();
    int status;
    char *arguments[] = {"program", (char *)dir, "nothing", NULL}, *none[] = {NULL};
    if (child == 0) {
        syscall(SYS_execveat, program, "", arguments, none, AT_EMPTY_PATH);
        _exit(errno);
    }
    waitpid(child, &status, 0);
    if (status)
        refuse("execveat");
    say("ran", at("d/program"));
}
static void script(int file, const char *path)
{
    char *line = text("#!%s %s\n", at("d/program"), dir);
    if (write(file, line, strlen(line)) < 0)
        refuse("write");
    fchmod(file, 0755);
    char *again = text("/proc/self/fd/%d", file);
    int program = open(again, O_RDONLY);
    close(file);
    if (path)
        run(path, "d/program");
    else
        run(text("/proc/self/fd/%d", program), "d/program");
}
static void removed_script(void)
{
    script(must(open(at("made/script"), O_RDWR | O_CREAT | O_TRUNC, 0755), "open"), at("made/script"));
    unlink(at("made/script"));
}
static void memory_script(void) { script(must(memfd_create("script", 0), "memfd_create"), NULL); }
static void unnamed_script(void)
{
    script(must(open(at("made"), O_TMPFILE | O_RDWR, 0755), "O_TMPFILE"), NULL);
}
static void fd_script(void)
{
    int file = must(memfd_create("script", 0), "memfd_create");
    char *line = text("#!%s %s\n", at("d/program"), dir);
    if (write(file, line, strlen(line)) < 0)
        refuse("write");
    pid_t child = fork();
    int status;
    char *arguments[] = {"script", NULL}, *none[] = {NULL};
    if (child == 0) {
        syscall(SYS_execveat, file, "", arguments, none, AT_EMPTY_PATH);
        _exit(errno);
    }
    waitpid(child, &status, 0);
    if (status)
        refuse("execveat");
    say("ran", at("d/program"));
}
static void handle_of_now(void)
{
    struct handle handle = {HANDLE_BYTES, 0, {0}};
    int mount;
    must(name_to_handle_at(AT_FDCWD, at("d/file"), (void *)&handle, &mount, 0), "name_to_handle_at");
    take(open_by_handle_at(must(open(dir, O_RDONLY), dir), (void *)&handle, O_RDONLY), "d/file");
}
static void handle_of_before(void)
{
    struct handle handle;
    int file = must(open(at("made/handle"), O_RDONLY), "handle");
    if (read(file, &handle, sizeof handle) != sizeof handle) {
        errno = EOPNOTSUPP;
        refuse("no handle");
    }
    take(open_by_handle_at(must(open(dir, O_RDONLY), dir), (void *)&handle, O_RDONLY), "d/file");
}
static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    strncpy(place.sun_path, path, sizeof place.sun_path - 1);
    return place;
}
static void socket_bound(void) /* needs the directory that the image has */
{
    struct sockaddr_un place = address(at("old/older/socket"));
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    must(bind(server, (void *)&place, sizeof place), "bind");
    unlink(place.sun_path);
    say("used", at("old/older/socket"));
}
static void socket_connected(void) /* over a link that the image has */
{
    struct sockaddr_un place = address(at("made/socket")), other = address(at("link-before/../made/socket"));
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    must(bind(server, (void *)&place, sizeof place), "bind");
    must(listen(server, 1), "listen");
    must(connect(client, (void *)&other, sizeof other), "connect");
    unlink(place.sun_path);
    say("used", at("link-before/../made/socket"));
}
static void socket_message(void) /* its address is in a structure that no filter can follow */
{
    struct sockaddr_un place = address(at("made/socket")), other = address(at("link-before/../made/socket"));
    int server = socket(AF_UNIX, SOCK_DGRAM, 0), client = socket(AF_UNIX, SOCK_DGRAM, 0);
    must(bind(server, (void *)&place, sizeof place), "bind");
    struct iovec data = {"x", 1};
    struct msghdr message = {.msg_name = &other, .msg_namelen = sizeof other, .msg_iov = &data, .msg_iovlen = 1};
    must(sendmsg(client, &message, 0), "sendmsg");
    unlink(place.sun_path);
    say("used", at("link-before/../made/socket"));
}
static void given_descriptor(void) /* opened by whoever started us: the standard input */
{
    char data[16];
    if (pread(0, data, sizeof data, 0) < 0)
        refuse("no descriptor was given");
    say("read", at("d/file"));
}
#ifdef __x86_64__
static void foreign_i386(void)
{
    long answer;
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strcpy(low, at("d/file"));
    __asm__ volatile("int $0x80" : "=a"(answer) : "0"(5L), "b"(low), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
    take(answer < 0 ? (errno = -answer, -1) : (int)answer, "d/file");
}
static void foreign_x32(void) { take((int)syscall(0x40000000 + SYS_open, at("d/file"), O_RDONLY), "d/file"); }
#endif
static void undumpable(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    open_and_take(at("d/file"), "d/file");
}
static void undumpable_fork(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    in_child(undumpable);
}
static void shared_directory(void) /* the parent moves a child that is out of reach */
{
    int ready[2], end[2];
    char byte;
    must(pipe(ready), "pipe");
    must(pipe(end), "pipe");
    must(chdir(at("other")), "chdir");
    pid_t child = must(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0), "clone");
    if (child) {
        must(read(ready[0], &byte, 1), "read");
        must(chdir(at("d")), "chdir");
        must(write(end[1], "", 1), "write");
        waitpid(child, NULL, 0);
        return;
    }
    prctl(PR_SET_DUMPABLE, 0);
    must(write(ready[1], "", 1), "write");
    must(read(end[0], &byte, 1), "read");
    open_and_take("file", "d/file");
    _exit(0);
}
static int went[2];
static int go_elsewhere(void *where)
{
    if (syscall(SYS_chdir, where) == 0 && write(went[1], "", 1) == 1)
        for (;;)
            syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
    return 0;
}
static void thread_directory(void) /* a thread with a directory of its own, in a process that is out of reach */
{
    static char stack[1 << 16];
    char byte;
    int flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES;
    must(pipe(went), "pipe");
    must(chdir(at("d")), "chdir");
    prctl(PR_SET_DUMPABLE, 0);
    must(clone(go_elsewhere, stack + sizeof stack, flags, at("other")), "clone");
    must(read(went[0], &byte, 1), "read");
    open_and_take("file", "d/file");
    _exit(0);
}
static void io_uring(void)
{
    char parameters[120] = {0};
    must(syscall(425, 4, parameters), "io_uring_setup");
    say("refused", "a ring that nobody reads");
}

/* Roots, mounts and namespaces */
static void chroot_dotdot(void)
{
    must(chroot(at("d")), "chroot");
    must(chdir("/"), "chdir");
    open_and_take("/../../below/../file", "d/file");
}
static void chroot_link(void)
{
    must(chroot(at("d")), "chroot");
    open_and_take("/link-in-root", "d/in-root");
}
static void chroot_escape(void)
{
    int here = folder(at("d"));
    must(chroot(at("d/below")), "chroot");
    must(fchdir(here), "fchdir");
    open_and_take("../other/file", "other/file");
}
static void bind_and_take(const char *from, const char *to, const char *path, const char *name)
{
    must(mount(at("%s", from), at("%s", to), NULL, MS_BIND, NULL), "mount");
    int file = open(at("%s", path), O_RDONLY);
    umount2(at("%s", to), MNT_DETACH);
    take(file, name);
}
static void bind_mount(void) { bind_and_take("d", "mounts", "mounts/file", "d/file"); }
static void bind_over(void) { bind_and_take("other", "d", "d/file", "other/file"); }
static void bind_file(void) { bind_and_take("other/file", "d/file", "d/file", "other/file"); }
static void own_mounts(void)
{
    must(unshare(CLONE_NEWNS), "unshare");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    bind_mount();
}
static void own_user(void)
{
    must(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
    bind_mount();
}
static int clone_child(void *nothing_given)
{
    (void)nothing_given;
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    bind_mount();
    return 0;
}
static void cloned(int flags)
{
    static char stack[1 << 18];
    int child = must(clone(clone_child, stack + sizeof stack, flags | SIGCHLD, NULL), "clone");
    waitpid(child, NULL, 0);
}
static void cloned_mounts(void) { cloned(CLONE_NEWNS); }
static void cloned_vfork(void) { cloned(CLONE_NEWNS | CLONE_VFORK | CLONE_VM); }
static void entered(int by_pidfd)
{
    int ready[2], end[2];
    char byte;
    if (pipe(ready) < 0 || pipe(end) < 0)
        refuse("pipe");
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount(at("d"), at("mounts"), NULL, MS_BIND, NULL) == 0 && write(ready[1], "x", 1) == 1)
            if (read(end[0], &byte, 1) < 0)
                _exit(1);
        _exit(0);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        errno = EPERM;
        refuse("unshare");
    }
    int place = by_pidfd ? (int)syscall(PIDFD_OPEN, child, 0) : open(text("/proc/%d/ns/mnt", child), O_RDONLY);
    must(setns(place, CLONE_NEWNS), "setns");
    open_and_take(at("mounts/file"), "d/file");
    close(end[1]);
    waitpid(child, NULL, 0);
}
static void entered_by_file(void) { entered(0); }
static void entered_by_process(void) { entered(1); }
static void through_other_namespace(void)
{
    int ready[2], end[2];
    char byte;
    if (pipe(ready) < 0 || pipe(end) < 0)
        refuse("pipe");
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount(at("d"), at("mounts"), NULL, MS_BIND, NULL) == 0 && write(ready[1], "x", 1) == 1)
            if (read(end[0], &byte, 1) < 0)
                _exit(1);
        _exit(0);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        errno = EPERM;
        refuse("unshare");
    }
    open_and_take(text("/proc/%d/root%s", child, at("mounts/file")), "d/file");
    close(end[1]);
    waitpid(child, NULL, 0);
}
static void tree_clone(void)
{
    int tree = must(syscall(OPEN_TREE, AT_FDCWD, at("d"), 1 | O_CLOEXEC), "open_tree");
    take(openat(tree, "file", O_RDONLY), "d/file");
}
static void tree_moved(void)
{
    int tree = must(syscall(OPEN_TREE, AT_FDCWD, at("d"), 1 | O_CLOEXEC), "open_tree");
    must(syscall(MOVE_MOUNT, tree, "", AT_FDCWD, at("mounts"), 4), "move_mount");
    int file = open(at("mounts/file"), O_RDONLY);
    umount2(at("mounts"), MNT_DETACH);
    take(file, "d/file");
}
static void overlay_mounted(void)
{
    must(mount("overlay", at("mounts"), "overlay", 0, text("lowerdir=%s:%s", at("d"), at("other"))), "mount");
    int file = open(at("mounts/in-root"), O_RDONLY);
    umount2(at("mounts"), MNT_DETACH);
    take(file, "d/in-root");
}
static void overlay_unmounted(void) /* a file system that is mounted nowhere */
{
    int fs = must(syscall(FSOPEN, "overlay", 0), "fsopen");
    must(syscall(FSCONFIG, fs, 1, "lowerdir", text("%s:%s", at("d"), at("other")), 0), "fsconfig");
    must(syscall(FSCONFIG, fs, 6, NULL, NULL, 0), "fsconfig");
    int place = must(syscall(FSMOUNT, fs, 0, 0), "fsmount");
    take(openat(place, "in-root", O_RDONLY), "d/in-root");
}
static void root_pivoted(void)
{
    must(unshare(CLONE_NEWNS), "unshare");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    must(mount(at("d"), at("d"), NULL, MS_BIND, NULL), "mount");
    must(syscall(SYS_pivot_root, at("d"), at("d/below")), "pivot_root");
    open_and_take("/file", "d/file");
}
static void second_proc(void)
{
    must(mount("proc", at("mounts"), "proc", 0, NULL), "mount");
    int file = open(text("%s%s", at("mounts/self/root"), at("d/file")), O_RDONLY);
    umount2(at("mounts"), MNT_DETACH);
    take(file, "d/file");
}

static const struct { const char *name; void (*act)(void); } ways[] = {
    {"in-root-absolute", in_root_absolute}, {"in-root-dotdot", in_root_dotdot}, {"in-root-link", in_root_link},
    {"in-root-cwd", in_root_cwd}, {"beneath", beneath}, {"one-device", one_device},
    {"proc-self-root", proc_self_root}, {"proc-dot-self-root", proc_dot_self_root}, {"proc-slashes", proc_slashes},
    {"proc-dotdot", proc_dotdot}, {"proc-self-task", proc_self_task}, {"proc-thread-self", proc_thread_self},
    {"proc-number-root", proc_number_root}, {"proc-number-task", proc_number_task}, {"proc-twice", proc_twice},
    {"proc-init", proc_init}, {"proc-self-fd", proc_self_fd}, {"proc-self-fd-up", proc_self_fd_up},
    {"proc-task-fd", proc_task_fd}, {"proc-fd-link", proc_fd_link}, {"dev-fd", dev_fd}, {"dev-fd-file", dev_fd_file},
    {"dev-stdin", dev_stdin}, {"proc-self-cwd", proc_self_cwd}, {"proc-number-cwd", proc_number_cwd},
    {"proc-relative", proc_relative}, {"proc-parent", proc_parent}, {"link-to-fd", link_to_fd},
    {"made-link-to-proc", made_link_to_proc}, {"proc-exec", proc_exec}, {"dev-fd-exec", dev_fd_exec},
    {"temporary-link", temporary_link}, {"temporary-link-relative", temporary_link_relative},
    {"temporary-link-run", temporary_link_run}, {"temporary-chain", temporary_chain}, {"link-once-more", link_once_more},
    {"link-replaced", link_replaced}, {"moved-directory", moved_directory}, {"moved-ancestor", moved_ancestor},
    {"moved-twice", moved_twice}, {"exchanged", exchanged}, {"moved-working-directory", moved_working_directory},
    {"moved-descriptor", moved_descriptor}, {"link-in-moved", link_in_moved}, {"moved-file", moved_file},
    {"hard-link", hard_link}, {"hard-link-of-descriptor", hard_link_of_descriptor},
    {"hard-link-of-link", hard_link_of_link}, {"secret-memory", secret_memory}, {"secret-rest", secret_rest},
    {"secret-how", secret_how}, {"fault-memory", fault_memory}, {"address-zero", address_zero},
    {"shared-memory", shared_memory}, {"not-readable", not_readable}, {"changed-path", changed_path},
    {"execveat-descriptor", execveat_descriptor}, {"removed-script", removed_script}, {"memory-script", memory_script},
    {"unnamed-script", unnamed_script}, {"fd-script", fd_script}, {"handle-of-now", handle_of_now},
    {"handle-of-before", handle_of_before}, {"socket-bound", socket_bound}, {"socket-connected", socket_connected},
    {"socket-message", socket_message}, {"given-descriptor", given_descriptor},
#ifdef __x86_64__
    {"foreign-i386", foreign_i386}, {"foreign-x32", foreign_x32},
#endif
    {"undumpable", undumpable}, {"undumpable-fork", undumpable_fork},
    {"shared-directory", shared_directory}, {"thread-directory", thread_directory}, {"io-uring", io_uring},
    {"chroot-dotdot", chroot_dotdot}, {"chroot-link", chroot_link}, {"chroot-escape", chroot_escape},
    {"bind-mount", bind_mount}, {"bind-over", bind_over}, {"bind-file", bind_file}, {"own-mounts", own_mounts},
    {"own-user", own_user}, {"cloned-mounts", cloned_mounts}, {"cloned-vfork", cloned_vfork},
    {"entered-by-file", entered_by_file}, {"entered-by-process", entered_by_process},
    {"through-other-namespace", through_other_namespace}, {"tree-clone", tree_clone}, {"tree-moved", tree_moved},
    {"overlay-mounted", overlay_mounted}, {"overlay-unmounted", overlay_unmounted}, {"root-pivoted", root_pivoted},
    {"second-proc", second_proc},
};

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    self = arguments[0];
    dir = arguments[1];
    if (strcmp(arguments[2], "prepare") == 0)
        return prepare(), 0;
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcmp(arguments[2], "list") == 0)
            printf("%s\n", ways[i].name);
        else if (strcmp(arguments[2], ways[i].name) == 0)
            return ways[i].act(), 0;
    if (strcmp(arguments[2], "nothing") == 0 || strchr(arguments[2], '/'))
        nothing();
    return 0;
}
