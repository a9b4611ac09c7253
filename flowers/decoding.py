"""Photos to pixels: decoding whatever Pillow reads, upright, cropped and resized."""

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from tqdm import tqdm

from flowers import listing
from support.errors import UserError, counted, printable

MOST_PIXELS = 250_000_000  # of a photo: a phone's largest have 200 million, a bomb more
LARGEST = 176  # pixels a side that augment.py asks for; a large JPEG is read at three times these or more
ADVICE = {"HEIC": "convert it to JPEG", "AVIF": "convert it to JPEG", "camera RAW": "export it as JPEG"}


class Decoded(NamedTuple):
    """What is read of a photo."""
    squares: list[np.ndarray] | None  # uint8 (size, size, 3) of each size; None where it is not wanted
    digest: str  # of the file's bytes
    brightened: bool = False  # to the full range: grey of 16 bits that are not all used


def digest_of(content: bytes) -> str:
    """What stands for a photo's bytes, whatever its name: 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def _to_8_bits(deep: np.ndarray, mode: str, stated: int) -> tuple[np.ndarray, int]:
    """One deep number a pixel, which Pillow would clip -> uint8 (H, W), and how many bits it uses."""
    least, most = deep.min(), deep.max()
    if mode == "F" and 0 <= least and most <= 1:
        return np.round(255 * deep).astype(np.uint8), 16
    if mode == "F" or mode == "I" and not (least >= 0 and 255 < most < 65536):
        kind = "floating-point numbers beyond 0 and 1" if mode == "F" else "32-bit numbers of no stated range"
        raise UserError(f"its pixels are {kind}; save it with 8 or 16 bits")
    bits = stated if 8 <= stated <= 16 else 12
    if most >= 2**bits:  # as PNG's standard has it, scaled to all 16
        bits = 16
    return (deep.astype(np.int32) * 256 >> bits).astype(np.uint8), bits


def _bare(content: bytes) -> bytes:
    """A PNG's bytes without what may be damaged while its pixels are sound: texts, profiles, gamma."""
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):  # a chunk: its length, kind, content, CRC
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 5].isupper() or content[at + 4 : at + 8] == b"tRNS":
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _ended(content: bytes) -> bytes:
    """A JPEG's bytes with the two that end it, if all pixels are there; else as they are."""
    end = b"\xff\xd9"
    begun = content.removesuffix(end[:1])
    # where pixels lacked, the filler would be read as some of theirs, at once or behind a restart mark
    filler = b"\x55" * 64 + b"".join(b"\xff%c" % mark + b"\x55" * 64 for mark in range(0xD0, 0xD8)) * 2
    whole, filled = (_open(begun + more + end, MOST_PIXELS)[0] for more in (b"", filler))
    return begun + end if whole.tobytes() == filled.tobytes() else content


def _open(content: bytes, least: int):
    """A file's bytes -> an RGB image, upright, and how many bits its grey uses, 16 where it has no more.

    Of a large JPEG's sides a half, a quarter or an eighth is decoded, so that either keeps `least` pixels.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as opened:
        if opened.mode in ("RGB", "L"):
            opened.draft(None, (least, least))  # does nothing to other formats
        is_deep = any(";16" in str(tile.args) for tile in opened.tile)  # in colour: grey is told by its mode
        opened.load()
        image, bits = opened, 16
        with contextlib.suppress(Exception):  # garbage in the place of EXIF says nothing of the pixels
            opened.getexif()  # is kept; without its bytes none is written anew, where an odd tag would fail
            opened.info.pop("exif", None)
            image = ImageOps.exif_transpose(opened)
        if image.mode[0] in "FI":
            stated = 16  # Pillow scales others than these two to that
            if opened.format == "PNG":
                at = content.find(b"sBIT", 0, content.find(b"IDAT"))
                stated = content[at + 4] if at > 0 else 0
            elif opened.format == "TIFF":
                stated = int(np.max(opened.tag_v2.get(281, 0))).bit_length()  # MaxSampleValue
            grey, bits = _to_8_bits(np.asarray(image), image.mode, stated)
            image = Image.fromarray(grey)
        elif is_deep and 0 < np.max(image.convert("RGB")) < 16:  # Pillow kept the upper 8 bits of each
            raise UserError("its colours have 16 bits each and use 12 or fewer; save it with 8")
        if image.has_transparency_data:  # on white, as a page shows it
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return image.convert("RGB"), bits


def read(path: Path, sizes: list[int], wanted: Callable[[str], bool] | None = None) -> Decoded:
    """A photo's largest centred square, upright, of each size; none where wanted(digest) is not true.

    UserError that names a bad file.
    """
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many, and warns before
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_PIXELS  # bytes, as pixels may take
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of a large photo, of a damaged EXIF tag
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"there is no photo {printable(path)}") from error
    except OSError as error:
        advice = "; see to its permissions" if isinstance(error, PermissionError) else ""
        raise UserError(f"cannot read the photo {printable(path)}: {error.strerror}{advice}") from error
    digest, found = digest_of(content), listing.format_of(content, path.suffix)
    if wanted and not wanted(digest):
        return Decoded(None, digest)
    try:
        if found == "camera RAW":  # of which Pillow would read the thumbnail
            raise UnidentifiedImageError
        least = 3 * max(LARGEST, *sizes)  # so that sizes up to LARGEST do not depend on each other
        try:
            image, bits = _open(content, least)
        except Exception:
            mend = {"PNG": _bare, "JPEG": _ended}.get(found)
            if mend is None:
                raise
            image, bits = _open(mend(content), least)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers fail in many ways
        reason = str(error)
        if isinstance(error, UnidentifiedImageError):  # its words are of our buffer
            reason = f"its {found} data is damaged" if found in listing.READ else \
                f"it is {found or ('no picture' if content else 'empty')}"
        if not isinstance(error, UserError):
            reason += f"; {ADVICE.get(found, 'replace or remove it')}"
        raise UserError(f"cannot decode the photo {printable(path)}: {reason}") from error
    side = min(image.size)
    left, top = (round((length - side) / 2) for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    squares = [np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)) for size in sizes]
    return Decoded(squares, digest, bits < 16)


def decode(path: Path, size: int) -> np.ndarray:
    """One photo's pixels, uint8 (size, size, 3)."""
    return read(path, [size]).squares[0]


def try_read(path: Path, *options) -> Decoded | UserError:
    """What read returns or raises."""
    try:
        return read(path, *options)
    except UserError as error:
        return error


def tell_brightened(names: list, file: TextIO | None = None) -> None:
    """Print, if there is any, how many photos were brightened, and one of them."""
    if names:
        print(f"brightened {counted(len(names), 'grey photo')} whose 16 bits are not all used, such as "
              f"{printable(names[0])}", file=file, flush=True)


def decode_all(paths: list[Path], split: str, sizes: list[int], start: int = 0,
               wanted: Callable[[str], bool] | None = None) -> Iterator[Decoded]:
    """What read gives of each photo of a split, in order, from number `start` on; decoded on all cores.

    UserError that names all the bad ones comes last; behind the first of them no photo is given.
    """
    bad, at_once = {}, 32 * os.cpu_count()  # so few that those decoded ahead take little memory
    with (ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside the interpreter's lock
          tqdm(None, f"decoding {split} photos", len(paths), initial=start, unit=" photos", leave=False,
               disable=None) as bar):
        for part in (paths[first : first + at_once] for first in range(start, len(paths), at_once)):
            for path, photo in zip(part, pool.map(lambda path: try_read(path, sizes, wanted), part)):
                bar.update()
                if isinstance(photo, UserError):
                    bad[str(path)] = photo
                elif not bad:
                    yield photo
    if bad:
        first, *others = bad
        raise UserError(str(bad[first]) + ("; as bad: " + ", ".join(others) if others else ""))
