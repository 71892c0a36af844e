// Enough of CUDA C to run its kernels on a CPU, one fibre per thread, for tests.
//
// Threads of a block run in turn up to their next barrier, in one of several orders, so that a missing barrier shows as
// a wrong result in one of them. A barrier that not all threads of the block reach stops the launch with a message, and
// so do arguments whose number or sizes are not those of the kernel.

#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __syncthreads() cuda_on_cpu::barrier(__FILE__, __LINE__)

using std::exp2;
using std::fabs;
using std::min;
using std::pow;
using std::tanh;

struct Three {
    unsigned x = 0, y = 0, z = 0;
};

static Three threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

constexpr std::size_t STACK = 64 * 1024;

struct Fibre {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    const char* file = nullptr;
    int line = 0;
    bool ended = false;
};

static std::vector<Fibre> fibres;
static ucontext_t scheduler;
static void (*body)(void*);
static void* body_arguments;
static unsigned current;
static char message[400];

inline void barrier(const char* file, int line) {
    Fibre& fibre = fibres[current];
    fibre.file = file;
    fibre.line = line;
    swapcontext(&fibre.context, &scheduler);
}

inline void run_fibre() {
    body(body_arguments);
    fibres[current].ended = true;
    swapcontext(&fibres[current].context, &scheduler);
}

// One block; null, or what went wrong. order: 0 first to last, 1 last to first, else a random order for each round.
inline const char* run_block(unsigned threads, unsigned order) {
    if (fibres.size() < threads) fibres.resize(threads);
    for (unsigned t = 0; t < threads; ++t) {
        Fibre& fibre = fibres[t];
        fibre.ended = false;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.get();
        fibre.context.uc_stack.ss_size = STACK;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, run_fibre, 0);
    }
    std::vector<unsigned> turns(threads);
    for (unsigned t = 0; t < threads; ++t) turns[t] = t;
    if (order == 1) std::reverse(turns.begin(), turns.end());
    unsigned random = order;
    while (true) {
        if (order > 1)
            for (unsigned t = threads - 1; t > 0; --t) {
                random = random * 1664525u + 1013904223u;
                std::swap(turns[t], turns[(random >> 8) % (t + 1)]);
            }
        for (unsigned t : turns) {
            current = t;
            threadIdx.x = t;
            swapcontext(&scheduler, &fibres[t].context);
        }
        const Fibre& first = fibres[0];
        for (unsigned t = 1; t < threads; ++t) {
            const Fibre& other = fibres[t];
            const bool apart = !first.ended && (other.line != first.line || std::strcmp(other.file, first.file) != 0);
            if (other.ended != first.ended || apart) {
                std::snprintf(message, sizeof message, "divergent barrier: thread 0 %s %s:%d, thread %u %s %s:%d",
                              first.ended ? "ended after" : "waits at", first.file ? first.file : "-", first.line, t,
                              other.ended ? "ended after" : "waits at", other.file ? other.file : "-", other.line);
                return message;
            }
        }
        if (first.ended) return nullptr;
    }
}

template <class... A, std::size_t... I>
const char* launch(void (*kernel)(A...), const unsigned* grid, unsigned threads, unsigned order, void** arguments,
                   const unsigned* sizes, unsigned count, std::index_sequence<I...>) {
    const std::size_t wanted[] = {sizeof(A)...};
    if (count != sizeof...(A)) {
        std::snprintf(message, sizeof message, "%u arguments for a kernel that takes %zu", count, sizeof...(A));
        return message;
    }
    for (unsigned i = 0; i < count; ++i)
        if (sizes[i] != wanted[i]) {
            std::snprintf(message, sizeof message, "argument %u has %u bytes, the kernel takes %zu", i, sizes[i],
                          wanted[i]);
            return message;
        }
    struct Call {
        void (*kernel)(A...);
        void** arguments;
    } call{kernel, arguments};
    body = [](void* at) {
        const Call& call = *static_cast<Call*>(at);
        call.kernel(*static_cast<A*>(call.arguments[I])...);
    };
    body_arguments = &call;
    gridDim = {grid[0], grid[1], 1};
    blockDim = {threads, 1, 1};
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
            if (const char* error = run_block(threads, order)) return error;
    return nullptr;
}

template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, unsigned threads, unsigned order, void** arguments,
                   const unsigned* sizes, unsigned count) {
    return launch(kernel, grid, threads, order, arguments, sizes, count, std::index_sequence_for<A...>());
}

}  // namespace cuda_on_cpu

// Behind the source of a kernel: makes it callable from outside as launch_<name>.
#define CUDA_ON_CPU_ENTRY(name)                                                                               \
    extern "C" const char* launch_##name(const unsigned* grid, unsigned threads, unsigned order, void** arguments, \
                                         const unsigned* sizes, unsigned count) {                              \
        return cuda_on_cpu::launch(name, grid, threads, order, arguments, sizes, count);                       \
    }
