/* write_tiny_gguf FOLDER TYPE FILE: a checkpoint as tiny_gguf.h has it, its matrices as f32, q8_0
 * or q4_0. */
#include "tiny_gguf.h"

#include <stdio.h>
#include <string.h>

enum { FILE_BYTES_MAX = 4 << 20 };

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum cm_dtype type;
    } types[] = { { "f32", CM_F32 }, { "q8_0", CM_Q8_0 }, { "q4_0", CM_Q4_0 } };
    struct cm_text bytes = CM_TEXT_INIT(FILE_BYTES_MAX);
    for (size_t i = 0; argc == 4 && i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(argv[2], types[i].name) == 0) {
            tiny_gguf_append(&bytes, argv[1], types[i].type, NULL);
        }
    }
    if (bytes.length == 0) {
        fprintf(stderr, "usage: write_tiny_gguf FOLDER f32|q8_0|q4_0 FILE\n");
        return 2;
    }
    FILE *file = fopen(argv[3], "wb");
    bool is_written = file != NULL && fwrite(bytes.data, 1, bytes.length, file) == bytes.length;
    is_written = file != NULL && fclose(file) == 0 && is_written;
    if (!is_written) {
        perror(argv[3]);
    }
    cm_text_deinit(&bytes);
    return is_written ? 0 : 1;
}
