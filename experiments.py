"""Measurements over seeds: the runs declared in recipes.py, kept as one file each.

    python experiments.py run                       # every run that is not finished, one after another
    python experiments.py run --only final          # one row; --seeds 0 1 2 3 4
    python experiments.py table --readme            # tables.py's, between the README's markers, and the plot
    python experiments.py plot                      # results/section5.png, our runs beside the report's

Writes results/runs/<row>-<seed>.json for each finished run. Any number of such processes may run at once
(`torchrun --nproc-per-node N experiments.py run`, on several machines with a shared folder too): each run
is locked by the one that does it, and a run that was killed is resumed. A run that fails is named, the
others go on, and the exit status is 1. Checkpoints lie in runs/experiments/.
"""

import argparse
import csv
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import checkpoint
import files
import runtime
import training
from recipes import REPORT, ROWS, Row


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table", "plot"))
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW",
                        help="rows (all)")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds (those of the row)")
    parser.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"),
                        help="folder of finished runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"),
                        help="folder of checkpoints (%(default)s)")
    parser.add_argument("--dry-run", action="store_true",
                        help="print the runs that are left and what they may take")
    parser.add_argument("--readme", action="store_true",
                        help="write the tables into README.md and results/README.md, unprinted, and plot")
    return parser.parse_args(argv)


def train(stage, out: Path, finished: str, flags: list[str]) -> None:
    """Run one training script to its end, resuming what an earlier process began."""
    if (out / finished).exists():
        return
    how = "--resume" if (out / "last.pt").exists() else "--overwrite"
    status = stage.main(stage.parse_args(["--out", str(out), how, *flags]))
    if status:
        sys.exit(status)


def recipe(flags: dict) -> dict:
    """The flags that make the result, without those that say where things are."""
    places = checkpoint.FREE_FLAGS - {"epochs"} | {"autoencoder"}
    return {name: value for name, value in flags.items() if name not in places}


def history(stage: str, log: list[dict]) -> dict:
    """What a stage's log tells: seconds, and the cost and validation accuracy of each epoch that has them."""
    costs, accuracies = ([round(epoch[field], 6) for epoch in log if epoch.get(field) is not None]
                         for field in ("cost", "val_accuracy"))
    told = {f"{stage}_cost": log[-1]["cost"], f"{stage}_costs": costs,
            f"{stage}_seconds": round(sum(epoch["seconds"] for epoch in log), 1)}
    if accuracies:
        told |= {"val_accuracy": log[-1]["val_accuracy"], "val_accuracies": accuracies}
    return told


def keep_predictions(table: Path, path: Path) -> None:
    """The label and the predicted class of each test image, in the data set's order, as uint8."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    classes = sorted({row["class"] for row in rows})  # every class has test images
    columns = {name: np.array([classes.index(row[column]) for row in rows], np.uint8)
               for name, column in (("labels", "class"), ("predicted", "predicted"))}
    with files.atomic(path) as temporary:
        np.savez_compressed(temporary, classes=classes, **columns)


def measure(name: str, row: Row, seed: int, args: argparse.Namespace) -> None:
    """Both stages of one run, its evaluation where the row is tested, and its JSON file."""
    import evaluate
    import train_autoencoder
    import train_classifier

    common = ["--data-dir", args.data_dir, "--seed", str(seed)]
    result = {"row": name, "seed": seed}
    source = []
    if row.autoencoder is not None:
        flags = row.autoencoder.split()
        slug = "-".join(["autoencoder", str(seed), *(flag.lstrip("-") for flag in flags)])
        with files.lock(args.work / f"{slug}.lock", wait=True):  # rows with the same flags share it
            train(train_autoencoder, args.work / slug, "autoencoder.pt", [*common, *flags])
        source = ["--autoencoder", str(args.work / slug / "autoencoder.pt")]
        header, log = training.read_log(args.work / slug / "log.jsonl")
        result |= {"autoencoder_flags": recipe(header["flags"]), **history("autoencoder", log)}
    out = args.work / f"{name}-{seed}"
    train(train_classifier, out, "classifier.pt",
          [*common, *source, "--save-every", "20", *row.classifier.split()])
    header, log = training.read_log(out / "log.jsonl")
    result |= {**header, "flags": recipe(header["flags"]), **history("classifier", log)}
    if row.tested:
        evaluate.main(evaluate.parse_args(["--classifier", str(out / "classifier.pt"),
                                           "--data-dir", args.data_dir, *source]))
        result["splits"] = json.loads((out / "evaluation.json").read_text())["splits"]
        keep_predictions(out / "predictions.csv", path_of(args, name, seed).with_suffix(".npz"))
    files.write_json(path_of(args, name, seed), result)
    for file in ("last.pt", "classifier.pt"):  # 1.9 GB a run
        (out / file).unlink()


def path_of(args: argparse.Namespace, name: str, seed: int) -> Path:
    return args.results / "runs" / f"{name}-{seed}.json"


def left(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Row and seed of each run that was asked for and is not finished."""
    return [(name, seed) for name in args.only for seed in args.seeds or ROWS[name].seeds
            if not path_of(args, name, seed).exists()]


def plan(args: argparse.Namespace) -> int:
    """Print what is left, and how long it may take by the seconds of what is finished."""
    known = [json.loads(path.read_text()) for path in (args.results / "runs").glob("*.json")]
    times = [run["classifier_seconds"] + run.get("autoencoder_seconds", 0) for run in known]
    print(*(f"{name}, seed {seed}" for name, seed in left(args)), sep="\n")
    hours = len(left(args)) * statistics.median(times or [600]) / 3600
    print(f"{len(left(args))} runs, some {hours:.1f} hours for one process")
    return 0


def run(args: argparse.Namespace) -> int:
    """Do what is left, beside any process that does the same; wait for what others began, lest they die."""
    if args.dry_run:
        return plan(args)
    (args.results / "runs").mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    failed = []
    while runs := [run for run in left(args) if run not in failed]:
        done = 0
        for name, seed in runs:
            with files.lock(args.work / f"{name}-{seed}.lock", wait=False) as is_ours:
                if is_ours and not path_of(args, name, seed).exists():
                    start, done = time.perf_counter(), done + 1
                    print(f"== {name}, seed {seed}", flush=True)
                    try:
                        measure(name, ROWS[name], seed, args)
                    except runtime.UserError as error:  # as a loss that is not finite: the others go on
                        print(f"== {name}, seed {seed}: {error}", file=sys.stderr, flush=True)
                        failed.append((name, seed))
                        continue
                    print(f"== {name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        time.sleep(0 if done else 10)
    return int(bool(failed))


def table(args: argparse.Namespace) -> int:
    import tables

    here = Path(__file__).parent
    tables.write(args.results, [here / "README.md", here / "results/README.md"] if args.readme else [])
    return plot(args) if args.readme else 0  # the picture beside the table


def plotted(results: Path) -> list[tuple[str, list[float], tuple[float, ...]]]:
    """Title, our test accuracies and the report's, of each row of its section 5."""
    import comparisons

    runs, accuracy = comparisons.finished(results), comparisons.accuracy_on("test")
    return [(ROWS[name].title, list(map(accuracy, runs[name])), theirs) for name, theirs in REPORT.items()]


def plot(args: argparse.Namespace) -> int:
    import figures

    figures.results(args.results / "section5.png", plotted(args.results))
    print(f"wrote {args.results / 'section5.png'}")
    return 0


def main(args: argparse.Namespace) -> int:
    return {"run": run, "table": table, "plot": plot}[args.command](args)


if __name__ == "__main__":
    runtime.run(main, parse_args(sys.argv[1:]))
