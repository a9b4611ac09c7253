"""Photos to pixels: decoding whatever Pillow reads, upright, cropped and resized."""

import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from support.errors import UserError

MOST_PIXELS = 250_000_000  # of a photo: a phone's largest have 200 million, a bomb more
HEIC = (".heic", ".heif")  # a phone's, which Pillow does not read
# formats that Pillow names, but does not read, or not by itself
NO_PHOTOS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}


def is_photo(path: Path | str) -> bool:
    """Whether a file's name is that of a picture that Pillow reads; hidden files are none."""
    from PIL import Image

    if Path(path).name.startswith("."):
        return False
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    return (kind in Image.OPEN or kind == "MPO") and kind not in NO_PHOTOS


def is_hidden(name: str) -> bool:
    """Whether systems hide or mark a file or folder of that name: .DS_Store, .ipynb_checkpoints, @eaDir."""
    return name.startswith((".", "@"))


def files_below(folder: Path, tell: bool = True) -> Iterator[os.DirEntry]:
    """Every file in a folder, at any depth, but in hidden folders; in linked ones, too, each folder once.

    What cannot be looked into is passed over, with a stderr line if tell; OSError for the folder itself.
    """
    def pass_over(path, error):
        if tell:
            print(f"{Path(sys.argv[0]).name}: passed over {path}: {error.strerror}",
                  file=sys.stderr, flush=True)

    seen, ahead = set(), [folder]
    while ahead:
        parent = ahead.pop()
        if (real := os.path.realpath(parent)) in seen:  # a link to a folder above would never end
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(parent), key=lambda entry: entry.name)
        except OSError as error:
            if parent == folder:
                raise
            pass_over(parent, error)
            continue
        for entry in entries:
            try:
                if entry.is_file():
                    yield entry
                elif not is_hidden(entry.name) and entry.is_dir():
                    ahead.append(entry.path)
            except OSError as error:  # as a link to itself
                pass_over(entry.path, error)


def listing(folder: Path) -> list[str]:
    """Every file below a folder with its size and time of change: a cache's name stands for them."""
    return sorted(f"{os.path.relpath(entry.path, folder)} {entry.stat().st_size} {entry.stat().st_mtime_ns}"
                  for entry in files_below(folder, tell=False))


def photos_below(folder: Path, tell: bool = True) -> tuple[list[Path], list[Path]]:
    """The photos in a folder, by their names and sorted, and the files that are none, but for hidden ones."""
    photos, others = [], []
    for entry in files_below(folder, tell):
        if is_photo(entry.path):
            photos.append(Path(entry.path))
        elif not is_hidden(entry.name):
            others.append(Path(entry.path))
    return sorted(photos), sorted(others)


def describe_skipped(others: list[Path]) -> str:
    """How many files are left out, one of them, and why; nothing where there are none."""
    if not others:
        return ""
    first = min(others, key=lambda path: path.suffix.lower() not in HEIC)  # it is the worst to lose
    why = ("Pillow does not read HEIC: convert it to JPEG" if first.suffix.lower() in HEIC else
           "in no folder of a class" if is_photo(first) else "no photo by its name")
    count = "1 file" if len(others) == 1 else f"{len(others)} files"
    return f"{count}, as {first} ({why})"


def decode(path: Path, size: int) -> np.ndarray:
    """One photo -> uint8 (size, size, 3), upright as its EXIF tag says; UserError that names a bad file.

    The largest centred square is resized by Pillow's bilinear filter. What is transparent is white.
    """
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many, and warns before
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of a large photo, of a damaged EXIF tag
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("its pixels are floating-point numbers of no stated range; "
                                 "save it with 8 or 16 bits")
            if image.mode.startswith("I"):  # Pillow would clip 16-bit grey
                grey = np.asarray(image)
                if image.mode == "I" and not (grey.min() >= 0 and 255 < grey.max() < 65536):
                    raise ValueError("its pixels are 32-bit numbers of no stated range; "
                                     "save it with 8 or 16 bits")
                image = Image.fromarray((grey >> 8).astype(np.uint8))
            if image.has_transparency_data:  # on white, as a page shows it
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            image = image.convert("RGB")
    except MemoryError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"there is no photo {path}") from error
    except Exception as error:  # a damaged file makes Pillow's readers fail in many ways
        raise UserError(f"cannot decode the photo {path}: {error}; replace or remove it") from error
    side = min(image.size)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def try_decode(path: Path, size: int) -> np.ndarray | UserError:
    """What decode returns or raises."""
    try:
        return decode(path, size)
    except UserError as error:
        return error


def decode_all(paths: list[Path], size: int, title: str) -> Tensor:
    """Photos -> uint8 (N, 3, size, size); Pillow decodes outside the interpreter's lock, so threads do.

    UserError that names every bad file.
    """
    images, bad = torch.empty(len(paths), size, size, 3, dtype=torch.uint8), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda path: try_decode(path, size), paths)
        for i, image in enumerate(tqdm(decoded, title, len(paths), leave=False, disable=None)):
            if isinstance(image, UserError):
                bad.append((paths[i], image))
            else:
                images[i] = torch.from_numpy(image.copy())
    if bad:
        more = f"; as bad: {', '.join(str(path) for path, _ in bad[1:])}" if len(bad) > 1 else ""
        raise UserError(f"{bad[0][1]}{more}")
    return images.permute(0, 3, 1, 2).contiguous()  # (N, size, size, 3) -> (N, 3, size, size)
