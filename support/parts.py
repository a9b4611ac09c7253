"""A file in parts, small enough for hosts of repositories, and their SHA-256 as `sha256sum -c` reads it."""

import hashlib
import io
import os
import re
from pathlib import Path

from support import files
from support.errors import UserError

SUMS = "SHA256SUMS"  # a line a part, in their order
LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]([\w.-]+)")  # as sha256sum writes it: digest, name


def write(folder: Path, name: str, content: bytes, largest: int) -> None:
    """Write content as folder/name.1, name.2, ... of at most so many bytes, and SUMS once all are there."""
    lines = []
    for number, start in enumerate(range(0, len(content), largest), 1):
        part = content[start : start + largest]
        path = folder / f"{name}.{number}"
        with files.atomic(path) as temporary:
            temporary.write_bytes(part)
        lines.append(f"{hashlib.sha256(part).hexdigest()}  {path.name}\n")
    with files.atomic(folder / SUMS) as temporary:
        temporary.write_text("".join(lines))


def is_in(folder: Path | str) -> bool:
    return os.path.isfile(os.path.join(folder, SUMS))


def read(folder: Path | str) -> io.BytesIO:
    """The whole file. UserError names a part that is missing, cut short or changed."""
    whole, anew = io.BytesIO(), f"get {folder}/ anew"
    try:
        lines = Path(folder, SUMS).read_text(encoding="utf-8", errors="replace").split("\n")
        listed = [LINE.fullmatch(line.strip()) for line in lines if line.strip()]
        if not listed or None in listed:
            raise UserError(f"{Path(folder, SUMS)} is not a list of SHA-256 and parts: {anew}")
        for digest, name in (line.groups() for line in listed):
            part = Path(folder, name).read_bytes()
            if hashlib.sha256(part).hexdigest() != digest.lower():
                raise UserError(f"{Path(folder, name)} is not the part that {SUMS} beside it lists: {anew}")
            whole.write(part)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; {anew}") from error
    whole.seek(0)
    return whole
