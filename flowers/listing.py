"""Which files below a folder are photos, by name or else by content, and which are left out, by kind."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from flowers import decoding
from support.errors import counted, printable

HIDDEN = (".", "@")  # what has such a name, a system or a person hid or marked
OF_SYSTEMS = {".ipynb_checkpoints", "@eaDir", "__MACOSX", "Thumbs.db", "desktop.ini"}  # copies, thumbnails
NO_PHOTOS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow cannot read these by itself
PHOTO, LOOSE = "photo", "in no folder of a class"
KINDS = {  # of what is left out, but for those named by their suffix: the plural, and what to do
    "dead link": ("dead links", ""),
    "HEIC": ("HEIC", "; convert them to JPEG"),
    "placeholder of a cloud folder": ("placeholders of a cloud folder", "; download the photos themselves"),
    "that cannot be read": ("that cannot be read", "; see to its permissions"),
    "hidden photo": ("hidden photos", "; rename what begins with . or @")}
LeftOut = list[tuple[Path, str]]  # files and their kinds


def kind_of(path: Path, hidden: bool) -> str:
    """PHOTO, or the kind of what is left out, or '' for what a system keeps for itself."""
    from PIL import Image

    suffix = path.suffix.lower()
    format_ = Image.registered_extensions().get(suffix)
    as_photo = (format_ in Image.OPEN or format_ == "MPO") and format_ not in NO_PHOTOS
    if suffix == ".icloud":
        return "placeholder of a cloud folder"
    if path.name.startswith("._"):  # ._a.jpg is what macOS notes about a.jpg
        return ""
    if not os.path.isfile(path):
        return "pipe or device" if os.path.exists(path) else "dead link"
    if not as_photo:  # (else decoding says what is wrong with it)
        with open(path, "rb") as file:
            found = decoding.format_of(file.read(40))
        if found in KINDS:
            return found
        as_photo = found in decoding.READ
    if hidden or path.name.startswith("."):
        return "hidden photo" if as_photo else ""
    return PHOTO if as_photo else suffix or "without a suffix"


def below(folder: Path) -> tuple[list[Path], LeftOut]:
    """The photos at any depth, sorted, and what is left out; a folder is read once, whatever links to it."""
    photos, left_out, seen, visible, hidden = [], [], set(), [Path(folder)], []
    for ahead in (visible, hidden):  # they grow; hidden ones last, so that a visible link to one wins
        for path in ahead:
            try:
                if not os.path.isdir(path):
                    if (kind := kind_of(path, ahead is hidden)) == PHOTO:
                        photos.append(path)
                    elif kind:
                        left_out.append((path, kind))
                elif (real := os.path.realpath(path)) not in seen:
                    seen.add(real)
                    inner = [each for each in path.iterdir() if each.name not in OF_SYSTEMS]
                    aside = {each for each in inner if each.name.startswith(HIDDEN) and os.path.isdir(each)}
                    ahead += [each for each in inner if each not in aside]
                    hidden += sorted(aside)
            except OSError:
                left_out.append((path, "that cannot be read"))
    return sorted(photos), sorted(left_out)


def find(named: list[str | Path]) -> Iterator[Path]:
    """The files named, and the photos in the folders named; a line on stderr tells what is left out."""
    for name in map(Path, named):  # as *.jpg, where the shell left that, as Windows' does
        matches = [] if os.path.lexists(name) else sorted(glob.glob(_pattern_of(name), recursive=True))
        for path in map(Path, matches or [name]):
            photos, left_out = below(path) if path.is_dir() else ([path], [])
            if left_out:
                print(f"{path}: left out {describe(left_out, path)}", file=sys.stderr)
            yield from photos


def _pattern_of(name: Path) -> str:
    """A name as a pattern, but for the folders that are there, as downloads[2]/ in downloads[2]/*.jpg."""
    there = next(folder for folder in name.parents if folder.exists())
    return os.path.join(glob.escape(str(there)), name.relative_to(there))


def describe(left_out: LeftOut, root: Path) -> str:
    """How many files are left out, and of each kind how many, one of them, and what to do."""
    told, counts = [], Counter(kind for _, kind in left_out)
    for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        first = next(path for path, other in left_out if other == kind).relative_to(root)
        plural, advice = KINDS.get(kind, (kind, ""))
        named, more = (plural, ", ...") if count > 1 else (kind, "")
        told.append(f"{count} {named} ({printable(first)}{more}{advice})")
    return f"{counted(len(left_out), 'file')}: {', '.join(told)}"


def fingerprint(paths: list[Path], names: list[str]) -> list[str]:
    """Files' names with their sizes and times of change: a cache's name stands for them."""
    return [f"{name} {(stat := path.stat()).st_size} {stat.st_mtime_ns}" for path, name in zip(paths, names)]
