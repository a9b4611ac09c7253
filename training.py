"""What both stages share: flags, the optimizer, the cost of an epoch, and refusals of too few photos."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import data
from support import machine
from support.errors import UserError

OPTIMIZERS = ("adam", "adagrad", "rmsprop", "sgd")


def number(kind: type, low: float, high: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """An argparse type: a number of `kind` in [low, high], or in (low, high] with above=True."""

    def parse(text: str):
        value = kind(text)
        if (low < value if above else low <= value) and value <= high and value != math.inf:
            return value
        want = f"above {low}" if above else f"at least {low}"  # nan is in no range
        want += f" and at most {high}" if high < math.inf else ""
        raise argparse.ArgumentTypeError(f"{text} is out of range: want {want}")

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
    group.add_argument("--cache-dir", default=".cache", help="folder of the decoded photos (%(default)s)")
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=number(int, 1), default=epochs,
                       help="passes over the training images (%(default)s)")
    group.add_argument("--batch-size", type=number(int, 2, 2**31), default=128,
                       help="images a step (%(default)s)")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default=optimizer,
                       help="PyTorch's rule for a step (%(default)s)")
    group.add_argument("--learning-rate", type=number(float, 0, above=True), default=0.001,
                       help="the same in every epoch (%(default)s)")
    group.add_argument("--weight-decay", type=number(float, 0), default=0.0,
                       help="L2 on all weights (%(default)s)")
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
                       help="on a GPU, deterministic kernels alone; a CPU's always are (%(default)s)")
    return parser


def plain_flags(args: argparse.Namespace, device: torch.device, precision: str) -> dict:
    """The flags as plain types, with 'auto' settled: what log and checkpoint record."""
    flags = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    return flags | {"device": str(device.type), "precision": precision}


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


def epoch_cost(losses: list[Tensor], batches: list[Tensor], epoch: int, learning_rate: float) -> float:
    """The mean loss over the images of an epoch, from the mean loss of each batch of indices (B,).

    The losses stay on the device until here, since a GPU waits for each that is read.
    UserError (status 1) where the mean is not finite.
    """
    total = 0.0
    for loss, batch in zip(torch.stack(losses).tolist(), batches):
        total += loss * len(batch)
    cost = total / sum(map(len, batches))
    if not math.isfinite(cost):
        raise UserError(f"the loss is {cost} in epoch {epoch}, learning rate {learning_rate}; "
                        f"the last checkpoint is kept; try a lower --learning-rate", exit_status=1)
    return cost
