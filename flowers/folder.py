"""The user's own photos: a folder with train/, val/ and test/, each with a folder a class (ImageFolder)."""

import os
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
    """What the pixels and labels of a split depend on. UserError for a folder of another layout.

    Prints which photos validate where there is no val/, and which files no class takes.
    """
    folder, held_out = _folder_of(root, split)
    if not (root / folder).is_dir():
        raise UserError(f"--dataset {root}: there is no {root / folder}/; want flowers102 or synthetic, "
                        f"or a folder with train/, val/ and test/ in it, each with a folder a class")
    if held_out and split == "train":
        _describe_held_out(root)
    parts = [os.path.realpath(root), str(held_out)]  # two folders may list the same names, sizes and times
    for name in dict.fromkeys((folder, "train")):  # train/ names the classes
        parts += [name, *decoding.listing(root / name)]
    *_, others = _scan(root, split, tell=True)
    if others and split == folder:
        print(f"--dataset {root}: left out {decoding.describe_skipped(others)}")
    return parts


def read(root: Path, split: str, size: int) -> tuple[Tensor, list[int], list[str], list[str]]:
    """Images uint8 (N, 3, size, size), labels, class names and file names of a split."""
    paths, labels, classes, _ = _scan(root, split, tell=False)  # fingerprint said what is passed over
    images = decoding.decode_all(paths, size, f"decoding {split} photos")
    return images, labels, classes, [str(path.relative_to(root)) for path in paths]


def _folder_of(root: Path, split: str) -> tuple[str, bool]:
    """The folder that holds a split, and whether train/ serves train and val."""
    held_out = split != "test" and not (root / "val").is_dir()
    return "train" if held_out else split, held_out


def _describe_held_out(root: Path) -> None:
    unread = sorted(f"{entry.name}/" for entry in os.scandir(root) if os.path.isdir(entry.path)
                    and entry.name not in SPLITS and not decoding.is_hidden(entry.name))
    more = f"; nothing reads {', '.join(unread)}" if unread else ""
    print(f"--dataset {root}: there is no val/, so every fifth photo of each class in train/ validates{more}")


def _classes_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder)
                  if not decoding.is_hidden(entry.name) and os.path.isdir(entry.path))


def _scan(root: Path, split: str, tell: bool) -> tuple[list[Path], list[int], list[str], list[Path]]:
    """Photos, labels and class names (train/'s) of a split, and the files that no class takes."""
    folder, held_out = _folder_of(root, split)
    classes, train_classes = _classes_in(root / folder), _classes_in(root / "train")
    if not classes:
        raise UserError(f"--dataset {root}: there is no folder of a class in {root / folder}")
    if classes != train_classes:
        odd = sorted(set(classes) ^ set(train_classes))
        raise UserError(f"--dataset {root}: {folder}/ and train/ differ in their classes: {', '.join(odd)}")
    paths, labels, others = [], [], []
    for label, name in enumerate(classes):
        photos, no_photos = decoding.photos_below(root / folder / name, tell)
        if not photos:
            why = f"; {decoding.describe_skipped(no_photos)}" if no_photos else ""
            raise UserError(f"--dataset {root}: there is no photo in {root / folder / name}{why}")
        if held_out:
            photos = [photo for i, photo in enumerate(photos) if (i % 5 == 1) == (split == "val")]
        paths += photos
        labels += [label] * len(photos)
        others += no_photos
    others += sorted(Path(entry.path) for entry in os.scandir(root / folder)
                     if not decoding.is_hidden(entry.name) and os.path.isfile(entry.path))
    if not paths:
        raise UserError(f"--dataset {root}: no class has a second photo in train/ to validate on; "
                        f"add some, or a folder val/")
    return paths, labels, classes, others
