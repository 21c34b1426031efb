/* Load a stand-in for the CUDA runtime and then a library, as a program does; print what its function `host` gives, if
 * it has one. For tests only. */
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **names) {
    if (count != 3 || !dlopen(names[1], RTLD_NOW | RTLD_GLOBAL)) return 2;
    void *library = dlopen(names[2], RTLD_NOW);
    if (!library) return 3;
    int (*host)(int) = (int (*)(int))dlsym(library, "host");
    for (int i = 0; host && i < 100; i++) printf("%d ", host(i));
    fflush(stdout);
    return 0;
}
