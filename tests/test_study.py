"""Guards the declared runs and their tables: flags that parse, no test image for a choice, statistics."""

import json
import re
import shlex
import statistics

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import ROOT

import evaluate
import recipes
import train_autoencoder
import train_classifier
from models import Encoder, PooledClassifier
from study import accuracy, calibration, conclusions, intervals, mistakes, rows, speed, tables
from study import run as study_run
from study.conclusions import Claim, by_reading
from study.intervals import Difference
from study.rows import ROWS


def everything_left():
    return study_run.left(study_run.parse_args(["--results", "nowhere"]))


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_what_a_user_can_type(name):
    row = ROWS[name]
    start = ["--autoencoder", "autoencoder.pt"] if row.autoencoder is not None else []
    if row.earlier_version:
        assert "earlier version" in row.label and name not in {name for name, _ in everything_left()}
    else:
        recipe = ["--recipe", row.recipe]
        train_classifier.parse_args([*recipe, *start, *shlex.split(row.classifier)])
        train_autoencoder.parse_args([*recipe, *shlex.split(row.autoencoder or "")])
    assert all(character.isalnum() or character in "-." for character in name)
    assert not (row.tested and name.startswith(("search-", "rate-")))
    of_weights, five = name.startswith("strong-pooled-all"), name == "strong-pooled-800"
    seeds = 1 if of_weights else 3 if name.startswith(("strong", "synthetic")) and not five else 5
    assert len(row.seeds) == seeds or not row.tested  # (1: a model for weights/; 5: the mean of five seeds)
    assert row.seeds == tuple(range(len(row.seeds)))


def test_what_is_left_is_what_has_no_file(tmp_path):
    args = study_run.parse_args(
        ["--only", "final", "sgd", "--seeds", "0", "1", "--results", str(tmp_path)]
    )
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/final-1.json").touch()
    assert study_run.left(args) == [("final", 0), ("sgd", 0), ("sgd", 1)]


def runs_of(**values):
    """Runs of rows by their test accuracies, seeds 0, 1, ..."""
    return {name: [{"seed": seed, "precision": "bf16", "splits": {"test": {"accuracy": value}}}
                   for seed, value in enumerate(of)]
            for name, of in values.items()}


def test_recipes_are_compared_seed_by_seed():
    """Against Student's formula for the mean of paired differences, 4 of them: t(0.975, 3) = 3.182446."""
    ours, base = [44.5, 45.5, 46.0, 45.0], [44.0, 45.0, 47.0, 43.0, 99.0]  # the fifth seed has no partner
    gaps = [a - b for a, b in zip(ours, base)]
    mean, half = statistics.mean(gaps), 3.182446 * statistics.stdev(gaps) / 2
    expected = pytest.approx((mean, mean - half, mean + half), abs=1e-5)
    assert intervals.gap(runs_of(adam=ours, sgd=base), "adam", "sgd")[:3] == expected
    assert (
        intervals.level(runs_of(adam=gaps), "adam", intervals.accuracy_on("test"))[:3] == expected
    )  # of one row
    shuffled = {name: of[::-1] for name, of in runs_of(adam=ours, sgd=base).items()}
    assert intervals.gap(shuffled, "adam", "sgd") == intervals.gap(
        runs_of(adam=ours, sgd=base), "adam", "sgd"
    )
    lone = intervals.gap(runs_of(adam=[45.0], sgd=[44.0]), "adam", "sgd")
    assert intervals.signed(lone) == "+1.00 (too few for an interval)"


def test_a_single_run_is_compared_with_where_one_more_of_the_others_would_lie():
    """Against Student's formula for one more of 4: t(0.975, 3) = 3.182446."""
    base = [44.0, 45.0, 47.0, 43.0]
    apart, half = 50 - statistics.mean(base), 3.182446 * statistics.stdev(base) * (1 + 1 / 4) ** 0.5
    found = intervals.gap(runs_of(adam=[50.0], sgd=base), "adam", "sgd")
    assert found[:3] == pytest.approx((apart, apart - half, apart + half), abs=1e-5)


def test_recipes_stand_beside_the_first_of_them_a_column_a_measure():
    """Differences of 1 and 3: their mean 2, deviation 2 ** 0.5, and t(0.975, 1) = 12.706205."""
    runs = runs_of(adagrad=[40.0, 41.0], adam=[41.0, 44.0])
    for of in runs.values():
        for run in of:
            run["val_accuracy"] = run["splits"]["test"]["accuracy"] / 2
    measures = {"test": intervals.accuracy_on("test"), "half": intervals.val_accuracy}
    assert intervals.paired(runs, ("adagrad", "adam"), measures).splitlines() == [
        "|  | seeds | test | minus the first row's [95 %] | half | minus the first row's [95 %] |",
        "| --- | --- | --- | --- | --- | --- |",
        "| Adagrad | 2 | 40.50 ± 0.71 |  | 20.25 ± 0.35 |  |",
        ("| Adam (and batch norm on) | 2 | 42.50 ± 2.12 | +2.00 [-10.71, 14.71] "
         "| 21.25 ± 1.06 | +1.00 [-5.35, 7.35] |")]


def test_the_table_of_rates_shows_seed_0_on_validation_images_and_the_best_on_test_images(monkeypatch):
    """t(0.975, 4) = 2.776445; another seed's validation, and the test accuracy at 0.001, play no part."""
    monkeypatch.setattr(accuracy, "RATES", {"adam": ("0.0001", "0.003")})
    runs = runs_of(**{"adam": [90.0, 91.0], "rate-adam-0.0001": [0.0], "rate-adam-0.003": [0.0],
                      "best-adam": [40 + step * 0.4**0.5 for step in (-2, -1, 0, 1, 2)]})
    accuracies = {
        "adam": [30.0, 99.0],
        "rate-adam-0.0001": [35.0],
        "rate-adam-0.003": [20.0],
        "best-adam": [0.0] * 5,
    }
    for name, of in accuracies.items():
        for run, found in zip(runs[name], of):
            run["val_accuracy"] = found
    half = 2.776445 / 5**0.5
    title = "| Adam (and batch norm on) | "
    assert accuracy.rates(runs).splitlines()[2] == (
        f"{title}0.0001: 35.00, 0.001: 30.00, 0.003: 20.00 | 0.0001 "
        f"| 40.00 ± 1.00 [{40 - half:.2f}, {40 + half:.2f}] |")


def test_a_difference_says_where_its_rows_have_not_the_same_precision():
    runs = runs_of(adam=[45.0, 45.0], sgd=[44.0, 44.0])
    assert intervals.signed(intervals.gap(runs, "adam", "sgd")) == "+1.00 (every run)"
    for run in runs["adam"]:
        run["precision"] = "fp32"
    assert intervals.signed(intervals.gap(runs, "adam", "sgd")) == (
        "+1.00 (every run) (fp32 against bf16)")
    runs["adam"][0]["precision"] = "bf16"
    assert intervals.signed(intervals.gap(runs, "adam", "sgd")).endswith(" (bf16 and fp32 against bf16)")


def test_the_reports_one_run_is_held_against_where_ours_would_lie():
    """Five runs of mean 40 and deviation 1: t(0.975, 4) = 2.776445, times the root of 1 + 1/5."""
    values = [40 + step * 0.4**0.5 for step in (-2, -1, 0, 1, 2)]
    found = intervals.interval(values, one_more=True)
    assert found == pytest.approx((40, 40 - 3.041443, 40 + 3.041443), abs=1e-5)
    runs = runs_of(final=values)
    for run in runs["final"]:
        run["splits"] |= {"train": {"accuracy": 100.0}, "val": {"accuracy": 45.0}}
        run["splits"]["test"]["per_class_accuracy"] = 44.0
    assert "41.16 (inside 36.96 to 43.04" in accuracy.final(runs)


def section5_of(**values):
    """Runs of all rows of section 5, of which those named have these test accuracies."""
    runs = runs_of(**{name: values.get(name, [1.0, 2.0]) for name in rows.report()})
    for run in (run for of in runs.values() for run in of):
        run["classifier_seconds"] = 500
        run["splits"]["train"] = {"accuracy": 100.0}
    return runs


def test_section_5_differs_where_welchs_interval_leaves_out_zero():
    """Against Welch's formula by hand, the report's five SGD runs against five made-up ones."""
    ours, theirs = [16.0, 15.5, 16.5, 16.2, 15.8], rows.report()["sgd"]
    a, b = (statistics.variance(of) / len(of) for of in (ours, theirs))
    freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 4)
    half = scipy.stats.t.ppf(0.975, freedom) * (a + b) ** 0.5
    mean = statistics.mean(ours) - statistics.mean(theirs)
    runs = section5_of(sgd=ours)
    line = next(line for line in accuracy.section5(runs).splitlines() if line.startswith("| SGD"))
    assert mean > half  # far from the report's
    assert (f"{mean:+.2f} [{mean - half:.2f}, {mean + half:.2f}] | yes | 100.00 ± 0.00 | 100.00 ± 0.00 | "
            f"bf16 | 500 |") in line
    near = next(line for line in accuracy.section5(section5_of(sgd=theirs)).splitlines() if "| SGD" in line)
    assert "| +0.00 [" in near and "| cannot be told |" in near


def test_of_two_runs_of_the_reports_students_interval_is_taken():
    """Five of mean 3 and deviation 1, two at 11.5 ± 1.9: t(0.975, 5) = 2.570582, pooled by hand."""
    runs = section5_of(**{"dropout-0.75": [3 + step * 0.4**0.5 for step in (-2, -1, 0, 1, 2)]})
    half = 2.570582 * ((4 * 1 + 2 * 1.9**2) / 5 * (1 / 5 + 1 / 2)) ** 0.5
    assert f"| -8.50 [{-8.5 - half:.2f}, {-8.5 + half:.2f}] | yes |" in accuracy.section5(runs)


def test_what_a_step_takes_with_batch_norm_is_the_median_of_its_rounds():
    """Of twelve the third from either end bounds their median, of eight the first.

    Fewer than three heads in twelve throws have a chance of 79 / 4096, under 2.5 %, fewer than four
    299 / 4096; no head in eight 1 / 256, fewer than two 9 / 256.
    """
    more = [4, 1, 9, 2, 500, 7, 3, 8, 5, 0, 6, -90]  # percent; two rounds met something else on the machine
    row = {"stage": "classifier", "side": "ours without batch norm", "precision": "bf16",
           "turns": [[2.0, 2.0 + percent / 50] for percent in more]}
    found = speed.with_batch_norm(
        {"steps": {"rows": [row, row | {"side": "ours without fusion", "turns": []}]}},
        {"steps": {"rows": [row | {"stage": stage, "precision": "fp32", "turns": row["turns"][:rounds]}
                            for stage, rounds in (("autoencoder", 8), ("classifier", 4))]}})
    assert len(found) == 3
    assert found["classifier", "bf16"][:3] == pytest.approx((4.5, 1, 8))
    assert found["autoencoder", "fp32"][:3] == pytest.approx((5.5, 1, 500))
    few = found["classifier", "fp32"]
    assert intervals.signed(few, "%") == "+3.00 (too few for an interval) %"
    assert Claim("", "", few, -5, 5).verdict() == "cannot be told"


def test_a_page_gets_the_tables_that_it_has_markers_for_and_keeps_the_rest(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- one -->\nold\n\nolder\n<!-- /one -->\nb\n<!-- two -->\n<!-- /two -->\nc\n")
    found = {"one": "| new \\1 |", "two": "x\n\ny", "elsewhere": "z"}
    for _ in range(2):
        tables.write(page, found)
        assert page.read_text() == (
            "a\n<!-- one -->\n| new \\1 |\n<!-- /one -->\nb\n<!-- two -->\nx\n\ny\n<!-- /two -->\nc\n")


@pytest.mark.parametrize("difference,claimed,said", (
    (Difference(2.0, 0.5, 3.5), {"above": 0}, "holds"),
    (Difference(2.0, -0.5, 4.5), {"above": 0}, "cannot be told"),
    (Difference(-2.0, -3.5, -0.5), {"above": 0}, "does not hold"),
    (Difference(0.5, 0.2, 0.8), {"below": 1}, "holds"),
    (Difference(1.5, 0.2, 2.8), {"below": 1}, "cannot be told"),
    (Difference(1.5, 1.2, 1.8), {"below": 1}, "does not hold"),
    (Difference(-7.0, -8.0, -6.0), {"above": -5, "below": 5}, "does not hold"),
    (Difference(0.0, 0.0, 0.0), {"above": 0}, "does not hold"),
))
def test_a_verdict_is_what_the_interval_says(difference, claimed, said):
    assert Claim("it is so", "points", difference, **claimed).verdict() == said


def test_the_worst_of_its_claims_decides_a_conclusion():
    holds, fails, open_ = (
        Claim("", "", Difference(mean, mean - 1, mean + 1), above=0) for mean in (2, -2, 0)
    )
    assert by_reading([holds, open_]) == "cannot be told" and by_reading([holds]) == "holds"
    assert by_reading([open_, fails, holds]) == "does not hold"


def test_a_conclusion_that_may_be_read_in_several_ways_is_told_by_each():
    def claim(mean, reading):
        return Claim("", "", Difference(mean, mean - 1, mean + 1), above=0, reading=reading)

    claims = [claim(2, "by weight"), claim(-2, "by length"), claim(0, "by weight"), claim(3, "")]
    assert by_reading(claims) == "cannot be told by weight, does not hold by length"
    assert by_reading([*claims, claim(-2, "")]) == "does not hold"  # however it is read


def test_an_answer_has_each_reading_and_the_figure_of_the_worst(monkeypatch):
    claims = [Claim("", "points", Difference(mean, mean - 1, mean + 1), above=0, reading=reading)
              for mean, reading in ((0, "by age"), (2, "by weight"), (-2, "by length"), (-3, "by length"))]
    judged = [({"short": "All is"}, claims), ({"short": "One is"}, claims[1:2])]
    monkeypatch.setattr(conclusions, "judged", lambda runs, step: judged)
    assert conclusions.answers({}, {}).splitlines() == [
        ("1. All is: **cannot be told by age, holds by weight, does not hold by length** "
         "(-2.00 [-3.00, -1.00] points)"),
        "2. One is: **holds** (+2.00 [1.00, 3.00] points)"]


@pytest.mark.parametrize("true", (True, False))
def test_each_claim_points_the_way_that_the_report_says(true):
    """Made-up runs in which all that the report says is so, or the opposite."""
    s = 1 if true else -1
    test = {
        "adagrad": 40,
        "adam": 40 - 5 * s,
        "best-adam": 40 - 5 * s,
        "sgd": 40 - 9 * s,
        "rmsprop": 40 - 9 * s,
        "best-sgd": 40 - 2 * s,
        "best-rmsprop": 40 - 2 * s,
        "pretrained": 40,
        "final": 40 - 2 * s,
        "frozen": 30,
        "frozen-random": 30 - 2 * s,
        "unpool-nearest": 40 - 2 * s,
        "unpool-indices": 40 - 2 * s,
        "adagrad-autoencoder": 40 - 2 * s,
        "strong": 40 + s,
        "strong-pooled": 40,
        "strong-pooled-all": 41 + s,
        "strong-pooled-stage-one": 40 + s,
    }
    test |= {name: 41 - 2 * s for name in ROWS if name.startswith(("dropout-", "l2-"))}
    error = {"unpool-nearest": 0.02 + 0.002 * s, "adagrad-autoencoder": 0.02 + 0.002 * s}
    cost = {"adam": (3, 3), "no-batch-norm": (3 + s, 3 + s),  # from epoch 2 on, and at 80
            "best-adam": (3, 3), "best-no-batch-norm": (3 + s, 3 + s),
            "epochs-80": (0.016, 0.015 if true else 0.316)}
    gained = {"no-batch-norm": 3 * s, "best-no-batch-norm": 3 * s,  # every 5 epochs
              "epochs-80": 0.5 if true else 1.5}
    runs = {
        name: [
            {
                "seed": seed,
                "precision": "bf16",
                "val_accuracy": test.get(name, 40 - 2 * s),
                "val_accuracies": [5 + gained.get(name, 0) * i / 8 for i in range(16)],
                "splits": {
                    "train": {"accuracy": 99 + 0.5 * s},
                    "test": {"accuracy": test.get(name, 0), "reconstruction_error": error.get(name, 0.02)},
                },
                **{
                    f"{stage}_costs": [2, *[cost.get(name, (1, 1))[0]] * 78, cost.get(name, (1, 1))[1]]
                    for stage in ("autoencoder", "classifier")
                },
            }
            for seed in range(3)
        ]
        for name in ROWS
    }
    step = {
        what: Difference(*((1, 0, 2) if true else (9, 8, 10)))
        for what in (
            ("autoencoder", "bf16"),
            ("autoencoder", "fp32"),
            ("classifier", "bf16"),
            ("classifier", "fp32"),
        )
    }
    verdicts = [claim.verdict() for _, claims in conclusions.judged(runs, step) for claim in claims]
    assert set(verdicts) == {"holds" if true else "does not hold"} and len(verdicts) == 40
    said = "holds" if true else "does not hold"
    lines = conclusions.answers(runs, step).splitlines()
    assert [line[:3] for line in lines] == [f"{i}. " for i in range(1, 8)]
    assert all(f"**{said}" in line for line in lines)
    change = "-0.05" if true else "+15.12"
    assert f"**{said}** ({change} (every run) % of the fall)" in lines[3]
    table = conclusions.conclusions(runs, step)
    assert table.count(f"| {verdicts[0]} |") == len(verdicts)
    assert re.findall(r"\| \*\*([^*|]+)\*\* \|$", table, re.MULTILINE) == [said] * 7


def test_each_row_that_a_claim_is_about_has_all_of_its_seeds():
    """So a verdict is no verdict on the seeds that were there first."""
    runs = intervals.finished(ROOT / "results")
    declared = json.loads((ROOT / "study/conclusions.json").read_text())
    for name in {row for each in declared for claim in each["claims"] for row in claim.get("rows", ())}:
        assert [run["seed"] for run in runs[name]] == list(ROWS[name].seeds), name


def test_a_claim_about_the_best_rates_is_about_the_rows_that_validation_chose():
    declared = json.loads((ROOT / "study/conclusions.json").read_text())
    about = [claim for each in declared for claim in each["claims"]
             if claim.get("reading") == "at the best rates"]
    assert len(about) == 5 and {row for claim in about for row in claim["rows"]} <= set(rows.BEST.values())


def test_a_cost_that_explodes_is_no_cost_that_hardly_changes():
    costs = [0.2] + [0.016] * 78 + [0.2]
    runs = {"epochs-80": [{"seed": seed, "val_accuracies": [40] * 16, "autoencoder_costs": costs,
                           "classifier_costs": costs} for seed in (0, 1, 2)]}
    verdicts = []
    for claim in json.loads((ROOT / "study/conclusions.json").read_text())[3]["claims"]:
        found = intervals.level(runs, *claim["rows"], conclusions.MEASURES[claim["values"][0]])
        verdicts.append(Claim("", "", found, claim["above"], claim["below"]).verdict())
    assert verdicts == ["does not hold"] * 4 + ["holds"]


def test_a_change_of_cost_is_measured_by_what_is_left_and_by_its_fall():
    run = {"classifier_costs": [2.1, 0.5, 0.1, 0.08]}
    assert conclusions.changed("classifier", 3, 4, of_its_fall=False)(run) == pytest.approx(-20)
    assert conclusions.changed("classifier", 3, 4, of_its_fall=True)(run) == pytest.approx(-1)


def test_the_best_rate_is_the_one_that_validation_chose():
    """recipes.BEST against the finished runs: nothing is chosen by test images."""
    runs = intervals.finished(ROOT / "results")
    for name, best in rows.BEST.items():
        tried = {row: run["val_accuracy"] for row in ROWS if row == name or row.startswith(f"rate-{name}-")
                 for run in runs[row] if run["seed"] == 0}
        def flags_of(row):
            return train_classifier.parse_args(["--recipe", "report", *shlex.split(ROWS[row].classifier)])

        chosen, reported = (flags_of(row) for row in (max(tried, key=tried.get), best))
        rates = [flags_of(row).learning_rate for row in tried]
        assert min(rates) < chosen.learning_rate < max(rates), "look beyond the edge"
        assert len(tried) >= 4 and chosen == reported and ROWS[best].tested
    measured = {name for name in rows.RATES
                if all(runs[row] for row in ROWS if row == name or row.startswith(f"rate-{name}-"))}
    assert rows.BEST.keys() == measured


def test_summary_json_is_what_the_results_give():
    kept = json.loads((ROOT / "results/summary.json").read_text())["rows"]
    assert kept == tables.summary(intervals.finished(ROOT / "results"))
    final = next(row for row in kept if row["name"] == "final")
    measured = [json.loads((ROOT / f"results/runs/final-{seed}.json").read_text()) for seed in range(5)]
    mean = statistics.mean(run["splits"]["test"]["accuracy"] for run in measured)
    assert final["test"] == pytest.approx(mean) and final["seeds"] == [0, 1, 2, 3, 4]
    assert (final["stage_one"], final["epochs"], final["views"]) == (None, 40, None)
    scratch = json.loads((ROOT / "results/runs/search-scratch-0.json").read_text())
    # its file also has the seconds of a stage one that it did not start from
    alone = next(row for row in kept if row["name"] == "search-scratch")
    assert alone["minutes"] == pytest.approx(scratch["classifier_seconds"] / 60, abs=0.05)


@pytest.mark.parametrize("path", sorted((ROOT / "results/runs").glob("*.json")), ids=lambda path: path.stem)
def test_a_finished_run_is_what_its_row_declares(path):
    run = json.loads(path.read_text())
    row = ROWS[run["row"]]
    seed = ["--seed", str(run["seed"]), "--recipe", row.recipe]
    source = ["--autoencoder", "autoencoder.pt" if row.autoencoder is not None else "none"]
    if not row.earlier_version:
        made = {"flags": train_classifier.parse_args([*source, *row.classifier.split(), *seed])}
        if row.autoencoder is not None:
            made["autoencoder_flags"] = train_autoencoder.parse_args([*row.autoencoder.split(), *seed])
        else:  # search-scratch-0 has flags of one that it did not start from
            assert "autoencoder_flags" not in run or path.stem == "search-scratch-0"
        for stage, args in made.items():
            # None and "auto" are settled by a run, or follow another flag or checkpoint
            declared = {name: value for name, value in study_run.recipe(vars(args)).items()
                        if value not in ("auto", None)}
            former = recipes.RECIPES["report"]["autoencoder" if "autoencoder" in stage else "classifier"]
            flags = former | run[stage]  # the runs of earlier versions lack flags
            assert {name: flags.get(name) for name in declared} == declared
            # flags of earlier versions
            gone = {"crop": "centre", "init": "default", "unpooling": "inverse", "target": "photo"}
            assert all(run[stage].get(name, stayed) == stayed for name, stayed in gone.items())
    assert path.stem == f"{run['row']}-{run['seed']}" and run["seed"] in row.seeds


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_of_one_precision_and_its_predictions_give_its_accuracies(name):
    runs = intervals.finished(ROOT / "results")[name]
    assert len({run["precision"] for run in runs}) <= 1
    assert len({run["autoencoder_flags"]["precision"] for run in runs if "autoencoder_flags" in run}) <= 1
    for run in runs:
        kept = ROOT / f"results/runs/{name}-{run['seed']}.npz"
        assert kept.exists() == ROWS[name].tested
        if kept.exists():
            table = np.load(kept)
            accuracy = 100 * (table["labels"] == table["predicted"]).mean()
            assert accuracy == pytest.approx(run["splits"]["test"]["accuracy"])


def test_pairs_and_class_sizes_are_those_of_the_predictions(tmp_path):
    """Eight species of 2, 2, 4, 4, 4, 4, 5 and 5 photos; in the second seed all names are right."""
    labels = np.repeat(np.arange(8, dtype=np.uint8), (2, 2, 4, 4, 4, 4, 5, 5))
    first = labels.copy()
    first[[1, 4, 5, 9, 20]] = 2, 0, 0, 2, 7  # a rose to tulip, two tulips to rose, a lily to tulip, ...
    (tmp_path / "runs").mkdir()
    classes = ["rose", "daisy", "tulip", "lily", "iris", "lotus", "poppy", "rue"]
    for seed, predicted in enumerate((first, labels)):
        np.savez(tmp_path / f"runs/strong-pooled-{seed}.npz", classes=classes, labels=labels,
                 predicted=predicted)
    runs = {"strong-pooled": [{"seed": 0}, {"seed": 1}]}
    pairs = mistakes.pairs(tmp_path, runs)
    assert [*pairs] == ["rose / tulip", "tulip / lily", "poppy / rue"]
    assert [*pairs.values()] == pytest.approx([100 * 3 / 6 / 2, 100 * 1 / 8 / 2, 100 * 1 / 10 / 2])
    *lines, _, said = mistakes.class_sizes(tmp_path, runs).splitlines()[2:]
    rows = [line.strip("| ").split(" | ")[:3] for line in lines]
    assert [(size, count) for size, count, _ in rows] == [
        ("2 to 2", "2"), ("4 to 4", "2"), ("4 to 4", "2"), ("5 to 5", "2")]
    assert [float(mean.split(" ")[0]) for _, _, mean in rows] == [87.5, 81.25, 100, 95]
    squares = 25**2 / 4, 10**2 / 4  # Welch (1947): squared errors of the means of 75 and 100, 90 and 100
    freedom = sum(squares) ** 2 / sum(square**2 for square in squares)
    half = scipy.stats.t.ppf(0.975, freedom) * sum(squares) ** 0.5
    fall = f"+7.50 [{7.5 - half:.2f}, {7.5 + half:.2f}]"
    assert said == (f"From the first row to the last the mean changes by {fall} points. Most often confused "
                    f"are rose / tulip: 25 % of their photos get the other's name.")


def test_calibration_is_that_of_the_probabilities_of_predict():
    torch.manual_seed(0)
    network = torch.nn.Sequential(Encoder(), PooledClassifier(5))
    images = torch.randint(256, (7, 3, 176, 176), dtype=torch.uint8)
    logits = torch.cat([*evaluate.logits(network, images, "fp32", 6)], 1)
    shown = evaluate.classify(network, images, "fp32", views=6)
    assert torch.allclose(calibration.likely(logits, 1).float(), shown, atol=1e-6)

    probabilities = torch.rand(500, 5, dtype=torch.float64).softmax(1)
    labels = torch.randint(5, (500,))
    confidence, predicted = probabilities.max(1).values.numpy(), probabilities.argmax(1).numpy()
    expected = 0
    for i in range(15):  # the paper's formula, bin by bin
        inside = (confidence >= i / 15) & (confidence < (i + 1) / 15)
        if inside.any():
            right = (predicted == labels.numpy())[inside].mean()
            expected += 100 * inside.mean() * abs(right - confidence[inside].mean())
    assert calibration.calibration_error(probabilities, labels) == pytest.approx(expected)
    certain = torch.eye(5, dtype=torch.float64)
    assert calibration.calibration_error(certain, torch.arange(5)) == 0
