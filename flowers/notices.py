"""What a user should hear of photos that a classifier can learn from all the same: copies, and too few."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from flowers import listing
from flowers.decoding import digest_of
from support.errors import counted, few, printable


def tell_few(labels: torch.Tensor, classes: list[str], are_balanced: bool) -> None:
    """Print which classes have too few photos, by labels (N,), and what helps where some have far fewer.

    are_balanced: whether each class counts the same already.
    """
    counts = torch.bincount(labels, minlength=len(classes))  # (classes,)
    if lacking := (counts < 5).nonzero().flatten().tolist():
        print(f"expect little of {len(lacking)} of {len(counts)} classes: there are under 5 training photos, "
              f"such as {counts[lacking[0]]} of {printable(classes[lacking[0]])}")
    least, most = counts[counts > 0].min().item(), counts.max().item()
    if not are_balanced and most >= 5 * least:
        print(f"{printable(classes[counts.argmax()])} has {counted(most, 'photo')}, another "
              f"class {least}: --class-weights balanced lets each count the same")


def tell_learned(flowers, split: str, dataset: str, content: dict, path: Path) -> None:
    """Print how many of these photos (a data.FlowerSet) of val or test have trained a checkpoint."""
    trained_on, flags = set(content.get("digests", [])), content.get("flags", {})
    seen = sum(digest in trained_on for digest in flowers.digests)
    if split == "val" and flags.get("with_val") and dataset == content["dataset"] == "flowers102":
        seen = len(flowers)  # a copy in another size has other bytes
    if seen:
        print(f"{split}: {path} was trained on {seen} of {counted(len(flowers), 'photo')} here")


def tell_copies(splits: dict, dataset: str, is_folder: bool) -> None:
    """Print how many photos of a split, or of a folder's test/, are in another split, or in two classes.

    splits: a data.FlowerSet of each split that was loaded, by its name.
    """
    photos = [(digest, split, label, name) for split, flowers in splits.items() for digest, label, name in
              zip(flowers.digests, flowers.labels.tolist(), flowers.names)]
    if is_folder and "test" not in splits:  # training does not load its test/
        copies = _likely_copies(Path(dataset), [name for *_, name in photos])
        photos += [(digest, "test", None, name) for digest, name in copies]
    anywhere, in_split = {}, {}  # the first photo with a digest, in all splits and in each
    in_splits, in_classes = [], []
    for digest, split, label, name in photos:
        first_split, first = anywhere.setdefault(digest, (split, name))
        if split != first_split:
            in_splits.append(f"{first} ({first_split}) and {name} ({split})")
        first_label, first = in_split.setdefault((digest, split), (label, name))
        if label != first_label:
            in_classes.append(f"{first} and {name}")  # (a folder's names say which split)
    for where, pairs in (("splits", in_splits), ("classes", in_classes)):
        if pairs:
            are = "is" if len(pairs) == 1 else "are"
            print(f"{counted(len(pairs), 'photo')} {are} in two {where}, byte for byte: {few(pairs)}")


def _likely_copies(root: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    """Digest and name of each photo of test/ whose file is as long as one of those named."""
    photos, _ = listing.below(root / "test")
    with contextlib.suppress(OSError):  # evaluate.py will say what cannot be read
        lengths = {os.path.getsize(root / name) for name in names} if photos else set()
        for path in (path for path in photos if os.path.getsize(path) in lengths):
            yield digest_of(path.read_bytes()), str(path.relative_to(root))
