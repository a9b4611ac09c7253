"""Flags that any training script needs: numbers within a range, and those of its run."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from support import machine


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


def add_run(parser: argparse.ArgumentParser, out: str) -> None:
    """Where and how a script runs, in a group of their own."""
    switch, group = argparse.BooleanOptionalAction, parser.add_argument_group("run")
    group.add_argument("--out", type=Path, default=Path(out), help="folder to write to (%(default)s)")
    group.add_argument("--save-every", type=number(int, 1),
                       help="epochs between writes of last.pt (1 or 10, or a 20th of a longer run)")
    add = group.add_mutually_exclusive_group().add_argument
    add("--resume", action=switch, default=False, help="continue the run in --out, as it began (%(default)s)")
    add("--overwrite", action=switch, default=False, help="replace the run in --out (%(default)s)")
    machine.add_arguments(group)
    group.add_argument("--deterministic", action=switch, default=False,
                       help="on a GPU, deterministic kernels alone; a CPU's always are (%(default)s)")
