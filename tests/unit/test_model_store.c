#include "jobs/model_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static void create_file(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/copymill-store-XXXXXX");
    return mkdtemp(folder) == NULL || setenv("COPYMILL_CACHE", folder, 1) != 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char path[CM_MODEL_PATH_BYTES];
    snprintf(path, sizeof path, "%s/models/own.gguf", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/models/smollm2-135m-it.gguf", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/models", folder);
    rmdir(path);
    return rmdir(folder);
}

static void the_cache_follows_the_environment(void **state)
{
    (void)state;
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error;
    setenv("HOME", "/h", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("COPYMILL_CACHE", "/c", 1);
    assert_int_equal(cm_model_cache_path("m", path, sizeof path, &error), CM_OK);
    assert_string_equal(path, "/c/models/m.gguf");
    setenv("COPYMILL_CACHE", "", 1);
    assert_int_equal(cm_model_folder(path, sizeof path, &error), CM_OK);
    assert_string_equal(path, "/x/copymill/models");
    unsetenv("XDG_CACHE_HOME");
    assert_int_equal(cm_model_folder(path, sizeof path, &error), CM_OK);
    assert_string_equal(path, "/h/.cache/copymill/models");
    assert_int_equal(cm_model_folder(path, 8, &error), CM_LIMIT);
    unsetenv("HOME");
    assert_int_equal(cm_model_folder(path, sizeof path, &error), CM_NOT_FOUND);
    assert_non_null(strstr(error.message, "COPYMILL_CACHE"));
    setenv("COPYMILL_CACHE", folder, 1);
}

static void names_resolve_to_the_cache(void **state)
{
    (void)state;
    char path[CM_MODEL_PATH_BYTES];
    char expected[CM_MODEL_PATH_BYTES];
    struct cm_error error;
    assert_int_equal(cm_model_resolve("smollm2-135m-it", path, sizeof path, &error), CM_NOT_FOUND);
    assert_non_null(strstr(error.message, "run: copymill model fetch smollm2-135m-it"));

    snprintf(path, sizeof path, "%s/models", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(cm_model_cache_path("own", expected, sizeof expected, &error), CM_OK);
    create_file(expected);
    assert_int_equal(cm_model_resolve("own", path, sizeof path, &error), CM_OK);
    assert_string_equal(path, expected);
    assert_int_equal(cm_model_cache_path("smollm2-135m-it", expected, sizeof expected, &error),
                     CM_OK);
    create_file(expected);
    assert_int_equal(cm_model_resolve("smollm2-135m-it", path, sizeof path, &error), CM_OK);
    assert_string_equal(path, expected);
}

static void paths_resolve_to_themselves(void **state)
{
    (void)state;
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error;
    assert_int_equal(cm_model_resolve(folder, path, sizeof path, &error), CM_OK);
    assert_string_equal(path, folder);
    assert_int_equal(cm_model_resolve(folder, path, 4, &error), CM_LIMIT);
}

static void unknown_names_are_told_the_known_ones(void **state)
{
    (void)state;
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error;
    const char *const unknown[] = { "gpt-9", "", "no/such/file.gguf", "../own", ".own" };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_int_equal(cm_model_resolve(unknown[i], path, sizeof path, &error), CM_NOT_FOUND);
        assert_non_null(strstr(error.message, CM_MODEL_DEFAULT));
        assert_non_null(strstr(error.message, "smollm2-135m-it"));
    }
}

static void the_table_is_complete(void **state)
{
    (void)state;
    size_t count;
    const struct cm_known_model *models = cm_known_models(&count);
    assert_ptr_equal(cm_known_model_find(CM_MODEL_DEFAULT), &models[0]);
    assert_null(cm_known_model_find("nothing"));
    for (size_t i = 0; i < count; i++) {
        assert_true(cm_model_name_is_valid(models[i].name));
        assert_int_equal(strlen(models[i].sha256), 64);
        assert_true(models[i].wheels_count > 0);
        for (size_t k = 0; k < models[i].wheels_count; k++) {
            assert_int_equal(strlen(models[i].wheels[k].sha256), 64);
            assert_non_null(strstr(models[i].wheels[k].requirement, "=="));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_follows_the_environment),
        cmocka_unit_test(names_resolve_to_the_cache),
        cmocka_unit_test(paths_resolve_to_themselves),
        cmocka_unit_test(unknown_names_are_told_the_known_ones),
        cmocka_unit_test(the_table_is_complete),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
