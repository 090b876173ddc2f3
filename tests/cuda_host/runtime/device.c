/* What the device claims to be: an H200. */
#include "coh.h"

#include <stdio.h>
#include <string.h>

static const struct {
    enum cudaDeviceAttr attribute;
    int value;
} attributes[] = {
    {cudaDevAttrMaxThreadsPerBlock, COH_MAX_THREADS},
    {cudaDevAttrMaxGridDimX, 2147483647},
    {cudaDevAttrMaxGridDimY, 65535},
    {cudaDevAttrMaxGridDimZ, 65535},
    {cudaDevAttrMaxSharedMemoryPerBlock, COH_STATIC_SHARED},
    {cudaDevAttrWarpSize, COH_WARP},
    {cudaDevAttrMaxRegistersPerBlock, 65536},
    {cudaDevAttrClockRate, 1980000},
    {cudaDevAttrMultiProcessorCount, COH_SMS},
    {cudaDevAttrIntegrated, 0},
    {cudaDevAttrComputeMode, 0},
    {cudaDevAttrConcurrentKernels, 1},
    {cudaDevAttrEccEnabled, 1},
    {cudaDevAttrMemoryClockRate, 3201000},
    {cudaDevAttrGlobalMemoryBusWidth, 6144},
    {cudaDevAttrL2CacheSize, 60 << 20},
    {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
    {cudaDevAttrAsyncEngineCount, 3},
    {cudaDevAttrUnifiedAddressing, 1},
    {cudaDevAttrComputeCapabilityMajor, 9},
    {cudaDevAttrComputeCapabilityMinor, 0},
    {cudaDevAttrStreamPrioritiesSupported, 1},
    {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 228 * 1024},
    {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
    {cudaDevAttrManagedMemory, 0},
    {cudaDevAttrPageableMemoryAccess, 0},
    {cudaDevAttrCanUseHostPointerForRegisteredMem, 1},
    {cudaDevAttrCooperativeLaunch, 0},
    {cudaDevAttrMaxSharedMemoryPerBlockOptin, COH_OPTIN_SHARED},
    {cudaDevAttrMaxBlocksPerMultiprocessor, 32},
    {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
    {cudaDevAttrMemoryPoolsSupported, 0},
};

static bool is_device(int device)
{
    return device >= 0 && device < coh_setting()->devices;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 0;
    COH_CALL(cudaGetDeviceCount);
    *count = coh_setting()->devices;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    COH_CALL(cudaGetDevice);
    *device = coh_current_device();
    return cudaSuccess;
}

cudaError_t cudaInitDevice(int device, unsigned int device_flags, unsigned int flags)
{
    (void)device_flags, (void)flags;
    COH_CALL(cudaInitDevice);
    return coh_say(is_device(device) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaSetDeviceFlags(unsigned int flags)
{
    (void)flags;
    COH_CALL(cudaSetDeviceFlags);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    COH_CALL(cudaDeviceGetAttribute);
    if (!is_device(device)) {
        return coh_say(cudaErrorInvalidDevice);
    }
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if (attributes[i].attribute == attribute) {
            *value = attributes[i].value;
            return cudaSuccess;
        }
    }
    return coh_say(cudaErrorInvalidValue);
}

static void describe(struct cudaDeviceProp *p, int device)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "CUDA on host");
    snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "cuda-on-host-%d", device % 10);
    p->totalGlobalMem = coh_setting()->memory;
    p->sharedMemPerBlock = COH_STATIC_SHARED;
    p->sharedMemPerBlockOptin = COH_OPTIN_SHARED;
    p->sharedMemPerMultiprocessor = 228 * 1024;
    p->reservedSharedMemPerBlock = 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = COH_WARP;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = COH_MAX_THREADS;
    p->maxThreadsDim[2] = 64;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536;
    p->major = 9;
    p->multiProcessorCount = COH_SMS;
    p->canMapHostMemory = p->concurrentKernels = p->ECCEnabled = p->unifiedAddressing = 1;
    p->streamPrioritiesSupported = 1;
    p->pciBusID = device + 1;
    p->asyncEngineCount = 3;
    p->memoryBusWidth = 6144;
    p->l2CacheSize = 60 << 20;
    p->persistingL2CacheMaxSize = 37 << 20;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    COH_CALL(cudaGetDeviceProperties);
    if (!is_device(device)) {
        return coh_say(cudaErrorInvalidDevice);
    }
    describe(properties, device);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int device)
{
    COH_CALL(cudaDeviceGetPCIBusId);
    if (!is_device(device) || size < 13) {
        return coh_say(is_device(device) ? cudaErrorInvalidValue : cudaErrorInvalidDevice);
    }
    snprintf(id, (size_t)size, "0000:%02X:00.0", (unsigned int)(device + 1) & 0xffu);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    COH_CALL(cudaDeviceGetStreamPriorityRange);
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    COH_CALL(cudaRuntimeGetVersion);
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    COH_CALL(cudaDriverGetVersion);
    *version = CUDART_VERSION;
    return cudaSuccess;
}
