/* An ordinary disk: each sync takes SLOW_SYNC_US microseconds longer.
   gcc -shared -fPIC -o slow_sync.so slow_sync.c, then LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *name, int descriptor) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *microseconds = getenv("SLOW_SYNC_US");
    usleep(microseconds ? (useconds_t)atoi(microseconds) : 2000);
    return sync(descriptor);
}

int fsync(int descriptor) { return slowly("fsync", descriptor); }

int fdatasync(int descriptor) { return slowly("fdatasync", descriptor); }
