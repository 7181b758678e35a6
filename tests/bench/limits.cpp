// What the cores of this machine can do together, as options of `igneous bench`: the highest of many short
// trials, since other programs only take from it.
//     g++ -O3 -march=native -pthread limits.cpp -o limits && ./limits THREADS
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Twelve independent chains of multiply-adds: more than latency times units of current cores.
static void arithmetic(long rounds) {
    Vector sums[12] = {}, factor = {}, term = {};
    factor += 0.999f, term += 1e-6f;
    for (long i = 0; i < rounds; i++) {
        for (Vector &sum : sums) sum = sum * factor + term;
        for (Vector &sum : sums) asm volatile("" : "+v"(sum));
    }
}

static void read(const std::vector<float> &data) {
    Vector sums[8] = {};
    for (size_t i = 0; i + 8 * LANES <= data.size(); i += 8 * LANES)
        for (int k = 0; k < 8; k++) sums[k] += *(const Vector *)(data.data() + i + k * LANES);
    for (Vector &sum : sums) asm volatile("" : : "v"(sum));
}

// The shortest time of a trial in which every thread does its part.
static double fastest(int threads, int trials, std::function<void(int)> part) {
    std::barrier together(threads);
    double best = 1e9;
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; t++)
        workers.emplace_back([&, t] {
            for (int trial = 0; trial < trials; trial++) {
                together.arrive_and_wait();
                double start = seconds();
                part(t);
                together.arrive_and_wait();
                double time = seconds() - start;
                if (t == 0 && time < best) best = time;
            }
        });
    for (auto &worker : workers) worker.join();
    return best;
}

static double bandwidth(int threads, size_t bytes, int repeats, int trials) {
    std::vector<std::vector<float>> data(threads, std::vector<float>(bytes / 4, 1.0f));
    double time = fastest(threads, trials, [&](int t) {
        for (int i = 0; i < repeats; i++) read(data[t]);
    });
    return double(threads) * bytes * repeats / time / 1e9;
}

int main(int count, char **values) {
    int threads = count > 1 ? atoi(values[1]) : 1;
    const long rounds = 2'000'000;
    double flops = threads * 12.0 * LANES * 2 * rounds / fastest(threads, 100, [&](int) { arithmetic(rounds); });
    printf("--gflops %.0f --cache-gbps %.0f --memory-gbps %.1f\n", flops / 1e9, bandwidth(threads, 8 << 20, 20, 100),
           bandwidth(threads, 256 << 20, 1, 20));
}
