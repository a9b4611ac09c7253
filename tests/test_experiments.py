"""Guards the declared runs and their tables: flags that parse, names for files, no test image where a row only chooses, statistics by hand."""

import math
import re
import shlex
import statistics

import pytest
import scipy.stats
from conftest import ROOT

import comparisons
import conclusions
import experiments
import recipes
import train_autoencoder
import train_classifier
from conclusions import Claim
from recipes import ROWS


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_what_a_user_can_type(name):
    row = ROWS[name]
    start = ["--autoencoder", "autoencoder.pt"] if row.autoencoder is not None else []
    train_classifier.parse_args([*start, *shlex.split(row.classifier)])
    train_autoencoder.parse_args(shlex.split(row.autoencoder or ""))
    assert all(character.isalnum() or character in "-." for character in name)
    assert not (row.report and name.startswith(("search-", "rate-"))) and (row.seeds == (0, 1, 2, 3, 4) or not row.report or name == "synthetic")


def test_what_is_left_is_what_has_no_file(tmp_path):
    args = experiments.parse_args(["run", "--only", "final", "sgd", "--seeds", "0", "1", "--results", str(tmp_path)])
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/final-1.json").touch()
    assert experiments.left(args) == [("final", 0), ("sgd", 0), ("sgd", 1)]


def runs_of(**values):
    """Runs of rows by their test accuracies, seeds 0, 1, ..."""
    return {name: [{"seed": seed, "splits": {"test": {"accuracy": value}}} for seed, value in enumerate(of)] for name, of in values.items()}


def test_recipes_are_compared_seed_by_seed():
    """Against Student's formula for the mean of paired differences, 4 of them: t(0.975, 3) = 3.182446."""
    ours, base = [44.5, 45.5, 46.0, 45.0], [44.0, 45.0, 47.0, 43.0, 99.0]  # the fifth seed has no partner
    gaps = [a - b for a, b in zip(ours, base)]
    mean, half = statistics.mean(gaps), 3.182446 * statistics.stdev(gaps) / 2
    assert comparisons.gap(runs_of(a=ours, b=base), "a", "b") == pytest.approx((mean, mean - half, mean + half), abs=1e-5)
    shuffled = {name: of[::-1] for name, of in runs_of(a=ours, b=base).items()}
    assert comparisons.gap(shuffled, "a", "b") == comparisons.gap(runs_of(a=ours, b=base), "a", "b")
    assert comparisons.gap(runs_of(a=[], b=base), "a", "b") is None
    assert comparisons.signed(comparisons.gap(runs_of(a=[45.0], b=base), "a", "b")) == "+1.00 (one run)"


def test_the_reports_one_run_is_held_against_where_ours_would_lie():
    """Five runs of mean 40 and deviation 1: t(0.975, 4) = 2.776445, times the root of 1 + 1/5."""
    values = [40 + step * 0.4**0.5 for step in (-2, -1, 0, 1, 2)]
    assert comparisons.prediction_interval(values) == pytest.approx((40 - 3.041443, 40 + 3.041443), abs=1e-5)
    runs = runs_of(final=values)
    for run in runs["final"]:
        run["splits"] |= {"train": {"accuracy": 100.0}, "val": {"accuracy": 45.0}}
        run["splits"]["test"]["per_class_accuracy"] = 44.0
    assert "41.16 (inside 36.96 to 43.04" in comparisons.final(runs)


def test_section_5_differs_where_welchs_interval_leaves_out_zero():
    """Against Welch's formula by hand, the report's five SGD runs against three made-up ones."""
    ours, theirs = [16.0, 15.5, 16.5], recipes.REPORT["sgd"]
    a, b = (statistics.variance(of) / len(of) for of in (ours, theirs))
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2 / 4)
    half = scipy.stats.t.ppf(0.975, freedom) * (a + b) ** 0.5
    mean = statistics.mean(ours) - statistics.mean(theirs)
    runs = runs_of(**{name: ours if name == "sgd" else [] for name in recipes.REPORT})
    for run in runs["sgd"]:
        run["splits"]["train"] = {"accuracy": 100.0}
        run["classifier_seconds"] = 500
    line = next(line for line in comparisons.section5(runs).splitlines() if line.startswith("| SGD"))
    assert f"{mean:+.2f} [{mean - half:.2f}, {mean + half:.2f}] | {'yes' if mean > half else 'cannot be told'} | 100.00 ± 0.00 | 500 |" in line


@pytest.mark.parametrize("difference,claimed,said", (
    (None, {"above": 0}, "not measured yet"),
    ((2.0, 0.5, 3.5), {"above": 0}, "holds"),
    ((2.0, -0.5, 4.5), {"above": 0}, "cannot be told"),
    ((-2.0, -3.5, -0.5), {"above": 0}, "does not hold"),
    ((0.5, 0.2, 0.8), {"below": 1}, "holds"),
    ((1.5, 0.2, 2.8), {"below": 1}, "cannot be told"),
    ((1.5, 1.2, 1.8), {"below": 1}, "does not hold"),
    ((1.5, math.nan, math.nan), {"above": -5, "below": 5}, "holds in one run"),
    ((-7.0, math.nan, math.nan), {"above": -5, "below": 5}, "does not hold in one run"),
))
def test_a_verdict_is_what_the_interval_says(difference, claimed, said):
    assert Claim("it is so", "points", difference, **claimed).verdict() == said


@pytest.mark.parametrize("verdicts,said", (
    (["holds", "holds"], "holds"),
    (["holds", "holds in one run"], "holds in one run"),
    (["holds", "cannot be told"], "cannot be told"),
    (["cannot be told", "not measured yet"], "not measured yet"),
    (["not measured yet", "holds", "does not hold"], "does not hold"),
))
def test_a_conclusion_holds_where_all_that_it_says_does(verdicts, said):
    assert conclusions.whole(verdicts) == said


def test_each_of_the_six_conclusions_has_a_verdict():
    table = conclusions.conclusions(comparisons.finished(ROOT / "results"), None)
    verdicts = re.findall(r"^\| \*\*(\d)\. .* \*\*(.+)\*\* \|$", table, re.MULTILINE)
    assert [number for number, _ in verdicts] == list("123456")


def test_the_best_rate_is_the_one_that_validation_chose():
    """recipes.BEST against the finished runs: nothing is chosen by test images."""
    runs = comparisons.finished(ROOT / "results")
    for name, best in recipes.BEST.items():
        tried = {row: runs[row][0]["val_accuracy"] for row in ROWS if row == name or row.startswith(f"rate-{name}-")}
        flags = {row: ROWS[row].classifier.split("--learning-rate ")[1].split()[0] for row in (max(tried, key=tried.get), best)}
        assert len(tried) == 4 and len(set(flags.values())) == 1 and ROWS[best].report
