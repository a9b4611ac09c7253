"""Which files below a folder are photos, by name or else by content, and which are left out, by kind."""

import errno
import glob
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.errors import counted, printable

HIDDEN = (".", "@")  # what has such a name, a system or a person hid or marked
OF_SYSTEMS = {".ipynb_checkpoints", "@eaDir", "__MACOSX", "Thumbs.db", "desktop.ini", ".thumbnails",
              ".AppleDouble", "#recycle", "$RECYCLE.BIN", "System Volume Information"}  # copies, thumbnails
NO_PHOTOS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow cannot read these by itself
FORMATS = {  # how a file of each begins, the first that fits
    "JPEG": rb"\xff\xd8\xff", "PNG": rb"\x89PNG\r\n\x1a\n", "GIF": rb"GIF8", "TIFF": rb"II\*\0|MM\0\*",
    "BMP": rb"BM....\0\0\0\0", "PDF": rb"%PDF", "a web page": rb"\s*<!|\s*<html", "WebP": rb"RIFF....WEBP",
    "AVIF": rb"....ftyp.*avif", "HEIC": rb"....ftyp.*(hei[a-z]|hev[a-z]|mif1|msf1)", "a film": rb"....ftyp"}
READ = ("JPEG", "PNG", "GIF", "WebP", "TIFF", "BMP")  # of those, by Pillow
RAW = r"\.(3fr|arw|cr2|cr3|crw|dng|erf|iiq|mef|mos|nef|nrw|orf|pef|raf|rw2|rwl|sr2|srw|x3f)"  # suffixes
PHOTO, LOOSE, UNREAD = "photo", "in no folder of a class", "that cannot be read"
OURS = "folder of a run, whose pictures are no photos"
KINDS = {  # of what is left out, but for those named by their suffix: the plural, and what to do
    "dead link": ("dead links", ""),
    "link to itself": ("links to themselves", ""),
    "camera RAW": ("camera RAW", "; export them as JPEG"),
    "HEIC": ("HEIC", "; convert them to JPEG"),
    "placeholder of a cloud folder": ("placeholders of a cloud folder", "; download the photos themselves"),
    OURS: ("folders of runs, whose pictures are no photos", ""),
    UNREAD: (UNREAD, "; see to its permissions"),
    "hidden photo": ("hidden photos", "; rename what begins with . or @")}
AMISS = {errno.ENOENT: "dead link", errno.ENOTDIR: "dead link", errno.ELOOP: "link to itself"}
LeftOut = list[tuple[Path, str]]  # files and their kinds


def format_of(content: bytes, suffix: str) -> str:
    """A file's format by its first 40 bytes; '' for one that is not known here."""
    found = next((name for name, start in FORMATS.items() if re.match(start, content[:40], re.DOTALL)), "")
    # what is RAW begins as a TIFF of its thumbnail, as a film, or in its camera's own way
    is_raw = found in ("TIFF", "a film", "") and re.fullmatch(RAW, suffix, re.IGNORECASE)
    return "camera RAW" if is_raw else found


def kind_of(path: Path, hidden: bool) -> str:
    """PHOTO, or the kind of what is left out, or '' for what a system keeps; OSError for a dead link."""
    from PIL import Image

    suffix = path.suffix.lower()
    format_ = Image.registered_extensions().get(suffix)
    as_photo = (format_ in Image.OPEN or format_ == "MPO") and format_ not in NO_PHOTOS
    if suffix == ".icloud":
        return "placeholder of a cloud folder"
    if path.name.startswith("._"):  # ._a.jpg is what macOS notes about a.jpg
        return ""
    if not stat.S_ISREG(path.stat().st_mode):
        return "pipe or device"
    if not as_photo:  # (else decoding says what is wrong with it)
        with open(path, "rb") as file:
            found = format_of(file.read(40), suffix)
        if found in KINDS:
            return found
        as_photo = found in READ
    if hidden or path.name.startswith("."):
        return "hidden photo" if as_photo else ""
    return PHOTO if as_photo else suffix or "without a suffix"


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, but for what a system keeps; OSError where it may not be entered."""
    names = os.listdir(os.path.join(folder, "."))  # without the dot, one that may be listed alone would do
    return [folder / name for name in sorted({*names} - OF_SYSTEMS) if not name.startswith(".Trash")]


def below(folder: Path) -> tuple[list[Path], LeftOut]:
    """The photos at any depth, sorted, and what is left out; a folder is read once, whatever links to it."""
    photos, left_out, seen, visible, linked, hidden = [], [], set(), [Path(folder)], [], []
    # they grow; links come second, so that a folder itself wins, and before hidden ones, so that a link does
    for ahead in (visible, linked, hidden):
        for path in ahead:
            try:
                if not os.path.isdir(path):
                    if (kind := kind_of(path, ahead is hidden)) == PHOTO:
                        photos.append(path)
                    elif kind:
                        left_out.append((path, kind))
                elif (real := os.path.realpath(path)) not in seen:
                    seen.add(real)
                    inside = entries(path)
                    if path != folder and {each.name for each in inside} & {"last.pt", "evaluation.json"}:
                        left_out.append((path, OURS))
                        continue
                    for each in inside:
                        later = linked if ahead is visible and each.is_symlink() else ahead
                        if os.path.isdir(each) and each.name.startswith(HIDDEN):
                            later = hidden
                        later.append(each)
            except OSError as error:
                left_out.append((path, AMISS.get(error.errno, UNREAD)))
    return sorted(photos), sorted(left_out)


def find(named: list[str | Path]) -> Iterator[Path]:
    """The files named, and the photos in the folders named; a line on stderr tells what is left out."""
    for name in map(Path, named):  # as *.jpg, where the shell left that, as Windows' does
        found = [] if os.path.lexists(name) else sorted(glob.glob(_pattern_of(name), recursive=True))
        matches = [*map(Path, found)] or [name]
        each_once = {*matches}
        for path in matches:
            if not each_once.isdisjoint(path.parents):  # ** finds a folder, and what is in it
                continue
            photos, left_out = below(path) if os.path.isdir(path) else ([path], [])
            if left_out:
                print(f"{path}: left out {describe(left_out, path)}", file=sys.stderr)
            yield from photos
            yield from (each for each, kind in left_out if kind == UNREAD and os.path.isdir(each))  # it fails


def _pattern_of(name: Path) -> str:
    """A name as a pattern, but for the folders that are there, as downloads[2]/ in downloads[2]/*.jpg."""
    there = next(folder for folder in name.parents if os.path.exists(folder))
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
