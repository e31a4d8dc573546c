#include "fuzz.h"

#include "base/status.h"
#include "base/utf8.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int descriptor = -1;
    if (descriptor < 0) {
        descriptor = memfd_create("fuzz", MFD_CLOEXEC);
        CM_ASSERT(descriptor >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    }
    CM_ASSERT(ftruncate(descriptor, 0) == 0);
    CM_ASSERT(pwrite(descriptor, data, size, 0) == (ssize_t)size);
    return path;
}

void fuzz_expect_clean(struct cm_span text, bool tab)
{
    CM_ASSERT(cm_utf8_valid(text));
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        CM_ASSERT(byte == '\n' || (tab && byte == '\t') || (byte >= 0x20 && byte != 0x7f));
    }
}
