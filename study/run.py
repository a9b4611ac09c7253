"""Runs over seeds: whatever rows.json declares and results/runs/ does not hold yet, one run after another.

    python -m study.run                             # every run that is left, minutes to half a day each
    python -m study.run --only final --seeds 0 1    # two seeds of one row

Writes results/runs/<row>-<seed>.json for each finished run, and beside it the predictions on test photos
(.npz). Any number of such processes may work at once, on machines that share --results and --work, too: each
takes the runs that no other has. On a CPU start one a core, with OMP_NUM_THREADS=1. The same command resumes
a killed run. A run that fails, or whose row was begun in another precision, is named; the others go on, and
the exit status is 1.
"""

import argparse
import contextlib
import csv
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np

import evaluate
import train_autoencoder
import train_classifier
from study.intervals import finished_of, path_of
from study.rows import ROWS, Row
from support import errors, files, machine, resume, run_log


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    rows = [name for name, row in ROWS.items() if not row.earlier_version]
    parser.add_argument("--only", nargs="+", choices=rows, default=rows, metavar="ROW",
                        help="rows of rows.json to run (all but those of an earlier version)")
    parser.add_argument("--seeds", nargs="+", type=int, help="of each row's seeds, those to run (all)")
    parser.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="finished runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"),
                        help="folder of checkpoints and locks, shared as --results is (%(default)s)")
    args = parser.parse_args(argv)
    if odd := set(args.seeds or ()) - {seed for name in args.only for seed in ROWS[name].seeds}:
        parser.error(f"--seeds: no row of rows.json that is asked for has {', '.join(map(str, sorted(odd)))}")
    return args


def left(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Row and seed of each run that was asked for and is not finished."""
    return [(name, seed) for name in args.only for seed in ROWS[name].seeds
            if seed in (args.seeds or ROWS[name].seeds) and not path_of(args.results, name, seed).exists()]


def precision_of(stage: ModuleType, flags: list[str]) -> str:
    """The precision that a training script with these flags has on this machine."""
    parsed = stage.parse_args(flags)
    return machine.choose_precision(parsed.precision, machine.choose_device(parsed.device))


def misfit(args: argparse.Namespace, name: str) -> str:
    """Why this machine cannot go on with a row, which has one precision; "" where it can."""
    here = precision_of(train_classifier, ROWS[name].classifier.split())
    found = {run["precision"] for run in finished_of(args.results, name)}
    for seed in ROWS[name].seeds:
        log = args.work / f"{name}-{seed}/log.jsonl"
        if log.exists():
            with contextlib.suppress(ValueError, KeyError):  # a resume names the damage
                found.add(run_log.read_log(log)[0]["precision"])
    others = sorted(found - {here})
    return f"it was begun in {', '.join(others)}, here it would be in {here}" if others else ""


def train(stage: ModuleType, out: Path, finished: str, flags: list[str]) -> None:
    """Run one training script to its end, resuming what an earlier process began."""
    if (out / finished).exists():
        return
    how = "--resume" if (out / "last.pt").exists() else "--overwrite"
    if status := stage.main(stage.parse_args(["--out", str(out), how, *flags])):
        sys.exit(status)


def recipe(flags: dict) -> dict:
    """The flags that make the result, without those that say where things are."""
    places = resume.FREE_FLAGS - {"epochs", "dataset"} | {"autoencoder"}
    return {name: value for name, value in flags.items() if name not in places}


def history(stage: str, out: Path) -> tuple[dict, dict]:
    """A log's header; of its rows seconds, and each epoch's cost and, where measured, accuracy."""
    header, log = run_log.read_log(out / "log.jsonl")
    del header["splits"]  # their sizes; the result has the accuracies under this name
    costs, accuracies = ([round(epoch[field], 6) for epoch in log if epoch.get(field) is not None]
                         for field in ("cost", "val_accuracy"))
    kept = {f"{stage}_cost": log[-1]["cost"], f"{stage}_costs": costs,
            f"{stage}_seconds": round(sum(epoch["seconds"] for epoch in log), 1)}
    if accuracies:
        kept |= {"val_accuracy": log[-1]["val_accuracy"], "val_accuracies": accuracies}
    return header, kept


def keep_predictions(table: Path, path: Path) -> None:
    """Keep the label and the predicted class of each test photo, in the data set's order, as uint8."""
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    classes = sorted({row["class"] for row in rows})  # every class has test photos
    labels, predicted = (np.array([classes.index(row[column]) for row in rows], np.uint8)
                         for column in ("class", "predicted"))
    with files.atomic(path) as temporary:
        np.savez_compressed(temporary, classes=classes, labels=labels, predicted=predicted)


def measure(name: str, row: Row, seed: int, args: argparse.Namespace) -> None:
    """Train both stages of one run, evaluate it where the row is tested, and write its JSON file."""
    common = ["--data-dir", args.data_dir, "--seed", str(seed), "--recipe", row.recipe]
    start, reconstructed = ["--autoencoder", "none"], []
    path, result = path_of(args.results, name, seed), {"row": name, "seed": seed}
    if row.autoencoder is not None:
        # rows with the same flags share one autoencoder in each precision
        flags = row.autoencoder.split()
        words = ["autoencoder", str(seed), precision_of(train_autoencoder, flags), *flags]
        words += [row.recipe] if row.recipe != "report" else []
        out = args.work / "-".join(word.removeprefix("--") for word in words)
        with files.lock(Path(f"{out}.lock"), wait=True):
            train(train_autoencoder, out, "autoencoder.pt", [*common, *flags])
        start = reconstructed = ["--autoencoder", str(out / "autoencoder.pt")]
        header, kept = history("autoencoder", out)
        result |= {"autoencoder_flags": recipe(header.pop("flags")), "autoencoder_header": header, **kept}
    out = args.work / f"{name}-{seed}"
    train(train_classifier, out, "classifier.pt",
          [*common, *start, "--save-every", "20", *row.classifier.split()])
    header, kept = history("classifier", out)
    result |= {**header, "flags": recipe(header["flags"]), **kept}
    if row.tested:
        evaluate.main(evaluate.parse_args([
            "--classifier", str(out / "classifier.pt"), "--precision", header["precision"],
            "--data-dir", args.data_dir, "--views", "1" if row.recipe == "report" else "6", *reconstructed]))
        result["splits"] = files.read_json(out / "evaluation.json")["splits"]
        keep_predictions(out / "predictions.csv", path.with_suffix(".npz"))
    files.write_json(path, result)
    for checkpoint in ("last.pt", "classifier.pt"):  # some gigabytes
        (out / checkpoint).unlink(missing_ok=True)


def attempt(name: str, seed: int, args: argparse.Namespace) -> bool:
    """Do one run, whose lock we hold. False, and a line that names it, where it fails."""
    start = time.perf_counter()
    print(f"== {name}, seed {seed}", flush=True)
    try:
        if why := misfit(args, name):
            raise errors.UserError(why)
        measure(name, ROWS[name], seed, args)
    except Exception as error:
        if (explained := errors.explain(error, args)) is None:
            raise
        print(f"== {name}, seed {seed}: {explained[0]}", file=sys.stderr, flush=True)
        return False
    print(f"== {name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return True


def main(args: argparse.Namespace) -> int:
    (args.results / "runs").mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, seed in left(args):
        with files.lock(args.work / f"{name}-{seed}.lock", wait=False) as is_ours:
            # another process may have finished it meanwhile
            if is_ours and not path_of(args.results, name, seed).exists():
                failed += not attempt(name, seed, args)
    return int(failed > 0)


if __name__ == "__main__":
    errors.run(main, parse_args)
