/* Of the tests of the runtime: checks of calls, and faults that abort, which a child process runs. */
#pragma once

#include "launch.cuh"

#include <cuda_runtime.h>

#include <csetjmp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <cmocka.h>
}

#if defined(__SANITIZE_ADDRESS__)
static const bool with_asan = true;
#else
static const bool with_asan = false;
#endif
#if defined(__SANITIZE_THREAD__)
static const bool with_tsan = true;
#else
static const bool with_tsan = false;
#endif

#define OK(call)           assert_string_equal(cudaGetErrorName(call), "cudaSuccess")
#define FAILS(call, error) assert_string_equal(cudaGetErrorName(call), #error)

struct fault {
    const char *name;
    void (*run)();
};

/* A program with faults calls this first: as a child it runs the fault that its arguments name. */
static inline void run_fault(int argc, char **argv, const fault *faults, size_t n)
{
    for (size_t i = 0; argc == 3 && i < n; i++) {
        if (strcmp(argv[1], "--fault") == 0 && strcmp(argv[2], faults[i].name) == 0) {
            faults[i].run();
            exit(0);
        }
    }
}

struct outcome {
    std::string text; /* stdout and stderr */
    bool failed;
};

/* Runs this program again to commit one fault, with `setting` (NAME=value) in the environment. */
static inline outcome child(const char *fault, const char *setting = nullptr)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        if (setting != nullptr) {
            putenv(const_cast<char *>(setting));
        }
        execl("/proc/self/exe", "/proc/self/exe", "--fault", fault, nullptr);
        _exit(127);
    }
    close(ends[1]);
    outcome result;
    char piece[4096];
    for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) > 0;) {
        result.text.append(piece, static_cast<size_t>(n));
    }
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    result.failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return result;
}

static inline void expect(const outcome &result, const char *text)
{
    if (!result.failed || result.text.find(text) == std::string::npos) {
        fail_msg("%s; expected \"%s\" in:\n%s", result.failed ? "other message" : "not found", text,
                 result.text.c_str());
    }
}

/* n values on the device, from the host or uninitialised. */
template <typename T> T *device(size_t n, const T *from = nullptr)
{
    T *block = nullptr;
    OK(cudaMalloc(&block, n * sizeof(T)));
    if (from != nullptr) {
        OK(cudaMemcpy(block, from, n * sizeof(T), cudaMemcpyHostToDevice));
    }
    return block;
}

template <typename T> void fetch(T *to, const T *from, size_t n)
{
    OK(cudaMemcpy(to, from, n * sizeof(T), cudaMemcpyDeviceToHost));
}

static inline cudaStream_t new_stream()
{
    cudaStream_t stream = nullptr;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}
