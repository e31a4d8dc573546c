#include "jobs/selftest_model.h"

#include "jobs/temporary_folder.h"

#include <stdint.h>
#include <stdio.h>

/* The assembler puts the files in: as initialisers of C they would take the compiler seconds. The
 * build gives CHECKPOINT, the folder of tests/golden/tiny that they come from. */
#define EMBED(symbol, name)                                           \
    __asm__(".pushsection .rodata, \"a\"\n"                           \
            ".balign 16\n" #symbol ":\n"                              \
            ".incbin \"" CHECKPOINT "/" name "\"\n" #symbol "_end:\n" \
            ".popsection\n");                                         \
    extern const char symbol[] __attribute__((visibility("hidden"))); \
    extern const char symbol##_end[] __attribute__((visibility("hidden")))

EMBED(cm_checkpoint_config, "config.json");
EMBED(cm_checkpoint_expected, "expected.json");
EMBED(cm_checkpoint_generation, "generation_config.json");
EMBED(cm_checkpoint_logits, "logits.f32");
EMBED(cm_checkpoint_weights, "model.safetensors");
EMBED(cm_checkpoint_tokenizer, "tokenizer.json");
EMBED(cm_checkpoint_tokenizer_config, "tokenizer_config.json");

static const struct {
    const char *name;
    const char *begin;
    const char *end;
} files[] = {
    { "config.json", cm_checkpoint_config, cm_checkpoint_config_end },
    { "expected.json", cm_checkpoint_expected, cm_checkpoint_expected_end },
    { "generation_config.json", cm_checkpoint_generation, cm_checkpoint_generation_end },
    { "logits.f32", cm_checkpoint_logits, cm_checkpoint_logits_end },
    { "model.safetensors", cm_checkpoint_weights, cm_checkpoint_weights_end },
    { "tokenizer.json", cm_checkpoint_tokenizer, cm_checkpoint_tokenizer_end },
    { "tokenizer_config.json", cm_checkpoint_tokenizer_config, cm_checkpoint_tokenizer_config_end },
};

enum { PATH_BYTES = CM_TEMPORARY_PATH_BYTES + 32 };

static enum cm_status write_files(const char *folder, struct cm_error *error)
{
    char path[PATH_BYTES];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t length = (size_t)((uintptr_t)files[i].end - (uintptr_t)files[i].begin);
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        FILE *file = fopen(path, "wb");
        bool is_written = file != NULL && fwrite(files[i].begin, 1, length, file) == length;
        if ((file != NULL && fclose(file) != 0) || !is_written) {
            return cm_error_set(error, CM_IO, "%s cannot be written: %m", path);
        }
    }
    return CM_OK;
}

enum cm_status cm_selftest_model(const char *device, uint32_t tp,
                                 enum cm_engine_precision precision, struct cm_engine_check *check,
                                 bool *is_good, struct cm_error *error)
{
    char folder[CM_TEMPORARY_PATH_BYTES];
    char expected_path[PATH_BYTES];
    struct cm_reference reference = { 0 };
    enum cm_status status = cm_temporary_folder_make("selftest", folder, error);
    if (status != CM_OK) {
        return status;
    }
    status = write_files(folder, error);
    snprintf(expected_path, sizeof expected_path, "%s/expected.json", folder);
    if (status == CM_OK) {
        status = cm_reference_init(&reference, expected_path, error);
    }
    if (status == CM_OK) {
        const struct cm_engine_options options = {
            .model_path = folder, .precision = precision, .device = device, .tp = tp
        };
        status = cm_engine_check(&options, &reference, check, error);
    }
    if (status == CM_OK) {
        const struct cm_check_rules rules = cm_check_rules(precision, reference.kind);
        *is_good = cm_engine_check_agrees(check, &rules);
    }
    cm_reference_deinit(&reference);
    cm_temporary_folder_remove(folder);
    return status;
}
