"""The tables of speed and memory, made from what benchmark.py measured (results/benchmark.json)."""

import statistics

from study.intervals import Difference, markdown
from study.rows import REPORT_SECONDS

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def steps(benchmark: dict) -> str:
    """Each side of a training step against the report's code, and how near it is to the machine's limit."""
    limit = benchmark["steps"]["limits"]
    cells, found, batch = {}, benchmark["steps"]["rows"], benchmark["steps"]["batch_size"]
    for stage in ("autoencoder", "classifier"):
        report = next(row for row in found if row["stage"] == stage and row["side"] == "the report's code")
        for row in (row for row in found if row["stage"] == stage):
            share = row["flops"] / row["seconds"] / limit[f"matrix product, {DTYPES[row['precision']]}"]
            cells.setdefault(row["side"], {})[stage] = [
                f"{row['seconds']:.2f}", f"{batch / row['seconds']:.0f}",
                f"{report['to ours'] / row['to ours']:.2f}",
                f"{100 * share:.0f} %", gigabytes(row)]
    columns = ["s", "images/s", "times the report's code's speed", "share of the limit", "peak GB"]
    rows = [[side.replace("without no decoder", "with the decoder"), *stages.get("autoencoder", [""] * 5),
             *stages.get("classifier", [""] * 5)] for side, stages in cells.items()]
    return markdown(["", f"autoencoder: {columns[0]}", *columns[1:],
                     f"classifier: {columns[0]}", *columns[1:]], rows)


def speed(benchmark: dict) -> str:
    """The report's step and ours, a row a stage."""
    rows, measured = [], benchmark["steps"]
    for stage in ("autoencoder", "classifier"):
        report, ours = (next(row for row in measured["rows"] if (row["stage"], row["side"]) == (stage, side))
                        for side in ("the report's code", "ours"))
        rows.append([f"{stage}, a step of {measured['batch_size']} images", f"{report['seconds']:.2f}",
                     f"{ours['seconds']:.2f}", f"{report['to ours'] / ours['to ours']:.2f}"])
    title = (f"{measured['processor']}, {measured['threads']} threads, "
             f"torch {measured['versions']['torch']}, medians of {measured['rounds']} rounds")
    return markdown([title, "the report's code: s", "ours: s", "times faster, in turns"], rows)


def with_batch_norm(*benchmarks: dict) -> dict[tuple[str, str], Difference]:
    """Percent that batch norm adds to a step, by stage and precision: the median of the rounds.

    Its interval, of 95 % or more, ends at two of the rounds: of 6 to 8 the lowest and the highest, of more at
    others, so that a round that something else on the machine slowed moves neither far.
    """
    from scipy.stats import quantile_test

    found = {}
    for row in (row for benchmark in benchmarks for row in benchmark.get("steps", {"rows": []})["rows"]):
        if row["side"] == "ours without batch norm":
            more = [100 * (with_it / without - 1) for without, with_it in row["turns"]]
            low, high = quantile_test(more, p=0.5).confidence_interval(0.95)
            found[row["stage"], row["precision"]] = Difference(statistics.median(more), low, high, len(more),
                                                               len(more))
    return found


def gigabytes(row: dict) -> str:
    return f"{row['memory'] / 1e9:.2f}" if row["memory"] else ""  # (not every system tells)


def layers(benchmark: dict) -> str:
    """InverseMaxPool alone and with its convolution: ms, summed over the decoder's five sizes."""
    total = {}
    for row in benchmark["layers"]["rows"]:
        total.setdefault(row["what"], {}).setdefault(row["side"], 0.0)
        total[row["what"]][row["side"]] += 1000 * row["seconds"]
    sides = ["loops", "max_unpool2d", "nearest", "plain", "fused"]
    return markdown(["forward and backward (ms)", *sides],
                    [[what, *(f"{ms[side]:.1f}" if side in ms else "" for side in sides)]
                     for what, ms in total.items()]) + (
        f"\n\nMeasured on {where(benchmark['layers'])}{turns(benchmark['layers'])}.")


def growth(benchmark: dict) -> str:
    rows = benchmark["growth"]["rows"]
    return markdown(["batch size / photos in memory",
                     *(f"{row['batch']} / {row['photos']}" for row in rows)],
                    [["ms per image", *(f"{1000 * row['seconds'] / row['batch']:.2f}" for row in rows)],
                     ["peak memory (GB)", *map(gigabytes, rows)]]) + (
        f"\n\nMeasured on {where(benchmark['growth'])}, medians of {benchmark['growth']['rounds']} rounds.")


def seconds(benchmark: dict) -> str:
    sections = {"the commands": "commands", "30 epochs": "full"}
    measured = {what: benchmark[name] for what, name in sections.items() if name in benchmark}
    machines = "; ".join(f"{what} on {where(section)}" for what, section in measured.items())
    return markdown(["command", "seconds"], [
        [row["what"], f"{row['seconds']:.1f}"]
        for section in measured.values() for row in section["rows"]] + [
        [f"the report's 30 + 30 epochs, {what} batch norm, on a GPU that it does not name",
         f"{statistics.mean(times):.1f}"] for what, times in REPORT_SECONDS.items()]) + (
        f"\n\nMeasured: {machines}.")


def where(section: dict) -> str:
    """Whose numbers a section's are."""
    return (f"{section['processor']}, {section['threads']} threads, torch {section['versions']['torch']}, "
            f"at commit {section['commit']}")


def turns(section: dict) -> str:
    return f", batches of {section['batch_size']}, medians of {section['rounds']} rounds"


def machine(benchmark: dict) -> str:
    measured, limit = benchmark["steps"], benchmark["steps"]["limits"]
    products = " and ".join(f"{limit[f'matrix product, {dtype}'] / 1e9:.0f} in {name}"
                            for name, dtype in DTYPES.items() if f"matrix product, {dtype}" in limit)
    return (f"Measured on {where(measured)}{turns(measured)}. The machine's limits, in the same run: "
            f"matrix product (GFLOP/s) {products}; memory copy {limit['memory copy'] / 1e9:.0f} GB/s.")
