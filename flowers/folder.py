"""The user's own photos: a folder with train/, val/ and test/, each with a folder a class (ImageFolder)."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flowers import decoding, listing
from flowers.decoding import Decoded
from support.errors import UserError, counted, few

SPLITS = ("train", "val", "test")


class NoneFell(UserError):
    """All photos of train/, which stands in for val/, too, fell to the other side."""


class Photos(NamedTuple):
    """What a source knows of a split's photos before it decodes them."""
    labels: list[int]
    classes: list[str]
    names: list[str]  # of files
    decode: Callable[[list[int], int], Iterator[Decoded]]  # (sizes, number of the first photo)


def splits(dataset: str) -> tuple[str, ...]:
    """Those with a photo of a class, and val, for which train/ may stand in, or test; tells of the others."""
    root = Path(dataset)
    filled = {split: _filled(root / split)[0] for split in SPLITS}
    there = [split for split in SPLITS
             if filled[split] or split == "val" and _lacks_val(root) and filled["train"]]
    for split in SPLITS:
        if there and (root / split).is_dir() and not filled[split]:
            print(f"--dataset {dataset}: passed over {split}/, as no folder of a class in it has a photo")
    return tuple(there) or ("test",)


def check_classes(dataset: str) -> None:
    """Say which classes test/ and train/ do not share, and which are alike, before a photo is decoded.

    UserError where train/ has fewer than two, or one without a photo, or where val/ has no photo, or others.
    """
    root = Path(dataset)
    train, val = (_folders(root / split) for split in ("train", "val"))
    (filled, left_out), (validating, _), (test, _) = (_filled(root / split) for split in SPLITS)
    if len(train) < 2 and root.is_dir():
        found = f"only {few(train)}" if train else "no train/ with folders in it"
        above = f"; or is it --dataset {root.parent}?" if _folders(root.parent / "train") else ""
        raise UserError(f"--dataset {dataset}: there is {found}; want two classes or more, each a folder of "
                        f"its own in train/{above}")
    if empty := [root / "train" / name for name in train if name not in filled]:
        inside = [(path, kind) for path, kind in left_out if _top(root / "train", path) == empty[0].name]
        why = "; what it links to is empty, or of another class" if empty[0].is_symlink() else ""
        why = f"; left out {listing.describe(inside, root)}" if inside else why or "; add some, or remove it"
        raise UserError(f"--dataset {dataset}: there is no photo in {empty[0]}{why}")
    if (root / "val").is_dir() and not validating:
        raise UserError(f"--dataset {dataset}: there is no photo in a folder of a class in val/; remove it, "
                        f"and about a fifth of train/ validates")
    if val and val != train:
        sides = {"val": {*train} - {*val}, "train": {*val} - {*train}}
        lacks = ", ".join(f"{side}/ lacks {few(sorted(names))}" for side, names in sides.items() if names)
        raise UserError(f"--dataset {dataset}: val/ and train/ differ in their classes: {lacks}; add "
                        f"or remove them, or remove val/")
    folded = Counter(name.casefold() for name in train)
    if alike := [name for name in train if folded[name.casefold()] > 1]:
        print(f"--dataset {dataset}: {few(alike)} differ in case alone; each is a class of its own")
    if strange := sorted(test - {*train}):
        print(f"--dataset {dataset}: train/ lacks {few(strange)}, so evaluate.py will not judge these "
              f"photos of test/")
    if test and (absent := [name for name in train if name not in test]):
        print(f"--dataset {dataset}: test/ lacks {few(absent)}, so evaluate.py will judge the others")


def scan(dataset: str, data_dir: Path | str, split: str) -> tuple[list[str], Callable[[], Photos]]:
    """Where a data set is and what a split depends on, and its photos; prints what is left out.

    UserError for what is amiss with the folders.
    """
    root = Path(dataset)
    folder, paths, labels, classes, left_out = _scan(root, split)
    if folder in (root, root / split):  # once, where train/ holds val, too
        if not classes:
            print(f"--dataset {root}: {counted(len(paths), 'photo')} without classes below {folder}")
        elif split == "train" and _lacks_val(root):
            print(f"--dataset {root}: there is no val/, so about a fifth of the photos in train/ stands in "
                  f"for it, chosen by their bytes")
        if left_out:
            print(f"--dataset {root}: left out {listing.describe(left_out, root)}")
    first = next((name for name in SPLITS if (root / name).is_dir()), None)  # so that it is said once
    if split == first and (unread := _unread(root)):
        print(f"--dataset {root}: nothing reads {few(unread)}")
    if not paths:
        raise UserError(f"--dataset {root}: no folder of a class in {folder} has a photo")
    names = [str(path.relative_to(root)) for path in paths]
    state = [os.path.realpath(root), str(_lacks_val(root)), *classes, *listing.fingerprint(paths, names)]
    return state, lambda: Photos(labels, classes, names, partial(_decode, root, split, paths, bool(classes)))


def validates(digest: str) -> bool:
    """Whether a photo of train/ validates where there is no val/: by its bytes, so that it keeps its side."""
    return 5 * int(digest, 16) < 16 ** len(digest)


def _decode(root: Path, split: str, paths: list[Path], has_classes: bool, sizes: list[int],
            start: int) -> Iterator[Decoded]:
    """decoding.decode_all, None for a photo of the other side where train/ holds val, too."""
    share = _lacks_val(root) and split != "test" and has_classes  # (else nothing validates the model)
    wanted = (lambda digest: validates(digest) == (split == "val")) if share else None
    found = start > 0
    for photo in decoding.decode_all(paths, split, sizes, start, wanted):
        found |= photo.squares is not None
        yield photo
    if not found:
        raise NoneFell(f"--dataset {root}: of {counted(len(paths), 'photo')} in train/ none falls to {split}")


def _lacks_val(root: Path) -> bool:
    return (root / "train").is_dir() and not (root / "val").is_dir()


def _top(folder: Path, path: Path) -> str:
    """The name of what lies in the folder and is, or holds, the path."""
    # é as one letter: some systems write it as two, and the names would differ
    return unicodedata.normalize("NFC", path.relative_to(folder).parts[0])


def _folders(folder: Path) -> list[str]:
    """The names of the folders in one, but for hidden ones; [] where it is none."""
    inside = listing.entries(folder) if folder.is_dir() else ()
    return sorted({_top(folder, path) for path in inside
                   if os.path.isdir(path) and not path.name.startswith(listing.HIDDEN)})


def _filled(folder: Path) -> tuple[set[str], listing.LeftOut]:
    """The names of the folders in one that have a photo, and what is left out; none where it is none."""
    photos, left_out = listing.below(folder) if folder.is_dir() else ([], [])
    return {_top(folder, path) for path in photos if path.parent != folder}, left_out


def _unread(root: Path) -> list[str]:
    """The folders beside the splits, and the photos."""
    inside = listing.entries(root) if os.access(root, os.R_OK) else []  # (to enter it is enough for those)
    beside = [path for path in inside if path.name not in SPLITS and not path.name.startswith(listing.HIDDEN)]
    return [f"{path.name}/" for path in beside if os.path.isdir(path)] + [
        path.name for path in beside if not os.path.isdir(path) and listing.below(path)[0]]


def _scan(root: Path, split: str) -> tuple[Path, list[Path], list[int], list[str], listing.LeftOut]:
    """A split's folder, photos, labels, class names, none of train without a folder of one, and the rest."""
    for path in (root, *map(root.joinpath, SPLITS)):
        if path.is_symlink() and not path.exists():
            raise UserError(f"--dataset {root}: {path} is a dead link; mend or remove it")
    if not root.is_dir():
        found = "this is a file" if root.exists() else "there is no such folder"
        raise UserError(f"--dataset {root}: {found}; want flowers102, synthetic, "
                        f"synthetic-30, or a folder with train/, val/ and test/ in it")
    bare = split != "val" and not any((root / name).is_dir() for name in SPLITS)
    folder = root if bare else root / ("train" if split == "val" and _lacks_val(root) else split)
    classes, (photos, left_out) = _folders(folder), listing.below(folder)
    # stage one takes photos without classes, too, but not a folder further up, which holds whole data sets
    depth = min((len(path.parts) for path in photos), default=0) - len(folder.parts)
    unlabelled = split == "train" and (bare or not classes) and 0 < depth < 3
    if not folder.is_dir() or (bare and split == "train" and not unlabelled):
        lacking = root / ("train" if split == "val" else split)
        raise UserError(f"--dataset {root}: there is no {lacking}/; want flowers102 or synthetic, or a "
                        f"folder with train/, val/ and test/ in it, each with a folder a class")
    if unlabelled:
        return folder, photos, [0] * len(photos), [], left_out
    if not classes:
        raise UserError(f"--dataset {root}: there is no folder of a class in {folder}")
    left_out += [(path, listing.LOOSE) for path in photos if path.parent == folder]
    label_of = {name: label for label, name in enumerate(classes)}
    labelled = sorted((label_of[_top(folder, path)], path) for path in photos if path.parent != folder)
    return folder, [path for _, path in labelled], [label for label, _ in labelled], classes, left_out
