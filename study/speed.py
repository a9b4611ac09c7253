"""The tables of speed and memory, made from what benchmark.py measured (results/benchmark.json)."""

import statistics

from study.intervals import Difference, markdown

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
Steps = dict[tuple[str, str], Difference]  # percent that batch norm adds to a step, by stage and precision


def about(measured: dict) -> str:
    return (f"{measured['processor']}, {measured['threads']} threads, torch {measured['versions']['torch']}, "
            f"batches of {measured['batch_size']}, medians of {measured['rounds']} rounds, at commit "
            f"{measured['commit']}")


def side_of(benchmark: dict, stage: str, side: str) -> dict:
    return next(row for row in benchmark["steps"]["rows"] if (row["stage"], row["side"]) == (stage, side))


def steps(benchmark: dict) -> str:
    """Each side of a training step against the report's code, and how near it is to the machine's limit."""
    cells, measured = {}, benchmark["steps"]
    for row in measured["rows"]:
        report = side_of(benchmark, row["stage"], "the report's code")
        limit = measured["limits"][f"matrix product, {DTYPES[row['precision']]}"]
        cells.setdefault(row["side"], {})[row["stage"]] = [
            f"{row['seconds']:.2f}", f"{measured['batch_size'] / row['seconds']:.0f}",
            f"{report['to ours'] / row['to ours']:.2f}",
            f"{100 * row['flops'] / row['seconds'] / limit:.0f} %",
            f"{row['memory'] / 1e9:.2f}" if row["memory"] else ""]  # not every system tells it
    rows = [[side, *stages.get("autoencoder", [""] * 5), *stages.get("classifier", [""] * 5)]
            for side, stages in cells.items()]
    columns = ["images/s", "times the report's code's speed", "share of the limit", "peak GB"]
    return markdown(["", "autoencoder: s", *columns, "classifier: s", *columns], rows)


def speed(benchmark: dict) -> str:
    """The report's step and ours, a row a stage."""
    rows, measured = [], benchmark["steps"]
    for stage in ("autoencoder", "classifier"):
        report, ours = sides = [side_of(benchmark, stage, side) for side in ("the report's code", "ours")]
        seconds = (f"{side['seconds']:.2f}, {side['precision']}" for side in sides)
        rows.append([f"a step of the {stage}", *seconds, f"{report['to ours'] / ours['to ours']:.2f}"])
    return markdown([about(measured), "the report's code: s", "ours: s", "times faster, by round"], rows)


def machine(benchmark: dict) -> str:
    measured, limit = benchmark["steps"], benchmark["steps"]["limits"]
    products = " and ".join(f"{limit[f'matrix product, {dtype}'] / 1e9:.0f} in {name}"
                            for name, dtype in DTYPES.items() if f"matrix product, {dtype}" in limit)
    return (f"Measured on {about(measured)}. The machine's limits, in the same run: "
            f"matrix product (GFLOP/s) {products}; memory copy {limit['memory copy'] / 1e9:.0f} GB/s.")


def augmentation(benchmark: dict) -> str:
    measured = benchmark["augmentation"]
    share = f"{100 * measured['share']:.0f} %"
    return (f"64 pictures are changed in {1000 * measured['seconds']:.0f} ms: {share} of a step of the "
            f"report's network ({measured['processor']}, {measured['threads']} threads).")


def processes(scale: dict, every: bool) -> str:
    """What a step of several processes takes, sends and holds; not every: the report's head as it is."""
    rows = []
    for row in scale["processes"]:
        if every or (row["head"], row["way"]) == ("report", "as it is"):
            times = f"{row['times']:.2f}" if row["processes"] <= scale["cores"] else "(they share cores)"
            rows.append([row["processes"], *([row["head"], row["way"]] if every else []), times,
                         f"{row['sent'] / 1e6:.0f}", f"{row['memory'] / 1e9:.2f}"])
    what = "a step's time, one process's = 1", "MB that each sends a step", "GB that each has of its own"
    first = f"processes of 16 photos each, on {scale['cores']} cores of {scale['processor']}"
    return markdown([first, *(["head", "gradients"] if every else []), *what], rows)


def photos(scale: dict) -> str:
    """What photos that are mapped to memory cost beside photos that are in it."""
    return markdown(["photos", "GB on disk", "GB of the process's own", "µs to read and augment a photo",
                     "in memory", "times, in turns", "cold", "built, photos/s"],
                    [[f"{row['photos']:,} at {row['side']} px", f"{row['bytes'] / 1e9:.1f}",
                      f"{row['memory'] / 1e9:.2f}", f"{row['mapped']:.0f}", f"{row['in memory']:.0f}",
                      f"{row['times']:.2f}", f"{row['cold']:.0f}", f"{row['built']:.0f}"]
                     for row in scale["photos"]])


def decoding(scale: dict) -> str:
    """How many photos a second a core decodes, and in how many hours a million."""
    rows = [[name, f"{rate:.0f}", f"{whole:.0f}", f"{1e6 / rate / 3600:.1f}"]
            for name, (whole, rate) in scale["decoding"].items()]
    what = "photos a second, one core", "if each is read whole", "hours for a million, one core"
    return markdown(["JPEGs of", *what], rows) + f"\n\nMeasured on {scale['processor']}."


def with_batch_norm(*benchmarks: dict) -> Steps:
    """Percent that batch norm adds to a step: the median of the rounds, its interval of 95 % or more."""
    from scipy.stats import quantile_test

    found = {}
    for row in (row for benchmark in benchmarks for row in benchmark["steps"]["rows"]):
        if row["side"] == "ours without batch norm":
            more = [100 * (with_it / without - 1) for without, with_it in row["turns"]]
            low, high = quantile_test(more, p=0.5).confidence_interval(0.95)
            found[row["stage"], row["precision"]] = Difference(statistics.median(more), low, high)
    return found
