#include "host/engine.h"

#include "base/log.h"
#include "base/memory.h"
#include "host/cpu_groups.h"
#include "host/device.h"
#include "host/fleet.h"
#include "host/page_plan.h"
#include "host/replica.h"
#include "kernels/comm.h"
#include "loaders/model_file.h"

#include <stdio.h>
#include <string.h>

struct cm_engine {
    struct cm_model_file *file;
    struct cm_tokenizer *tokenizer;
    struct cm_replica *replica; /* the only one, or the first of the fleet's */
    struct cm_fleet *fleet;     /* NULL: one replica, run by the caller's thread */
    struct cm_engine_info info; /* of all replicas together */
    uint32_t absent_devices;    /* of replicas that could not be opened */
    bool failed;                /* the only replica has, with all its devices */
};

/* --- Opening and closing --- */

static uint32_t ranks_count(const struct cm_engine_options *options)
{
    return options->tp > 1 ? options->tp : 1;
}

/* The devices of all replicas, those of one together. Of the CPU there can be several, which share
 * its threads. */
static enum cm_status choose_devices(const struct cm_engine_options *options,
                                     struct cm_device_list *list, struct cm_error *error)
{
    enum cm_status status = cm_device_list_parse(options->device, list, error);
    if (status != CM_OK) {
        return status;
    }
    if (options->batch > CM_ENGINE_BATCH_MAX) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "a batch of %u is over the maximum of %d",
                            options->batch, CM_ENGINE_BATCH_MAX);
    }
    uint32_t replicas = options->replicas > 1 ? options->replicas : 1;
    uint32_t ranks = ranks_count(options);
    bool is_cpu = list->count == 1 && list->devices[0].kind == CM_DEVICE_CPU;
    if (ranks > CM_COMM_RANKS_MAX || replicas > CM_DEVICES_MAX / ranks) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%u times %u devices: at most %d, and %d for one copy of the model",
                            replicas, ranks, CM_DEVICES_MAX, CM_COMM_RANKS_MAX);
    }
    if (replicas > 1 && !is_cpu) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%u replicas: only the CPU holds more than one", replicas);
    }
    for (; is_cpu && list->count < replicas * ranks; list->count++) {
        list->devices[list->count] = list->devices[0];
    }
    if (list->count % ranks != 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--tp %u: the %u device%s cannot be put into groups of %u; name a "
                            "multiple of it with --device, as in cuda:0,1",
                            ranks, list->count, list->count == 1 ? "" : "s", ranks);
    }
    return CM_OK;
}

_Static_assert(CM_CPU_GROUPS_MAX <= (int)CM_DEVICES_MAX, "a group is a device");

/* Threads of the CPU are put into groups where the caller does not ask for something else. */
static bool is_grouped(const struct cm_engine_options *options, const struct cm_device_list *list)
{
    return list->devices[0].kind == CM_DEVICE_CPU && ranks_count(options) == 1 &&
           options->replicas == 0;
}

static enum cm_status choose_groups(const struct cm_engine *engine,
                                    const struct cm_engine_options *options,
                                    struct cm_device_list *list, struct cm_cpu_groups *groups,
                                    struct cm_error *error)
{
    uint32_t node_threads[CM_CPU_GROUPS_MAX];
    struct cm_cpu_groups_options plan = {
        .node_threads = node_threads,
        .nodes_count = cm_cpu_nodes(options->threads),
        .batch = options->batch,
        .texts_max = options->texts_max,
    };
    enum cm_status status = cm_page_plan_texts_fit(engine->file, options, &plan.texts_fit, error);
    if (status != CM_OK) {
        return status;
    }
    if (plan.nodes_count > CM_CPU_GROUPS_MAX) {
        plan.nodes_count = CM_CPU_GROUPS_MAX;
    }
    for (uint32_t i = 0; i < plan.nodes_count; i++) {
        uint32_t own = (options->threads + plan.nodes_count - 1 - i) / plan.nodes_count;
        uint32_t node = plan.nodes_count == 1 ? 0 : i + 1;
        node_threads[i] = options->threads > 0 ? own : cm_cpu_threads(node);
    }
    cm_cpu_groups_plan(&plan, groups);
    for (list->count = 0; list->count < groups->count; list->count++) {
        const struct cm_cpu_group *group = &groups->groups[list->count];
        list->devices[list->count] = (struct cm_device_choice){
            .kind = CM_DEVICE_CPU,
            .index = group->node,
            .cpu_share = group->share,
            .cpu_shares = group->shares,
        };
    }
    return CM_OK;
}

static void add_info(struct cm_engine_info *info, const struct cm_engine_info *one)
{
    info->devices += info->in_host_memory ? 0 : one->devices;
    info->replicas++;
    info->threads += one->threads;
    info->batch += one->batch;
    info->prefill_rows += one->prefill_rows;
    info->weights_bytes += one->weights_bytes;
    info->tables_bytes += info->in_host_memory ? 0 : one->tables_bytes; /* the file's: once */
    info->kv_bytes += one->kv_bytes;
    info->kv_pages_count += one->kv_pages_count;
}

/* A CUDA device that fails or has no memory left is put aside where there are others, at the start
 * as later. */
static bool put_aside(struct cm_engine *engine, const struct cm_device_choice *devices,
                      uint32_t count, const struct cm_error *error)
{
    char names[8 * CM_COMM_RANKS_MAX] = "";
    size_t length = 0;
    if (devices[0].kind != CM_DEVICE_CUDA ||
        (error->status != CM_DEVICE_FAILED && error->status != CM_OUT_OF_MEMORY)) {
        return false;
    }
    for (uint32_t i = 0; i < count && length < sizeof names; i++) {
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%u", i == 0 ? "" : ",",
                                   devices[i].index);
    }
    cm_log(CM_LOG_WARNING, "cuda:%s put aside: %s", names, error->message);
    engine->absent_devices += count;
    return true;
}

/* What of the machine is one replica's where the CPU has several. */
static struct cm_engine_options options_of(const struct cm_engine_options *options,
                                           const struct cm_device_list *list,
                                           const struct cm_cpu_groups *groups, uint32_t index)
{
    struct cm_engine_options each = *options;
    uint32_t replicas_count = list->count / ranks_count(options);
    if (list->devices[0].kind == CM_DEVICE_CPU && list->count > 1) {
        uint32_t threads = options->threads / replicas_count;
        each.threads = threads > 0 ? threads : 1;
        each.memory_bytes = options->memory_bytes / list->count;
    }
    if (groups->count > 0) {
        each.threads = groups->groups[index].threads;
        each.batch = groups->groups[index].batch;
    }
    return each;
}

/* The first replica whose weights are in the memory that another of the CPU works from. */
static const struct cm_replica *find_owner(const struct cm_engine_options *options,
                                           const struct cm_device_list *list,
                                           struct cm_replica *const *replicas, uint32_t index)
{
    bool is_cpu = list->devices[index].kind == CM_DEVICE_CPU && ranks_count(options) == 1;
    for (uint32_t i = 0; i < index && is_cpu; i++) {
        if (list->devices[i].index == list->devices[index].index) {
            return replicas[i];
        }
    }
    return NULL;
}

/* Opens a replica for each group of devices; `*opened_count` are open also on failure. */
static enum cm_status
open_replicas(struct cm_engine *engine, const struct cm_engine_options *options,
              const struct cm_device_list *list, const struct cm_cpu_groups *groups,
              struct cm_replica **replicas, uint32_t *opened_count, struct cm_error *error)
{
    uint32_t ranks = ranks_count(options);
    uint32_t replicas_count = list->count / ranks;
    for (uint32_t i = 0; i < replicas_count; i++) {
        const struct cm_device_choice *devices = &list->devices[(size_t)i * ranks];
        const struct cm_engine_options each = options_of(options, list, groups, i);
        bool has_others = *opened_count > 0 || i + 1 < replicas_count;
        struct cm_engine_info info;
        struct cm_error reason = { 0 };
        enum cm_status status = cm_replica_open(engine->file, engine->tokenizer, devices,
                                                find_owner(options, list, replicas, i), &each,
                                                &replicas[*opened_count], &reason);
        if (status != CM_OK && has_others && put_aside(engine, devices, ranks, &reason)) {
            continue;
        }
        if (status != CM_OK) {
            return cm_error_set(error, status, "%s", reason.message);
        }
        cm_replica_info(replicas[(*opened_count)++], &info);
        if (*opened_count == 1) {
            engine->info = info;
            continue;
        }
        if (strcmp(info.variant, engine->info.variant) != 0) {
            return cm_error_set(error, CM_UNSUPPORTED,
                                "devices of two kinds, %s and %s, round differently and would not "
                                "write the same texts: name devices of one kind with --device",
                                engine->info.variant, info.variant);
        }
        add_info(&engine->info, &info);
    }
    engine->info.devices += engine->absent_devices;
    return CM_OK;
}

static enum cm_status open_devices(struct cm_engine *engine,
                                   const struct cm_engine_options *options,
                                   struct cm_device_list *list, struct cm_error *error)
{
    struct cm_replica *replicas[CM_DEVICES_MAX] = { 0 };
    struct cm_cpu_groups groups = { .count = 0 };
    uint32_t opened_count = 0;
    enum cm_status status =
        is_grouped(options, list) ? choose_groups(engine, options, list, &groups, error) : CM_OK;
    if (status == CM_OK) {
        status = open_replicas(engine, options, list, &groups, replicas, &opened_count, error);
    }
    if (status != CM_OK) {
        while (opened_count > 0) {
            cm_replica_close(replicas[--opened_count]);
        }
        return status;
    }
    engine->replica = replicas[0];
    if (opened_count > 1) {
        status = cm_fleet_open(replicas, opened_count, &engine->fleet, error);
        if (status != CM_OK) {
            engine->replica = NULL; /* closed by the fleet */
        }
    }
    return status;
}

enum cm_status cm_engine_open(const struct cm_engine_options *options, struct cm_engine **engine,
                              struct cm_error *error)
{
    struct cm_device_list list;
    enum cm_status status = choose_devices(options, &list, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_engine *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    status = cm_model_file_open(options->model_path, &opened->file, error);
    if (status == CM_OK) {
        status =
            cm_tokenizer_open(cm_model_file_tokenizer(opened->file), &opened->tokenizer, error);
    }
    if (status == CM_OK) {
        status = open_devices(opened, options, &list, error);
    }
    if (status != CM_OK) {
        cm_engine_close(opened);
        return status;
    }
    *engine = opened;
    return CM_OK;
}

void cm_engine_close(struct cm_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    if (engine->fleet != NULL) {
        cm_fleet_close(engine->fleet);
    } else {
        cm_replica_close(engine->replica);
    }
    cm_tokenizer_close(engine->tokenizer);
    cm_model_file_close(engine->file);
    cm_free(engine);
}

void cm_engine_info(const struct cm_engine *engine, struct cm_engine_info *info)
{
    *info = engine->info;
}

const struct cm_tokenizer *cm_engine_tokenizer(const struct cm_engine *engine)
{
    return engine->tokenizer;
}

enum cm_status cm_engine_model_digest(const struct cm_engine *engine, char hex[65],
                                      struct cm_error *error)
{
    return cm_model_file_digest(engine->file, hex, error);
}

/* --- Requests --- */

enum cm_status cm_engine_submit(struct cm_engine *engine, const struct cm_request *request,
                                struct cm_error *error)
{
    return engine->fleet != NULL ? cm_fleet_submit(engine->fleet, request, error)
                                 : cm_replica_submit(engine->replica, request, error);
}

enum cm_status cm_engine_step(struct cm_engine *engine, struct cm_error *error)
{
    if (engine->fleet != NULL) {
        return cm_fleet_step(engine->fleet, error);
    }
    enum cm_status status = cm_replica_step(engine->replica, error);
    engine->failed = engine->failed || status == CM_DEVICE_FAILED;
    return status;
}

enum cm_status cm_engine_finished(struct cm_engine *engine, struct cm_result *result)
{
    return engine->fleet != NULL ? cm_fleet_finished(engine->fleet, result)
                                 : cm_replica_finished(engine->replica, result);
}

enum cm_status cm_engine_beam(struct cm_engine *engine, uint64_t id, uint32_t index,
                              struct cm_beam *beam)
{
    return engine->fleet != NULL ? cm_fleet_beam(engine->fleet, id, index, beam)
                                 : cm_replica_beam(engine->replica, id, index, beam);
}

void cm_engine_release(struct cm_engine *engine, uint64_t id)
{
    if (engine->fleet != NULL) {
        cm_fleet_release(engine->fleet, id);
    } else {
        cm_replica_release(engine->replica, id);
    }
}

enum cm_status cm_engine_retry(struct cm_engine *engine, uint64_t id, const struct cm_retry *retry,
                               struct cm_error *error)
{
    return engine->fleet != NULL ? cm_fleet_retry(engine->fleet, id, retry, error)
                                 : cm_replica_retry(engine->replica, id, retry, error);
}

/* --- Figures --- */

void cm_engine_counters(const struct cm_engine *engine, struct cm_engine_counters *counters)
{
    if (engine->fleet != NULL) {
        cm_fleet_counters(engine->fleet, counters);
    } else {
        cm_replica_counters(engine->replica, counters);
        counters->devices_lost = engine->failed ? engine->info.devices - engine->absent_devices : 0;
    }
    counters->devices_lost += engine->absent_devices;
}

void cm_engine_measure_limits(struct cm_engine *engine, bool bandwidth,
                              struct cm_engine_limits *limits)
{
    double devices = engine->info.devices - engine->absent_devices;
    cm_replica_measure_limits(engine->replica, engine->info.threads, bandwidth, limits);
    if (devices > 1) {
        limits->int8_gops *= devices;
        limits->bf16_gflops *= devices;
        limits->fp32_gflops *= devices;
        limits->fp8_gflops *= devices;
        limits->bandwidth_gbs *= devices;
    }
}

enum cm_status cm_engine_logits(struct cm_engine *engine, const int32_t *tokens,
                                uint32_t tokens_count, uint32_t chunk_tokens,
                                uint32_t shared_tokens, float *logits, struct cm_error *error)
{
    return cm_replica_logits(engine->replica, tokens, tokens_count, chunk_tokens, shared_tokens,
                             logits, error);
}
