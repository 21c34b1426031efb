/* A program for a container that has nothing else: prints, waits, ends as it is told. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void end(int number) {
    _exit(number);
}

int main(int argc, char **argv) {
    if (argc > 2) fprintf(stdout, "%s\n", argv[2]);
    if (argc > 3) fprintf(stderr, "%s\n", argv[3]);
    fflush(NULL);
    if (argc > 1 && strcmp(argv[1], "flood") == 0)
        for (int n = 0; n < 300000; n++) putchar('x');
    signal(SIGUSR1, end);
    if (argc > 1 && strcmp(argv[1], "wait") == 0)
        for (;;) pause();
    if (argc > 1 && strcmp(argv[1], "user") == 0) printf("%d:%d\n", (int)getuid(), (int)getgid());
    return argc > 1 ? atoi(argv[1]) : 0;
}
