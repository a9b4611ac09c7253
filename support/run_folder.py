"""A run's folder: claimed by one process, begun, resumed, refused to what would change or lose the run."""

import atexit
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import torch

from support import checkpoint, files
from support.errors import UserError

# flags that a resume may change: they do not change the result
FREE_FLAGS = {"out", "epochs", "save_every", "resume", "overwrite", "data_dir", "cache_dir",
              "dataset"}  # (its photos and labels are compared)

CLAIMED, LOCKS = set(), contextlib.ExitStack()  # this process's folders, until it ends or gives them up


def claim(out: Path) -> None:
    """Lock a folder to write in, until this process ends or calls give_up. UserError where another has it."""
    if out.resolve() not in CLAIMED:
        atexit.register(give_up)  # before the interpreter takes modules apart
        if not LOCKS.enter_context(files.lock(out, wait=False)):
            raise UserError(f"--out {out}: another process writes there; wait, or name another folder")
        CLAIMED.add(out.resolve())


def give_up() -> None:
    """Unlock this process's folders, for whoever comes next: it goes on with other work."""
    LOCKS.close()
    CLAIMED.clear()


def _kind(path: Path) -> str | None:
    """The kind of a checkpoint, its tensors left unread; None where there is none to read."""
    with contextlib.suppress(Exception):  # absent, damaged or foreign
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["kind"]


def open_run(out: Path, resume: bool, overwrite: bool, kind: str, products: tuple[str, ...]) -> dict | None:
    """The content of last.pt with resume, else None; nothing is removed yet but a killed save's remains.

    products: the files (glob patterns) that a run leaves, besides last.pt and log.jsonl. UserError where
    there is nothing to resume, where a run is there and neither flag, where another process is at work, or
    where the other stage has its run, finished or not.
    """
    last, other = out / "last.pt", {"autoencoder run": "classifier", "classifier run": "autoencoder"}[kind]
    if out.is_dir():
        claim(out)  # first: what the checks find stays so
    if (out / f"{other}.pt").exists() or (not resume and _kind(last) == f"{other} run"):
        raise UserError(f"{out} holds a run of train_{other}.py; name another folder with --out")
    if resume:
        if not last.exists():
            raise UserError(f"--resume: there is no {last}; start without --resume")
        content = checkpoint.load(last, kind)
        for orphan in out.glob(files.ORPHANS):
            orphan.unlink()
        return content
    found = [path.name for pattern in ("last.pt", "log.jsonl", *products) for path in out.glob(pattern)]
    if found and not overwrite:
        resume = "--resume continues it, " if last.exists() else ""
        raise UserError(f"{out} holds a run already ({found[0]}); {resume}--overwrite replaces it")
    return None


def begin_run(out: Path, overwrite: bool, kind: str, products: tuple[str, ...],
              save_last: Callable[[int], None]) -> None:
    """Make a new run's folder with its first last.pt, then remove what an old run left. Fails as open_run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        open_run(out, False, overwrite, kind, products)  # again: a run may have appeared since
        save_last(0)  # first: where it does not fit on the disk, the old run stays
        for pattern in ("log.jsonl", files.ORPHANS, *products):
            for path in out.glob(pattern):
                path.unlink()
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from error


def check_resume(resumed: dict, flags: dict, environment: dict, digest: str, path: Path) -> None:
    """Hold a run against what wants to resume it.

    UserError where a flag or the photos would change the result; a line where this machine rounds otherwise,
    or where there is a product of fewer epochs.
    """
    for name, value in flags.items():
        then = resumed["flags"].get(name, value)  # (a flag newer than the run is passed over)
        same_file = name == "autoencoder" and os.path.abspath(str(then)) == os.path.abspath(str(value))
        if name not in FREE_FLAGS and then != value and not same_file:
            raise UserError(f"--resume: --{name.replace('_', '-')} is {value}, "
                            f"but {path} was made with {then}")
    if flags["epochs"] < resumed["epoch"]:
        raise UserError(f"--resume: --epochs is {flags['epochs']}, but {path} is at {resumed['epoch']}")
    if digest != resumed["photos"]:
        raise UserError(f"--resume: the photos or labels are not those that {path} was made with")
    product = path.with_name(resumed["kind"].replace(" run", ".pt"))
    if product.exists() and flags["epochs"] > resumed["epoch"]:
        print(f"{product} stays as it was until this run ends")
    here = checkpoint.rounding(environment)
    for name, then in checkpoint.rounding(resumed["environment"]).items():
        if then != here[name]:
            print(f"not the same bits as without a break: {path} was made with {name} {then}, "
                  f"this is {here[name]}")
