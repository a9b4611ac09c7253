"""The tables of runs over seeds: means, intervals, and which differences are more than chance.

Recipes of ours share their seeds, so their differences are paired (Student's t); the report's runs are
not ours (Welch's, or Student's of two samples). Deviations are sample standard deviations, intervals 95 %,
over seeds: the photos stay the same. A row that has no two runs yet shows none.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from study.one_run import path_of
from study.rows import REPORT, REPORT_TRAIN, ROWS
from support import files
from support.errors import UserError

Runs = dict[str, list[dict]]  # by row, in the order of the seeds
Value = Callable[[dict], float]  # a number of a run


class Difference(NamedTuple):
    """A mean over seeds, or the median of a benchmark's rounds; its 95 % interval, nan of too few of them."""

    mean: float
    low: float
    high: float
    seeds: int
    declared: int  # how many there will be
    compared: str = ""  # the precisions of the two rows, where they have not the same


def finished_of(results: Path, name: str) -> list[dict]:
    """The finished runs of a row, in the order of its seeds; UserError names a damaged file."""
    runs, needed = [], {"seed", "flags", "precision", "val_accuracy", *["splits"] * ROWS[name].tested}
    for seed in ROWS[name].seeds:
        path = path_of(results, name, seed)
        if path.exists():
            run = files.read_json(path)
            if not isinstance(run, dict) or not needed <= run.keys():
                raise UserError(f"{path} is no whole result; remove it to have it run again")
            runs.append(run)
    return runs


def finished(results: Path) -> Runs:
    return {name: finished_of(results, name) for name in ROWS}


def accuracy_on(split: str) -> Value:
    return lambda run: run["splits"][split]["accuracy"]


def val_accuracy(run: dict) -> float:
    return run["val_accuracy"]


def error_on(split: str) -> Value:
    """The autoencoder's mean squared error, in thousandths."""
    return lambda run: 1000 * run["splits"][split]["reconstruction_error"]


def markdown(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean and deviation, as far as there are any."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}" if values else ""


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and Student's interval of it: nan for one value."""
    from scipy.stats import t

    mean, n = statistics.mean(values), len(values)
    half = t.ppf(0.975, n - 1) * statistics.stdev(values) / n**0.5 if n > 1 else math.nan
    return mean, mean - half, mean + half


def interval_of_mean(values: Sequence[float]) -> str:
    """Mean, deviation, and, where they differ, the interval of the mean."""
    _, low, high = interval(values)
    return spread(values) + (f" [{low:.2f}, {high:.2f}]" if low < high else "")


def prediction_interval(values: Sequence[float]) -> tuple[float, float]:
    """Where one more run would lie, 95 times in 100."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) * (1 + 1 / len(values)) ** 0.5
    return statistics.mean(values) - half, statistics.mean(values) + half


def precisions(runs: list[dict]) -> str:
    return " and ".join(sorted({run["precision"] for run in runs}))


def gap(runs: Runs, name: str, base: str, value: Value = accuracy_on("test"),
        base_value: Value | None = None) -> Difference | None:
    """Difference of two rows, paired over the seeds that both have; None where there is no such seed yet."""
    values = {run["seed"]: value(run) for run in runs[name]}
    base_values = {run["seed"]: (base_value or value)(run) for run in runs[base]}
    apart = [values[seed] - base_values[seed] for seed in values if seed in base_values]
    if not apart:
        return None
    ours, theirs = precisions(runs[name]), precisions(runs[base])
    return Difference(*interval(apart), len(apart), len(set(ROWS[name].seeds) & set(ROWS[base].seeds)),
                      "" if ours == theirs else f"{ours} against {theirs}")


def level(runs: Runs, name: str, value: Value) -> Difference | None:
    """A row's own mean, as a difference from zero."""
    values = [value(run) for run in runs[name]]
    return Difference(*interval(values), len(values), len(ROWS[name].seeds)) if values else None


def signed(difference: Difference | None, unit: str = "") -> str:
    if difference is None:
        return ""
    mean, low, high, seeds, declared, compared = difference
    few = "(one run)" if seeds == 1 else f"({seeds} rounds: too few for an interval)"
    width = few if math.isnan(low) else "(every run)" if low == high else f"[{low:.2f}, {high:.2f}]"
    text = f"{mean:+.2f} {width} {unit}".rstrip()
    text += f" ({seeds} of {declared} seeds)" if 1 < seeds < declared else ""
    return f"{text}, {compared}" if compared else text


def paired(runs: Runs, names: Sequence[str], measures: dict[str, Value]) -> str:
    """Recipes beside the first of them: each measure's mean, deviation, and difference seed by seed."""
    header = [cell for title in measures for cell in (title, "minus the first row's [95 %]")]
    rows = []
    for name in names:
        cells = []
        for value in measures.values():
            apart = "" if name == names[0] else signed(gap(runs, name, names[0], value))
            cells += [spread([value(run) for run in runs[name]]), apart]
        rows.append([ROWS[name].title, len(runs[name]), *cells])
    return markdown(["", "seeds", *header], rows)


def final(runs: Runs) -> str:
    """The final model's seeds on the three splits, mean, deviation and interval, the report's run."""
    columns = [[*(run["splits"][split]["accuracy"] for split in ("train", "val", "test")),
                run["splits"]["test"]["per_class_accuracy"]] for run in runs["final"]]
    rows = [[run["seed"], *(f"{value:.2f}" for value in values)]
            for run, values in zip(runs["final"], columns)]
    theirs = f"{REPORT['final'][0]:.2f}"
    if len(columns) > 1:
        rows.append(["mean ± standard deviation [95 % interval]",
                     *map(interval_of_mean, zip(*columns))])
        low, high = prediction_interval([accuracy_on("test")(run) for run in runs["final"]])
        place = "inside" if low < REPORT["final"][0] < high else "outside"
        theirs += f" ({place} {low:.2f} to {high:.2f}, where one more run of ours would lie, 95 times in 100)"
    rows.append(["the report, one run", "100.00", "", theirs, ""])
    return markdown(["seed", "train (%)", "validation (%)", "test (%)", "test, mean of the classes (%)"],
                    rows)


def section5(runs: Runs) -> str:
    """Each row of the report's section 5: its test accuracy, ours, the means' difference.

    Its interval is Welch's; where the report has only two runs, Student's, which takes both to spread alike.
    """
    from scipy.stats import ttest_ind

    rows = []
    for name, theirs in REPORT.items():
        if name == "final":  # it has a table of its own
            continue
        ours, cells = [accuracy_on("test")(run) for run in runs[name]], ["", "", ""]
        if len(ours) > 1:
            low, high = ttest_ind(ours, theirs, equal_var=len(theirs) < 3).confidence_interval(0.95)
            differs = "yes" if low * high > 0 else "cannot be told"
            if len(ours) < len(ROWS[name].seeds):
                differs = f"{len(ours)} of {len(ROWS[name].seeds)} seeds yet"
            mean = statistics.mean(ours) - statistics.mean(theirs)
            cells = [interval_of_mean(ours), f"{mean:+.2f} [{low:.2f}, {high:.2f}]", differs]
        train = spread([accuracy_on("train")(run) for run in runs[name]])
        seconds = [run["classifier_seconds"] for run in runs[name]]
        rows.append([ROWS[name].title, f"{spread(theirs)} ({len(theirs)})",
                     ", ".join(f"{value:.2f}" for value in ours), *cells,
                     spread(REPORT_TRAIN.get(name, (100, 100))), train, precisions(runs[name]),
                     f"{statistics.median(seconds):.0f}" if seconds else ""])
    return markdown(["test accuracy (%)", "the report: mean ± deviation (runs)", "ours, seeds in order",
                     "mean ± deviation [95 % interval]", "ours minus the report's [95 %]", "differs",
                     "the report's train (%)", "our train (%)", "precision", "seconds, not comparable"], rows)


def plotted(runs: Runs) -> list[tuple[str, list[float], tuple[float, ...]]]:
    """Title, our test accuracies and the report's, of each row of its section 5 and the final model."""
    return [(ROWS[name].title, list(map(accuracy_on("test"), runs[name])), theirs)
            for name, theirs in REPORT.items()]
