"""Files written whole or not at all, and locks between processes."""

import contextlib
import csv
import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

from support.errors import UserError, legible

TEMPORARY = "*.[0-9]*.tmp*"  # the files that a killed `atomic` leaves


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path, flush it, rename it to `path`: a kill leaves the old file or the new one."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)  # the rename itself lives in the folder
            try:
                os.fsync(folder)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # (some file systems cannot)
                    raise
            finally:
                os.close(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}", exit_status=1) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_json(path: Path, content) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, rows: list[list]) -> None:
    """UTF-8 with a byte-order mark, legible."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    with atomic(path) as temporary:
        temporary.write_text(legible(text.getvalue()), encoding="utf-8-sig", newline="")


def read_json(path: Path):
    """What a JSON file holds; UserError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove it") from error


@contextlib.contextmanager
def lock(path: Path, wait: bool) -> Iterator[bool]:
    """Yield whether this process has the lock on a file or folder; where there are no locks, say so: True."""
    try:
        import fcntl
    except ImportError:  # Windows
        print(f"{path}: no locks here, so start no second process on it")
        yield True
        return
    held, descriptor = True, os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if held := wait:
                print(f"waiting for another process, which is at work on {path}", flush=True)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks
        print(f"{path}: no locks here ({error.strerror}), so start no second process on it")
    try:
        yield held
    finally:
        os.close(descriptor)  # this unlocks, as the death of the process does
