// What the text of kernels needs to run on a CPU: the threads of a block are fibers, blocks run one after the other.
// A barrier that not all threads reach is reported; so is a missing one, by a race, or by another result in one of the two orders in
// which threads are run. Kernels without barriers need no fibers.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#define __device__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("shared_memory")))
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __forceinline__ inline

// What no access is noted of: it would be noted by itself.
#define UNSEEN __attribute__((no_sanitize("thread")))

const int MOST_THREADS = 1024;
const size_t STACK = 128 << 10;
struct Index { unsigned x; };
static Index threadIdx, blockIdx, gridDim, blockDim;
static int threads;
static bool done[MOST_THREADS];
static unsigned progress;
const size_t MOST_SHARED = 228 << 10;
alignas(64) static unsigned char shared[MOST_SHARED];

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

// The epoch counts the barriers that order what threads do to memory: exchanges between the threads of a warp do not.
struct Barrier { int arrived; unsigned generation, epoch; };
static Barrier block_barrier, warp_barriers[MOST_THREADS / 32];

static void meet(Barrier& barrier, int count, unsigned orders) {
  unsigned generation = barrier.generation;
  ++progress;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    ++barrier.generation;
    barrier.epoch += orders;
  }
  while (barrier.generation == generation) leave(threadIdx.x);
}

static void __syncthreads() { meet(block_barrier, threads, 1); }
static void __syncwarp() { meet(warp_barriers[threadIdx.x / 32], 32, 1); }
static void __threadfence() {}

// Races: two accesses to a byte by different threads of a launch, one of them at least a write and one at least not atomic, that no
// barrier orders. The compiler calls a function before each access (as for ThreadSanitizer, whose library is not there); those to the
// arena of the device and to shared memory are kept, byte by byte.
struct Access { void* code; unsigned block, thread, epoch, warp_epoch; bool atomic; };
const unsigned NOBODY = ~0u;
struct Cell {
  uint64_t stamp;
  Access write;
  // Since then: the last reader, another one of its warp, one of another warp, and the first one.
  Access read, near, far, first;
};
const int PAGE = 256;
struct Page;
struct Memory { const char* name; uintptr_t start, end; Page** pages; };
extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __ehdr_start[] __attribute__((visibility("hidden")));
static Memory memories[3];
static uint64_t launch_number;
// The pages there are, each with the one made before it; so many at most are kept from a launch to the next, since each of many
// libraries has its own.
struct Page { Cell cells[PAGE]; Page** place; Page* before; };
static Page* last_page;
const int MOST_PAGES = 512;
static int page_count;
static char race[400];
static size_t race_code[2];

UNSEEN static void remember(Memory& memory, const char* name, const void* start, const void* end) {
  size_t bytes = (uintptr_t)end - (uintptr_t)start;
  memory = {name, (uintptr_t)start, (uintptr_t)end, (Page**)calloc(bytes / PAGE + 1, sizeof(Page*))};
}
extern "C" void watch(uint64_t start, uint64_t end) {
  remember(memories[0], "the device's memory", (void*)start, (void*)end);
  remember(memories[1], "dynamic shared memory", shared, shared + MOST_SHARED);
  remember(memories[2], "static shared memory", __start_shared_memory, __stop_shared_memory);
}
extern "C" const char* found_race(size_t* code) {
  code[0] = race_code[0];
  code[1] = race_code[1];
  return race;
}

UNSEEN static void forget() {
  if (page_count <= MOST_PAGES) return;
  page_count = 0;
  while (Page* page = last_page) {
    last_page = page->before;
    *page->place = nullptr;
    free(page);
  }
}

UNSEEN static bool ordered(const Access& before, const Access& now) {
  if (before.thread == NOBODY) return true;
  if (before.block != now.block) return false;
  if (before.thread == now.thread || before.epoch < now.epoch) return true;
  return before.thread / 32 == now.thread / 32 && before.warp_epoch < now.warp_epoch;
}
UNSEEN static void report_race(const Memory& memory, uintptr_t at, const Access& before, const char* did, const Access& now, const char* does) {
  if (race[0]) return;
  snprintf(race, sizeof race, "thread %u of block %u %s what thread %u of block %u %s, with no barrier between: %s at byte %zu", now.thread,
           now.block, does, before.thread, before.block, did, memory.name, (size_t)(at - memory.start));
  race_code[0] = (char*)now.code - __ehdr_start;
  race_code[1] = (char*)before.code - __ehdr_start;
}
UNSEEN static void note(const void* address, size_t bytes, bool writes, bool atomic, void* code) {
  uintptr_t at = (uintptr_t)address;
  int which = 0;
  while (which < 3 && !(at >= memories[which].start && at < memories[which].end)) ++which;
  if (which == 3) return;
  Memory& memory = memories[which];
  Access now = {code, blockIdx.x, threadIdx.x, block_barrier.epoch, warp_barriers[threadIdx.x / 32].epoch, atomic};
  // Each block has shared memory of its own.
  uint64_t stamp = launch_number << 32 | (which ? blockIdx.x + 1 : 0);
  for (size_t i = 0; i < bytes; ++i, ++at) {
    Page*& page = memory.pages[(at - memory.start) / PAGE];
    if (!page) {
      page = (Page*)calloc(1, sizeof(Page));
      page->place = &page;
      page->before = last_page;
      last_page = page;
      ++page_count;
    }
    Cell& cell = page->cells[(at - memory.start) % PAGE];
    if (cell.stamp != stamp) {
      cell.stamp = stamp;
      cell.write.thread = cell.read.thread = cell.near.thread = cell.far.thread = cell.first.thread = NOBODY;
    }
    if (!(atomic && cell.write.atomic) && !ordered(cell.write, now)) report_race(memory, at, cell.write, "wrote", now, writes ? "writes" : "reads");
    if (!writes) {
      if (cell.first.thread == NOBODY) cell.first = now;
      if (cell.read.thread != NOBODY && !(cell.read.thread == now.thread && cell.read.block == now.block)) {
        bool same_warp = cell.read.thread / 32 == now.thread / 32 && cell.read.block == now.block;
        if (!same_warp) cell.far = cell.read;
        cell.near = cell.read;
        if (!same_warp) cell.near.thread = NOBODY;
      }
      cell.read = now;
      continue;
    }
    for (const Access* before : {&cell.read, &cell.near, &cell.far, &cell.first})
      if (!ordered(*before, now)) report_race(memory, at, *before, "read", now, "writes");
    cell.write = now;
    cell.read.thread = cell.near.thread = cell.far.thread = cell.first.thread = NOBODY;
  }
}

#define CALLER __builtin_return_address(0)
#define ACCESS(n) \
  UNSEEN void __tsan_read##n(void* at) { note(at, n, false, false, CALLER); } \
  UNSEEN void __tsan_write##n(void* at) { note(at, n, true, false, CALLER); } \
  UNSEEN void __tsan_unaligned_read##n(void* at) { note(at, n, false, false, CALLER); } \
  UNSEEN void __tsan_unaligned_write##n(void* at) { note(at, n, true, false, CALLER); }
extern "C" {
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
UNSEEN void __tsan_read_range(void* at, size_t bytes) { note(at, bytes, false, false, CALLER); }
UNSEEN void __tsan_write_range(void* at, size_t bytes) { note(at, bytes, true, false, CALLER); }
UNSEEN void __tsan_func_entry(void*) {}
UNSEEN void __tsan_func_exit() {}
UNSEEN void __tsan_init() {}
}

// Values that the threads of a warp show each other; every thread has shown its own when this returns.
const int SLOT = 32;
alignas(64) static unsigned char slots[2][MOST_THREADS][SLOT];
static unsigned turn[MOST_THREADS];
template <class T> static const T* show(T value) {
  unsigned own = threadIdx.x;
  auto* shown = slots[turn[own]++ % 2];
  memcpy(shown[own], &value, sizeof value);
  meet(warp_barriers[own / 32], 32, 0);
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
template <class T> UNSEEN T atomicCAS(T* at, T old, T desired) {
  note(at, sizeof old, true, true, CALLER);
  T found = *at;
  if (found == old) *at = desired;
  return found;
}
template <class T> UNSEEN T atomicAdd(T* at, T value) {
  note(at, sizeof value, true, true, CALLER);
  T found = *at;
  *at = found + value;
  return found;
}

// Copies happen when they are waited for: a wait that is missing gives another result. The place is taken from the moment they are
// asked for.
struct Copy { void* to; const void* from; int bytes; bool inside; unsigned group; void* code; };
const int MOST_COPIES = 256;
static Copy copies[MOST_THREADS][MOST_COPIES];
static int copies_left[MOST_THREADS];
static unsigned groups[MOST_THREADS];
UNSEEN static void ask_for_copy(void* to, const void* from, int bytes, bool inside, void* code) {
  int own = threadIdx.x;
  if (copies_left[own] == MOST_COPIES || (uintptr_t)to % bytes || (inside && (uintptr_t)from % bytes)) abort();
  note(to, bytes, true, false, code);
  if (inside) note(from, bytes, false, false, code);
  copies[own][copies_left[own]++] = {to, from, bytes, inside, groups[own], code};
}
UNSEEN static void copy_async(void* to, const void* from, bool inside) { ask_for_copy(to, from, 16, inside, CALLER); }
UNSEEN static void copy_async_word(void* to, const void* from, bool inside) { ask_for_copy(to, from, 4, inside, CALLER); }
UNSEEN static void copy_commit() { ++groups[threadIdx.x]; }
UNSEEN static void finish_copies(unsigned pending) {
  int own = threadIdx.x, done = 0;
  for (; done < copies_left[own] && copies[own][done].group + pending < groups[own]; ++done) {
    Copy& copy = copies[own][done];
    note(copy.to, copy.bytes, true, false, copy.code);
    if (copy.inside) memcpy(copy.to, copy.from, copy.bytes);
    else memset(copy.to, 0, copy.bytes);
  }
  copies_left[own] -= done;
  memmove(copies[own], copies[own] + done, copies_left[own] * sizeof(Copy));
}
UNSEEN static void copy_wait() { finish_copies(1); }
UNSEEN static void copy_wait_all() { finish_copies(0); }

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
// PTX ISA, "Matrix Fragments for mma.m16n8k32", for .s8.
static void mma_i8(int* c, const unsigned* a, const unsigned* b) {
  Fragments own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const Fragments* all = show(own);
  int group = threadIdx.x % 32 / 4, pair = threadIdx.x % 4 * 2;
  for (int r = 0; r < 4; ++r) {
    int row = group + r / 2 * 8, column = pair + r % 2;
    for (int k = 0; k < 32; ++k) {
      Fragments left = shown(all, row % 8 * 4 + k % 16 / 4), right = shown(all, column * 4 + k % 16 / 4);
      unsigned l = left.a[row / 8 + k / 16 * 2], r_word = right.b[k / 16];
      c[r] += (signed char)(l >> k % 4 * 8) * (signed char)(r_word >> k % 4 * 8);
    }
  }
}
static void mma_f16(float* c, const unsigned* a, const unsigned* b) { mma(c, a, b, from_f16); }
static void mma_bf16(float* c, const unsigned* a, const unsigned* b) { mma(c, a, b, from_bf16_bits); }

// PTX ISA, "Warp-level matrix instructions: ldmatrix".
UNSEEN static void load_matrices(unsigned* to, const void* row) {
  if ((uintptr_t)row % 16) abort();
  const void* const* rows = show(row);
  int lane = threadIdx.x % 32;
  for (int k = 0; k < 4; ++k) {
    const unsigned* at = (const unsigned*)shown(rows, k * 8 + lane / 4) + lane % 4;
    note(at, 4, false, false, CALLER);
    to[k] = *at;
  }
}
UNSEEN static void load_matrices_turned(unsigned* to, const void* row) {
  if ((uintptr_t)row % 16) abort();
  const void* const* rows = show(row);
  int lane = threadIdx.x % 32;
  for (int k = 0; k < 4; ++k) {
    to[k] = 0;
    for (int e = 0; e < 2; ++e) {
      const unsigned short* at = (const unsigned short*)shown(rows, k * 8 + lane % 4 * 2 + e) + lane / 4;
      note(at, 2, false, false, CALLER);
      to[k] |= (unsigned)*at << 16 * e;
    }
  }
}
static unsigned short to_bf16_bits(float x) {
  unsigned u = __float_as_uint(x);
  return (unsigned short)((x != x ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
static unsigned pack_f16(float a, float b) { return to_f16(a) | (unsigned)to_f16(b) << 16; }
static unsigned pack_bf16(float a, float b) { return to_bf16_bits(a) | (unsigned)to_bf16_bits(b) << 16; }
static float exp2_approx(float x) { return exp2f(x); }

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
static unsigned char* stacks;
static int run_fibers(bool backwards) {
  if (!stacks) stacks = (unsigned char*)aligned_alloc(64, MOST_THREADS * STACK);
  for (int t = 0; t < threads; ++t) {
    done[t] = false;
    turn[t] = 0;
    groups[t] = 0;
    copies_left[t] = 0;
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
  race[0] = 0;
  ++launch_number;
  forget();
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
  return race[0] ? 2 : 0;
}

// Calls a kernel with arguments of eight bytes each.
template <class T> struct Argument {
  static T of(uint64_t bits) { return (T)bits; }
};
template <class... A, size_t... I> void call(void (*kernel)(A...), const uint64_t* given, std::index_sequence<I...>) {
  kernel(Argument<A>::of(given[I])...);
}
template <class... A> void call(void (*kernel)(A...), const uint64_t* given) { call(kernel, given, std::index_sequence_for<A...>()); }
