/* A disk whose log stops answering, for a database under test.
 *
 * Preloaded into a database, this library lets it write and sync its log only
 * while the file $STALL_FLAG does not exist. While it exists, whoever writes or
 * syncs the log waits, as on a disk that has stopped answering. Nothing else is
 * held up: the database goes on to serve whoever needs no log. When it is then
 * killed with SIGKILL, it has lost what it had not written, as a machine does
 * whose power fails. (What was written and not synced would survive a SIGKILL,
 * because the kernel keeps it: this is why writes have to wait too.)
 *
 *   STALL_FLAG=FILE   the flag; it is looked for at every call, so that making
 *                     the file stalls the log at once and removing it ends that
 *   STALL_FILES=A,B   parts of names of the files that count as log; without it
 *                     "ib_logfile0", InnoDB's redo log
 *   STALL_CALLS=sync  lets writes through and holds the syncs alone: shows
 *                     whether what waits for its sync can be read already
 *   STALL_SEEN=FILE   is made at the first call that has to wait, so that a test
 *                     can tell a log that waits from one that nobody writes
 *
 * A log that is mapped into memory (InnoDB on persistent memory, or on /dev/shm)
 * or written through an asynchronous interface would pass by unseen. A test
 * makes sure that it does not (ops/testbed/src/stall.rs).
 *
 * cc -shared -fPIC -O1 -Wall -Wextra -o log_stall.so log_stall.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    /* Between two looks at the flag, in microseconds. */
    LOOK_AGAIN_US = 2000,
    PATH_BYTES = 4096,
};

static const char FILES_DEFAULT[] = "ib_logfile0";

/* Whether `name` contains one of the words in `words`, which commas separate. */
static int contains_one_of(const char *name, const char *words)
{
    while (*words) {
        size_t length = strcspn(words, ",");
        if (length > 0 && memmem(name, strlen(name), words, length))
            return 1;
        words += length;
        words += *words == ',';
    }
    return 0;
}

static int is_log(int fd)
{
    char link[64], name[PATH_BYTES];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length <= 0)
        return 0;
    name[length] = 0;
    /* The folder's name is the test's business, not the database's. */
    const char *base = strrchr(name, '/');
    const char *files = getenv("STALL_FILES");
    return contains_one_of(base ? base + 1 : name, files ? files : FILES_DEFAULT);
}

static void tell_that_somebody_waits(void)
{
    const char *seen = getenv("STALL_SEEN");
    if (!seen || access(seen, F_OK) == 0)
        return;
    int fd = open(seen, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    if (fd >= 0)
        close(fd);
}

/* Returns when the disk answers again. */
static void wait_for_disk(int fd)
{
    const char *flag = getenv("STALL_FLAG");
    /* The cheapest question first: nearly always there is no flag. */
    if (!flag || access(flag, F_OK) != 0 || !is_log(fd))
        return;
    tell_that_somebody_waits();
    while (access(flag, F_OK) == 0)
        usleep(LOOK_AGAIN_US);
}

static void wait_to_write(int fd)
{
    const char *calls = getenv("STALL_CALLS");
    if (!calls || strcmp(calls, "sync") != 0)
        wait_for_disk(fd);
}

/* The function of the C library that ours stands before. */
#define REAL(type, name, ...)                      \
    static type (*real)(__VA_ARGS__);              \
    if (!real)                                     \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    wait_to_write(fd);
    return real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    wait_to_write(fd);
    return real(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    wait_to_write(fd);
    return real(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    wait_to_write(fd);
    return real(fd, bytes, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    wait_to_write(fd);
    return real(fd, parts, count, at);
}

int fsync(int fd)
{
    REAL(int, "fsync", int);
    wait_for_disk(fd);
    return real(fd);
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    wait_for_disk(fd);
    return real(fd);
}
