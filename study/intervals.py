"""Finished runs over seeds, photos the same: means, sample deviations, paired differences, 95 % intervals."""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from study.rows import ROWS
from support import files

Runs = dict[str, list[dict]]  # by row, in the order of the seeds
Value = Callable[[dict], float]  # a number of a run


class Difference(NamedTuple):
    """A mean over seeds or species, or a median of a benchmark's rounds; 95 % interval, nan of too few."""

    mean: float
    low: float
    high: float
    compared: str = ""  # the precisions of the two rows, where they have not the same


def path_of(results: Path, name: str, seed: int) -> Path:
    """The file of a finished run."""
    return results / "runs" / f"{name}-{seed}.json"


def finished_of(results: Path, name: str) -> list[dict]:
    """The finished runs of a row, in the order of its seeds; UserError names a damaged file."""
    paths = [path_of(results, name, seed) for seed in ROWS[name].seeds]
    return [files.read_json(path) for path in paths if path.exists()]


def finished(results: Path) -> Runs:
    return {name: finished_of(results, name) for name in ROWS}


def accuracy_on(split: str) -> Value:
    return lambda run: run["splits"][split]["accuracy"]


test_accuracy = accuracy_on("test")


def val_accuracy(run: dict) -> float:
    return run["val_accuracy"]


def over_views(split: str) -> Value:
    return lambda run: run["splits"][split].get("views_accuracy")  # None where one view alone was measured


def error_on(split: str) -> Value:
    """The autoencoder's mean squared error, in thousandths."""
    return lambda run: 1000 * run["splits"][split]["reconstruction_error"]


def markdown(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def interval(values: Sequence[float], one_more: bool = False) -> tuple[float, float, float]:
    """Mean, and Student's interval of it, or where one more value would lie, 95 times in 100; nan for one."""
    from scipy.stats import t

    mean, n = statistics.mean(values), len(values)
    if n == 1:
        return mean, math.nan, math.nan
    half = t.ppf(0.975, n - 1) * statistics.stdev(values) * (1 / n + one_more) ** 0.5
    return mean, mean - half, mean + half


def spread(values: Sequence[float]) -> str:
    """Mean and deviation, as far as there are any."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}" if values else ""


def bounds(low: float, high: float) -> str:
    """An interval in words."""
    if math.isnan(low):
        return "(too few for an interval)"
    return "(every run)" if low == high else f"[{low:.2f}, {high:.2f}]"


def interval_of_mean(values: Sequence[float]) -> str:
    """Mean, deviation and the interval of the mean."""
    _, low, high = interval(values)
    return f"{spread(values)} {bounds(low, high)}"


def precisions(runs: list[dict]) -> str:
    return " and ".join(sorted({run["precision"] for run in runs}))


def gap(runs: Runs, name: str, base: str, value: Value = test_accuracy,
        base_value: Value | None = None) -> Difference:
    """Difference of two rows, paired over the seeds that both have. Where `name` has a single run, and base
    three or more, it is to their mean, with the interval of one more: both are taken to spread alike."""
    values = {run["seed"]: value(run) for run in runs[name]}
    base_values = {run["seed"]: (base_value or value)(run) for run in runs[base]}
    ours, theirs = precisions(runs[name]), precisions(runs[base])
    if len(values) == 1 and len(base_values) > 2:  # (two may be equal by chance)
        mean, low, high = interval([*base_values.values()], one_more=True)
        [own] = values.values()
        apart = own - mean, own - high, own - low
    else:
        apart = interval([values[seed] - base_values[seed] for seed in values if seed in base_values])
    return Difference(*apart, "" if ours == theirs else f"{ours} against {theirs}")


def level(runs: Runs, name: str, value: Value) -> Difference:
    """A row's own mean, as a difference from zero."""
    return Difference(*interval([value(run) for run in runs[name]]))


def signed(difference: Difference, unit: str = "") -> str:
    mean, low, high, compared = difference
    text = f"{mean:+.2f} {bounds(low, high)} {unit}".rstrip()
    return f"{text} ({compared})" if compared else text


def paired(runs: Runs, names: Sequence[str], measures: dict[str, Value]) -> str:
    """Recipes beside the first of them: each measure's mean, deviation, and difference, as gap has it."""
    header = [cell for title in measures for cell in (title, "minus the first row's [95 %]")]
    rows = []
    for name in names:
        cells = []
        for value in measures.values():
            apart = "" if name == names[0] else signed(gap(runs, name, names[0], value))
            cells += [spread([value(run) for run in runs[name]]), apart]
        rows.append([ROWS[name].label, len(runs[name]), *cells])
    return markdown(["", "seeds", *header], rows)
