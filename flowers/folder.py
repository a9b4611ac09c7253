"""The user's own photos: a folder with train/, val/ and test/, each with a folder a class (ImageFolder)."""

import os
import unicodedata
from pathlib import Path

from torch import Tensor

from flowers import decoding, listing
from support.errors import UserError, few

SPLITS = ("train", "val", "test")
Photos = tuple[Tensor, list[int], list[str], list[str], list[str]]  # what a source reads of a split


def find(dataset: str, data_dir: str) -> Path:
    """The folder itself, whose path is the data set's name."""
    return Path(dataset)


def splits(dataset: str) -> tuple[str, ...]:
    """Those that are there, and val, for which train/ may stand in.

    Of a folder with none of the three, with class folders at its top, all is to test on.
    """
    there = [split for split in SPLITS if Path(dataset, "train" if split == "val" else split).is_dir()
             or Path(dataset, split).is_dir()]
    return tuple(there) or ("test",)


def check_classes(dataset: str) -> None:
    """Say which classes test/ and train/ do not share; val/ is checked where it is read."""
    train, test = (_folders(Path(dataset, split)) for split in ("train", "test"))
    if train and test:
        if strange := [name for name in test if name not in train]:
            print(f"--dataset {dataset}: train/ lacks {few(strange)}, so evaluate.py will not judge these "
                  f"photos of test/")
        if absent := [name for name in train if name not in test]:
            print(f"--dataset {dataset}: test/ lacks {few(absent)}, so evaluate.py will judge the others")


def fingerprint(root: Path, split: str) -> list[str]:
    """Where a data set is, then what a split's pixels and labels depend on. UserError for another layout."""
    paths, _, classes = _scan(root, split, tell=True)
    return [os.path.realpath(root), str(_lacks_val(root)), *classes, *listing.fingerprint(root, paths)]


def validates(digest: str) -> bool:
    """Whether a photo of train/ validates where there is no val/: by its bytes alone, a fifth of all digests.

    It keeps its side when others come and go and when it is renamed, and equal photos are on one side.
    """
    return 5 * int(digest, 16) < 16 ** len(digest)


def read(root: Path, split: str, size: int) -> Photos:
    """Images uint8 (N, 3, size, size), labels, class names, file names and digests of the files' bytes."""
    paths, labels, classes = _scan(root, split, tell=False)  # fingerprint has printed the notices
    share = _lacks_val(root) and split != "test" and classes  # (nothing validates a model without classes)
    wanted = (lambda digest: validates(digest) == (split == "val")) if share else None
    images, digests, chosen = decoding.decode_all(paths, size, split, wanted)
    if not chosen:
        raise UserError(f"--dataset {root}: of the {len(paths)} photos in train/ none falls to {split}; "
                        f"add some, or a folder val/")
    names = [str(paths[i].relative_to(root)) for i in chosen]
    return images, [labels[i] for i in chosen], classes, names, digests


def _lacks_val(root: Path) -> bool:
    return (root / "train").is_dir() and not (root / "val").is_dir()


def _one_form(name: str) -> str:
    """é as one letter: some systems write it as two, and the names would differ."""
    return unicodedata.normalize("NFC", name)


def _folders(folder: Path) -> list[str]:
    """The names of the folders in one, but for hidden ones; [] where it is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted({_one_form(path.name) for path in inside if os.path.isdir(path)
                   and not path.name.startswith(listing.HIDDEN) and path.name not in listing.OF_SYSTEMS})


def _scan(root: Path, split: str, tell: bool) -> tuple[list[Path], list[int], list[str]]:
    """Photos, labels and class names of a split; no classes of train where there is no folder of one.

    If tell, prints what is left out.
    """
    bare = split != "val" and not any((root / name).is_dir() for name in SPLITS)
    folder = root if bare else root / ("train" if split == "val" and _lacks_val(root) else split)
    classes, (photos, left_out) = _folders(folder), listing.below(folder)
    # of a folder further up, which holds data sets, stage one takes nothing
    near = folder.is_dir() and any(len(path.relative_to(folder).parts) < 3 for path in photos)
    unlabelled = split == "train" and (bare or not classes) and near
    if not folder.is_dir() or (bare and split == "train" and not unlabelled):
        raise UserError(f"--dataset {root}: there is no {root / split}/; want flowers102 or synthetic, "
                        f"or a folder with train/, val/ and test/ in it, each with a folder a class")
    if unlabelled:
        classes, class_of = [], dict.fromkeys(photos, "")
    elif not classes:
        raise UserError(f"--dataset {root}: there is no folder of a class in {folder}")
    else:
        class_of = {path: _top(folder, path) for path in photos if path.parent != folder}
        left_out += [(path, listing.LOOSE) for path in photos if path.parent == folder]
    if tell and folder in (root, root / split):  # once, where train/ holds val, too
        if unlabelled:
            print(f"--dataset {root}: the {len(photos)} photos below {folder} train without classes")
        elif split == "train" and _lacks_val(root):
            unread = [f"{name}/" for name in _folders(root) if name not in SPLITS]
            more = f"; nothing reads {', '.join(unread)}" if unread else ""
            print(f"--dataset {root}: there is no val/, so about a fifth of the photos in train/ validates, "
                  f"chosen by their bytes{more}")
        if left_out:
            print(f"--dataset {root}: left out {listing.describe(left_out, root)}")
    _check(root, folder, split, classes, class_of, left_out)
    photos = sorted(class_of, key=lambda path: (class_of[path], path))
    return photos, [classes.index(class_of[path]) if classes else 0 for path in photos], classes


def _top(folder: Path, path: Path) -> str:
    """The name of the folder in a folder in which a path lies, or of what lies there itself."""
    return _one_form(path.relative_to(folder).parts[0])


def _check(root: Path, folder: Path, split: str, classes: list[str], class_of: dict[Path, str],
           left_out: listing.LeftOut) -> None:
    """UserError where the splits' classes differ or a class has no photo."""
    if split == "val" and (odd := sorted({*classes} ^ {*_folders(root / "train")})):
        raise UserError(f"--dataset {root}: val/ and train/ differ in their classes: {few(odd)}")
    if empty := sorted({*classes} - {*class_of.values()}):
        inside = [(path, kind) for path, kind in left_out if _top(folder, path) == empty[0]]
        why = f"; left out {listing.describe(inside, root)}" if inside else ""
        raise UserError(f"--dataset {root}: there is no photo in {folder / empty[0]}{why}")
