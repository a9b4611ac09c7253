"""The tables of README.md and results/README.md, made from the files in results/: none is typed by hand.

`python -m study.run table` prints them; with --readme it writes each between its markers in either page.
"""

import re
from collections import Counter
from itertools import accumulate
from pathlib import Path

from support import files
from study.intervals import (Runs, accuracy_on, error_on, final, finished, gap, interval_of_mean, markdown,
                         paired, precisions, prediction_interval, section5, signed, val_accuracy)
from study.conclusions import answers, conclusions
from study.rows import BEST, RATES, REPORT, ROWS
from study.speed import growth, layers, machine, seconds, steps, with_batch_norm


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
    text = f"Seeds {seeds}: test accuracy {test} %; validation {val} %; training {train} %."
    others = [f"{val_accuracy(run):.2f} % {ROWS[name].title.removeprefix('the drawn flowers ')}"
              for name in runs if name.startswith("synthetic-") for run in runs[name]]
    if others:
        text += f" Validation accuracy of seed 0 with another recipe: {', '.join(others)}."
    return text


def jump(costs: list[float]) -> tuple[int, float] | None:
    """Epoch and height of the highest cost above three times the lowest before it; None without one."""
    lowest = accumulate(costs, min)
    risen = [(cost, epoch) for epoch, (cost, low) in enumerate(zip(costs, lowest), 1) if cost > 3 * low]
    return max(risen)[::-1] if risen else None


def jumps(runs: Runs) -> str:
    """Which runs' cost, once it was low, rose again, and how the rows of the strongest decay went."""
    curves = {(name, run["seed"]): run["classifier_costs"] for name in runs for run in runs[name]
              if "classifier_costs" in run}  # (the oldest files tell the last cost alone)
    risen = Counter(name for (name, _), costs in curves.items() if jump(costs))
    rows = []
    for name in ("l2-0.01", "l2-0.01-fp32"):
        for run in runs[name]:
            epoch, height = jump(run["classifier_costs"]) or ("", None)
            rows.append([run["precision"], run["seed"], epoch, f"{height:.2f}" if height else "",
                         f"{run['classifier_cost']:.2f}", f"{accuracy_on('test')(run):.2f}"])
    named = ", ".join(f"{ROWS[name].title} ({count} of {len(runs[name])} seeds)"
                      for name, count in risen.items()) or "none"
    return markdown([f"{ROWS['l2-0.01'].title}, in", "seed", "peak after a rise: epoch", "peak cost (nats)",
                     "last cost", "test accuracy (%)"], rows) + (
        f"\n\nOf the {len(curves)} runs whose curve is kept, those whose cost rose to more than three "
        f"times its earlier minimum: {named}.")


def rates(runs: Runs) -> str:
    """Each optimizer's learning rates, one seed on validation images, and the best on test images."""
    rows = []
    for name, others in RATES.items():
        # 0.001 is first: of equal rates the first is the best
        found = {"0.001": runs[name], **{rate: runs[f"rate-{name}-{rate}"] for rate in others}}
        tried = {rate: val_accuracy(run) for rate, measured in found.items() for run in measured
                 if run["seed"] == 0}
        at_best = [accuracy_on("test")(run) for run in runs[BEST[name]]]
        here, there = precisions(runs[name]), precisions(runs[BEST[name]])
        other = f", in {there}" if here != there else ""
        best = max(tried, key=tried.get) if len(tried) == len(found) else ""
        rows.append([ROWS[name].title,
                     ", ".join(f"{rate}: {tried[rate]:.2f}" for rate in sorted(tried, key=float)), best,
                     (interval_of_mean(at_best) + other
                      if len(at_best) == len(ROWS[BEST[name]].seeds) else "")])
    return markdown(["", "learning rate: validation accuracy (%), seed 0", "best rate",
                     "test accuracy (%) at it: mean ± deviation [95 % interval]"], rows)


def pretraining(runs: Runs) -> str:
    """What a trained encoder gains on validation photos in one precision, on test photos, and frozen."""
    others = ("pretrained", "unpool-nearest", "unpool-indices", "adagrad-autoencoder",
              "frozen", "frozen-random")
    text = (paired(runs, ("final-fp32", *others), {"validation accuracy (%)": val_accuracy}) + "\n\n" +
            paired(runs, ("final", *others), {"test accuracy (%)": accuracy_on("test")}))
    if min(len(runs["pretrained"]), len(runs["final"])) > 1:
        (low, high), (random_low, random_high) = (
            prediction_interval([accuracy_on("test")(run) for run in runs[name]])
            for name in ("pretrained", "final"))
        text += (f"\n\nOne more run would lie, 95 times in 100, between {low:.2f} and {high:.2f} % "
                 f"from the trained encoder, between {random_low:.2f} and {random_high:.2f} "
                 f"from random weights; the report's one run lies at {REPORT['final'][0]:.2f}.")
    apart = signed(gap(runs, "frozen", "frozen-random"), "points of test accuracy")
    return text + (f"\n\nFrozen trained encoder minus frozen random encoder: {apart}." if apart else "")


def commands(results: Path) -> str:
    """What the three commands printed (results/commands.txt), of their epochs the last."""
    path = results / "commands.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return "\n".join(f"    {line}" for line in lines if not re.match(r"Epoch : (\d+) / (?!\1,)", line))


def kills(results: Path) -> str:
    """What bench/kill_runs.py counted."""
    rows = files.read_json(results / "kills.json")["rows"]
    counts = "; ".join(f"{row['stage']}: {row['kills']} kills, {row['while saving']} of them while a "
                       f"checkpoint was written" for row in rows)
    outcome = "not every resume" if any(row["differences"] for row in rows) else "every resume"
    return f"{counts}: {outcome} ended bit-identical to an uninterrupted run."


def damage(results: Path) -> str:
    """What bench/damage.py counted."""
    rows, given = files.read_json(results / "damage.json")["rows"], ("checkpoint", "bytes", "damage")
    counts = list(dict.fromkeys(key for row in rows for key in row if key not in given))  # tried, outcomes
    return markdown(["checkpoint", "damage", *counts],
                    [[f"{row['checkpoint']}, {row['bytes']:,} bytes", row["damage"],
                      *(row.get(key, 0) for key in counts)] for row in rows])


def tables(results: Path) -> dict[str, str]:
    """The text between each pair of markers, by their name."""
    runs = finished(results)
    test = {"test accuracy (%)": accuracy_on("test")}
    errors = {"error, validation (10⁻³)": error_on("val"), "error, test (10⁻³)": error_on("test")}
    found = {table.__name__: table(runs)
             for table in (search, final, section5, synthetic, rates, pretraining, jumps)} | {
        "commands": commands(results),
        "precision": paired(runs, ("final", "final-fp32"), {"validation accuracy (%)": val_accuracy}),
        "dropout": paired(runs, ("adagrad", "dropout-0.25", "dropout-0.5", "dropout-0.5-linear"), test),
        "unpooling": paired(runs, ("pretrained", "unpool-nearest", "unpool-indices", "adagrad-autoencoder"),
                            errors | test),
    }
    benchmark, without_bf16 = (files.read_json(path) if path.exists() else {} for path in (
        results / "benchmark.json", results / "without-bf16/benchmark.json"))
    step = with_batch_norm(benchmark, without_bf16)
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
