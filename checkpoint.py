"""Checkpoints: atomic saving, safe loading, resuming, and refusing what does not fit.

A checkpoint is a dict of plain types and tensors with its kind under "kind". It loads with weights_only=True,
so a file from a stranger runs no code.
"""

import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from runtime import UserError

# flags that a resume may change: they alter where things are and how often they are written, not the result
FREE_FLAGS = {"out", "epochs", "save_every", "resume", "overwrite", "data_dir", "cache_dir"}


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; once written, flush it to disk and rename it over `path`.

    A kill at any moment leaves the old file or the new one. UserError (status 1) where the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)  # the rename itself lives in the folder
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}", exit_status=1) from error
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path | str, content: dict) -> None:
    """Write a checkpoint atomically. UserError (status 1) with path and size where it cannot be written."""
    with atomic(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                torch.save(content, file)
        except RuntimeError as error:  # how torch reports a failed write
            needed = sum(t.numel() * t.element_size() for t in _tensors(content))
            raise UserError(f"cannot write {path}, about {needed:,} bytes: {error}", exit_status=1) from error


def _tensors(content) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)


def load(path: Path | str, kind: str) -> dict:
    """Read a checkpoint of one kind, onto the CPU, with every byte of its tensors checked against its CRC.

    UserError, in one line, for a file that is missing, damaged, or of another kind.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load alone accepts a flipped byte
            damaged = archive.testzip()
        if damaged is not None:
            raise UserError(f"{path} is damaged (CRC of {damaged})")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path} is not a checkpoint, or a damaged one: {error}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is refused: it holds more than tensors and plain types") from error
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise UserError(f"{path} is not of the kind '{kind}': it holds {f'the kind {found!r}' if found else 'something else'}")
    return content


def load_weights(module: nn.Module, state: dict, path: Path | str) -> None:
    """Copy a state dict into a module, strictly; UserError that names the file where it does not fit."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit {type(module).__name__}: {error}") from error


def open_run(out: Path, resume: bool, overwrite: bool, kind: str) -> dict | None:
    """Prepare a run's folder: the content of last.pt with resume, else None and a folder without a run.

    UserError where the folder holds a run and neither was asked for, or where there is nothing to resume.
    """
    last = out / "last.pt"
    if resume:
        if not last.exists():
            raise UserError(f"--resume: there is no {last}; start without --resume")
        return load(last, kind)
    old_run = [path for path in (last, out / "log.jsonl") if path.exists()]
    if old_run and not overwrite:
        raise UserError(f"{out} holds a run already; --resume continues it, --overwrite replaces it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in old_run:
            path.unlink()
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from error
    return None


def check_flags(saved: dict, flags: dict, path: Path) -> None:
    """UserError where a flag that changes the result differs from the one the checkpoint was made with."""
    for name, value in flags.items():
        if name not in FREE_FLAGS and saved.get(name) != value:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"--resume: {flag} is {value}, but {path} was made with {saved.get(name)}")
    if flags["epochs"] < saved["epochs_done"]:
        raise UserError(f"--resume: --epochs is {flags['epochs']}, but {path} has {saved['epochs_done']} behind it")


def write_json(path: Path, content) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
