"""The text of BENCHMARKS.md."""
import datetime
import platform
import statistics

TITLES = {"torch": "PyTorch", "torch-compile": "torch.compile", "jax": "JAX", "ort": "ONNX Runtime"}


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
        lines.append([name, *cells, ratio, number(own["limit_ms"]), fraction])
    return table(["workload", *columns, "ratio", "limit", "of the limit"], lines)


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
    return f"""# Benchmarks

{datetime.date.today()}, {processor()}, {arguments.threads} thread(s), {', '.join(versions)}.
Written by `{command(arguments)}`.

## Time of a step

Milliseconds: medians of {arguments.rounds} round(s) in which the columns took turns, each in a process of its own; ~ marks those
that other programs disturbed in all rounds. Results were compared for equal weights first. `igneous` is compiled.
`ratio`: the fastest peer over igneous. `limit`: the least time for the arithmetic of the textbook algorithm, counted by hand, or
for the bytes of what goes in and comes out, at
{rates(arguments, limits)}.
Winograd's convolution multiplies less, and so may beat it.

{times(rows)}
## Compilation

Seconds that the first call takes longer than later ones; for ONNX Runtime with the loading of the model. torch.compile
starts with an empty cache.{apart}

{compilation(rows)}
## Memory

MiB. `buffers`: the most that parameters, inputs, temporaries and results of igneous took together, `arena`: the temporaries
among them. The others: the largest resident set less the one after all imports (igneous: at the start of the command).

{memory(rows)}
## Start

From the start of a process to the end of its first training step of `mlp512_b64_train`, medians of {arguments.rounds}
round(s) (one with an empty cache); and the resident set of a process that runs `mlp512_b1_infer`.

{start(starts)}"""


def rates(arguments, limits):
    """What the limits are, from the options of `igneous bench`, which are for one core."""
    if not limits:
        return "the rates that `igneous bench` assumes"
    flops, cache, memory_ = [float(x) * arguments.threads for x in limits[1::2]]
    return (f"{flops:.0f} GFLOP/s, {cache:.0f} GB/s from the last-level cache and {memory_:.0f} GB/s from memory, "
            "the highest that `limits.cpp` measured here")


def command(arguments):
    """The command that measures the same."""
    names = [f"'{w}'" for w in arguments.workloads if w != "*"]
    return " ".join(["tests/bench/compare", f"--threads {arguments.threads} --rounds {arguments.rounds}",
                     f"--seconds {arguments.seconds} --peers {arguments.peers}", *names])
