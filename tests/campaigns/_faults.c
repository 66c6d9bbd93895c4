/* Records what a process does to the files of one folder, and fails one such operation: preloaded by disk_faults.py.

   FAULTS_FOLDER  absolute path: only what is in it is counted
   FAULTS_LOG     file that gets a line for each operation: its name, the path and, where it is renamed, the path before
   FAULTS_AT      number of the operation that fails, from 1; 0 or unset: none
   FAULTS_ERRNO   with what
   FAULTS_BACK    in place of a failure: the seconds that the clock is set back by from then on
   FAULTS_LASTING set: all after it that need space fail, too, as on a full disk */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_int done;

static int log_file(void) {
    static atomic_int number = -1;
    if (number < 0 && getenv("FAULTS_LOG"))
        number = NEXT(open)(getenv("FAULTS_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return number;
}

/* Whether the operation `name` on `path`, which was called `before`, is to fail; errno is set then. */
static int fails_to_move(const char *name, const char *before, const char *path, int needs_space) {
    const char *folder = getenv("FAULTS_FOLDER");
    if (!folder || !path || strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    int number = errno, count = ++done, at = getenv("FAULTS_AT") ? atoi(getenv("FAULTS_AT")) : 0;
    char line[2 * PATH_MAX + 40];
    int length = snprintf(line, sizeof line, before ? "%s %s %s\n" : "%s %s\n", name, path, before);
    if (log_file() >= 0 && NEXT(write)(log_file(), line, length) < 0)
        abort();
    errno = number;
    if (getenv("FAULTS_BACK"))
        return 0;
    if (count != at && !(at && count > at && needs_space && getenv("FAULTS_LASTING")))
        return 0;
    errno = atoi(getenv("FAULTS_ERRNO"));
    return 1;
}

static int fails(const char *name, const char *path, int needs_space) {
    return fails_to_move(name, NULL, path, needs_space);
}

/* The absolute path of a name below a descriptor of a folder. */
static const char *at(int folder, const char *path, char *out) {
    if (path[0] == '/')
        return path;
    char link[64];
    ssize_t length = 0;
    if (folder == AT_FDCWD) {
        if (!getcwd(out, PATH_MAX))
            return NULL;
        length = strlen(out);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if ((length = readlink(link, out, PATH_MAX - 1)) < 0)
            return NULL;
    }
    snprintf(out + length, PATH_MAX - length, "/%s", path);
    return out;
}

static const char *of(int file, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    out[length] = 0;
    return out;
}

#define OPENS(name, folder, ...)                                                         \
    {                                                                                    \
        char full[PATH_MAX];                                                             \
        int mode = 0;                                                                    \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                           \
            va_list more;                                                                \
            va_start(more, flags);                                                       \
            mode = va_arg(more, int);                                                    \
            va_end(more);                                                                \
        }                                                                                \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR) && fails("open", at(folder, path, full), 1)) \
            return -1;                                                                   \
        return NEXT(name)(__VA_ARGS__, flags, mode);                                     \
    }
int open(const char *path, int flags, ...) OPENS(open, AT_FDCWD, path)
int open64(const char *path, int flags, ...) OPENS(open64, AT_FDCWD, path)
int openat(int folder, const char *path, int flags, ...) OPENS(openat, folder, folder, path)
int openat64(int folder, const char *path, int flags, ...) OPENS(openat64, folder, folder, path)

#define FOPENS(name)                                                                     \
    FILE *name(const char *path, const char *mode) {                                     \
        char full[PATH_MAX];                                                             \
        if (strpbrk(mode, "wa+") && fails("open", at(AT_FDCWD, path, full), 1))          \
            return NULL;                                                                 \
        return NEXT(name)(path, mode);                                                   \
    }
FOPENS(fopen)
FOPENS(fopen64)

#define ON_FILE(result, name, needs_space, arguments, ...)                               \
    result name arguments {                                                              \
        char full[PATH_MAX];                                                             \
        return fails(#name, of(file, full), needs_space) ? -1 : NEXT(name)(__VA_ARGS__); \
    }
ON_FILE(ssize_t, write, 1, (int file, const void *data, size_t size), file, data, size)
ON_FILE(ssize_t, writev, 1, (int file, const struct iovec *parts, int count), file, parts, count)
ON_FILE(ssize_t, pwrite, 1, (int file, const void *data, size_t size, off_t where), file, data, size, where)
ON_FILE(ssize_t, pwrite64, 1, (int file, const void *data, size_t size, off64_t where), file, data, size, where)
ON_FILE(int, fsync, 0, (int file), file)
ON_FILE(int, fdatasync, 0, (int file), file)
ON_FILE(int, ftruncate, 1, (int file, off_t size), file, size)
ON_FILE(int, ftruncate64, 1, (int file, off64_t size), file, size)

#define ON_PATH(name, needs_space, folder, where, arguments, ...)                        \
    int name arguments {                                                                 \
        char full[PATH_MAX];                                                             \
        return fails(#name, at(folder, where, full), needs_space) ? -1 : NEXT(name)(__VA_ARGS__); \
    }
ON_PATH(mkdir, 1, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
ON_PATH(mkdirat, 1, folder, path, (int folder, const char *path, mode_t mode), folder, path, mode)
ON_PATH(unlink, 0, AT_FDCWD, path, (const char *path), path)
ON_PATH(unlinkat, 0, folder, path, (int folder, const char *path, int flags), folder, path, flags)
ON_PATH(rmdir, 0, AT_FDCWD, path, (const char *path), path)

#define MOVES(name, old_folder, new_folder, arguments, ...)                              \
    int name arguments {                                                                 \
        char before[PATH_MAX], full[PATH_MAX];                                           \
        const char *was = at(old_folder, from, before), *is = at(new_folder, to, full);  \
        return fails_to_move(#name, was, is, 0) ? -1 : NEXT(name)(__VA_ARGS__);         \
    }
MOVES(rename, AT_FDCWD, AT_FDCWD, (const char *from, const char *to), from, to)
MOVES(renameat, old, folder, (int old, const char *from, int folder, const char *to), old, from, folder, to)
ON_PATH(link, 1, AT_FDCWD, to, (const char *from, const char *to), from, to)
ON_PATH(symlink, 1, AT_FDCWD, to, (const char *from, const char *to), from, to)

/* This one returns the error's number. */
int posix_fallocate64(int file, off64_t where, off64_t size) {
    char full[PATH_MAX];
    return fails("posix_fallocate", of(file, full), 1) ? errno : NEXT(posix_fallocate64)(file, where, size);
}
int posix_fallocate(int file, off_t where, off_t size) {
    char full[PATH_MAX];
    return fails("posix_fallocate", of(file, full), 1) ? errno : NEXT(posix_fallocate)(file, where, size);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = NEXT(clock_gettime)(clock, now);
    if (clock == CLOCK_REALTIME && getenv("FAULTS_BACK") && done >= atoi(getenv("FAULTS_AT")))
        now->tv_sec -= atoi(getenv("FAULTS_BACK"));
    return result;
}
