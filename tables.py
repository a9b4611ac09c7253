"""The tables of README.md and results/README.md, made from the files in results/: none is typed by hand.

`python experiments.py table` prints them; with --readme it writes each between its markers in either page.
"""

import json
import re
import statistics
from collections import Counter
from itertools import accumulate
from pathlib import Path

import files
from comparisons import (Difference, Runs, accuracy_on, error_on, final, finished, gap, interval, markdown, paired,
                         rates, section5, signed, val_accuracy)
from conclusions import answers, conclusions
from recipes import REPORT_SECONDS, ROWS


DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def search(runs: Runs) -> str:
    """Validation accuracy of each setting, the best first."""
    found = [(val_accuracy(run), ROWS[name].title)
             for name in runs if name.startswith("search-") for run in runs[name]]
    found.sort(key=lambda pair: -pair[0])
    return markdown(["setting", "validation accuracy (%)"],
                    [[title, f"{value:.2f}"] for value, title in found])


def synthetic(runs: Runs) -> str:
    """The final model on the drawn flowers, seed by seed, and what becomes of it with another recipe."""
    found = runs["synthetic"]
    if not found:
        return ""
    train, val, test = (", ".join(f"{accuracy_on(split)(run):.2f}" for run in found)
                        for split in ("train", "val", "test"))
    seeds = ", ".join(str(run["seed"]) for run in found)
    text = (f"Seed {seeds}: {test} % of the test images right, {val} % of the validation and {train} % of "
            f"the training images.")
    others = [f"{ROWS[name].title.removeprefix('the drawn flowers ')} {val_accuracy(run):.2f} %"
              for name in runs if name.startswith("synthetic-") for run in runs[name]]
    if others:
        text += f" Seed 0 with another recipe, validation images: {', '.join(others)}."
    return text


def jump(costs: list[float]) -> tuple[int, float] | None:
    """Epoch and height of the highest cost that is more than three times the lowest before it; None without one."""
    lowest = accumulate(costs, min)
    risen = [(cost, epoch) for epoch, (cost, low) in enumerate(zip(costs, lowest), 1) if cost > 3 * low]
    return max(risen)[::-1] if risen else None


def jumps(runs: Runs) -> str:
    """Which runs' cost, once it was low, rose again, and how the rows of the strongest decay went."""
    curves = {(name, run["seed"]): run["classifier_costs"] for name in runs for run in runs[name]
              if "classifier_costs" in run}  # (the oldest files tell the last cost alone)
    risen = Counter(ROWS[name].title for (name, _), costs in curves.items() if jump(costs))
    rows = []
    for name in ("l2-0.01", "l2-0.01-fp32"):
        for run in runs[name]:
            epoch, height = jump(run["classifier_costs"]) or ("", None)
            rows.append([run["precision"], run["seed"], epoch, f"{height:.2f}" if height else "",
                         f"{run['classifier_cost']:.2f}", f"{accuracy_on('test')(run):.2f}"])
    return markdown([f"{ROWS['l2-0.01'].title}, in", "seed", "jumps, highest at epoch", "to (nats)", "last cost",
                     "test accuracy (%)"], rows) + (
        f"\n\nOf the {len(curves)} runs whose curve is kept, the cost of {sum(risen.values())} rose to more than three times "
        f"its lowest before: {', '.join(f'{title}, {count} seeds' for title, count in risen.items())}.")


def frozen(runs: Runs) -> str:
    """What a trained encoder knows that a random one does not, where neither may learn."""
    apart = gap(runs, "frozen", "frozen-random")
    return f"\n\nThe trained encoder, frozen, less the random one, frozen: {signed(apart)} points." if apart else ""


def commands(results: Path) -> str:
    """What the three commands printed (results/commands.txt), of their epochs the last."""
    path = results / "commands.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return "\n".join(f"    {line}" for line in lines if not re.match(r"Epoch : (\d+) / (?!\1,)", line))


def steps(benchmark: dict) -> str:
    """Each side of a training step against the listing, and how near it is to the machine's limit."""
    limit = benchmark["steps"]["limits"]
    cells, found, batch = {}, benchmark["steps"]["rows"], benchmark["steps"]["batch_size"]
    for stage in ("autoencoder", "classifier"):
        listing = next(row for row in found if row["stage"] == stage and row["side"] == "the listing")
        for row in (row for row in found if row["stage"] == stage):
            share = row["flops"] / row["seconds"] / limit[f"matrix product, {DTYPES[row['precision']]}"]
            cells.setdefault(row["side"], {})[stage] = [
                f"{row['seconds']:.2f}", f"{batch / row['seconds']:.0f}",
                f"{listing['to ours'] / row['to ours']:.2f}",
                f"{100 * share:.0f} %", f"{row['memory'] / 1e9:.2f}"]
    columns = ["s", "images/s", "times the listing's speed", "share of the limit", "peak GB"]
    rows = [[side.replace("without no decoder", "with the decoder"), *stages.get("autoencoder", [""] * 5),
             *stages.get("classifier", [""] * 5)] for side, stages in cells.items()]
    return markdown(["", f"autoencoder: {columns[0]}", *columns[1:],
                     f"classifier: {columns[0]}", *columns[1:]], rows)


def without_batch_norm(*benchmarks: dict) -> dict[tuple[str, str], Difference]:
    """By stage and precision: what a step takes more without batch norm, in percent, over a benchmark's rounds."""
    found = {}
    for row in (row for benchmark in benchmarks for row in benchmark.get("steps", {"rows": []})["rows"]):
        if row["side"] == "ours without batch norm":
            more = [100 * (without / with_it - 1) for without, with_it in row["turns"]]
            found[row["stage"], row["precision"]] = Difference(*interval(more), len(more), len(more))
    return found


def layers(benchmark: dict) -> str:
    """InverseMaxPool alone and with its convolution: ms, summed over the decoder's five sizes."""
    total = {}
    for row in benchmark["layers"]["rows"]:
        total.setdefault(row["what"], {}).setdefault(row["side"], 0.0)
        total[row["what"]][row["side"]] += 1000 * row["seconds"]
    sides = ["loops", "max_unpool2d", "nearest", "plain", "fused"]
    return markdown(["forward and backward (ms)", *sides],
                    [[what, *(f"{ms[side]:.1f}" if side in ms else "" for side in sides)]
                     for what, ms in total.items()])


def growth(benchmark: dict) -> str:
    rows = benchmark["growth"]["rows"]
    return markdown(["images a step / photos in memory",
                     *(f"{row['batch']} / {row['photos']}" for row in rows)],
                    [["ms an image", *(f"{1000 * row['seconds'] / row['batch']:.2f}" for row in rows)],
                     ["peak memory (GB)", *(f"{row['memory'] / 1e9:.2f}" for row in rows)]])


def seconds(benchmark: dict) -> str:
    return markdown(["command", "seconds"], [
        [row["what"], f"{row['seconds']:.1f}"] for section in ("commands", "full")
        for row in benchmark.get(section, {"rows": []})["rows"]] + [
        [f"the report's 30 + 30 epochs, {what} batch norm, on a GPU that it does not name",
         f"{statistics.mean(times):.1f}"] for what, times in REPORT_SECONDS.items()])


def machine(benchmark: dict) -> str:
    """Whose numbers these are."""
    measured, limit = benchmark["steps"], benchmark["steps"]["limits"]
    products = " and ".join(f"{limit[f'matrix product, {dtype}'] / 1e9:.0f} in {name}" for name, dtype in DTYPES.items()
                            if f"matrix product, {dtype}" in limit)
    return (f"Measured on {measured['processor']}, {measured['threads']} threads, torch {measured['versions']['torch']}, "
            f"batches of {measured['batch_size']}, medians of {measured['rounds']} rounds. Its limits, in the same run, in "
            f"GFLOP/s of a matrix product: {products}; memory copy {limit['memory copy'] / 1e9:.0f} GB/s.")


def kills(results: Path) -> str:
    """What tests/kill_runs.py counted."""
    rows = json.loads((results / "kills.json").read_text())["rows"]
    counts = "; ".join(f"{row['stage']}: {row['kills']} kills, {row['while saving']} of them while a "
                       f"checkpoint was written" for row in rows)
    outcome = "not every resume" if any(row["differences"] for row in rows) else "every resume"
    return f"{counts}: {outcome} ended with the bits of an uninterrupted run."


def damage(results: Path) -> str:
    """What tests/damage.py counted."""
    rows, given = json.loads((results / "damage.json").read_text())["rows"], ("checkpoint", "bytes", "damage")
    counts = list(dict.fromkeys(key for row in rows for key in row if key not in given))  # tried, then outcomes
    return markdown(["checkpoint", "damage", *counts],
                    [[f"{row['checkpoint']}, {row['bytes']:,} bytes", row["damage"],
                      *(row.get(key, 0) for key in counts)] for row in rows])


def tables(results: Path) -> dict[str, str]:
    """The text between each pair of markers, by their name."""
    runs = finished(results)
    test = {"test accuracy (%)": accuracy_on("test")}
    errors = {"error, validation (10⁻³)": error_on("val"), "error, test (10⁻³)": error_on("test")}
    found = {table.__name__: table(runs) for table in (search, final, section5, synthetic, rates, jumps)} | {
        "commands": commands(results),
        "precision": paired(runs, ("final", "final-fp32"), {"validation accuracy (%)": val_accuracy}),
        "dropout": paired(runs, ("adagrad", "dropout-0.25", "dropout-0.5", "dropout-0.5-linear"), test),
        "pretraining": paired(runs, ("final", "pretrained", "frozen", "frozen-random"), test) + frozen(runs),
        "unpooling": paired(runs, ("pretrained", "unpool-nearest", "unpool-indices", "adagrad-autoencoder"),
                            errors | test),
    }
    benchmark, without_bf16 = (json.loads(path.read_text()) if path.exists() else {} for path in (
        results / "benchmark.json", results / "without-bf16/benchmark.json"))
    step = without_batch_norm(benchmark, without_bf16)
    found |= {"answers": answers(runs, step), "conclusions": conclusions(runs, step)}
    if without_bf16:
        found |= {"machine_without_bf16": machine(without_bf16), "steps_without_bf16": steps(without_bf16)}
    if benchmark:
        sections = ((machine, "steps"), (steps, "steps"), (layers, "layers"), (growth, "growth"),
                    (seconds, "commands"))
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
            after = rest.split(f"<!-- /{name} -->")[1]
            text = f"{before}<!-- {name} -->\n{found[name]}\n<!-- /{name} -->{after}"
        with files.atomic(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
