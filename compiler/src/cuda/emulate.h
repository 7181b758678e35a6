// What the text of a kernel needs to run on a CPU: the threads of a block are fibers, blocks run one after the other.
// A barrier that not all threads reach ends the process; so does a missing one, by a wrong result in one of the two orders
// in which threads are run.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(n)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

const int THREADS = 256, STACK = 256 << 10;
struct Index { unsigned x; };
static Index threadIdx, blockIdx, gridDim;
static ucontext_t scheduler, fibers[THREADS];
static bool done[THREADS];
static unsigned progress;
alignas(64) unsigned char shared[96 << 10];

static void wait() {
  unsigned own = threadIdx.x;
  swapcontext(&fibers[own], &scheduler);
}

struct Barrier { int arrived = 0; unsigned generation = 0; };
static Barrier block_barrier, warp_barriers[THREADS / 32];

static void meet(Barrier& barrier, int count) {
  unsigned generation = barrier.generation;
  ++progress;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    ++barrier.generation;
  }
  while (barrier.generation == generation) wait();
}

static void __syncthreads() { meet(block_barrier, THREADS); }
static void __syncwarp() { meet(warp_barriers[threadIdx.x / 32], 32); }

template <class T> T __shfl_sync(unsigned, T value, int source) {
  static unsigned char slots[THREADS][8];
  unsigned own = threadIdx.x;
  memcpy(slots[own], &value, sizeof value);
  __syncwarp();
  memcpy(&value, slots[own / 32 * 32 + source], sizeof value);
  __syncwarp();
  return value;
}
template <class T> T __shfl_down_sync(unsigned mask, T value, int by) {
  int source = threadIdx.x % 32 + by;
  return __shfl_sync(mask, value, source < 32 ? source : threadIdx.x % 32);
}

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
static unsigned long long atomicCAS(unsigned long long* at, unsigned long long old, unsigned long long desired) {
  unsigned long long found = *at;
  if (found == old) *at = desired;
  return found;
}

static void run_thread();
static void entry() {
  run_thread();
  done[threadIdx.x] = true;
  ++progress;
}

// Runs a grid; in each round the threads that are left take a turn.
static void launch(unsigned blocks, bool backwards) {
  static std::vector<unsigned char> stacks(THREADS * (size_t)STACK);
  gridDim.x = blocks;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    for (int t = 0; t < THREADS; ++t) {
      done[t] = false;
      getcontext(&fibers[t]);
      fibers[t].uc_stack.ss_sp = &stacks[t * (size_t)STACK];
      fibers[t].uc_stack.ss_size = STACK;
      fibers[t].uc_link = &scheduler;
      makecontext(&fibers[t], entry, 0);
    }
    for (int left = 1; left;) {
      left = 0;
      unsigned before = progress;
      for (int k = 0; k < THREADS; ++k) {
        int t = backwards ? THREADS - 1 - k : k;
        if (done[t]) continue;
        threadIdx.x = t;
        swapcontext(&scheduler, &fibers[t]);
        left += !done[t];
      }
      if (left && before == progress) {
        fprintf(stderr, "%d threads wait for the others for ever\n", left);
        exit(1);
      }
    }
  }
}

// An argument: a file's contents, padded to 64 bytes.
static std::vector<unsigned char>& read_file(const char* path) {
  auto* bytes = new std::vector<unsigned char>();
  FILE* file = fopen(path, "rb");
  for (int c; file && (c = fgetc(file)) != EOF;) bytes->push_back(c);
  if (file) fclose(file);
  return *bytes;
}
static void* aligned(const std::vector<unsigned char>& bytes) {
  void* memory = aligned_alloc(64, (bytes.size() + 128) / 64 * 64);
  memcpy(memory, bytes.data(), bytes.size());
  return memory;
}
static void write_file(const char* path, const void* memory, size_t size) {
  FILE* file = fopen(path, "wb");
  fwrite(memory, 1, size, file);
  fclose(file);
}
