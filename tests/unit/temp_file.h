/* Files that a test writes for itself. Include it after cmocka. */
#ifndef CM_TESTS_UNIT_TEMP_FILE_H
#define CM_TESTS_UNIT_TEMP_FILE_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEMP_PATH_BYTES = 64 };

/* Writes the bytes to a new file and its path to `path`. */
static inline void temp_file_write(char path[TEMP_PATH_BYTES], const void *bytes, size_t length)
{
    snprintf(path, TEMP_PATH_BYTES, "/tmp/copymill-test-XXXXXX");
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    FILE *file = fdopen(descriptor, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static inline void temp_file_write_text(char path[TEMP_PATH_BYTES], const char *text)
{
    temp_file_write(path, text, strlen(text));
}

static inline void temp_file_remove(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

#endif
