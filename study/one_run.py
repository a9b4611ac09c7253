"""One declared run: both stages trained, the classifier evaluated, all of it kept as one small file."""

import argparse
import csv
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

import training
from study.rows import Row
from support import files, machine, run_folder


def path_of(results: Path, name: str, seed: int) -> Path:
    return results / "runs" / f"{name}-{seed}.json"


def precision_of(flags: argparse.Namespace) -> str:
    """What a training script's flags come to on this machine."""
    return machine.choose_precision(flags.precision, machine.choose_device(flags.device))


def autoencoder_of(row: Row, seed: int, args: argparse.Namespace) -> Path:
    """The folder of a row's autoencoder, which rows with the same flags share, in one precision."""
    import train_autoencoder

    flags = row.autoencoder.split()
    precision = precision_of(train_autoencoder.parse_args(flags))
    return args.work / "-".join(["autoencoder", str(seed), precision, *(flag.lstrip("-") for flag in flags)])


def train(stage: ModuleType, out: Path, finished: str, flags: list[str]) -> None:
    """Run one training script to its end, resuming what an earlier process began."""
    if (out / finished).exists():
        return
    how = "--resume" if (out / "last.pt").exists() else "--overwrite"
    status = stage.main(stage.parse_args(["--out", str(out), how, *flags]))
    if status:
        sys.exit(status)


def recipe(flags: dict) -> dict:
    """The flags that make the result, without those that say where things are."""
    places = run_folder.FREE_FLAGS - {"epochs", "dataset"} | {"autoencoder"}
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
        out = autoencoder_of(row, seed, args)
        with files.lock(Path(f"{out}.lock"), wait=True):  # rows share it
            train(train_autoencoder, out, "autoencoder.pt", [*common, *row.autoencoder.split()])
        source = ["--autoencoder", str(out / "autoencoder.pt")]
        header, log = training.read_log(out / "log.jsonl")
        del header["splits"]  # their sizes: below they are what was measured on them
        result |= {"autoencoder_flags": recipe(header.pop("flags")), "autoencoder_header": header,
                   **history("autoencoder", log)}
    out = args.work / f"{name}-{seed}"
    train(train_classifier, out, "classifier.pt",
          [*common, *source, "--save-every", "20", *row.classifier.split()])
    header, log = training.read_log(out / "log.jsonl")
    del header["splits"]
    result |= {**header, "flags": recipe(header["flags"]), **history("classifier", log)}
    if row.tested:
        evaluate.main(evaluate.parse_args([
            "--classifier", str(out / "classifier.pt"), "--precision", header["precision"],
            "--data-dir", args.data_dir, *source]))
        result["splits"] = files.read_json(out / "evaluation.json")["splits"]
        keep_predictions(out / "predictions.csv", path_of(args.results, name, seed).with_suffix(".npz"))
    files.write_json(path_of(args.results, name, seed), result)
    clear(args, name, seed)


def clear(args: argparse.Namespace, name: str, seed: int) -> None:
    """Remove the checkpoints of a finished run, some gigabytes."""
    for file in ("last.pt", "classifier.pt"):
        (args.work / f"{name}-{seed}" / file).unlink(missing_ok=True)
