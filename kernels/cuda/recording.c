/* Steps as CUDA graphs: the launches of a step are captured from the stream and given to the driver
 * in one piece, which is then run again with one call instead of some hundred. Everything a launch
 * takes from the host is frozen in it; the caller's key stands for that.
 *
 * A back end in a group of devices does not record: an abort would wait for its graphs (see the
 * README). */
#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"

/* Beyond so many, steps run op by op. One holds a node for every launch, some 100 KB in all. */
enum { RECORDINGS_MAX = 256 };

struct cm_cuda_product {
    struct cm_matrix *matrix;
    uint32_t n_rows;
};

static void drop(const struct cm_backend *backend, struct cm_cuda_recording *recording)
{
    if (recording->graph != NULL && !backend->stuck) {
        cudaGraphExecDestroy(recording->graph);
    }
    cm_free(recording->products);
    *recording = (struct cm_cuda_recording){ 0 };
}

bool cm_cuda_backend_replay(struct cm_backend *backend, uint64_t key)
{
    for (uint32_t i = 0; i < backend->recordings_count; i++) {
        const struct cm_cuda_recording *recording = &backend->recordings[i];
        if (recording->key != key) {
            continue;
        }
        if (cm_cuda_begin(backend)) {
            cm_cuda_check(backend, cudaGraphLaunch(recording->graph, backend->stream),
                          "running a recorded step");
            for (uint32_t j = 0; j < recording->products_count; j++) {
                recording->products[j].matrix->rows_count += recording->products[j].n_rows;
            }
        }
        return true;
    }
    return false;
}

bool cm_cuda_backend_record_begin(struct cm_backend *backend, uint64_t key)
{
    CM_ASSERT(!backend->records);
    if (backend->never_again || backend->comm != NULL ||
        backend->recordings_count == RECORDINGS_MAX || !cm_cuda_begin(backend)) {
        return false;
    }
    if (backend->recordings == NULL) {
        backend->recordings = cm_alloc(RECORDINGS_MAX, sizeof *backend->recordings);
    }
    /* Other threads go on with other devices meanwhile. */
    if (backend->recordings == NULL ||
        cudaStreamBeginCapture(backend->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
        cudaGetLastError();
        backend->never_again = true;
        return false;
    }
    backend->recordings[backend->recordings_count] = (struct cm_cuda_recording){ .key = key };
    backend->records = true;
    return true;
}

bool cm_cuda_backend_record_end(struct cm_backend *backend)
{
    CM_ASSERT(backend->records);
    struct cm_cuda_recording *recording = &backend->recordings[backend->recordings_count];
    cudaGraph_t graph = NULL;
    backend->records = false;
    cudaError_t result = cudaStreamEndCapture(backend->stream, &graph);
    if (result == cudaSuccess && backend->failure[0] == '\0') {
        result = cudaGraphInstantiate(&recording->graph, graph, 0);
    }
    if (graph != NULL) {
        cudaGraphDestroy(graph);
    }
    if (recording->graph == NULL) {
        /* What failed was the recording: it goes without, and a device that has failed itself will
         * say so again. */
        cudaGetLastError();
        drop(backend, recording);
        backend->failure[0] = '\0';
        backend->never_again = true;
        return false;
    }
    cm_cuda_check(backend, cudaGraphLaunch(recording->graph, backend->stream),
                  "running a recorded step");
    backend->recordings_count++;
    return true;
}

void cm_cuda_backend_forget(struct cm_backend *backend)
{
    CM_ASSERT(!backend->records);
    if (backend->recordings_count > 0 && !backend->stuck && cm_cuda_begin(backend)) {
        cm_cuda_wait_stream(backend, backend->stream, "running a step");
    }
    for (uint32_t i = 0; i < backend->recordings_count; i++) {
        drop(backend, &backend->recordings[i]);
    }
    backend->recordings_count = 0;
}

void cm_cuda_count_rows(struct cm_matrix *matrix, uint32_t n_rows)
{
    struct cm_backend *backend = matrix->backend;
    matrix->rows_count += n_rows;
    if (!backend->records) {
        return;
    }
    struct cm_cuda_recording *recording = &backend->recordings[backend->recordings_count];
    void *products = recording->products;
    if (cm_grow(&products, &recording->products_capacity, recording->products_count + 1,
                sizeof *recording->products) == CM_OK) {
        recording->products = products;
        recording->products[recording->products_count++] =
            (struct cm_cuda_product){ matrix, n_rows };
    }
}
