"""The tables of README.md, results/README.md and weights/README.md, made from the files in results/.

    python -m study.tables                     # prints them
    python -m study.tables --readme            # writes each between its markers in the pages, some seconds

With --readme it also writes, in results/, summary.json, the rows of the tables as data, and the pictures
minutes.png, stage_one.png and confused_pairs.png.
"""

import argparse
import json
import re
import statistics
from pathlib import Path

from study import accuracy, calibration, intervals, mistakes, speed
from study.accuracy import STAGE_ONES, final, pretraining, rates, section5
from study.conclusions import answers, conclusions
from study.intervals import Runs, accuracy_on, error_on, gap, markdown, paired, signed, val_accuracy
from study.rows import ROWS, Row, report
from support import errors, figures, files

HERE = Path(__file__).parent.parent
RESULTS = HERE / "results"
PAGES = HERE / "README.md", RESULTS / "README.md", HERE / "weights/README.md"
SHOWN = {  # by row: title, where the encoder starts, flags
    "strong": ("ours, the report's head", "random weights", ""),
    "strong-pooled": ("ours, the pooled head", "random weights", " --head pooled"),
    "strong-pooled-250": ("ours, the pooled head, 250 epochs, not 150", "random weights",
                          " --head pooled --epochs 250"),
    "strong-pooled-stage-one": ("ours, the pooled head", "stage one", " --head pooled --autoencoder FILE"),
    "strong-pooled-all": ("ours, the pooled head, 2040 photos (train and val)", "random weights",
                          " --head pooled --with-val"),
    "final": ("the report's recipe", "random weights", " --recipe report"),
    "pretrained": ("the report's recipe", "stage one", " --recipe report --autoencoder FILE")}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("--readme", action=argparse.BooleanOptionalAction, default=False,
                        help="write the pages and summary.json (%(default)s)")
    return parser.parse_args(argv)


def cell(runs: Runs, name: str, value: intervals.Value) -> str:
    """A row's mean with its interval; nothing where not measured."""
    if not (values := [value(run) for run in runs[name] if value(run) is not None]):
        return ""
    mean, low, high = intervals.interval(values)
    return f"{mean:.2f} {intervals.bounds(low, high)}"


def minutes(run: dict, row: Row) -> float:
    """Of a run's stages, both where its encoder starts from stage one."""
    stage_one = run["autoencoder_seconds"] if row.autoencoder is not None else 0
    return (stage_one + run["classifier_seconds"]) / 60


def results(runs: Runs) -> str:
    """Ours above the report: from where the encoder starts, one view beside six, minutes, the command."""
    rows = []
    for name, (title, start, typed) in SHOWN.items():
        if took := [minutes(run, ROWS[name]) for run in runs[name] if run["threads"] == 1]:
            one_view, six = (cell(runs, name, of("test")) for of in (accuracy_on, intervals.over_views))
            rows.append([f"{title}, {errors.counted(len(runs[name]), 'seed')}", start, one_view, six,
                         f"{statistics.mean(took):.0f}, {accuracy.where(runs[name])}",
                         f"`python train_classifier.py{typed}`"])
    rows.append(["the report, one run", "stage one by its text, random weights by its code",
                 f"{report()['final'][0]:.2f}", "", "", ""])
    ours, theirs = (signed(gap(runs, name, base), "points") for name, base in (
        ("strong-pooled-stage-one", "strong-pooled"), ("pretrained", "final")))
    return markdown(["", "the encoder starts from", "test accuracy, one view (%) [95 %]",
                     "over six views", "minutes of training on one core of",
                     "command"], rows) + (
        "\n\nStage one learns to rebuild a photo from a code of 6400 numbers. To start from its encoder and "
        f"not from random weights changes test accuracy (one view, shared seeds) by {ours} with the pooled "
        f"head, and by {theirs} with the report's recipe. The model of 2040 photos is in [weights]"
        "(weights/README.md): on a fresh clone `python predict.py photo.jpg` names a flower with it.")


def expected(runs: Runs, of_weights: dict) -> str:
    """What repeats the first seed of each row of `results`, and the line of accuracy that it prints."""
    def over(splits: dict) -> str:
        views = (f"{split} {splits[split]['views_accuracy']:.2f} %" for split in ("val", "test"))
        return f"`Over six views of each photo: {', '.join(views)}`"

    rows = []
    strong = (name for name, row in ROWS.items() if name.startswith("strong") and not row.earlier_version)
    for name in dict.fromkeys([*SHOWN, *strong]):
        for run in runs[name][:1]:
            line = (over(run["splits"]) if ROWS[name].recipe == "strong" else
                    f"`Accuracy of the network on test images: {run['splits']['test']['accuracy']} %`")
            command = f"python -m study.run --only {name} --seeds {run['seed']}"
            rows.append([f"`{command} --results elsewhere --work elsewhere --data-dir DIR`", line,
                         run["processor"]])
    rows.append(["`python evaluate.py --classifier weights --data-dir DIR`", over(of_weights["splits"]),
                 of_weights["processor"]])
    return markdown(["command", "printed, by the version that its file names", "on"], rows)


def summary(runs: Runs) -> list[dict]:
    """A row a recipe: accuracies the mean over seeds in percent, null where not measured."""
    rows = []
    for name, of in runs.items():
        row = ROWS[name]
        if of:
            has_val = of[0]["flags"].get("with_val")
            views = of[0].get("splits", {}).get("test", {}).get("views")
            rows.append({
                "name": name, "recipe": row.recipe, "head": of[0]["flags"].get("head", "report"),
                "stage_one": None if row.autoencoder is None else row.autoencoder or row.recipe,
                "epochs": of[0]["flags"]["epochs"],
                "photos": 2040 if has_val else 1020,
                "seeds": [run["seed"] for run in of],
                "val": None if has_val else statistics.mean(map(val_accuracy, of)),
                "test": statistics.mean(map(accuracy_on("test"), of)) if row.tested else None,
                "views": views,
                "test_views": statistics.mean(map(intervals.over_views("test"), of)) if views else None,
                "minutes": round(statistics.mean(minutes(run, row) for run in of), 1),
                "machine": " or ".join(sorted({run["processor"] for run in of}))})
    return rows


def commands(path: Path) -> str:
    """What the three commands printed: last epochs, test accuracy, checkpoints."""
    kept = re.compile(r"\$ |Epoch : (\d+) / \1,|Accuracy.* test|Over |wrote .*\.pt ")
    return "\n".join(f"    {line}" for line in path.read_text().splitlines() if kept.match(line))


def trials(path: Path) -> str:
    """The trials that chose strong's settings, one seed on validation photos, in the order they were made."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return markdown(["stage one", "stage two", "validation, one view (%)", "minutes of both"], [
        ["none" if row["autoencoder"] is None else f"`{row['autoencoder']}` {row.get('start', '')}".strip(),
         f"`{row['classifier']}` {row.get('note', '')}".strip(),
         f"{row['val_accuracy']:.2f}", f"{(row['seconds'] + row['autoencoder_seconds']) / 60:.0f}"]
        for row in rows])


def tables(runs: Runs) -> dict[str, str]:
    """The text between each pair of markers, by their name."""
    val, test = {"validation accuracy (%)": val_accuracy}, {"test accuracy (%)": accuracy_on("test")}
    error = {"error, validation (10⁻³)": error_on("val"), "error, test (10⁻³)": error_on("test")}
    six_views = {"test accuracy over six views (%)": intervals.over_views("test")}
    strong = ("strong-pooled", "strong-pooled-120", "strong-pooled-250", "strong")
    benchmark = files.read_json(RESULTS / "benchmark.json")
    without_bf16 = files.read_json(RESULTS / "without-bf16/benchmark.json")
    step, scale = speed.with_batch_norm(benchmark, without_bf16), files.read_json(RESULTS / "scale.json")
    of_weights = files.read_json(RESULTS / "weights.json")
    return {
        "results": results(runs), "expected": expected(runs, of_weights),
        "commands": commands(RESULTS / "commands.txt"),
        "speed": speed.speed(benchmark), "answers": answers(runs, step),
        "strong": paired(runs, strong, val | test | six_views),
        "starts": accuracy.starts(runs, val | test | six_views),
        "marks": accuracy.marks(runs, RESULTS / "ensemble.json"),
        "sizes": mistakes.class_sizes(RESULTS, runs),
        "calibration": calibration.table(files.read_json(RESULTS / "calibration.json")["rows"]),
        "shipped": accuracy.shipped(of_weights),
        "final": final(runs), "machine": speed.machine(benchmark), "steps": speed.steps(benchmark),
        "processes": speed.processes(scale, False), "scaling": speed.processes(scale, True),
        "photos": speed.photos(scale), "decoding": speed.decoding(scale),
        "augmentation": speed.augmentation(benchmark), "trials": trials(RESULTS / "search.jsonl"),
        "section5": section5(runs), "conclusions": conclusions(runs, step),
        "dropout": paired(runs, ("adagrad", "dropout-0.25", "dropout-0.5", "dropout-0.5-linear"), test),
        "pretraining": pretraining(runs), "rates": rates(runs),
        "unpooling": paired(runs, STAGE_ONES, error | test),
        "precision": paired(runs, ("final", "final-fp32"), val),
    }


def write(page: Path, found: dict[str, str]) -> None:
    """Put each table between its markers in a page; what lies around them stays."""
    text = page.read_text(encoding="utf-8")
    for name, table in found.items():
        between = f"(?s)(?<=<!-- {name} -->\n).*(?=<!-- /{name} -->)"
        text = re.sub(between, lambda _: f"{table}\n", text)
    with files.atomic(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(args: argparse.Namespace) -> int:
    runs = intervals.finished(RESULTS)
    found = tables(runs)
    if not args.readme:
        print(*found.values(), sep="\n\n")
        return 0
    for page in PAGES:
        write(page, found)
    accuracy.against_minutes(RESULTS / "minutes.png", runs)
    accuracy.against_epochs(RESULTS / "stage_one.png", runs)
    figures.bars(RESULTS / "confused_pairs.png", mistakes.pairs(RESULTS, runs),
                 "test photos of both that get the other's name (%), pooled head, mean over seeds")
    files.write_json(RESULTS / "summary.json", {"rows": summary(runs)})
    print(f"wrote {', '.join(str(page.relative_to(HERE)) for page in PAGES)}, results/summary.json and plots")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
