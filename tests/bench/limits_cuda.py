"""What a GPU can do, as options of `igneous bench`: the rates of products in f32 (without TF32) and bf16 and of a copy, by PyTorch,
each the best of several."""
import sys

import torch

DEVICE = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda")


def least_ms(call, repetitions=20):
    for _ in range(3):
        call()
    times = []
    for _ in range(repetitions):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return min(times)


def product(size, dtype):
    """10⁹ operations a second."""
    a, b = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
    return 2 * size**3 / least_ms(lambda: a @ b) / 1e6


def copy():
    """10⁹ bytes a second, those read and those written."""
    a = torch.empty(1 << 28, device=DEVICE)
    b = torch.empty_like(a)
    return 2 * a.nbytes / least_ms(lambda: b.copy_(a)) / 1e6


torch.cuda.set_device(DEVICE)
torch.backends.cuda.matmul.allow_tf32 = False
bandwidth = copy()
print("--gflops", product(8192, torch.float32), "--half-gflops", product(8192, torch.bfloat16))
# Arrays are larger than the cache.
print("--cache-gbps", bandwidth, "--memory-gbps", bandwidth, "--cache-mb", 0)
