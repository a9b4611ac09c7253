"""Procedural flowers: 102 made-up species drawn by numpy, a data set that needs no download.

    python -m flowers.synthetic                                 # a contact sheet of 40 flowers, 5 s
    python -m flowers.synthetic --columns 10 --rows 102 --sheet all.jpg

Three species of a genus share its form and differ in colour or in one feature; each picture has its own pose,
light, lens and background, drawn from a seed of its own. Writes the sheet and nothing else.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from flowers.blades import BACK, DOWN, background, noise, paint, project, smooth, spread, strewn, tones, unit
from flowers.species import CLASSES, SEED, class_names, flower, species
from support import errors, files
from support.errors import UserError

PER_CLASS = {"train": 10, "val": 10, "test": 60}


def draw(k: int, split: str, index: int, size: int = 100) -> np.ndarray:
    """Picture number index of species k in a split -> uint8 (size, size, 3), by its arguments alone."""
    kind = species(k)
    rng = np.random.default_rng((SEED, list(PER_CLASS).index(split), k, index))
    light = unit(np.array([*rng.normal(size=2), rng.uniform(0.8, 2.0)]))
    tone = 1 + rng.normal(0, 0.05, 3)
    centre = np.array([*rng.uniform(0.38, 0.62, 2), 0.0])
    radius = rng.uniform(0.24, 0.46)
    back, grain = background(rng, light)
    if rng.random() < 0.45:  # a second flower, out of focus
        away = rng.uniform(0, 2 * np.pi)
        other = centre + rng.uniform(0.45, 0.65) * np.array([np.cos(away), np.sin(away), 0])
        soft = rng.uniform(0.02, 0.06)
        paint(back, flower(rng, kind, BACK, other, radius * rng.uniform(0.5, 0.9), light, soft, 0.9 * tone))
    canvas = spread(size, BACK) @ back @ spread(size, BACK).T  # (3, BACK, BACK) -> (3, size, size)
    canvas *= 1 + grain * (noise(rng, size, 25) + noise(rng, size, 50) - 1)

    focus = 1.2 / size
    fall = unit(np.array([[rng.normal(0, 0.35), 1.0, 0.0]]))
    stem = replace(kind.stem, bend=rng.uniform(-0.1, 0.1))
    across = np.cross((0, 0, 1), fall)
    paint(canvas, project(size, stem, centre[None], fall, across, np.array([1.2]), light, focus, tone[None]))
    count = rng.integers(1, 6)
    base = centre + fall * rng.uniform(0.1, 0.5, (count, 1))
    along = unit(rng.normal(size=(count, 3)) * (1, 0.7, 0.3) + 0.2 * DOWN)
    across = unit(np.cross(rng.normal(size=(count, 3)) * 0.4 + (0, 0, 1), along))
    paint(canvas, project(size, kind.leaf, base, along, across, rng.uniform(0.25, 0.6, count), light,
                          rng.uniform(1.2, 5) / 100, tones(rng, count, 0.15)))
    paint(canvas, flower(rng, kind, size, centre, radius, light, focus, tone))
    if rng.random() < 0.15:  # grass in front
        grass = replace(kind.leaf, width=0.03, base=0.1)
        paint(canvas, strewn(rng, size, grass, 2, (0.5, 1.0), 1.0, 0.03, light))

    # light, which for half of the pictures falls through a tree, lens and sensor
    x, y = np.linspace(-1, 1, size), np.linspace(-1, 1, size)[:, None]
    canvas *= 1 + rng.uniform(0, 0.15) * (light[0] * x + light[1] * y) - rng.uniform(0, 0.12) * (x**2 + y**2)
    canvas *= 1 - max(0, rng.uniform(-0.5, 0.5)) * smooth(3 * noise(rng, size, 5) - 1)
    exposure = np.exp(rng.normal(0.2, 0.14))
    canvas *= (exposure * (1 + rng.normal(0, 0.07) * np.array([1, 0, -1])))[:, None, None]
    canvas += rng.uniform(0, 0.3) * (smooth(canvas) - canvas)
    blur = np.exp(-0.5 * ((x - y) / rng.uniform(0.006, 0.016))**2)
    blur /= blur.sum(1, keepdims=True)
    canvas = blur @ canvas @ blur.T + rng.uniform(0.004, 0.02) * rng.normal(size=canvas.shape)
    return np.clip(np.round(255 * canvas), 0, 255).astype(np.uint8).transpose(1, 2, 0)  # -> (H, W, 3)


def _draw_class(k: int, split: str, count: int, size: int) -> np.ndarray:
    images = np.stack([draw(k, split, i, size) for i in range(count)])
    return images.transpose(0, 3, 1, 2)  # (count, H, W, 3) -> (count, 3, H, W)


@contextlib.contextmanager
def _of_one_thread() -> Iterator[None]:
    """Processes started meanwhile compute with one thread each: more would spin on the same cores."""
    names = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL")]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def draw_split(split: str, size: int = 100,
               per_class: int | None = None) -> tuple[np.ndarray, list[int], list[str]]:
    """uint8 images (N, 3, size, size), labels and names of a split, class by class; drawn on all cores."""
    count = per_class or PER_CLASS[split]
    spawn = multiprocessing.get_context("spawn")
    ignore = signal.SIGINT, signal.SIG_IGN
    draw_class = partial(_draw_class, split=split, count=count, size=size)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        with _of_one_thread(), ProcessPoolExecutor(min(8, cores), spawn, signal.signal, ignore) as pool:
            drawn = pool.map(draw_class, range(CLASSES))
            bar = tqdm(drawn, f"drawing {split} flowers", CLASSES, leave=False, disable=None)
            images = np.concatenate(list(bar))
    except BrokenProcessPool as error:
        raise UserError("the drawing processes ended (out of memory?); a script of your own that loads the "
                        "drawn flowers needs an `if __name__ == \"__main__\":` around it all", 1) from error
    names = [f"{name.replace(' ', '-')}/{split}-{i:02d}" for name in class_names() for i in range(count)]
    return images, np.repeat(np.arange(CLASSES), count).tolist(), names


def find(dataset: str, data_dir: str) -> Path:
    """No folder: the flowers are drawn."""
    return Path(dataset)


def splits(dataset: str) -> tuple[str, ...]:
    return tuple(PER_CLASS)


def fingerprint(root: Path, split: str) -> list[str]:
    """What the pixels and labels depend on: the code that draws."""
    folder = Path(__file__).parent
    return [(folder / f"{name}.py").read_text() for name in ("synthetic", "species", "blades")]


def read(root: Path, split: str, size: int) -> tuple[torch.Tensor, list[int], list[str], list[str]]:
    """Images uint8 (N, 3, size, size), labels, class names and a name for each picture of a split."""
    images, labels, names = draw_split(split, size)
    return torch.from_numpy(images), labels, class_names(), names


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, default=Path("sheet.png"),
                        help="picture to write, PNG or JPEG (%(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="flowers side by side (%(default)s)")
    parser.add_argument("--rows", type=int, default=5, help="rows of flowers (%(default)s)")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    from PIL import Image

    count, side = args.columns * args.rows, 212  # 8 of them fill the width of a README twice
    if min(args.columns, args.rows) < 1:
        raise UserError("--columns and --rows have to be at least 1")
    if (kind := {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(args.sheet.suffix.lower())) is None:
        raise UserError(f"--sheet {args.sheet}: the name has to end in .png or .jpg")
    flowers = np.stack([draw(i * CLASSES // count % CLASSES, "test", i % 60, side) for i in range(count)])
    grid = flowers.reshape(args.rows, args.columns, side, side, 3).swapaxes(1, 2)
    sheet = grid.reshape(args.rows * side, args.columns * side, 3)  # (N, side, side, 3) -> (height, width, 3)
    with files.atomic(args.sheet) as temporary:
        Image.fromarray(sheet).save(temporary, kind, quality=88)
    print(f"wrote {args.sheet}: {count} flowers")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
