"""A run's log.jsonl: a header that says what was run, then a row an epoch."""

import json
import math
import os
from pathlib import Path

from support import files
from support.errors import UserError

RESUMED = ("commit", "versions", "processor", "threads")  # of each process that resumes, kept in the header


def start_log(path: Path, header: dict, epochs_done: int) -> None:
    """Begin a log with its header; on a resume cut the rows past the checkpoint and note the new process."""
    rows = [json.dumps(header)]
    if epochs_done:
        try:
            first, *rows = path.read_text().splitlines()[: epochs_done + 1]
            kept = [json.loads(row) for row in rows]
            if ([row["epoch"] for row in kept] != list(range(1, epochs_done + 1))
                    or not all(math.isfinite(row["cost"]) for row in kept)):
                raise ValueError("other epochs")
            begun = json.loads(first)
            resume = {"after epoch": epochs_done, **{name: header.get(name) for name in RESUMED}}
            resumes = [*begun.get("resumes", []), resume]
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
            os.fsync(file.fileno())  # last.pt, which follows, is flushed too, and a resume needs both
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", exit_status=1) from error


def read_log(path: Path) -> tuple[dict, list[dict]]:
    """The header of a log, and its rows, an epoch each."""
    header, *rows = map(json.loads, path.read_text().splitlines())
    return header, rows
