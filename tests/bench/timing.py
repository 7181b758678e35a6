"""Samples of the time of a step, taken as `igneous bench` takes them: the first call apart, warm-up, then groups of calls of
at least 2 ms. Prints one line of JSON for each workload."""
import json
import os
import statistics
import time


def cpu_seconds():
    """Seconds of work by all cores: of this process, and of the whole machine (None where the system does not say)."""
    try:
        with open("/proc/stat") as file:
            fields = [int(x) for x in file.readline().split()[1:9]]
    except OSError:
        return None
    return sum(os.times()[:4]), (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def measure(step, seconds):
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    warm, calls = time.perf_counter(), 0
    while calls < 3 or (time.perf_counter() - warm < 0.25 and calls < 200):
        step()
        calls += 1
    start = time.perf_counter()
    step()
    one = max(time.perf_counter() - start, 1e-7)
    group = max(1, int(0.002 / one))
    samples = min(300, max(5, int(seconds / (one * group))))
    before, start, times = cpu_seconds(), time.perf_counter(), []
    for _ in range(samples):
        begin = time.perf_counter()
        for _ in range(group):
            step()
        times.append((time.perf_counter() - begin) / group * 1e3)
    wall, after = time.perf_counter() - start, cpu_seconds()
    other = None
    if before and after:
        own = after[0] - before[0]
        other = max(0.0, (after[1] - before[1] - own) / wall)
    return {"ms_median": statistics.median(times), "ms_min": min(times), "ms_max": max(times), "runs": samples * group,
            "first_call_s": first, "compile_s": max(0.0, first - statistics.median(times) / 1e3), "other_cpu": other}


def report(peer, mode, workload, threads, version, times):
    print(json.dumps({"peer": peer, "mode": mode, "workload": workload, "threads": threads, "version": version, **times}),
          flush=True)
