/* How many blocks of a kernel a multiprocessor holds, by the toolkit's own rules.
 *
 * Each line of the input is a kernel: architecture, registers of a thread, threads of a block,
 * bytes of static and of dynamic shared memory. Each line of the output is its number of blocks. */
#include <cuda_occupancy.h>

#include <cstdio>
#include <cstring>

/* NVIDIA A100 and H100 by their programming guide's table of compute capabilities. Blocks may ask
 * for more shared memory than the first 48 KiB, as the launchers do. */
static cudaOccDeviceProp properties_of(bool is_hopper)
{
    cudaOccDeviceProp properties;
    properties.computeMajor = is_hopper ? 9 : 8;
    properties.computeMinor = 0;
    properties.maxThreadsPerBlock = 1024;
    properties.maxThreadsPerMultiprocessor = 2048;
    properties.regsPerBlock = 65536;
    properties.regsPerMultiprocessor = 65536;
    properties.warpSize = 32;
    properties.sharedMemPerBlock = 48 << 10;
    properties.sharedMemPerMultiprocessor = (is_hopper ? 228 : 164) << 10;
    properties.sharedMemPerBlockOptin = (is_hopper ? 227 : 163) << 10;
    properties.reservedSharedMemPerBlock = 1 << 10;
    properties.numSms = is_hopper ? 132 : 108;
    return properties;
}

int main()
{
    char architecture[16];
    int registers, threads;
    size_t static_bytes, dynamic_bytes;
    while (scanf("%15s %d %d %zu %zu", architecture, &registers, &threads, &static_bytes,
                 &dynamic_bytes) == 5) {
        cudaOccDeviceProp properties = properties_of(strcmp(architecture, "sm_90") == 0);
        cudaOccFuncAttributes attributes;
        cudaOccDeviceState state;
        cudaOccResult result;
        attributes.maxThreadsPerBlock = threads;
        attributes.numRegs = registers;
        attributes.sharedSizeBytes = static_bytes;
        attributes.partitionedGCConfig = PARTITIONED_GC_OFF;
        attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
        attributes.maxDynamicSharedSizeBytes = properties.sharedMemPerBlockOptin - static_bytes;
        attributes.numBlockBarriers = 1;
        state.cacheConfig = CACHE_PREFER_NONE;
        state.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT;
        cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(
            &result, &properties, &attributes, &state, threads, dynamic_bytes);
        if (error != CUDA_OCC_SUCCESS) {
            fprintf(stderr, "%s, %d threads: error %d\n", architecture, threads, (int)error);
            return 1;
        }
        printf("%d\n", result.activeBlocksPerMultiprocessor);
    }
    return 0;
}
