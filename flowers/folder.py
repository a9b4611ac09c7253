"""The user's own photos: a folder with train/, val/ and test/, each with a folder a class (ImageFolder)."""

import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from flowers import decoding
from support.errors import UserError

SPLITS = ("train", "val", "test")


def find(dataset: str, data_dir: str) -> Path:
    """The folder itself, whose path is the data set's name."""
    return Path(dataset)


def splits(dataset: str) -> tuple[str, ...]:
    """All three, but no test where there is no test/; val may be held out of train/."""
    lacks_test = Path(dataset, "train").is_dir() and not Path(dataset, "test").is_dir()
    return SPLITS[:-1] if lacks_test else SPLITS


def fingerprint(root: Path, split: str) -> list[str]:
    """What the pixels and labels of a split depend on. UserError for a folder of another layout."""
    paths, _, classes = _scan(root, split, tell=True)
    # two folders may hold equal files, and a class without a validation photo is in no file's name
    return [os.path.realpath(root), *classes, *decoding.listing(root, paths)]


def read(root: Path, split: str, size: int) -> tuple[Tensor, list[int], list[str], list[str]]:
    """Images uint8 (N, 3, size, size), labels, class names and file names of a split."""
    paths, labels, classes = _scan(root, split, tell=False)  # fingerprint has printed the notices
    names = [str(path.relative_to(root)) for path in paths]
    return decoding.decode_all(paths, size, split), labels, classes, names


def _visible(folder: Path, is_kind: Callable[[os.DirEntry], bool]) -> list[str]:
    return [entry.name for entry in decoding.entries(folder)
            if is_kind(entry) and not entry.name.startswith(decoding.HIDDEN)]


def _scan(root: Path, split: str, tell: bool) -> tuple[list[Path], list[int], list[str]]:
    """Photos, labels and class names of a split; if tell, prints what validates and what is left out."""
    held_out = split != "test" and not (root / "val").is_dir()  # of train/
    folder = root / ("train" if held_out else split)
    if not folder.is_dir():
        raise UserError(f"--dataset {root}: there is no {folder}/; want flowers102 or synthetic, "
                        f"or a folder with train/, val/ and test/ in it, each with a folder a class")
    if tell and held_out and split == "train":
        unread = sorted(f"{name}/" for name in _visible(root, os.path.isdir) if name not in SPLITS)
        more = f"; nothing reads {', '.join(unread)}" if unread else ""
        print(f"--dataset {root}: there is no val/, so every fifth photo of each class in train/ "
              f"validates{more}")
    classes, train_classes = _visible(folder, os.path.isdir), _visible(root / "train", os.path.isdir)
    if not classes:
        raise UserError(f"--dataset {root}: there is no folder of a class in {folder}")
    if odd := ", ".join(sorted({*classes} ^ {*train_classes})):
        raise UserError(f"--dataset {root}: {folder.name}/ and train/ differ in their classes: {odd}")
    paths, labels, others = [], [], []
    for label, name in enumerate(classes):
        photos, no_photos = decoding.photos_below(folder / name, tell)
        if not photos:
            why = f"; {decoding.describe_skipped(no_photos)}" if no_photos else ""
            raise UserError(f"--dataset {root}: there is no photo in {folder / name}{why}")
        if held_out:
            photos = [photo for i, photo in enumerate(photos) if (i % 5 == 1) == (split == "val")]
        paths += photos
        labels += [label] * len(photos)
        others += no_photos
    others += [folder / name for name in _visible(folder, os.path.isfile)]
    if tell and others and split == folder.name:
        print(f"--dataset {root}: left out {decoding.describe_skipped(others)}")
    if not paths:
        raise UserError(f"--dataset {root}: no class has a second photo in train/ to validate on; "
                        f"add some, or a folder val/")
    return paths, labels, classes
