"""Measurements over seeds: a declared list of runs, kept as one file each.

    python experiments.py run                       # every run that is not finished, one after another
    python experiments.py run --only final          # one row; --seeds 0 1 2 3 4
    python experiments.py table --readme            # tables.py's, between the README's markers

Writes results/runs/<row>-<seed>.json for each finished run. Any number of such processes may run at once: each run is
locked by the one that does it, and a run that was killed is resumed. Checkpoints lie in runs/experiments/.

The rows `search-...` choose the settings that the report leaves open, on validation images alone; only rows that
report are measured on test images, once.
"""

import argparse
import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import checkpoint
import runtime
import training


@dataclass(frozen=True)
class Row:
    """One recipe: the flags of each stage that differ from the defaults, and whether test images are measured.

    Without flags for an autoencoder (None, where [] is all defaults) the encoder starts from random weights.
    """

    autoencoder: list[str] | None = None
    classifier: list[str] = field(default_factory=list)
    report: bool = False
    seeds: tuple[int, ...] = (0,)
    title: str = ""


CENTRE, SQUASH, HE = (["--crop", "centre"], ["--crop", "squash"], ["--init", "he"])
ROWS = {
    "search-base": Row(CENTRE, CENTRE, title="the base: centre crop, learning rate 0.001, dropout after all "
                       "activations, PyTorch's initial weights, pretrained encoder"),
    "search-squash": Row(SQUASH, SQUASH, title="the whole photo squashed to a square"),
    "search-dropout-linear": Row(CENTRE, CENTRE + ["--dropout-after", "linear"],
                                 title="dropout after the linear layers only"),
    "search-rate-0.002": Row(CENTRE, CENTRE + ["--learning-rate", "0.002"], title="learning rate 0.002"),
    "search-rate-0.0005": Row(CENTRE, CENTRE + ["--learning-rate", "0.0005"], title="learning rate 0.0005"),
    "search-he": Row(CENTRE, CENTRE + HE, title="He's initial weights in the classifier"),
    "search-scratch": Row(None, CENTRE, title="encoder from random weights"),
    "search-scratch-squash": Row(None, SQUASH, title="encoder from random weights, the whole photo squashed"),
    "search-scratch-rate-0.002": Row(None, CENTRE + ["--learning-rate", "0.002"],
                                     title="encoder from random weights, learning rate 0.002"),
    "final": Row(report=True, seeds=(0, 1, 2, 3, 4), title="the final model: every flag at its default"),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW", help="rows (all)")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds (those of the row)")
    parser.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of finished runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"), help="folder of checkpoints (%(default)s)")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md instead of printing them")
    return parser.parse_args(argv)


@contextlib.contextmanager
def lock(path: Path, wait: bool) -> Iterator[bool]:
    """Yield whether this process holds the lock; the system releases it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield True
        except BlockingIOError:
            yield False


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
    return {name: value for name, value in flags.items() if name not in checkpoint.FREE_FLAGS - {"epochs"} | {"autoencoder"}}


def measure(name: str, row: Row, seed: int, args: argparse.Namespace) -> None:
    """Both stages of one run, its evaluation where the row reports, and its JSON file."""
    import evaluate
    import train_autoencoder
    import train_classifier

    common = ["--data-dir", args.data_dir, "--seed", str(seed)]
    result = {"row": name, "seed": seed}
    source = []
    if row.autoencoder is not None:
        slug = "-".join(flag.lstrip("-") for flag in ["autoencoder", str(seed), *row.autoencoder])
        with lock(args.work / f"{slug}.lock", wait=True):  # rows with the same flags share an autoencoder
            train(train_autoencoder, args.work / slug, "autoencoder.pt", [*common, *row.autoencoder])
        source = ["--autoencoder", str(args.work / slug / "autoencoder.pt")]
        header, log = training.read_log(args.work / slug / "log.jsonl")
        result |= {"autoencoder_flags": recipe(header["flags"]), "autoencoder_cost": log[-1]["cost"],
                   "autoencoder_seconds": round(sum(epoch["seconds"] for epoch in log), 1)}
    out = args.work / f"{name}-{seed}"
    train(train_classifier, out, "classifier.pt", [*common, *source, "--save-every", "20", *row.classifier])
    header, log = training.read_log(out / "log.jsonl")
    result |= {**header, "flags": recipe(header["flags"]), "classifier_cost": log[-1]["cost"],
               "classifier_seconds": round(sum(epoch["seconds"] for epoch in log), 1), "val_accuracy": log[-1]["val_accuracy"]}
    if row.report:
        evaluate.main(evaluate.parse_args(["--classifier", str(out / "classifier.pt"), "--data-dir", args.data_dir, *source]))
        result["splits"] = json.loads((out / "evaluation.json").read_text())["splits"]
    checkpoint.write_json(args.results / "runs" / f"{name}-{seed}.json", result)
    for file in ("last.pt", "classifier.pt"):  # 1.9 GB a run
        (out / file).unlink()


def run(args: argparse.Namespace) -> int:
    (args.results / "runs").mkdir(parents=True, exist_ok=True)
    for name in args.only:
        for seed in args.seeds or ROWS[name].seeds:
            with lock(args.work / f"{name}-{seed}.lock", wait=False) as is_ours:
                if is_ours and not (args.results / "runs" / f"{name}-{seed}.json").exists():
                    start = time.perf_counter()
                    print(f"== {name}, seed {seed}", flush=True)
                    measure(name, ROWS[name], seed, args)
                    print(f"== {name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return 0


def table(args: argparse.Namespace) -> int:
    import tables

    tables.write(args.results, Path(__file__).with_name("README.md") if args.readme else None)
    return 0


def main(args: argparse.Namespace) -> int:
    return {"run": run, "table": table}[args.command](args)


if __name__ == "__main__":
    runtime.run(main, parse_args(sys.argv[1:]))
