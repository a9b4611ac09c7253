"""Photos to pixels: decoding whatever Pillow reads, upright, cropped and resized."""

import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from support.errors import UserError

MOST_PIXELS = 250_000_000  # of a photo: a phone's largest have 200 million, a bomb more
HIDDEN = (".", "@")  # .DS_Store, .ipynb_checkpoints, @eaDir: systems hide or mark what has such a name
NO_PHOTOS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow cannot read these by itself


def is_photo(path: Path) -> bool:
    """Whether a file's name is that of a picture that Pillow reads; hidden files are none."""
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    return not path.name.startswith(".") and (kind in Image.OPEN or kind == "MPO") and kind not in NO_PHOTOS


def entries(folder: Path | str) -> list[os.DirEntry]:
    return sorted(os.scandir(folder), key=lambda entry: entry.name)


def files_below(folder: Path, tell: bool = True) -> Iterator[Path]:
    """Every file below a folder, but in hidden ones; links are followed once. Prints, if tell, what fails."""
    ahead, seen = entries(folder), {os.path.realpath(folder)}
    while ahead:
        entry = ahead.pop()
        try:
            if entry.is_file():
                yield Path(entry.path)
            elif (not entry.name.startswith(HIDDEN) and entry.is_dir()
                  and (real := os.path.realpath(entry.path)) not in seen):  # a link upwards would never end
                seen.add(real)
                ahead += entries(entry.path)
        except OSError as error:  # an unreadable folder, or a link to itself
            if tell:
                told = f"{Path(sys.argv[0]).name}: passed over {entry.path}: {error.strerror}"
                print(told, file=sys.stderr, flush=True)


def listing(root: Path, paths: list[Path]) -> list[str]:
    """Files below root with their sizes and times of change: a cache's name stands for them."""
    return [f"{path.relative_to(root)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]


def photos_below(folder: Path, tell: bool = True) -> tuple[list[Path], list[Path]]:
    """The photos in a folder, by their names and sorted, and the files that are none, but for hidden ones."""
    files = sorted(files_below(folder, tell))
    return ([path for path in files if is_photo(path)],
            [path for path in files if not is_photo(path) and not path.name.startswith(HIDDEN)])


def describe_skipped(others: list[Path]) -> str:
    """How many files are left out, one of them, and why."""
    heic = [path for path in others if path.suffix.lower() in (".heic", ".heif")]  # a phone's photos
    first = (heic or others)[0]
    why = ("Pillow does not read HEIC: convert it to JPEG" if heic else
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
            if image.mode[0] in "FI":  # one deep number a pixel, which Pillow would clip to 8 bits
                grey = np.asarray(image)
                kind = {"F": "floating-point numbers", "I": "32-bit numbers"}.get(image.mode)
                if image.mode == "F" or kind and not (grey.min() >= 0 and 255 < grey.max() < 65536):
                    raise ValueError(f"its pixels are {kind} of no stated range; save it with 8 or 16 bits")
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


def decode_all(paths: list[Path], size: int, split: str) -> torch.Tensor:
    """A split's photos -> uint8 (N, 3, size, size); UserError that names every bad file."""
    images, bad = torch.empty(len(paths), 3, size, size, dtype=torch.uint8), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter's lock
        decoded = pool.map(lambda path: try_decode(path, size), paths)
        bar = tqdm(decoded, f"decoding {split} photos", len(paths), leave=False, disable=None)
        for i, image in enumerate(bar):
            if isinstance(image, UserError):
                bad.append((paths[i], image))
            else:
                images[i] = torch.from_numpy(image.transpose(2, 0, 1).copy())  # (H, W, 3) -> (3, H, W)
    if bad:
        more = f"; as bad: {', '.join(str(path) for path, _ in bad[1:])}" if len(bad) > 1 else ""
        raise UserError(f"{bad[0][1]}{more}")
    return images
