/* What memory a job will take beyond what is open before it begins, from the rows of its plan:
 * pages of the KV cache at the fullest moment, and the part of the embeddings that its prompts
 * read.
 *
 * The engine works on rows that follow one another, each of which has pages for all it may write;
 * what a row shares with those before it counts once. */
#ifndef CM_JOBS_MEMORY_FORECAST_H
#define CM_JOBS_MEMORY_FORECAST_H

#include "base/status.h"
#include "host/engine.h"

#include <stdint.h>

struct cm_memory_forecast;

/* `texts_per_row`: beams. */
enum cm_status cm_memory_forecast_open(const struct cm_engine_info *model, uint32_t texts_per_row,
                                       struct cm_memory_forecast **forecast) CM_MUST_CHECK;
void cm_memory_forecast_close(struct cm_memory_forecast *forecast); /* NULL is fine */

/* The plan's next row. Of its prompt's tokens the first `shared_tokens` are those of rows before.
 */
void cm_memory_forecast_add(struct cm_memory_forecast *forecast, const int32_t *prompt,
                            size_t prompt_tokens, uint64_t shared_tokens, uint64_t output_tokens);

/* Never more than the engine has reserved. */
uint64_t cm_memory_forecast_kv_bytes(const struct cm_memory_forecast *forecast);

uint64_t cm_memory_forecast_tables_bytes(const struct cm_memory_forecast *forecast);

#endif
