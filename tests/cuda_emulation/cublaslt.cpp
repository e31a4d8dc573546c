/* A stand-in for libcublasLt: D = epilogue(alpha op(A) op(B) + beta C), column-major.
 *
 * An element's sum does not depend on how many columns there are, as long as the caller stays with
 * one algorithm. It is as unhelpful as the real library to callers who do not: the order of the
 * sums changes with the number of columns where the algorithm is asked for anew or left to the
 * library, algorithms that split the sum come first unless they are ruled out, and the workspace is
 * overwritten.
 */
#include "machine.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

using namespace emu;

namespace
{

/* Attributes by their number, as the caller has set them. */
struct Attributes {
    std::map<int, uint64_t> values;

    cublasStatus_t set(int attribute, const void *from, size_t bytes)
    {
        if (bytes > sizeof(uint64_t)) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        uint64_t value = 0;
        memcpy(&value, from, bytes);
        values[attribute] = value;
        return CUBLAS_STATUS_SUCCESS;
    }
    uint64_t get(int attribute, uint64_t otherwise = 0) const
    {
        auto found = values.find(attribute);
        return found == values.end() ? otherwise : found->second;
    }
    template <class T> const T *pointer(int attribute) const
    {
        return reinterpret_cast<const T *>(get(attribute));
    }
};

struct Layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t stride;
    Attributes others;
};

struct Product {
    cublasComputeType_t compute;
    cudaDataType scale;
    Attributes attributes;
};

/* The order of a sum over k: in `splits` ranges one after the other, each in `lanes` partial sums
 * that take turns. */
struct Order {
    unsigned splits, lanes;
    unsigned tile; /* changes nothing */
};

struct Matmul {
    Product product;
    Layout a, b, c, d;
    const void *a_data, *b_data, *c_data;
    void *d_data;
    float alpha, beta;
    Order order;
};

template <class T, class Handle> T &as(Handle handle)
{
    return *reinterpret_cast<T *>(handle);
}

/* --- Elements --- */

size_t bytes_of(cudaDataType type)
{
    switch (type) {
    case CUDA_R_32F:
    case CUDA_R_32I:
        return 4;
    case CUDA_R_16BF:
    case CUDA_R_16F:
        return 2;
    case CUDA_R_8F_E4M3:
    case CUDA_R_8I:
        return 1;
    default:
        return 0;
    }
}

float load(const void *data, size_t index, cudaDataType type)
{
    switch (type) {
    case CUDA_R_32F:
        return static_cast<const float *>(data)[index];
    case CUDA_R_32I:
        return (float)static_cast<const int32_t *>(data)[index];
    case CUDA_R_16BF:
        return __bfloat162float(static_cast<const __nv_bfloat16 *>(data)[index]);
    case CUDA_R_16F:
        return __half2float(static_cast<const __half *>(data)[index]);
    case CUDA_R_8F_E4M3:
        return (float)static_cast<const __nv_fp8_e4m3 *>(data)[index];
    default:
        return (float)static_cast<const int8_t *>(data)[index];
    }
}

void store(void *data, size_t index, cudaDataType type, float value)
{
    switch (type) {
    case CUDA_R_32F:
        static_cast<float *>(data)[index] = value;
        break;
    case CUDA_R_32I:
        static_cast<int32_t *>(data)[index] = (int32_t)value;
        break;
    case CUDA_R_16BF:
        static_cast<__nv_bfloat16 *>(data)[index] = __float2bfloat16(value);
        break;
    case CUDA_R_16F:
        static_cast<__half *>(data)[index] = __float2half(value);
        break;
    case CUDA_R_8F_E4M3:
        static_cast<__nv_fp8_e4m3 *>(data)[index] = __nv_fp8_e4m3(value);
        break;
    default:
        static_cast<int8_t *>(data)[index] = (int8_t)value;
    }
}

/* --- The product --- */

bool transposes(const Product &product, int attribute)
{
    return product.attributes.get(attribute, CUBLAS_OP_N) == CUBLAS_OP_T;
}

/* [k][columns] of op(B), so that the inner loop runs over columns. */
std::vector<float> unpack_b(const Matmul &matmul, uint64_t depth, uint64_t columns)
{
    bool transposed = transposes(matmul.product, CUBLASLT_MATMUL_DESC_TRANSB);
    std::vector<float> b(depth * columns);
    for (uint64_t j = 0; j < columns; j++) {
        for (uint64_t k = 0; k < depth; k++) {
            uint64_t at =
                transposed ? k * (uint64_t)matmul.b.stride + j : j * (uint64_t)matmul.b.stride + k;
            b[k * columns + j] = load(matmul.b_data, at, matmul.b.type);
        }
    }
    return b;
}

/* sums[j] = sum over k of a[k] b[k][j]. Integers up to 2^24 are exact in float. */
void add_up(const std::vector<float> &a, const std::vector<float> &b, Order order,
            std::vector<float> &sums)
{
    size_t columns = sums.size(), depth = a.size();
    std::vector<float> partial(columns * order.lanes);
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (unsigned split = 0; split < order.splits; split++) {
        size_t begin = depth * split / order.splits, end = depth * (split + 1) / order.splits;
        std::fill(partial.begin(), partial.end(), 0.0f);
        for (size_t k = begin; k < end; k++) {
            float *to = &partial[k % order.lanes * columns];
            const float *from = &b[k * columns];
            for (size_t j = 0; j < columns; j++) {
                to[j] += a[k] * from[j];
            }
        }
        for (size_t i = 0; i < partial.size(); i++) {
            sums[i % columns] += partial[i];
        }
    }
}

float gelu(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

/* The factor of a row of A or a column of B: one for all, or one each. */
float scale_of(const Attributes &attributes, int pointer, int mode, uint64_t index)
{
    const float *scale = attributes.pointer<float>(pointer);
    bool one_each = attributes.get(mode) == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    return scale ? scale[one_each ? index : 0] : 1.0f;
}

void finish_row(const Matmul &matmul, uint64_t row, const std::vector<float> &sums)
{
    const Attributes &set = matmul.product.attributes;
    uint64_t epilogue = set.get(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
    const void *bias = set.pointer<void>(CUBLASLT_MATMUL_DESC_BIAS_POINTER);
    auto bias_type =
        (cudaDataType)set.get(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, (uint64_t)matmul.d.type);
    float a_scale =
        scale_of(set, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, row);
    for (uint64_t j = 0; j < sums.size(); j++) {
        float value = matmul.alpha * a_scale * sums[j] *
                      scale_of(set, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
                               CUBLASLT_MATMUL_DESC_B_SCALE_MODE, j);
        if (matmul.beta != 0) {
            value += matmul.beta *
                     load(matmul.c_data, j * (uint64_t)matmul.c.stride + row, matmul.c.type);
        }
        if (epilogue & CUBLASLT_EPILOGUE_BIAS) {
            value += load(bias, row, bias_type);
        }
        if (epilogue & CUBLASLT_EPILOGUE_GELU) {
            value = gelu(value);
        }
        value *= scale_of(set, CUBLASLT_MATMUL_DESC_D_SCALE_POINTER, -1, 0);
        store(matmul.d_data, j * (uint64_t)matmul.d.stride + row, matmul.d.type, value);
    }
}

void run(const Matmul &matmul)
{
    bool transposed = transposes(matmul.product, CUBLASLT_MATMUL_DESC_TRANSA);
    uint64_t depth = transposed ? matmul.a.rows : matmul.a.columns;
    std::vector<float> b = unpack_b(matmul, depth, matmul.d.columns), a(depth),
                       sums(matmul.d.columns);
    for (uint64_t row = 0; row < matmul.d.rows; row++) {
        for (uint64_t k = 0; k < depth; k++) {
            uint64_t at = transposed ? row * (uint64_t)matmul.a.stride + k
                                     : k * (uint64_t)matmul.a.stride + row;
            a[k] = load(matmul.a_data, at, matmul.a.type);
        }
        add_up(a, b, matmul.order, sums);
        finish_row(matmul, row, sums);
    }
}

/* --- What the real library would take --- */

bool is_supported(const Product &product, const Layout &a, const Layout &b, const Layout &d)
{
    bool ta = transposes(product, CUBLASLT_MATMUL_DESC_TRANSA);
    bool tb = transposes(product, CUBLASLT_MATMUL_DESC_TRANSB);
    uint64_t m = ta ? a.columns : a.rows, k = ta ? a.rows : a.columns;
    uint64_t k_of_b = tb ? b.columns : b.rows, n = tb ? b.rows : b.columns;
    bool is_shape = m == d.rows && n == d.columns && k == k_of_b && m && n && k &&
                    a.stride >= (int64_t)a.rows && b.stride >= (int64_t)b.rows &&
                    d.stride >= (int64_t)d.rows;
    for (const Layout *layout : { &a, &b, &d }) {
        is_shape = is_shape && bytes_of(layout->type) &&
                   layout->others.get(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 1) == 1 &&
                   layout->others.get(CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_COL) ==
                       CUBLASLT_ORDER_COL;
    }
    if (!is_shape || a.type != b.type) {
        return false;
    }
    switch (a.type) {
    case CUDA_R_8F_E4M3: /* TN only, and whole 16-byte groups */
        return machine.settings.capability >= 89 && ta && !tb && m % 16 == 0 && k % 16 == 0 &&
               a.stride % 16 == 0 && b.stride % 16 == 0 && d.type != CUDA_R_32I &&
               product.compute == CUBLAS_COMPUTE_32F;
    case CUDA_R_8I:
        return ta && !tb && m % 4 == 0 && k % 4 == 0 && product.compute == CUBLAS_COMPUTE_32I &&
               (d.type == CUDA_R_32I || d.type == CUDA_R_8I);
    case CUDA_R_32F:
        return d.type == CUDA_R_32F && product.compute != CUBLAS_COMPUTE_32I;
    case CUDA_R_16BF:
    case CUDA_R_16F:
        return (d.type == a.type || d.type == CUDA_R_32F) && product.compute == CUBLAS_COMPUTE_32F;
    default:
        return false;
    }
}

const size_t workspace_used_bytes = 1024;

/* What the library would choose for so many columns. */
Order order_for(uint64_t columns, bool may_split)
{
    Order order = { 1, columns <= 8 ? 1u : columns <= 64 ? 2u : 4u, 0 };
    if (may_split && columns <= 64) {
        order.splits = 3;
    }
    return order;
}

/* --- Algorithms: the order of the sum, behind a mark --- */

const uint64_t algorithm_mark = 0x656d756c61746564;

void write_algorithm(cublasLtMatmulAlgo_t *algorithm, Order order)
{
    memset(algorithm, 0, sizeof *algorithm);
    algorithm->data[0] = algorithm_mark;
    algorithm->data[1] = order.splits;
    algorithm->data[2] = order.lanes;
    algorithm->data[3] = order.tile;
}

bool read_algorithm(const cublasLtMatmulAlgo_t *algorithm, Order *order)
{
    *order = { (unsigned)algorithm->data[1], (unsigned)algorithm->data[2],
               (unsigned)algorithm->data[3] };
    return algorithm->data[0] == algorithm_mark && order->splits && order->lanes;
}

} // namespace

extern "C" {

/* --- Handles, descriptions --- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    Call call;
    *handle = nullptr;
    if (device_now().sticky) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    *handle = reinterpret_cast<cublasLtHandle_t>(new int(current_device));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete reinterpret_cast<int *>(handle);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    default:
        return "CUBLAS_STATUS (emulated)";
    }
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *description,
                                        cublasComputeType_t compute, cudaDataType_t scale)
{
    *description = reinterpret_cast<cublasLtMatmulDesc_t>(new Product{ compute, scale, {} });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description)
{
    delete &as<Product>(description);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *from, size_t bytes)
{
    return as<Product>(description).attributes.set(attribute, from, bytes);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t stride)
{
    *layout =
        reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{ type, rows, columns, stride, {} });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    delete &as<Layout>(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *from, size_t bytes)
{
    Layout &layout = as<Layout>(handle);
    cublasStatus_t status = layout.others.set(attribute, from, bytes);
    layout.rows = layout.others.get(CUBLASLT_MATRIX_LAYOUT_ROWS, layout.rows);
    layout.columns = layout.others.get(CUBLASLT_MATRIX_LAYOUT_COLS, layout.columns);
    layout.stride = (int64_t)layout.others.get(CUBLASLT_MATRIX_LAYOUT_LD, (uint64_t)layout.stride);
    return status;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Attributes());
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete &as<Attributes>(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *from, size_t bytes)
{
    return as<Attributes>(preference).set(attribute, from, bytes);
}

/* --- Algorithms --- */

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    Order order;
    result->workspaceSize = workspace_used_bytes;
    return read_algorithm(algorithm, &order) &&
                   is_supported(as<Product>(description), as<Layout>(a), as<Layout>(b),
                                as<Layout>(d))
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference,
                                              int wanted_count,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *found_count)
{
    Call call;
    const Attributes &wishes = as<Attributes>(preference);
    bool may_split = wishes.get(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                CUBLASLT_REDUCTION_SCHEME_MASK) != CUBLASLT_REDUCTION_SCHEME_NONE;
    bool has_workspace =
        wishes.get(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) >= workspace_used_bytes;
    uint64_t columns = as<Layout>(d).columns;
    *found_count = 0;
    if (!is_supported(as<Product>(description), as<Layout>(a), as<Layout>(b), as<Layout>(d))) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const Order orders[] = { order_for(columns, may_split && has_workspace),
                             order_for(columns, false),
                             { 1, 8, 0 },
                             { 1, 4, 1 } }; /* adds as the one for many columns does */
    for (const Order &order : orders) {
        if (*found_count < wanted_count) {
            cublasLtMatmulHeuristicResult_t &result = results[(*found_count)++];
            write_algorithm(&result.algo, order);
            result.workspaceSize = has_workspace ? workspace_used_bytes : 0;
            result.state = CUBLAS_STATUS_SUCCESS;
            result.wavesCount = 1;
        }
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *to, size_t bytes, size_t *written)
{
    Order order;
    if (!read_algorithm(algorithm, &order) || bytes < sizeof(int32_t)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    int32_t value = 0;
    if (attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM) {
        value = (int32_t)order.splits;
    } else if (attribute == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) {
        value = order.splits > 1 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
                                 : CUBLASLT_REDUCTION_SCHEME_NONE;
    }
    memcpy(to, &value, sizeof value);
    if (written) {
        *written = sizeof value;
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* --- Running --- */

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t workspace_bytes, cudaStream_t handle)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (device_now().sticky) {
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }
    Matmul matmul = { as<Product>(description),
                      as<Layout>(a_layout),
                      as<Layout>(b_layout),
                      as<Layout>(c_layout),
                      as<Layout>(d_layout),
                      a,
                      b,
                      c,
                      d,
                      0,
                      0,
                      {} };
    if (!stream || !is_supported(matmul.product, matmul.a, matmul.b, matmul.d)) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    matmul.alpha = load(alpha, 0, matmul.product.scale);
    matmul.beta = load(beta, 0, matmul.product.scale);
    size_t used_bytes =
        workspace_bytes < workspace_used_bytes ? workspace_bytes : workspace_used_bytes;
    matmul.order = order_for(matmul.d.columns, used_bytes > 0);
    if (algorithm && !read_algorithm(algorithm, &matmul.order)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    cudaError_t error = submit(call, *stream, simple_work([=] {
                                   if (used_bytes) {
                                       memset(workspace, 0xff, used_bytes);
                                   }
                                   run(matmul);
                               }));
    return error ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}
}
