"""Procedural flowers: 102 made-up species drawn by numpy, a data set that needs no download.

Each picture has its own pose, light, lens and background, drawn from a seed of its own.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

from flowers import folder
from flowers.blades import BACK, DOWN, background, noise, paint, project, smooth, spread, strewn, tones, unit
from flowers.decoding import Decoded, digest_of
from flowers.species import CLASSES, SEED, class_names, flower, species
from support.errors import UserError

PER_CLASS = {"train": 10, "val": 10, "test": 60}
FEW = 30, {"train": 10, "val": 10, "test": 20}  # synthetic-30: its first species, soon drawn and learned
ONE_AT_A_TIME = threading.Lock()  # of the threads that draw: each changes what is its process's for a while


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


def draw_split(split: str, classes: int, count: int, sizes: list[int], start: int = 0) -> Iterator[Decoded]:
    """A split's pictures class by class, from number `start` on, drawn on all cores: uint8 (size, size, 3) of
    each size, and the digest of the name, which the picture follows from at any size."""
    names = names_of(split, classes, count)
    pictures = [(k, split, i, size) for k in range(classes) for i in range(count) for size in sizes]
    pictures = pictures[start * len(sizes):]
    # with more than one thread each, the processes would spin on the same cores
    serial = dict(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    spawn, ignore = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    # spawn would import the main script again, which may lack a guard or be piped; drawing does not need it
    script = patch.multiple(sys.modules["__main__"], create=True, __spec__=None, __file__=None)
    cores = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    try:
        with (ONE_AT_A_TIME, script, patch.dict(os.environ, serial),
              ProcessPoolExecutor(cores, spawn, signal.signal, ignore) as pool,
              contextlib.closing(pool.map(draw, *zip(*pictures), chunksize=count)) as drawn):
            bar = tqdm(names[start:], f"drawing {split} flowers", len(names), initial=start, unit=" flowers",
                       leave=False, disable=None)
            for name in bar:
                yield Decoded([*itertools.islice(drawn, len(sizes))], digest_of(name.encode()))
    except BrokenProcessPool as error:
        raise UserError("the drawing processes ended (out of memory?)", exit_status=1) from error


def names_of(split: str, classes: int, count: int) -> list[str]:
    return [f"{name.replace(' ', '-')}/{split}-{i:02d}"
            for name in class_names()[:classes] for i in range(count)]


def splits(dataset: str) -> tuple[str, ...]:
    return tuple(PER_CLASS)


def scan(dataset: str, data_dir: Path | str, split: str) -> tuple[list[str], Callable[[], folder.Photos]]:
    """As folder.scan has it: nowhere, then what pixels and labels depend on: the code that draws."""
    names = "synthetic.py", "species.py", "species.json", "blades.py"
    state = ["", *(Path(__file__).with_name(name).read_text() for name in names)]
    return state, partial(_photos, dataset, split)


def _photos(dataset: str, split: str) -> folder.Photos:
    classes, per_class = FEW if dataset == "synthetic-30" else (CLASSES, PER_CLASS)
    of = split, classes, per_class[split]
    labels = [k for k in range(classes) for _ in range(per_class[split])]
    return folder.Photos(labels, class_names()[:classes], names_of(*of), partial(draw_split, *of))
