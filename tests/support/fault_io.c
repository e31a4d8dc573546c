/* Calls that fail when the environment says so, linked into a program under test. They stand before
 * the C library's for the program and for SQLite.
 *
 *     FAULT_IO=n      the nth write to, or sync, truncation or renaming of a file fails, once
 *     FAULT_ALLOC=n   the nth allocation fails, once
 */
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_ullong calls_count;
static unsigned long long failing_call;

__attribute__((constructor)) static void read_environment(void)
{
    const char *io = getenv("FAULT_IO");
    const char *allocation = getenv("FAULT_ALLOC");
    failing_call = io != NULL ? strtoull(io, NULL, 10) : 0;
    if (allocation != NULL) {
        cm_memory_fail_at(strtoull(allocation, NULL, 10));
    }
}

static int must_fail(int reason)
{
    if (atomic_fetch_add(&calls_count, 1) + 1 == failing_call) {
        errno = reason;
        return 1;
    }
    return 0;
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset)
{
    return must_fail(ENOSPC) ? -1 : syscall(SYS_pwrite64, file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset)
{
    return must_fail(ENOSPC) ? -1 : syscall(SYS_pwrite64, file, bytes, length, offset);
}

int fsync(int file)
{
    return must_fail(EIO) ? -1 : (int)syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    return must_fail(EIO) ? -1 : (int)syscall(SYS_fdatasync, file);
}

int ftruncate(int file, off_t length)
{
    return must_fail(EIO) ? -1 : (int)syscall(SYS_ftruncate, file, length);
}

int ftruncate64(int file, off64_t length)
{
    return must_fail(EIO) ? -1 : (int)syscall(SYS_ftruncate, file, length);
}

int rename(const char *from, const char *to)
{
    return must_fail(EACCES) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
