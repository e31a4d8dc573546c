#include "scratch.h"

#include "base/status.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[256];
static char path[SCRATCH_PATH_BYTES];

void scratch_open(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/copymill-test-XXXXXX", base != NULL ? base : "/tmp");
    CM_ASSERT(mkdtemp(folder) != NULL);
}

void scratch_close(void)
{
    DIR *directory = opendir(folder);
    CM_ASSERT(directory != NULL);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            scratch_remove(entry->d_name);
        }
    }
    closedir(directory);
    rmdir(folder);
}

const char *scratch_path(const char *name)
{
    int length = snprintf(path, sizeof path, "%s%s%s", folder, name[0] == '\0' ? "" : "/", name);
    CM_ASSERT(length > 0 && length < (int)sizeof path);
    return path;
}

void scratch_write(const char *name, const void *bytes, size_t length)
{
    FILE *stream = fopen(scratch_path(name), "wb");
    CM_ASSERT(stream != NULL);
    CM_ASSERT(fwrite(bytes, 1, length, stream) == length);
    CM_ASSERT(fclose(stream) == 0);
}

void scratch_remove(const char *name)
{
    unlink(scratch_path(name));
}

int scratch_copy(const char *from, const char *name)
{
    char block[65536];
    FILE *in = fopen(from, "rb");
    if (in == NULL) {
        return 0;
    }
    FILE *out = fopen(scratch_path(name), "wb");
    CM_ASSERT(out != NULL);
    for (size_t length; (length = fread(block, 1, sizeof block, in)) > 0;) {
        CM_ASSERT(fwrite(block, 1, length, out) == length);
    }
    CM_ASSERT(fclose(out) == 0);
    fclose(in);
    return 1;
}
