"""A run's log.jsonl: a header that says what was run, then a row an epoch."""

import json
import math
import os
from pathlib import Path

import torch
from torch import Tensor

from support import distributed, files
from support.errors import UserError

# of each process that resumes, kept in the header
RESUMED = ("commit", "versions", "device", "processor", "precision", "threads", "processes")


def start_log(path: Path, header: dict, epochs_done: int) -> list[dict]:
    """Begin a log with its header, or resume it: note the new process, keep the epochs done; their rows."""
    rows = []
    if epochs_done:
        try:
            begun, *rows = map(json.loads, path.read_text().splitlines()[: epochs_done + 1])
            whole = all(math.isfinite(row["cost"]) for row in rows)
            if not whole or [row["epoch"] for row in rows] != list(range(1, epochs_done + 1)):
                raise ValueError("other epochs")
            resume = {"after epoch": epochs_done, **{name: header[name] for name in RESUMED}}
            header = begun | {"flags": header["flags"], "dataset": header["dataset"],
                              "resumes": [*begun.get("resumes", []), resume]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            lacks = f"it should hold {epochs_done} finished epochs"
            raise UserError(f"{path} is missing or damaged: {lacks}") from error
    with files.atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in (header, *rows)))
    return rows


def epoch_cost(losses: list[Tensor], batches: list[Tensor], epoch: int, learning_rate: float) -> float:
    """The mean loss over an epoch's images, from each batch's (B,); UserError where it is not finite."""
    # the losses stay on the device until here, since a GPU waits for each that is read
    means = distributed.total(torch.stack(losses)) / distributed.count()  # over processes
    total = sum(loss * len(batch) for loss, batch in zip(means.tolist(), batches))
    cost = total / sum(map(len, batches))
    if not math.isfinite(cost):
        raise UserError(f"the loss is {cost} in epoch {epoch}, learning rate {learning_rate}; "
                        f"the last checkpoint is kept; try a lower --learning-rate", exit_status=1)
    return cost


def log_row(path: Path, row: dict) -> None:
    try:
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())  # last.pt, which follows, is flushed too, and a resume needs both
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", exit_status=1) from error


def read_log(path: Path) -> tuple[dict, list[dict]]:
    """The header of a log, and its rows, an epoch each."""
    header, *rows = map(json.loads, path.read_text().splitlines())
    return header, rows


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 minutes, 3.5 hours."""
    minutes = seconds / 60
    short = f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} minutes"
    return short if minutes < 100 else f"{minutes / 60:.1f} hours"
