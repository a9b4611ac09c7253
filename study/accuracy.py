"""The tables of accuracy, and its picture, made from the finished runs in results/runs/."""

import statistics
from pathlib import Path

from study import intervals
from study.intervals import Runs, Value, interval_of_mean, markdown, spread, test_accuracy, val_accuracy
from study.rows import BEST, RATES, ROWS, report
from support import figures, files
from support.errors import counted

STAGE_ONES = ("pretrained", "unpool-nearest", "unpool-indices", "adagrad-autoencoder")
SHOWN = {"strong": "report's head", "strong-pooled": "pooled head",
         "strong-pooled-stage-one": "pooled head, from stage one", "final": "report's recipe"}
LENGTHS = {100: "strong-pooled-100", 150: "strong-pooled", 250: "strong-pooled-250", 800: "strong-pooled-800"}
STARTS = {"": "random weights", "-stage-one": "stage one", "-edges": "stage one of edges"}
NOT_MEASURED = "not measured"
MARKS = (  # what is measured, of which row, over views; at full length at least, and the aim; elsewhere
    ("report's networks, one view", "strong", False, "70", "73", "41.16 (the report)"),
    ("report's networks, over six views", "strong", True, "75.3", "78",
     "75.2 at 256 pixels, 75.1 at 224, 70 to 73 at 128"),
    ("pooled head, over six views", "strong-pooled", True, "77", "80", ""),
    ("pooled head, mean probabilities of seeds, over six views", "ensemble", True, "79, of five seeds",
     "82.3", "82.19, with self-supervision at 224 pixels"),
    ("pooled head on 2040 photos, over six views", "strong-pooled-all", True, "84", "88",
     "80.3; 92.0 with a ResNet-50 and 40,000 steps"))


def where(runs: list[dict]) -> str:
    of = " or ".join(sorted({run["processor"] for run in runs}))
    return f"{of}, {intervals.precisions(runs)}"


def one_more(runs: list[dict]) -> tuple[float, float]:
    """Where the test accuracy of one more run would lie, 95 times in 100."""
    _, low, high = intervals.interval(list(map(test_accuracy, runs)), one_more=True)
    return low, high


def final(runs: Runs) -> str:
    """The final model's seeds on the three splits, mean, deviation and interval, the report's run."""
    columns = [[*(run["splits"][split]["accuracy"] for split in ("train", "val", "test")),
                run["splits"]["test"]["per_class_accuracy"]] for run in runs["final"]]
    rows = [[run["seed"], *(f"{x:.2f}" for x in values)] for run, values in zip(runs["final"], columns)]
    rows.append(["mean ± standard deviation [95 % interval]", *map(interval_of_mean, zip(*columns))])
    (theirs,), (low, high) = report()["final"], one_more(runs["final"])
    where = "inside" if low < theirs < high else "outside"
    place = f"({where} {low:.2f} to {high:.2f}, where one more run of ours would lie, 95 times in 100)"
    rows.append(["the report, one run", "100.00", "", f"{theirs:.2f} {place}", ""])
    return markdown(["seed", "train (%)", "validation (%)", "test (%)", "test, mean of the classes (%)"],
                    rows)


def section5(runs: Runs) -> str:
    """Each row of the report's section 5: its test accuracy, ours, the means' difference."""
    from scipy.stats import ttest_ind

    rows = []
    for name, theirs in report().items():
        if name == "final":  # it has a table of its own
            continue
        ours = [test_accuracy(run) for run in runs[name]]
        # Welch's interval; beside two runs of theirs Student's, as if both spread alike
        low, high = ttest_ind(ours, theirs, equal_var=len(theirs) < 3).confidence_interval(0.95)
        mean = statistics.mean(ours) - statistics.mean(theirs)
        train = [run["splits"]["train"]["accuracy"] for run in runs[name]]
        took = statistics.median(run["classifier_seconds"] for run in runs[name])
        rows.append([ROWS[name].label, f"{spread(theirs)} ({len(theirs)})",
                     ", ".join(f"{value:.2f}" for value in ours), interval_of_mean(ours),
                     f"{mean:+.2f} [{low:.2f}, {high:.2f}]", "yes" if low * high > 0 else "cannot be told",
                     spread(report("train").get(name, (100, 100))), spread(train),
                     intervals.precisions(runs[name]), f"{took:.0f}"])
    return markdown(["test accuracy (%)", "the report: mean ± deviation (runs)", "ours, seeds in order",
                     "mean ± deviation [95 % interval]", "ours minus the report's [95 %]", "differs",
                     "the report's train (%)", "our train (%)", "precision", "seconds, not comparable"], rows)


def rates(runs: Runs) -> str:
    """Each optimizer's learning rates, one seed on validation images, and the best on test images."""
    rows = []
    for name, others in RATES.items():
        # 0.001 is first: of equal rates the first is the best
        found = {"0.001": runs[name], **{rate: runs[f"rate-{name}-{rate}"] for rate in others}}
        tried = {rate: val_accuracy(run) for rate, of in found.items() for run in of if run["seed"] == 0}
        at_best = [test_accuracy(run) for run in runs[BEST[name]]]
        here, there = intervals.precisions(runs[name]), intervals.precisions(runs[BEST[name]])
        other = f", in {there}" if here != there else ""
        rows.append([ROWS[name].label,
                     ", ".join(f"{rate}: {tried[rate]:.2f}" for rate in sorted(tried, key=float)),
                     max(tried, key=tried.get), interval_of_mean(at_best) + other])
    return markdown(["", "learning rate: validation accuracy (%), seed 0", "best rate",
                     "test accuracy (%) at it: mean ± deviation [95 % interval]"], rows)


def pretraining(runs: Runs) -> str:
    """What a trained encoder gains on validation photos in one precision, on test photos, and frozen."""
    text = "\n\n".join(
        intervals.paired(runs, (base, *STAGE_ONES, "frozen", "frozen-random"), {f"{of} accuracy (%)": value})
        for base, of, value in (("final-fp32", "validation", val_accuracy), ("final", "test", test_accuracy)))
    (low, high), (random_low, random_high) = (one_more(runs[name]) for name in ("pretrained", "final"))
    return (f"{text}\n\nOne more run would lie, 95 times in 100, between {low:.2f} and {high:.2f} % "
            f"from the trained encoder, between {random_low:.2f} and {random_high:.2f} "
            f"from random weights; the report's one run lies at {report()['final'][0]:.2f}.")


def starts(runs: Runs, measures: dict[str, Value]) -> str:
    """What a start from stage one changes, by its target, a table each length of stage two; pooled head."""
    groups = [[name for suffix in STARTS if runs.get(name := base + suffix)] for base in LENGTHS.values()]
    return "\n\n".join(intervals.paired(runs, group, measures) for group in groups if len(group) > 1)


def marks(runs: Runs, ensemble: Path) -> str:
    """What a run of full length is meant to reach on test photos, beside what the rows reach; ensemble: of
    study.calibration with several models, where there is such a file."""
    rows = []
    for title, name, is_over_views, *wanted in MARKS:
        cells, value = [], (intervals.over_views if is_over_views else intervals.accuracy_on)("test")
        for of in (runs.get(f"{name}-800"), runs.get(f"{name}-250") or runs.get(name)):
            mean = interval_of_mean([value(run) for run in of]) if of else NOT_MEASURED
            cells.append(f"{mean}, {of[0]['flags']['epochs']} epochs, {where(of)}" if of else mean)
        if name == "ensemble" and ensemble.exists():
            found = files.read_json(ensemble)  # its last row: test, over views
            cells[1] = (f"{found['rows'][-1]['accuracy']:.2f}, {len(found['flags'])} seeds of "
                        f"{found['flags'][0]['epochs']} epochs, {where([found])}")
        rows.append([title, *wanted, *cells])
    return markdown(["test accuracy (%)", "wanted at full length", "aim", "claimed elsewhere, not checked",
                     "at 800 epochs", "at a length that a CPU allows"], rows)


def shipped(found: dict) -> str:
    """The model in weights/, as evaluate.py has measured it: what it was trained on, and its accuracy."""
    test, flags = found["splits"]["test"], found["flags"]
    low, high = test["accuracy_interval"]
    return markdown(["", ""], [
        ["trained on", "2040 photos, train and val of Flowers-102, in copies with a shorter side of 200"],
        ["for", f"{flags['epochs']} epochs, seed {flags['seed']}, in {flags['precision']}"],
        ["species", "102"],
        ["weights", "10 million"],
        ["test accuracy, one view", f"{test['accuracy']:.2f} % [{low:.2f}, {high:.2f}], 95 % over photos"],
        ["mean probability of the likeliest name, one view", f"{test['mean_probability']:.2f} %"],
        ["test accuracy over six views, as `predict.py` has it", f"{test['views_accuracy']:.2f} %"],
        ["measured on", f"{found['processor']}, in {found['precision']}"]])


def against_minutes(path: Path, runs: Runs) -> None:
    """Draw each row's seeds of one core; validation comes at even spaces over stage two."""
    lines = {}
    for name, title in SHOWN.items():
        if of := [run for run in runs[name] if run["threads"] == 1]:
            series = [[1.0, *run["val_accuracies"]] for run in of]
            stage_one, stage_two = (statistics.mean(run.get(f"{stage}_seconds", 0) for run in of) / 60
                                    for stage in ("autoencoder", "classifier"))
            last = len(series[0]) - 1
            lines[f"{title}, {of[0]['precision']}"] = [
                stage_one + stage_two * i / last for i in range(last + 1)], series
    figures.lines(path, lines, "minutes on one core", "validation accuracy (%)")


def against_epochs(path: Path, runs: Runs) -> None:
    """Draw what stage one changes, by its target: pooled head, each length of stage two, with and without."""
    lines = {}
    for epochs, name in LENGTHS.items():
        for suffix, start in STARTS.items():
            if series := [[1.0, *run["val_accuracies"]] for run in runs.get(name + suffix, ())]:
                last, seeds = len(series[0]) - 1, counted(len(series), "seed")
                lines[f"from {start}, {epochs} epochs, {seeds}"] = [
                    epochs * i / last for i in range(last + 1)], series
    figures.lines(path, lines, "epochs of stage two", "validation accuracy (%)")
