/* Lets the n-th change below a folder fail, as a full or broken disk does. Preloaded into Python. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static size_t folder_length;
static atomic_long calls;
static long first, last;
static int number, active;

/* From now on the changes below `place` fail whose number is from `from` to `to`, counted from 1. */
void disk_fails(const char *place, long from, long to, int error)
{
    strncpy(folder, place, sizeof folder - 1);
    folder_length = strlen(folder);
    first = from;
    last = to;
    number = error;
    atomic_store(&calls, 0);
    active = 1;
}

/* The disk is sound again; returns how many changes there were. */
long disk_works(void)
{
    active = 0;
    return atomic_load(&calls);
}

static int fails(const char *path)
{
    if (strncmp(path, folder, folder_length))
        return 0;
    long call = atomic_fetch_add(&calls, 1) + 1;
    if (call < first || call > last)
        return 0;
    errno = number;
    return 1;
}

static int file_fails(int file)
{
    char link[64], path[4096];
    if (!active)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(path);
}

static int path_fails(const char *path) { return active && fails(path); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FILE(type, name, parameters, arguments) \
    type name parameters { return file_fails(file) ? -1 : REAL(name) arguments; }

ON_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
ON_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
ON_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at),
        (file, data, size, at))
ON_FILE(ssize_t, writev, (int file, const struct iovec *data, int count), (file, data, count))
ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))
ON_FILE(int, ftruncate, (int file, off_t size), (file, size))
ON_FILE(int, ftruncate64, (int file, off64_t size), (file, size))

#define ALLOCATES(name, type) \
    int name(int file, type at, type size) \
    { return file_fails(file) ? number : REAL(name)(file, at, size); }

ALLOCATES(posix_fallocate, off_t)
ALLOCATES(posix_fallocate64, off64_t)

int rename(const char *from, const char *to)
{
    return path_fails(to) ? -1 : REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) { return path_fails(path) ? -1 : REAL(mkdir)(path, mode); }

#define OPENS(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return flags & O_CREAT && path_fails(path) ? -1 : REAL(name)(path, flags, mode); \
    }

OPENS(open)
OPENS(open64)
