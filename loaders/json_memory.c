#include "loaders/json_memory.h"

#include "base/memory.h"

#include <jansson.h>
#include <pthread.h>

static _Thread_local bool allocation_failed;

static void *allocate(size_t bytes)
{
    void *block = cm_alloc(bytes, 1);
    allocation_failed = allocation_failed || block == NULL;
    return block;
}

static void use_own_allocator(void)
{
    json_set_alloc_funcs(allocate, cm_free);
}

void cm_json_memory_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_own_allocator);
    allocation_failed = false;
}

bool cm_json_memory_failed(void)
{
    return allocation_failed;
}
