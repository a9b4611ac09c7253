"""Tests import the scripts by name and find the photos beside the project where they are there."""

import sys
from pathlib import Path

import pytest

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
