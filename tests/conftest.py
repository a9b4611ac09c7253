"""Tests import the scripts by name and find the photos beside the project where they are there."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import runtime  # noqa: E402

runtime.keep_memory()  # before torch allocates, as the scripts do: the classifier's tests take half the time
PHOTOS = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def photos() -> str:
    """The --data-dir of the real photos; the test is skipped where they are absent."""
    if not (PHOTOS / "flowers-102").is_dir():
        pytest.skip(f"needs the Flowers-102 photos in {PHOTOS}")
    return str(PHOTOS)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set in ImageFolder layout: three classes of drawn JPEGs, 4 for training, 2 to validate and 3 to test each."""
    return draw_folder(tmp_path / "photos")


def draw_folder(root: Path) -> Path:
    random = np.random.default_rng(0)
    for split, each in (("train", 4), ("val", 2), ("test", 3)):
        for label, name in enumerate(("daisy", "rose", "tulip")):
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                pixels = random.integers(0, 120, (13, 11 + i, 3), np.uint8)  # a texture of its own, a tint of its class
                pixels[..., label] += 120
                photo = Image.fromarray(pixels).resize((110 + 10 * i, 130))
                photo.save(root / split / name / f"{i}.jpg")
    return root
