"""Samples of the time of a step, taken as `igneous bench` takes them: the first call apart, warm-up, then groups of calls of
at least 2 ms. Prints one line of JSON for each workload, with the fields of `igneous bench --json`."""
import json
import os
import statistics
import sys
import time

# As in `igneous bench --check`: the largest difference of a result, and of a parameter's change, relative to the largest element;
# and how many times as far from double precision as PyTorch's a change may be that differs more.
TOLERANCE, CHANGE_TOLERANCE, EXCESS = 2e-5, 1e-2, 2.0


def compare(peer, workload, outputs, changes=()):
    """Outputs are a name, what was found and what was expected; changes have in addition what double precision gives. Ends the
    process if something differs."""
    import numpy as np

    def difference(name, found, expected):
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        if found.shape != expected.shape:
            sys.exit(f"error: the shapes of `{name}` of {workload} in {peer} are {found.shape} and {expected.shape}")
        return np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny)

    def check(name, found, expected, tolerance):
        far = difference(name, found, expected)
        if not far <= tolerance:
            sys.exit(f"error: `{name}` of {workload} in {peer} differs by {far:.1e} of its largest element")
        return far

    worst = max((check(*output, TOLERANCE) for output in outputs), default=0.0)
    for name, found, expected, exact in changes:
        if not difference(name, found, exact) <= EXCESS * difference(name, expected, exact):
            check(name, found, expected, CHANGE_TOLERANCE)
    print(f"{workload:28} {peer} agrees: max difference {worst:.1e} of the largest element", flush=True)


def status_mb(field):
    """A field of /proc/self/status in MiB (None where the system does not say)."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))
    except (OSError, StopIteration):
        return None


def cpu_seconds():
    """Seconds of work by all cores: of this process, and of the whole machine (None where the system does not say)."""
    try:
        with open("/proc/stat") as file:
            fields = [int(x) for x in file.readline().split()[1:9]]
    except OSError:
        return None
    return sum(os.times()[:4]), (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def probe_ms():
    """A fixed piece of scalar work: shows slow phases of a machine that no load figure shows."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(50_000):
            pass
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def measure(step, seconds, loading=0.0, finish=lambda: None):
    """Times `step`; `finish` waits for what it may have left to be done; `loading` seconds of preparation count as compilation."""

    def run(count):
        """Seconds until the calls have returned, and until all is finished."""
        start = time.perf_counter()
        for _ in range(count):
            step()
        returned = time.perf_counter() - start
        finish()
        return returned, time.perf_counter() - start

    first = run(1)[1] + loading
    warm, calls = time.perf_counter(), 0
    while calls < 3 or (time.perf_counter() - warm < 0.25 and calls < 200):
        run(1)
        calls += 1
    one = max(run(1)[1], 1e-7)
    group = max(1, int(0.002 / one))
    samples = min(300, max(5, int(seconds / (one * group))))
    probe = probe_ms()
    before, start, times, host = cpu_seconds(), time.perf_counter(), [], []
    for _ in range(samples):
        returned, finished = run(group)
        times.append(finished / group * 1e3)
        host.append(returned / group * 1e6)
    wall, after = time.perf_counter() - start, cpu_seconds()
    own = other = None
    if before and after:
        own = (after[0] - before[0]) / wall
        other = max(0.0, (after[1] - before[1]) / wall - own)
    median = statistics.median(times)
    return {"ms_median": median, "ms_min": min(times), "ms_max": max(times), "runs": samples * group, "host_us": min(host),
            "first_call_s": first,
            "compile_s": max(0.0, first - median / 1e3), "cpu_util": own, "other_cpu": other,
            "probe_ms": max(probe, probe_ms()), "peak_rss_mb": status_mb("VmHWM")}


def add_arguments(parser):
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.8, help="of samples of each workload")
    parser.add_argument("--once", action="store_true", help="run one step, print a line, and stop")


class Session:
    """What the records of one process have in common. Made when the imports are done."""

    def __init__(self, peer, mode, version, arguments):
        self.common = {"peer": peer, "mode": mode, "threads": arguments.threads, "version": version,
                       "rss_start_mb": status_mb("VmRSS")}
        self.arguments = arguments
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # The largest resident set counts from here on.
        except OSError:
            pass

    def report(self, workload, step, finish=lambda: None, **fields):
        """Times a workload, or runs it once."""
        if self.arguments.once:
            step()
            finish()
            self.print({"workload": workload})
            sys.stdout.flush()
            os._exit(0)
        loading = fields.get("load_s", 0.0)
        self.print({"workload": workload, **measure(step, self.arguments.seconds, loading, finish), **fields})

    def print(self, fields):
        print(json.dumps({**self.common, **fields}), flush=True)
