"""A run's folder: locked by one process, begun or resumed, with its log and last.pt up to date."""

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from support import checkpoint, distributed, figures, files, machine, run_log
from support.errors import UserError, counted, interrupts
from support.resume import check_resume, job, started_again

SAVE_EVERY = {"autoencoder run": 1, "classifier run": 10}  # epochs; the report's classifier fills gigabytes


def check_place(out: Path) -> None:
    """UserError where this folder cannot be made, or may not be written to."""
    there = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not os.access(os.path.join(there, "."), os.W_OK):
        raise UserError(f"--out {out}: {there} is no folder, or may not be written to; name another")


@contextlib.contextmanager
def claim(out: Path) -> Iterator[bool]:
    """Make a folder where there is none, and lock it while the block runs; UserError where that fails."""
    if distributed.rank() > 0:  # the first process has it for all
        yield True
        return
    check_place(out)
    out.mkdir(parents=True, exist_ok=True)
    with files.lock(out, wait=False) as held:
        if not held:
            raise UserError(f"--out {out}: another process writes there; wait, or name another folder")
        yield held


class Run:
    """One run of a training script: what `open` yields. Everything here is bookkeeping; nothing learns."""

    def __init__(self, args: argparse.Namespace, kind: str, products: tuple[str, ...], former: dict,
                 locks: contextlib.ExitStack):
        args.resume |= started_again(args.out / "last.pt")
        self.out, self.kind, self.start = args.out, kind, time.perf_counter()  # kind: of last.pt
        self.products = products  # patterns of the folder's files beside last.pt and the log
        self.device, self.precision = machine.set_up(args.device, args.precision, args.deterministic)
        self.flags = {name: str(value) if isinstance(value, Path) else value  # plain types, for the log
                      for name, value in vars(args).items()}
        self.flags |= {"device": self.device.type, "precision": self.precision}
        self.environment = machine.describe(self.device, self.precision)
        self.last, self.log = args.out / "last.pt", args.out / "log.jsonl"
        self.locks, self.lock = locks, None  # the lock ends with `locks`
        self.resumed = distributed.from_first(self._claim_folder)  # what last.pt holds
        if self.resumed:
            self.resumed["flags"] = former | self.resumed["flags"]  # former: what earlier versions lack
        self.epochs_done = self.resumed["epoch"] if self.resumed else 0
        self.stopped = 0  # the signal that ended the epochs

    def check_photos(self, digest: str) -> None:
        """Note which photos this run trains on. A resume refuses others, and flags that change the result."""
        distributed.agree(digest, "the photos")
        self.photos = digest
        if self.resumed:
            check_resume(self.resumed, self.flags, self.environment, digest, self.last)

    def begin(self, parts: dict, splits: dict[str, int], **extra) -> None:
        """Write the first last.pt and the log's header, or load last.pt into the parts and cut the log."""
        self.parts, self.extra = parts, extra  # by their names there: modules and optimizer; plain values
        photos, epochs = counted(splits["train"], "photo"), counted(self.flags["epochs"], "epoch")
        print(f"training on {photos} for {epochs}, {machine.say(self.device, self.precision)}")
        if self.resumed:
            if lacking := sorted(parts.keys() - self.resumed.keys()):
                raise UserError(f"{self.last} lacks {', '.join(lacking)}: of another version?")
            for name, part in parts.items():
                checkpoint.load_state(part, self.resumed.pop(name), self.last)
            print(f"resuming {self.last} after epoch {self.epochs_done}")
        header = {"flags": self.flags, **self.environment, "dataset": self.flags["dataset"], "splits": splits}
        self.rows = distributed.from_first(self._begin_folder, header)  # of the epochs that are done

    def epochs(self, total: int) -> Iterator[int]:
        """The epochs that are left, 1 to total; ends early after an interrupt."""
        with interrupts() as self.caught:
            for epoch in range(self.epochs_done + 1, total + 1):
                yield epoch
                if self.stopped:
                    return

    def progress(self, batches: list[Tensor], epoch: int) -> Iterator[Tensor]:
        """The batches, under a bar of images that shows the cost of the epoch before and the time left."""
        before = {"cost": f"{self.rows[-1]['cost']:.4f}",
                  "left": self._left(epoch - 1)} if self.rows else None
        with tqdm(None, f"epoch {epoch}", sum(map(len, batches)), leave=False, unit=" images",
                  disable=distributed.rank() > 0 or None, postfix=before) as bar:
            for batch in batches:
                yield batch
                bar.update(len(batch))

    def end_epoch(self, epoch: int, row: dict, cost: str) -> None:
        """Print the epoch's line, log its row; when due draw curve.png (cost: its label) and save last.pt."""
        total = self.flags["epochs"]
        line = f"Epoch : {epoch} / {total}, cost : {row['cost']:.4f}"
        if row.get("val_accuracy") is not None:
            line += f", validation accuracy : {row['val_accuracy']:.2f} %"
        print(line, flush=True)
        self.rows.append({"epoch": epoch, **row})
        if epoch == self.epochs_done + 1 < total:
            print(f"{counted(total - epoch, 'more epoch')} will take about {self._left(epoch)}", flush=True)
        # read once: the signal may come at any moment
        self.stopped = max(distributed.gathered(self.caught[:1]), default=0)
        if distributed.rank() > 0:
            return
        run_log.log_row(self.log, self.rows[-1])
        if self.is_due(epoch) or self.stopped:
            # before the save, so that a run killed in between draws it again
            figures.curves(self.out / "curve.png", self.rows, cost)
        save_every = self.flags["save_every"] or max(SAVE_EVERY[self.kind], total // 20)
        if epoch % save_every == 0 or epoch == total or self.stopped:
            self._save_last(epoch)
        if self.stopped:
            print(f"stopped after epoch {epoch}: the same command with --resume, and without --overwrite, "
                  f"goes on; with --epochs {epoch} as well it hands over what is there")

    def _left(self, epoch: int) -> str:
        """How long the epochs after this one will take, by the last five, this process's where it has any."""
        rows = self.rows[self.epochs_done:] or self.rows
        seconds = statistics.median(row["seconds"] for row in rows[-5:])
        return run_log.duration(seconds * (self.flags["epochs"] - epoch))

    def is_due(self, epoch: int) -> bool:
        """Whether pictures and validation are due: every 5 epochs, or 50 times in a longer run."""
        total = self.flags["epochs"]
        return epoch % max(5, total // 50) == 0 or epoch == total

    def best_epoch(self, *more: dict) -> int | None:
        """The epoch of the log, and of more rows, that validated best, the last of equals; None without."""
        rows = [row for row in (*self.rows, *more) if row["val_accuracy"] is not None]
        return max(rows, key=lambda row: (row["val_accuracy"], row["epoch"]))["epoch"] if rows else None

    def hand_over(self, epoch: int, **content) -> None:
        """Write the run's product, the weights of an epoch and what else the next scripts need."""
        if distributed.rank() > 0:
            return
        kind = self.kind.removesuffix(" run")
        path = self.out / f"{kind}.pt"
        checkpoint.save(path, {"kind": kind, "epoch": epoch, "dataset": self.flags["dataset"],
                               "flags": self.flags, "environment": self.environment, **content})
        is_best = self.flags.get("keep") == "best"
        which = f", of epoch {epoch}," if is_best or epoch < self.flags["epochs"] else ""
        if is_best and self.best_epoch() is None:
            which += " the last, since none was validated,"
        print(f"wrote {path}{which} after {time.perf_counter() - self.start:.1f} s")

    def _begin_folder(self, header: dict) -> list[dict]:
        """Write the first last.pt and the log's header, or cut the log; its rows of epochs that are done."""
        if not self.resumed:
            self._claim_folder(begin=True)  # again: a run may have appeared since
            self._save_last(0)  # first: where it does not fit on the disk, the old run stays
        # what a killed save left; before the first epoch a replaced run's, too: their removal may be killed
        former = () if self.epochs_done else ("log.jsonl", *self.products)
        for path in self._present(files.TEMPORARY, *former):
            path.unlink(missing_ok=True)  # it may match two patterns
        return run_log.start_log(self.log, header, self.epochs_done)

    def _claim_folder(self, begin: bool = False) -> dict | None:
        """Lock the folder (begin: make it first), and return what last.pt holds for --resume, else None.
        UserError where what is in the folder and the flags do not go together."""
        check_place(self.out)
        if self.lock is None and (begin or self.out.exists()):
            self.lock = self.locks.enter_context(claim(self.out))  # first: what the checks find stays so
        other = "classifier" if self.kind == "autoencoder run" else "autoencoder"
        resume, of = self.flags["resume"], checkpoint.peek(self.last).get("kind")
        if (self.out / f"{other}.pt").exists() or of == f"{other} run":
            raise UserError(f"{self.out} holds a run of train_{other}.py; name another folder with --out")
        if resume and not self.last.exists():
            raise UserError(f"--resume: there is no {self.last}; start without --resume")
        found = self._present("last.pt", "log.jsonl", *self.products)
        if found and not resume and not self.flags["overwrite"]:
            how = "--resume continues it, " if self.last.exists() else ""
            raise UserError(f"{self.out} holds a run already ({found[0].name}); {how}--overwrite replaces it")
        return checkpoint.load(self.last, self.kind) if resume else None

    def _present(self, *patterns: str) -> list[Path]:
        return [path for pattern in patterns for path in self.out.glob(pattern)]

    def _save_last(self, epoch: int) -> None:
        states = {name: part.state_dict() for name, part in self.parts.items()}
        checkpoint.save(self.last, {"kind": self.kind, "flags": self.flags, "environment": self.environment,
                                    "photos": self.photos, "job": job(), "epoch": epoch,
                                    **self.extra, **states})


@contextlib.contextmanager
def open(args: argparse.Namespace, kind: str, products: tuple[str, ...], former: dict) -> Iterator[Run]:
    """A run in the folder args.out, locked until the block ends; Run.begin is the first to change it."""
    with contextlib.ExitStack() as locks:
        yield Run(args, kind, products, former, locks)
