"""Tests import the scripts by name, run on one thread, and find the photos beside the project where they are there."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
PHOTOS = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def photos() -> str:
    """The --data-dir of the real photos; the test is skipped where they are absent."""
    if not (PHOTOS / "flowers-102").is_dir():
        pytest.skip(f"needs the Flowers-102 photos in {PHOTOS}")
    return str(PHOTOS)
