"""What both stages share of training: common flags, optimizers, the epoch's log row, and interrupts."""

import argparse
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

import data
from flowers import decoding
from support import files, machine
from support.errors import UserError

OPTIMIZERS = ("adam", "adagrad", "rmsprop", "sgd")
RESUMED = ("commit", "versions", "processor", "threads")  # of a process that resumes, in the log's header


def number(kind: type, low: float, high: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """An argparse type: a number of `kind` in [low, high], or in (low, high] with above=True."""

    def parse(text: str):
        value = kind(text)
        in_range = (low < value if above else low <= value) and value <= high and value != math.inf
        if not in_range:  # (nan is in no range)
            want = (f"{'above' if above else 'at least'} {low}"
                    + (f" and at most {high}" if high < math.inf else ""))
            raise argparse.ArgumentTypeError(f"{text} is out of range: want {want}")
        return value

    parse.__name__ = kind.__name__  # argparse's word for text that is no number
    return parse


def parser_of(description: str, out: str, epochs: int, optimizer: str,
              save_every: int) -> argparse.ArgumentParser:
    """A parser with the flags that mean the same in both training scripts."""
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    switch = argparse.BooleanOptionalAction
    group = parser.add_argument_group("data")
    group.add_argument("--dataset", default="flowers102", type=data.dataset_name,
                       help="flowers102, synthetic, or a folder with train/, val/ and test/ (%(default)s)")
    group.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    group.add_argument("--cache-dir", default=".cache",
                       help="folder of the decoded photos (%(default)s)")
    group.add_argument("--crop", choices=decoding.CROPS, default="centre",
                       help="largest centred square of a photo, or all of it squashed to one (%(default)s)")
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=number(int, 1), default=epochs,
                       help="passes over the training images (%(default)s)")
    group.add_argument("--batch-size", type=number(int, 2, 2**31), default=128,
                       help="images a step (%(default)s)")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default=optimizer,
                       help="rule of the step (%(default)s)")
    group.add_argument("--learning-rate", type=number(float, 0, above=True), default=0.001,
                       help="constant (%(default)s)")
    group.add_argument("--weight-decay", type=number(float, 0), default=0.0,
                       help="L2 on all weights (%(default)s)")
    group.add_argument("--init", choices=("default", "he"), default="default",
                       help="fresh weights: PyTorch's default, or He's normal with zero bias (%(default)s)")
    group.add_argument("--seed", type=number(int, 0), default=0,
                       help="of weights, shuffling and dropout (%(default)s)")
    group = parser.add_argument_group("run")
    group.add_argument("--out", type=Path, default=Path(out), help="folder to write to (%(default)s)")
    group.add_argument("--save-every", type=number(int, 1), default=save_every,
                       help="epochs between writes of last.pt (%(default)s)")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--resume", action=switch, default=False,
                        help="continue the run in --out (%(default)s)")
    either.add_argument("--overwrite", action=switch, default=False,
                        help="replace the run in --out (%(default)s)")
    machine.add_arguments(group)
    group.add_argument("--deterministic", action=switch, default=False,
                       help="on a GPU, only kernels that repeat their bits; a CPU's do (%(default)s)")
    return parser


def plain_flags(args: argparse.Namespace, device: torch.device, precision: str) -> dict:
    """The flags as plain types, with 'auto' settled: what log and checkpoint record."""
    flags = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    return flags | {"device": str(device.type), "precision": precision}


def initialise(model: nn.Module, init: str) -> None:
    """Fresh weights: 'he', normal, variance 2 / fan-in, zero bias (He et al. 2015), or 'default', as is."""
    for module in model.modules():
        if init == "he" and isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def check_photos(flowers: data.FlowerSet, dataset: str, classes: int = 1) -> None:
    """UserError where there are too few training photos, or classes, to train on."""
    if len(flowers) < 2:
        raise UserError(f"--dataset {dataset}: one training photo is too few for batch normalisation")
    if len(flowers.classes) < classes:
        raise UserError(f"--dataset {dataset}: there is one class, {flowers.classes[0]}: "
                        f"nothing to tell it from")


def make_optimizer(name: str, groups: list[dict], learning_rate: float,
                   weight_decay: float) -> torch.optim.Optimizer:
    """PyTorch's Adam, Adagrad, RMSprop or SGD, in one pass over the weights (RMSprop has no fused form)."""
    kinds = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop,
             "sgd": torch.optim.SGD}
    device = groups[0]["params"][0].device.type
    # Adagrad's is for the CPU: earlier releases had it there alone, and MPS has none yet
    fused = {} if name == "rmsprop" or (name == "adagrad" and device != "cpu") else {"fused": True}
    return kinds[name](groups, lr=learning_rate, weight_decay=weight_decay, **fused)


def start_log(path: Path, header: dict, epochs_done: int) -> None:
    """Begin a log with its header, or, on a resume, cut the rows past the checkpoint and note who goes on."""
    rows = [json.dumps(header)]
    if epochs_done:
        try:
            first, *rows = path.read_text().splitlines()[: epochs_done + 1]
            kept = [json.loads(row) for row in rows]
            if ([row["epoch"] for row in kept] != list(range(1, epochs_done + 1))
                    or not all(math.isfinite(row["cost"]) for row in kept)):
                raise ValueError("other epochs")
            begun = json.loads(first)
            who = {"after epoch": epochs_done, **{name: header.get(name) for name in RESUMED}}
            resumes = [*begun.get("resumes", []), who]
            rows.insert(0, json.dumps(begun | {
                "flags": header["flags"], "dataset": header.get("dataset"), "resumes": resumes}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is missing or damaged: "
                            f"it should hold {epochs_done} finished epochs") from error
    with files.atomic(path) as temporary:
        temporary.write_text("".join(row + "\n" for row in rows))


def log_row(path: Path, row: dict) -> None:
    try:
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())  # last.pt, which follows, is flushed too, and a resume wants both
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", exit_status=1) from error


def read_log(path: Path) -> tuple[dict, list[dict]]:
    """The header of a log, and its rows, an epoch each."""
    header, *rows = map(json.loads, path.read_text().splitlines())
    return header, rows


def check_finite(loss: float, epoch: int, step: int, learning_rate: float) -> None:
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss} at epoch {epoch}, step {step}, learning rate {learning_rate}; "
                        f"the last checkpoint is kept; try a lower --learning-rate", exit_status=1)


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Yield a list that gets the first SIGINT or SIGTERM, so the epoch can finish; a second ends it all."""
    caught = []

    def remember(signum, frame):
        caught.append(signum)
        for each in former:
            signal.signal(each, signal.SIG_DFL)
        with contextlib.suppress(OSError, AttributeError):  # (print may be at work, and is not re-entrant)
            os.write(sys.stdout.fileno(),
                     b"\ninterrupted: finishing this epoch and saving it (again to leave at once)\n")

    former = {each: signal.signal(each, remember) for each in (signal.SIGINT, signal.SIGTERM)
              if signal.getsignal(each) != signal.SIG_IGN}  # ignored, as `&` in a script has it: stays so
    try:
        yield caught
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
