/* A stand-in for the CUDA runtime that a library is linked with. It has no GPU: it writes down what the library
 * registers at its start, as a loader finds it in memory, i.e. after relocation. For tests only.
 *
 * $SLIMAGENT_TEST_REGISTERED gets, for each fat binary, its wrapper's magic number and version (4 bytes each) and how
 * many containers it has (8 bytes), and then each container with its header. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wrapper {
    uint32_t magic, version;
    const unsigned char *data;
    const void *more; /* version 2: the containers that were linked to make `data`, up to a null pointer */
};

static void put_container(FILE *out, const unsigned char *data) {
    uint64_t following;
    memcpy(&following, data + 8, sizeof following);
    fwrite(data, 1, 16 + following, out);
}

void **__cudaRegisterFatBinary(void *given) {
    const struct wrapper *wrapper = given;
    static void *handle;
    const char *path = getenv("SLIMAGENT_TEST_REGISTERED");
    FILE *out = path ? fopen(path, "ab") : NULL;
    if (out) {
        const unsigned char *const *more = wrapper->version == 2 ? wrapper->more : NULL;
        uint64_t count = 1;
        for (int i = 0; more && more[i]; i++) count++;
        fwrite(wrapper, 1, 8, out);
        fwrite(&count, 1, sizeof count, out);
        put_container(out, wrapper->data);
        for (int i = 0; more && more[i]; i++) put_container(out, more[i]);
        fclose(out);
    }
    return &handle;
}

/* What else such a library refers to. Nothing of it is called without a launch. */
void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { (void)handle; }
void __cudaRegisterFunction(void) {}
int __cudaGetKernel(void) { return 1; }
int __cudaLaunchKernel(void) { return 1; }
int __cudaPopCallConfiguration(void) { return 1; }
int __cudaPushCallConfiguration(void) { return 1; }
