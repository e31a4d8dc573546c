#include "loaders/embedding_config.h"

#include "loaders/folder.h"
#include "loaders/json_file.h"
#include "loaders/model_config.h"

#include <stdbool.h>

/* NULL where the file is absent. */
static enum cm_status open_file(const char *folder, const char *name, char *path, json_t **document,
                                struct cm_error *error)
{
    *document = NULL;
    enum cm_status status = cm_folder_path(folder, name, path, error);
    if (status != CM_OK || !cm_path_exists(path)) {
        return status;
    }
    return cm_json_open(path, CM_JSON_INTEGERS_AS_REALS, document, error);
}

static bool is_true(const json_t *document, const char *key)
{
    return json_is_true(cm_json_get(document, key));
}

static enum cm_status read_pooling(const char *folder, struct cm_embedding_config *config,
                                   struct cm_error *error)
{
    char path[CM_PATH_BYTES_MAX];
    json_t *document = NULL;
    enum cm_status status = open_file(folder, "1_Pooling/config.json", path, &document, error);
    if (status == CM_OK && document != NULL) {
        bool mean = is_true(document, "pooling_mode_mean_tokens");
        bool first = is_true(document, "pooling_mode_cls_token");
        config->pooling = first ? CM_POOLING_FIRST : CM_POOLING_MEAN;
        if (mean == first || is_true(document, "pooling_mode_max_tokens") ||
            is_true(document, "pooling_mode_mean_sqrt_len_tokens") ||
            is_true(document, "pooling_mode_weightedmean_tokens") ||
            is_true(document, "pooling_mode_lasttoken")) {
            status = cm_error_set(error, CM_UNSUPPORTED,
                                  "%s: pools in another way than by the mean of the tokens or the "
                                  "first token",
                                  path);
        }
    }
    cm_json_close(document);
    return status;
}

static enum cm_status read_length(const char *folder, struct cm_embedding_config *config,
                                  struct cm_error *error)
{
    char path[CM_PATH_BYTES_MAX];
    json_t *document = NULL;
    enum cm_status status = open_file(folder, "sentence_bert_config.json", path, &document, error);
    const json_t *length = status == CM_OK ? cm_json_get(document, "max_seq_length") : NULL;
    if (length != NULL) {
        double number = json_number_value(length);
        if (!(number >= 3 && number <= CM_POSITIONS_MAX)) {
            status =
                cm_error_set(error, CM_INVALID_DATA, "%s: max_seq_length is %g; expected 3 to %d",
                             path, number, CM_POSITIONS_MAX);
        } else {
            config->tokens_max = (uint32_t)number;
        }
    }
    cm_json_close(document);
    return status;
}

enum cm_status cm_embedding_config_read(const char *folder, struct cm_embedding_config *config,
                                        struct cm_error *error)
{
    *config = (struct cm_embedding_config){ .pooling = CM_POOLING_MEAN };
    enum cm_status status = read_pooling(folder, config, error);
    return status == CM_OK ? read_length(folder, config, error) : status;
}
