// What the text of kernels needs to run on a CPU: the threads of a block are fibers, blocks run one after the other.
// A barrier that not all threads reach is reported; so is a missing one, by another result in one of the two orders in which
// threads are run. Kernels without barriers need no fibers.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __forceinline__ inline

const int MOST_THREADS = 1024;
const size_t STACK = 128 << 10;
struct Index { unsigned x; };
static Index threadIdx, blockIdx, gridDim, blockDim;
static int threads;
static bool done[MOST_THREADS];
static unsigned progress;
alignas(64) static unsigned char shared[228 << 10];

#if defined(__x86_64__) && defined(__ELF__)
// The registers that a call keeps are on the stack of a fiber that waits.
static void* scheduler;
static void* fibers[MOST_THREADS];
extern "C" void switch_fiber(void** from, void* to);
asm(".text\n"
    ".type switch_fiber, @function\n"
    "switch_fiber:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\n"
    "movq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\n"
    "ret\n");
static void start_fiber(int t, unsigned char* stack, void (*entry)()) {
  void** top = (void**)(stack + STACK - 64);
  *--top = nullptr;
  *--top = (void*)entry;
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fibers[t] = top;
}
static void resume(int t) { switch_fiber(&scheduler, fibers[t]); }
static void leave(int t) { switch_fiber(&fibers[t], scheduler); }
#else
#include <ucontext.h>
static ucontext_t scheduler, fibers[MOST_THREADS];
static void start_fiber(int t, unsigned char* stack, void (*entry)()) {
  getcontext(&fibers[t]);
  fibers[t].uc_stack.ss_sp = stack;
  fibers[t].uc_stack.ss_size = STACK;
  fibers[t].uc_link = &scheduler;
  makecontext(&fibers[t], entry, 0);
}
static void resume(int t) { swapcontext(&scheduler, &fibers[t]); }
static void leave(int t) { swapcontext(&fibers[t], &scheduler); }
#endif

struct Barrier { int arrived; unsigned generation; };
static Barrier block_barrier, warp_barriers[MOST_THREADS / 32];

static void meet(Barrier& barrier, int count) {
  unsigned generation = barrier.generation;
  ++progress;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    ++barrier.generation;
  }
  while (barrier.generation == generation) leave(threadIdx.x);
}

static void __syncthreads() { meet(block_barrier, threads); }
static void __syncwarp() { meet(warp_barriers[threadIdx.x / 32], 32); }
static void __threadfence() {}

// Values that the threads of a warp show each other; every thread has shown its own when this returns.
const int SLOT = 32;
alignas(64) static unsigned char slots[2][MOST_THREADS][SLOT];
static unsigned turn[MOST_THREADS];
template <class T> static const T* show(T value) {
  unsigned own = threadIdx.x;
  auto* shown = slots[turn[own]++ % 2];
  memcpy(shown[own], &value, sizeof value);
  __syncwarp();
  return (const T*)shown[own / 32 * 32];
}
template <class T> static T shown(const T* of, int lane) { return *(const T*)((const unsigned char*)of + lane * SLOT); }
template <class T> T __shfl_sync(unsigned, T value, int source) { return shown(show(value), source & 31); }
template <class T> T __shfl_down_sync(unsigned, T value, int by) {
  int source = threadIdx.x % 32 + by;
  return shown(show(value), source < 32 ? source : threadIdx.x % 32);
}
template <class T> T __shfl_up_sync(unsigned, T value, int by) {
  int source = threadIdx.x % 32 - by;
  return shown(show(value), source >= 0 ? source : threadIdx.x % 32);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int by) { return shown(show(value), (threadIdx.x % 32) ^ by); }

template <class To, class From> To bits(From from) {
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static int __float_as_int(float x) { return bits<int>(x); }
static unsigned __float_as_uint(float x) { return bits<unsigned>(x); }
static float __int_as_float(int x) { return bits<float>(x); }
static float __uint_as_float(unsigned x) { return bits<float>(x); }
static long long __double_as_longlong(double x) { return bits<long long>(x); }
static double __longlong_as_double(long long x) { return bits<double>(x); }
static float __fsqrt_rn(float x) { return sqrtf(x); }
static double __dsqrt_rn(double x) { return sqrt(x); }
static unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
template <class To> To saturate(double x, double lo, double hi, To least, To most) { return x <= lo ? least : x >= hi ? most : (To)x; }
static long long __double2ll_rz(double x) { return saturate<long long>(x, -9223372036854775808.0, 9223372036854775808.0, INT64_MIN, INT64_MAX); }
static int __double2int_rz(double x) { return saturate<int>(x, -2147483648.0, 2147483647.0, INT32_MIN, INT32_MAX); }
static unsigned __double2uint_rz(double x) { return saturate<unsigned>(x, 0.0, 4294967295.0, 0, UINT32_MAX); }
static long long __float2ll_rz(float x) { return __double2ll_rz(x); }
static int __float2int_rz(float x) { return __double2int_rz(x); }
static unsigned __float2uint_rz(float x) { return __double2uint_rz(x); }
static float __double2float_rz(double x) {
  float f = (float)x;
  return fabs((double)f) > fabs(x) ? nextafterf(f, 0.0f) : f;
}
static float from_f16(unsigned short h) { return (float)bits<_Float16>(h); }
static unsigned short to_f16(float x) { return bits<unsigned short>((_Float16)x); }
template <class T> T atomicCAS(T* at, T old, T desired) {
  T found = *at;
  if (found == old) *at = desired;
  return found;
}
template <class T> T atomicAdd(T* at, T value) {
  T found = *at;
  *at = found + value;
  return found;
}

// Copies happen when they are waited for: a wait that is missing gives another result.
struct Copy { void* to; const void* from; bool inside; unsigned group; };
static std::vector<Copy> copies[MOST_THREADS];
static unsigned groups[MOST_THREADS];
static void copy_async(void* to, const void* from, bool inside) { copies[threadIdx.x].push_back({to, from, inside, groups[threadIdx.x]}); }
static void copy_commit() { ++groups[threadIdx.x]; }
static void copy_wait() {
  auto& own = copies[threadIdx.x];
  size_t done = 0;
  for (; done < own.size() && own[done].group + 1 < groups[threadIdx.x]; ++done) {
    if (own[done].inside) memcpy(own[done].to, own[done].from, 16);
    else memset(own[done].to, 0, 16);
  }
  own.erase(own.begin(), own.begin() + done);
}

static float from_bf16_bits(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
struct Fragments { unsigned a[4], b[2]; };
static unsigned short half_of(unsigned pair, int which) { return (unsigned short)(which ? pair >> 16 : pair); }
// PTX ISA, "Matrix Fragments for mma.m16n8k16".
static void mma(float* c, const unsigned* a, const unsigned* b, float (*from)(unsigned short)) {
  Fragments own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const Fragments* all = show(own);
  int group = threadIdx.x % 32 / 4, pair = threadIdx.x % 4 * 2;
  for (int r = 0; r < 4; ++r) {
    int row = group + r / 2 * 8, column = pair + r % 2;
    for (int k = 0; k < 16; ++k) {
      Fragments left = shown(all, row % 8 * 4 + k % 8 / 2), right = shown(all, column * 4 + k % 8 / 2);
      c[r] += from(half_of(left.a[row / 8 + k / 8 * 2], k % 2)) * from(half_of(right.b[k / 8], k % 2));
    }
  }
}
static void mma_f16(float* c, const unsigned* a, const unsigned* b) { mma(c, a, b, from_f16); }
static void mma_bf16(float* c, const unsigned* a, const unsigned* b) { mma(c, a, b, from_bf16_bits); }

typedef void (*Body)(const uint64_t*);
static Body body;
static const uint64_t* arguments;
static void entry() {
  for (;;) {
    body(arguments);
    done[threadIdx.x] = true;
    ++progress;
    leave(threadIdx.x);
  }
}

// The threads of a block take turns until all are done. 0, or 1 if those that are left wait for ever.
static int run_fibers(bool backwards) {
  static unsigned char* stacks = (unsigned char*)aligned_alloc(64, MOST_THREADS * STACK);
  for (int t = 0; t < threads; ++t) {
    done[t] = false;
    turn[t] = 0;
    groups[t] = 0;
    copies[t].clear();
    start_fiber(t, stacks + t * STACK, entry);
  }
  block_barrier = Barrier();
  for (auto& barrier : warp_barriers) barrier = Barrier();
  for (int left = 1; left;) {
    left = 0;
    unsigned before = progress;
    for (int k = 0; k < threads; ++k) {
      int t = backwards ? threads - 1 - k : k;
      if (done[t]) continue;
      threadIdx.x = t;
      resume(t);
      left += !done[t];
    }
    if (left && before == progress) return 1;
  }
  return 0;
}

static int launch(Body kernel, const uint64_t* given, unsigned blocks, unsigned block, unsigned bytes, bool barriers, bool backwards) {
  body = kernel;
  arguments = given;
  gridDim.x = blocks;
  blockDim.x = threads = block;
  for (unsigned b = 0; b < blocks; ++b) {
    blockIdx.x = backwards ? blocks - 1 - b : b;
    memset(shared, 0xcd, bytes);
    if (barriers) {
      if (run_fibers(backwards)) return 1;
      continue;
    }
    for (int k = 0; k < threads; ++k) {
      threadIdx.x = backwards ? threads - 1 - k : k;
      kernel(given);
    }
  }
  return 0;
}

// Calls a kernel with arguments of eight bytes each.
template <class T> struct Argument {
  static T of(uint64_t bits) { return (T)bits; }
};
template <class... A, size_t... I> void call(void (*kernel)(A...), const uint64_t* given, std::index_sequence<I...>) {
  kernel(Argument<A>::of(given[I])...);
}
template <class... A> void call(void (*kernel)(A...), const uint64_t* given) { call(kernel, given, std::index_sequence_for<A...>()); }
