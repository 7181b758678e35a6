"""The text of BENCHMARKS.md, and that of tests/gpu/RESULTS.md."""
import datetime
import platform
import statistics

TITLES = {"torch": "PyTorch", "torch-compile": "torch.compile", "torch-max": "max-autotune", "jax": "JAX", "ort": "ONNX Runtime"}


def table(heads, rows):
    """The first column is text, the others are numbers."""
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def number(value):
    """Three digits; nothing for none."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def titles(rows):
    """The columns that any workload has, in order."""
    return list(dict.fromkeys(title for row in rows.values() for title in row))


def peers(row):
    return {title: r for title, r in row.items() if r["peer"] != "igneous"}


def times(rows):
    columns, lines = titles(rows), []
    for name, row in rows.items():
        own = row["igneous"]
        cells = [milliseconds(row.get(c)) for c in columns]
        best = min((r["ms_median"] for r in peers(row).values()), default=None)
        ratio = f"{best / own['ms_median']:.2f}" if best else ""
        fraction = f"{100 * own['limit_ms'] / own['ms_median']:.0f} %"
        lines.append([name, *cells, ratio, number(own["limit_ms"]), fraction, rate(own)])
    return table(["workload", *columns, "ratio", "limit", "of the limit", "rate"], lines)


def rate(record):
    """Units a second, as 312 Tflop/s."""
    value = record["tokens_or_samples_per_s"]
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")):
        if value >= scale or scale == 1:
            return f"{number(value / scale)} {letter}{record['unit']}/s"


def hosts(rows):
    """Microseconds until a call returns."""
    columns = titles(rows)
    cells = lambda row: [number(row[c].get("host_us")) if c in row else "" for c in columns]
    return table(["workload", *columns], [[name, *cells(row)] for name, row in rows.items()])


def milliseconds(record):
    return number(record["ms_median"]) + ("~" if record["disturbed"] else "") if record else ""


def compilation(rows):
    columns = [c for c in titles(rows) if c not in ("igneous eager", TITLES["torch"])]
    cells = lambda row: [number(row[c]["compile_s"]) if c in row else "" for c in columns]
    return table(["workload", *columns], [[name, *cells(row)] for name, row in rows.items()])


def memory(rows):
    columns, lines = [c for c in titles(rows) if c != "igneous eager"], []
    for name, row in rows.items():
        own = row["igneous"]
        cells = [number(growth(row.get(c))) for c in columns]
        lines.append([name, number(own["buffers_mb"]), number(own["arena_mb"]), *cells])
    return table(["workload", "buffers", "arena", *columns], lines)


def growth(record):
    """What the process took after its imports, in MiB."""
    if record is None or record["peak_rss_mb"] is None:
        return None
    return max(0.0, record["peak_rss_mb"] - record["rss_start_mb"])


def start(rows):
    lines = []
    for title, row in rows.items():
        record = row["inference"] or {}
        seconds = statistics.median(row["seconds"]) if row["seconds"] else None
        lines.append([title, number(seconds), number(record.get("peak_rss_mb")), number(record.get("rss_start_mb"))])
    return table(["", "first training step, s", "peak RSS of inference, MiB", "of it after imports"], lines)


def document(arguments, limits, rows, starts):
    records = [r for row in rows.values() for r in row.values()]
    versions = sorted({f"{r['peer']} {r['version']}" for r in records})
    one_time = [r["first_graph_s"] for r in records if "first_graph_s" in r]
    once = statistics.median(one_time) if one_time else 0.0
    apart = f"\nThe {once:.1f} s of a first, trivial graph in each process are not in it." if one_time else ""
    on_cpu = arguments.device == "cpu"
    machine = f"{processor()}, {arguments.threads} thread(s)" if on_cpu else device(records)
    remark = "Winograd's convolution multiplies less, and so may beat it.\n" if on_cpu else ""
    buffers = "" if on_cpu else " (igneous: device memory for a GPU; the others: the host's)"
    host = "" if on_cpu else f"""## Host

Microseconds until a call of a step returns, before the device has finished: the least of all samples.

{hosts(rows)}
"""
    return f"""# Benchmarks{"" if on_cpu else " on a GPU"}

{datetime.date.today()}, {machine}, {', '.join(versions)}.
Written by `{command(arguments)}`.

## Time of a step

Milliseconds: medians of {arguments.rounds} round(s) in which the columns took turns, each in a process of its own; ~ marks those
that other programs disturbed in all rounds. Results were compared for equal weights first. `igneous` is compiled.
`ratio`: the fastest peer over igneous. `limit`: the least time for the arithmetic of the textbook algorithm, counted by hand, or
for the bytes of what goes in and comes out, at
{rates(arguments, limits)}.
{remark}
{times(rows)}
{host}## Compilation

Seconds that the first call takes longer than later ones; for ONNX Runtime with the loading of the model. torch.compile
starts with an empty cache.{apart}

{compilation(rows)}
## Memory

MiB. `buffers`: the most that parameters, inputs, temporaries and results of igneous took together, `arena`: the temporaries
among them{buffers}. The others: the largest resident set less the one after all imports (igneous: at the start of the command).

{memory(rows)}
## Start

From the start of a process to the end of its first training step of `mlp512_b64_train`, medians of {arguments.rounds}
round(s) (one with an empty cache); and the resident set of a process that runs `mlp512_b1_infer`.

{start(starts)}"""


def device(records):
    return next((r["device_name"] for r in records if r.get("device_name")), "a GPU")


def rates(arguments, limits):
    """What the limits are, from the options of `igneous bench`, which are for one core or one GPU."""
    if not limits:
        return "the rates that `igneous bench` assumes"
    if arguments.device != "cpu":
        known = dict(zip(limits[::2], (float(x) for x in limits[1::2])))
        return (f"{known['--gflops'] / 1e3:.0f} TFLOP/s in f32, {known['--half-gflops'] / 1e3:.0f} in bf16 and "
                f"{known['--memory-gbps']:.0f} GB/s from memory: PyTorch's products and its copy, measured by `limits_cuda.py`")
    flops, cache, memory_ = [float(x) * arguments.threads for x in limits[1::2]]
    return (f"{flops:.0f} GFLOP/s, {cache:.0f} GB/s from the last-level cache and {memory_:.0f} GB/s from memory, "
            "the highest that `limits.cpp` measured here")


def command(arguments):
    """The command that measures the same."""
    names = [f"'{w}'" for w in arguments.workloads if w != "*"]
    device_ = [] if arguments.device == "cpu" else [f"--device {arguments.device}"]
    return " ".join(["tests/bench/compare", *device_, f"--threads {arguments.threads} --rounds {arguments.rounds}",
                     f"--seconds {arguments.seconds} --peers {arguments.peers}", *names])
