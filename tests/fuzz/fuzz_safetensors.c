/* One file on its own: what a model folder needs besides would keep the fuzzer from its header. */
#include "fuzz.h"

#include "loaders/safetensors.h"

static void check_tensor(const struct cm_tensor *tensor, const uint8_t *data, size_t size)
{
    const uint8_t *bytes = tensor->data;
    CM_ASSERT(bytes >= data && tensor->bytes <= size);
    CM_ASSERT((size_t)(bytes - data) <= size - tensor->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_file_map *map = NULL;
    struct cm_safetensors *file = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = cm_file_map_open(fuzz_file(data, size), &map, &error);
    if (status == CM_OK) {
        status = cm_safetensors_open(map, "fuzz", &file, &error);
    }
    if (status == CM_OK) {
        for (size_t i = 0; i < cm_safetensors_tensors_count(file); i++) {
            check_tensor(&cm_safetensors_tensors(file)[i], cm_file_map_data(map), size);
        }
    }
    CM_ASSERT(status == CM_OK || error.message[0] != '\0');
    cm_safetensors_close(file);
    cm_file_map_close(map);
    return 0;
}
