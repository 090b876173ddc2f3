/* CUDA C++ for an ordinary C++ compiler: qualifiers, launches, dynamic shared memory, and everything kernels
 * call. Compiled with GMV_CUDA_ON_HOST; see ../README.md. */
#pragma once

#include "cuda_runtime_api.h"

#include <tuple>
#include <type_traits>

#define __host__
#define __device__
#define __global__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__  inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
/* Thread-local, because the thread-local block of a module is one range of memory that can be found and
 * filled before each block; static variables of templates cannot be given a section of their own. */
#define __shared__ static thread_local

#include "coh/launch.h"
#include "coh/thread.h"

#include "coh/atomic.h"
#include "coh/math.h"

namespace coh
{

template <typename... Parameter> struct arguments {
    static_assert((std::is_trivially_copyable_v<Parameter> && ...), "arguments of kernels are copied as bytes");
    using values = std::tuple<std::remove_cv_t<Parameter>...>;

    static void call(coh_function function, const void *at)
    {
        std::apply(reinterpret_cast<void (*)(Parameter...)>(function), *static_cast<const values *>(at));
    }
};

/* The arguments are converted here, as a launch does, and copied into the queue. */
template <typename... Parameter, typename... Argument>
void launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, void (*kernel)(Parameter...),
            Argument &&...argument)
{
    static_assert(sizeof...(Parameter) == sizeof...(Argument), "a kernel takes another number of arguments");
    using list = arguments<Parameter...>;
    typename list::values values{static_cast<std::remove_cv_t<Parameter>>(argument)...};
    coh_kernel which = {reinterpret_cast<coh_function>(kernel), list::call, name};
    coh_launch(&which, grid, block, shared, stream, &values, sizeof values);
}

} // namespace coh

#define GMV_LAUNCH(kernel, grid, block, shared, stream, ...)                                                           \
    coh::launch(#kernel, (grid), (block), (shared), (stream), kernel, ##__VA_ARGS__)
#define GMV_DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(coh_dynamic_shared())
