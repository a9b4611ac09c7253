"""The tables of README.md and results/README.md, made from the files in results/: no number there is typed by hand.

`python experiments.py table` prints them, with --readme it writes each between its markers in README.md or results/README.md.
"""

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import checkpoint
from recipes import REPORT, ROWS


def markdown(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def mean_of(values: Sequence[float]) -> str:
    """Mean, sample standard deviation, and Student's 95 % interval of the mean."""
    from scipy.stats import t

    mean, deviation, n = statistics.mean(values), statistics.stdev(values), len(values)
    half = t.ppf(0.975, n - 1) * deviation / n**0.5
    return f"{mean:.2f} ± {deviation:.2f} [{mean - half:.2f}, {mean + half:.2f}]"


def finished(results: Path) -> dict[str, list[dict]]:
    """The finished runs of each row, by seed, in the order of the declaration."""
    runs = {name: [results / "runs" / f"{name}-{seed}.json" for seed in row.seeds] for name, row in ROWS.items()}
    return {name: [json.loads(path.read_text()) for path in paths if path.exists()] for name, paths in runs.items()}


def search(runs: dict[str, list[dict]]) -> str:
    """Validation accuracy of each setting, the best first."""
    rows = [(ROWS[name].title, [run["val_accuracy"] for run in found]) for name, found in runs.items()
            if name.startswith("search-") and found]
    rows.sort(key=lambda row: -statistics.mean(row[1]))
    return markdown(["setting", "validation accuracy (%)"],
                    [[title, ", ".join(f"{value:.2f}" for value in values)] for title, values in rows])


def final(runs: dict[str, list[dict]]) -> str:
    """Each seed of the final model on the three splits, then mean, standard deviation and 95 % interval of the mean."""
    runs = runs["final"]
    columns = [[run["splits"][split]["accuracy"] for split in ("train", "val", "test")]
               + [run["splits"]["test"]["per_class_accuracy"]] for run in runs]
    rows = [[run["seed"], *(f"{value:.2f}" for value in values)] for run, values in zip(runs, columns)]
    if len(columns) > 1:
        rows.append(["mean ± standard deviation [95 % interval]", *map(mean_of, zip(*columns))])
    rows.append(["the report, one run", "100.00", "", f"{REPORT['final'][0]:.2f}", ""])
    return markdown(["seed", "train (%)", "validation (%)", "test (%)", "test, mean of the classes (%)"], rows)


def precision(runs: dict[str, list[dict]]) -> str:
    """Validation accuracy of the final model in bf16 and in fp32, seed by seed, and whether they can be told apart."""
    from scipy.stats import ttest_rel

    of = {name: {run["seed"]: run["val_accuracy"] for run in runs[name]} for name in ("final", "final-fp32")}
    seeds = sorted(of["final"].keys() & of["final-fp32"].keys())
    bf16, fp32 = ([of[name][seed] for seed in seeds] for name in of)
    test = ttest_rel(fp32, bf16)
    interval = test.confidence_interval(0.95)
    rows = [[name, *(f"{value:.2f}" for value in values), f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"]
            for name, values in (("bf16", bf16), ("fp32", fp32))]
    rows.append(["fp32 less bf16", *(f"{a - b:+.2f}" for a, b in zip(fp32, bf16)),
                 f"{statistics.mean(fp32) - statistics.mean(bf16):+.2f} [{interval.low:.2f}, {interval.high:.2f}], p = {test.pvalue:.2f}"])
    return markdown(["validation accuracy (%)", *(f"seed {seed}" for seed in seeds), "mean ± standard deviation [95 % interval]"], rows)


def synthetic(runs: dict[str, list[dict]]) -> str:
    """The final model on the drawn flowers, seed by seed."""
    found = runs["synthetic"]
    of = {split: ", ".join(f"{run['splits'][split]['accuracy']:.2f}" for run in found) for split in ("train", "val", "test")}
    seeds = ", ".join(str(run["seed"]) for run in found)
    return f"Seed {seeds}: {of['test']} % of the test images right, {of['val']} % of the validation and {of['train']} % of the training images."


def section5(runs: dict[str, list[dict]]) -> str:
    """Each row of the report's section 5: its test accuracy, ours, and the difference of the means by Welch's test."""
    from scipy.stats import ttest_ind

    rows = []
    for name, theirs in REPORT.items():
        if name == "final":  # it has a table of its own
            continue
        ours = [run["splits"]["test"]["accuracy"] for run in runs[name]]
        cells = [f"{statistics.mean(theirs):.2f} ± {statistics.stdev(theirs):.2f} ({len(theirs)})", ", ".join(f"{value:.2f}" for value in ours), "", "", ""]
        if len(ours) > 1:
            gap = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
            cells[2:] = [mean_of(ours), f"{statistics.mean(ours) - statistics.mean(theirs):+.2f} [{gap.low:.2f}, {gap.high:.2f}]",
                         "yes" if gap.low * gap.high > 0 else "cannot be told"]
        rows.append([ROWS[name].title, *cells])
    return markdown(["test accuracy (%)", "the report: mean ± deviation (runs)", "ours, seeds in order", "mean ± deviation [95 % interval]",
                     "ours less the report's [95 %]", "differs"], rows)


def commands(results: Path) -> str:
    """What the three commands printed (results/commands.txt), of their epochs the last."""
    path = results / "commands.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return "\n".join(f"    {line}" for line in lines if not re.match(r"Epoch : (\d+) / (?!\1,)", line))


def steps(benchmark: dict) -> str:
    """Each side of a training step against the listing, and how near it is to the machine's own limit."""
    limit = benchmark["steps"]["limits"]
    dtype = {"fp32": "float32", "bf16": "bfloat16"}
    cells, found, batch = {}, benchmark["steps"]["rows"], benchmark["steps"]["batch_size"]
    for stage in ("autoencoder", "classifier"):
        listing = next(row for row in found if row["stage"] == stage and row["side"] == "the listing")
        for row in (row for row in found if row["stage"] == stage):
            share = row["flops"] / row["seconds"] / limit[f"matrix product, {dtype[row['precision']]}"]
            cells.setdefault(row["side"], {})[stage] = [
                f"{row['seconds']:.2f}", f"{batch / row['seconds']:.0f}", f"{listing['to ours'] / row['to ours']:.2f}",
                f"{100 * share:.0f} %", f"{row['memory'] / 1e9:.2f}"]
    columns = ["s", "images/s", "times the listing's speed", "share of the limit", "peak GB"]
    rows = [[side.replace("without no decoder", "with the decoder"), *of.get("autoencoder", [""] * 5), *of.get("classifier", [""] * 5)]
            for side, of in cells.items()]
    return markdown(["", *(f"autoencoder: {columns[0]}", *columns[1:]), *(f"classifier: {columns[0]}", *columns[1:])], rows)


def layers(benchmark: dict) -> str:
    """InverseMaxPool alone and with its convolution: milliseconds, summed over the decoder's five sizes."""
    total = {}
    for row in benchmark["layers"]["rows"]:
        total.setdefault(row["what"], {}).setdefault(row["side"], 0.0)
        total[row["what"]][row["side"]] += 1000 * row["seconds"]
    sides = ["loops", "max_unpool2d", "nearest", "plain", "fused"]
    return markdown(["forward and backward (ms)", *sides],
                    [[what, *(f"{of[side]:.1f}" if side in of else "" for side in sides)] for what, of in total.items()])


def growth(benchmark: dict) -> str:
    rows = benchmark["growth"]["rows"]
    return markdown(["images a step / photos in memory", *(f"{row['batch']} / {row['photos']}" for row in rows)],
                    [["ms an image", *(f"{1000 * row['seconds'] / row['batch']:.2f}" for row in rows)],
                     ["peak memory (GB)", *(f"{row['memory'] / 1e9:.2f}" for row in rows)]])


def seconds(benchmark: dict) -> str:
    return markdown(["command", "seconds"], [[row["what"], f"{row['seconds']:.1f}"] for section in ("commands", "full")
                                             for row in benchmark.get(section, {"rows": []})["rows"]])


def machine(benchmark: dict) -> str:
    """Whose numbers these are."""
    of, limit = benchmark["steps"], benchmark["steps"]["limits"]
    return (f"Measured on {of['processor']}, {of['threads']} threads, torch {of['versions']['torch']}, batches of {of['batch_size']}, medians of "
            f"{of['rounds']} rounds. Its limits, in the same run: matrix product {limit['matrix product, float32'] / 1e9:.0f} GFLOP/s in fp32 and "
            f"{limit['matrix product, bfloat16'] / 1e9:.0f} in bf16, memory copy {limit['memory copy'] / 1e9:.0f} GB/s.")


def kills(results: Path) -> str:
    """What tests/kill_runs.py counted."""
    rows = json.loads((results / "kills.json").read_text())["rows"]
    counts = "; ".join(f"{row['stage']}: {row['kills']} kills, {row['while saving']} of them while a checkpoint was written" for row in rows)
    outcome = "not every resume" if any(row["differences"] for row in rows) else "every resume"
    return f"{counts}: {outcome} ended with the bits of an uninterrupted run."


def damage(results: Path) -> str:
    """What tests/damage.py counted."""
    rows = json.loads((results / "damage.json").read_text())["rows"]
    outcomes = list(dict.fromkeys(key for row in rows for key in row if key not in ("checkpoint", "bytes", "damage", "tried")))
    return markdown(["checkpoint", "damage", "tried", *outcomes],
                    [[f"{row['checkpoint']}, {row['bytes']:,} bytes", row["damage"], *(row.get(key, 0) for key in ("tried", *outcomes))] for row in rows])


def tables(results: Path) -> dict[str, str]:
    """The text between each pair of markers, by their name."""
    runs = finished(results)
    found = {"search": search(runs), "final": final(runs), "section5": section5(runs), "synthetic": synthetic(runs), "commands": commands(results)}
    if len(runs["final"]) > 1 and len(runs["final-fp32"]) > 1:
        found["precision"] = precision(runs)
    path = results / "benchmark.json"
    if path.exists():
        benchmark = json.loads(path.read_text())
        sections = ((machine, "steps"), (steps, "steps"), (layers, "layers"), (growth, "growth"), (seconds, "commands"))
        found |= {table.__name__: table(benchmark) for table, section in sections if section in benchmark}
    for table in (kills, damage):
        if (results / f"{table.__name__}.json").exists():
            found[table.__name__] = table(results)
    return found


def write(results: Path, pages: list[Path]) -> None:
    """Print the tables, or write each between its markers in the page that has them."""
    found = tables(results)
    if not pages:
        print(*found.values(), sep="\n\n")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name in (name for name in re.findall(r"<!-- (\w+) -->\n", text) if name in found):
            before, rest = text.split(f"<!-- {name} -->\n")
            text = f"{before}<!-- {name} -->\n{found[name]}\n<!-- /{name} -->" + rest.split(f"<!-- /{name} -->")[1]
        with checkpoint.atomic(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
