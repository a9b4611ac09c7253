"""A file in parts, small enough for hosts of repositories, and their SHA-256 as `sha256sum -c` reads it."""

import hashlib
import io
from pathlib import Path

from support import files
from support.errors import UserError

SUMS = "SHA256SUMS"  # a line a part: digest, two spaces, name


def write(folder: Path, name: str, content: bytes, largest: int) -> None:
    """Write content as folder/name.1, name.2, ... of at most so many bytes, and SUMS once all are there."""
    lines = []
    for number, start in enumerate(range(0, len(content), largest), 1):
        part = content[start : start + largest]
        with files.atomic(path := folder / f"{name}.{number}") as temporary:
            temporary.write_bytes(part)
        lines.append(f"{hashlib.sha256(part).hexdigest()}  {path.name}\n")
    with files.atomic(folder / SUMS) as temporary:
        temporary.write_text("".join(lines))


def is_in(folder: Path | str) -> bool:
    return Path(folder, SUMS).is_file()


def read(folder: Path | str) -> io.BytesIO:
    """The whole file. UserError names a part that is missing, cut short or changed."""
    whole = io.BytesIO()
    for line in Path(folder, SUMS).read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = Path(folder, Path(name).name)  # of this folder, whatever the line says
        try:
            part = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; get {folder}/ anew") from error
        if hashlib.sha256(part).hexdigest() != digest:
            raise UserError(f"{path} is not the part that {SUMS} beside it lists: get {folder}/ anew")
        whole.write(part)
    whole.seek(0)
    return whole
