/* Takes the place of libFuzzer: runs a target over the files of a folder, whole, cut short at some
 * places, and with single bits turned over. Says which input comes next, so that the last line
 * before a crash names the culprit.
 *
 *     replay_NAME FOLDER
 */
#include "fuzz.h"

#include "base/memory.h"
#include "base/status.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { CUTS = 16, FLIPS = 48, PATH_BYTES = 1024 };

/* A block of exactly this size, so that a sanitizer sees a read past its end. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *block = cm_alloc(size, 1);
    CM_ASSERT(block != NULL);
    memcpy(block, bytes, size);
    LLVMFuzzerTestOneInput(block, size);
    cm_free(block);
}

static void run_damaged(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < CUTS; i++) {
        printf("    cut to %zu bytes\n", size * i / CUTS);
        run(bytes, size * i / CUTS);
    }
    for (size_t i = 0; i < FLIPS; i++) {
        size_t place = size * i / FLIPS;
        uint8_t bit = (uint8_t)(1U << i % 8);
        printf("    byte %zu, bit %zu turned over\n", place, i % 8);
        bytes[place] ^= bit;
        run(bytes, size);
        bytes[place] ^= bit;
    }
}

static void run_file(const char *path)
{
    FILE *stream = fopen(path, "rb");
    CM_ASSERT(stream != NULL);
    CM_ASSERT(fseek(stream, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(stream);
    rewind(stream);
    uint8_t *bytes = cm_alloc(size, 1);
    CM_ASSERT(bytes != NULL);
    CM_ASSERT(fread(bytes, 1, size, stream) == size);
    fclose(stream);
    printf("%s\n", path);
    run(bytes, size);
    if (size > 0) {
        run_damaged(bytes, size);
    }
    cm_free(bytes);
}

int main(int argc, char **argv)
{
    CM_ASSERT(argc == 2);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    struct dirent **entries = NULL;
    int entries_count = scandir(argv[1], &entries, NULL, alphasort);
    int files_count = 0;
    for (int i = 0; i < entries_count; i++) {
        char path[PATH_BYTES];
        int length = snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        CM_ASSERT(length > 0 && length < (int)sizeof path);
        if (entries[i]->d_name[0] != '.') {
            run_file(path);
            files_count++;
        }
        cm_free(entries[i]);
    }
    cm_free(entries);
    printf("%d files\n", files_count);
    return files_count > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
