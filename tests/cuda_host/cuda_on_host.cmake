# Builds CUDA sources for the CPU. Include this where the targets are made; see README.md.
#
#   add_cuda_on_host_library(TARGET SOURCES...)     a shared library, with the runtime in it
#   target_cuda_on_host_sources(TARGET SOURCES...)  adds the same to any target
#
# SOURCES: .cu files, compiled as C++, and .c files that call CUDA's libraries.
include_guard(DIRECTORY)
enable_language(CXX)
set(CUDA_ON_HOST_DIR ${CMAKE_CURRENT_LIST_DIR})
find_path(CUDA_ON_HOST_TOOLKIT_INCLUDE curand_philox4x32_x.h HINTS ENV CUDA_HOME ENV CUDA_PATH
          PATHS /usr/local/cuda/include PATH_SUFFIXES include NO_CMAKE_SYSTEM_PATH)

# What CUDA sources and the runtime are both compiled with. A CUDA header of the same name, if the machine has
# one, comes later in the search.
if(NOT TARGET cuda_on_host_options)
  add_library(cuda_on_host_options INTERFACE)
  target_include_directories(cuda_on_host_options BEFORE INTERFACE ${CUDA_ON_HOST_DIR}/include)
  target_include_directories(cuda_on_host_options INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/kernels/cuda)
  target_compile_definitions(cuda_on_host_options INTERFACE GMV_CUDA_ON_HOST=1 GMVAE_VERSION="${PROJECT_VERSION}"
                             OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)
  target_compile_options(cuda_on_host_options INTERFACE -fvisibility=hidden -Wall -Wextra -Wconversion
                         $<$<BOOL:${GMVAE_WERROR}>:-Werror> -fno-math-errno -g)
  set(curand ${CUDA_ON_HOST_TOOLKIT_INCLUDE}/curand_philox4x32_x.h)
  if(EXISTS ${curand})
    target_compile_definitions(cuda_on_host_options INTERFACE COH_CURAND_PHILOX="${curand}")
    target_include_directories(cuda_on_host_options SYSTEM INTERFACE ${CUDA_ON_HOST_DIR}/include/coh/toolkit)
  endif()
  add_library(cuda_on_host_sanitized INTERFACE)
  target_link_libraries(cuda_on_host_sanitized INTERFACE cuda_on_host_options)
  if(GMVAE_SANITIZE)
    target_compile_options(cuda_on_host_sanitized INTERFACE -fsanitize=${GMVAE_SANITIZE} -fno-omit-frame-pointer
                           -fno-sanitize-recover=all)
    target_link_options(cuda_on_host_sanitized INTERFACE -fsanitize=${GMVAE_SANITIZE})
  endif()
endif()

# The runtime, linked into every module that has CUDA sources.
if(NOT TARGET cuda_on_host_runtime)
  file(GLOB runtime CONFIGURE_DEPENDS ${CUDA_ON_HOST_DIR}/runtime/*.c)
  add_library(cuda_on_host_runtime OBJECT ${runtime})
  target_compile_definitions(cuda_on_host_runtime PRIVATE _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
  target_compile_options(cuda_on_host_runtime PRIVATE -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpedantic)
  target_link_libraries(cuda_on_host_runtime PRIVATE MPI::MPI_C PkgConfig::BLAS)
  if(GMVAE_SANITIZE MATCHES "thread")
    # annotated by hand: one stack of the host carries work of many contexts
    target_compile_definitions(cuda_on_host_runtime PRIVATE COH_TSAN=1)
    target_link_libraries(cuda_on_host_runtime PRIVATE cuda_on_host_options)
  else()
    target_link_libraries(cuda_on_host_runtime PRIVATE cuda_on_host_sanitized)
  endif()
  if(GMVAE_SANITIZE MATCHES "address")
    target_compile_definitions(cuda_on_host_runtime PRIVATE COH_ASAN=1)
  endif()
endif()

# Each .cu file is included by a generated .cpp file: the same file can be a CUDA source of another target, and
# compilers do not know its ending.
function(target_cuda_on_host_sources target)
  foreach(source IN LISTS ARGN)
    get_filename_component(source ${source} ABSOLUTE)
    if(source MATCHES "\\.cu$")
      get_filename_component(name ${source} NAME_WE)
      set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${target}.cuda_on_host/${name}.cpp)
      file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${source}\"\n")
      set_property(SOURCE ${wrapper} APPEND PROPERTY OBJECT_DEPENDS ${source})
      set(source ${wrapper})
    endif()
    target_sources(${target} PRIVATE ${source})
  endforeach()
  target_compile_features(${target} PRIVATE cxx_std_17)
  target_compile_definitions(${target} PRIVATE $<$<COMPILE_LANGUAGE:C>:_POSIX_C_SOURCE=200809L>)
  # Kernels read vectors from arrays of scalars, which device compilers allow.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-strict-aliasing>)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:cuda_on_host_runtime>)
  target_link_libraries(${target} PRIVATE cuda_on_host_sanitized MPI::MPI_C PkgConfig::BLAS Threads::Threads m
                        ${CMAKE_DL_LIBS})
endfunction()

function(add_cuda_on_host_library target)
  add_library(${target} SHARED)
  target_cuda_on_host_sources(${target} ${ARGN})
endfunction()
