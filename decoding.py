"""Photos to pixels: decoding whatever Pillow reads, upright, cropped and resized."""

import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from runtime import UserError

CROPS = ("centre", "squash")


def decode(path: Path, size: int, crop: str) -> np.ndarray:
    """One photo -> uint8 (size, size, 3), upright as its EXIF tag says; UserError that names a bad file.

    crop: 'centre', the largest centred square of a photo, or 'squash', all of it; either is then resized by Pillow's bilinear filter.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"cannot decode the photo {path}: {error}; replace or remove it") from error
    if crop == "centre":
        side = min(image.size)
        left, top = round((image.width - side) / 2), round((image.height - side) / 2)
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def decode_all(paths: list[Path], size: int, crop: str, title: str) -> Tensor:
    """Photos -> uint8 (N, 3, size, size); Pillow decodes outside the interpreter's lock, so threads do."""
    images = torch.empty(len(paths), size, size, 3, dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda path: decode(path, size, crop), paths)
        for i, image in enumerate(tqdm(decoded, title, len(paths), leave=False, disable=None)):
            images[i] = torch.from_numpy(image.copy())
    return images.permute(0, 3, 1, 2).contiguous()  # (N, size, size, 3) -> (N, 3, size, size)
