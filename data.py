"""Photos to tensors: a data set's splits and class names, the cache, batches as selections of a split."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from flowers import cache, decoding, flowers102, folder, synthetic
from support import machine
from support.errors import UserError, path_of, printable

SPLITS = folder.SPLITS
# A source of photos, one of these or `folder`, has splits(dataset), those that are there, and
# scan(dataset, data_dir, split): text that changes when the photos do, and a function -> folder.Photos.
BUILT_IN = {"flowers102": flowers102, "synthetic": synthetic, "synthetic-30": synthetic}


@dataclass
class FlowerSet:
    """One split: images uint8 (N, 3, H, W), labels int64 (N,), class names, files' names and digests."""
    images: torch.Tensor  # from the cache a file mapped to memory: images[batch] reads its part of it
    labels: torch.Tensor
    classes: list[str]
    names: list[str]
    digests: list[str]
    brightened: list[str] | tuple = ()  # names of grey photos that do not use their 16 bits
    known_digest: str = ""  # where the cache has it; dataclasses.replace has to clear it

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """A hash of pixels and labels: two sets with the same digest train alike."""
        return self.known_digest or cache.digest_of(self.images.numpy(), self.labels)

    def of_classes(self, classes: list[str]) -> "FlowerSet":
        """The photos of these classes, which number them anew."""
        if classes == self.classes:
            return self
        numbers = torch.tensor([classes.index(name) if name in classes else -1 for name in self.classes])
        labels = numbers[self.labels]  # (N,)
        kept = (labels >= 0).nonzero()[:, 0]
        images = self.images if len(kept) == len(self) else self.images[kept]  # all: still mapped to memory
        return FlowerSet(images, labels[kept], classes, [self.names[i] for i in kept],
                         [self.digests[i] for i in kept])


def dataset_name(text: str) -> str:
    """An argparse type: a built-in set's name, or the path of a folder; ./synthetic stays a folder."""
    path = os.path.normpath(path_of(text))
    return os.path.join(".", path) if path in BUILT_IN and text not in BUILT_IN else path


def add_arguments(group, default: str | None = "flowers102") -> None:
    """The flags that say which photos, to a group of an argparse parser; None: the checkpoint's."""
    group.add_argument("--dataset", default=default, type=dataset_name, help="flowers102, synthetic, "
                       f"synthetic-30 or a folder with train/, val/, test/ ({default or 'as in training'})")
    group.add_argument("--data-dir", type=Path, default="data", help="folder with flowers-102/ (%(default)s)")
    group.add_argument("--cache-dir", type=Path, default=".cache", help="for decoded photos (%(default)s)")


def splits(dataset: str) -> tuple[str, ...]:
    """The splits that a data set has, of train, val and test."""
    return BUILT_IN.get(dataset, folder).splits(dataset)


def load(dataset: str, split: str, data_dir: Path | str = "data", cache_dir: Path | str = ".cache",
         size: int = 100) -> FlowerSet:
    """One split, size pixels a side, from the cache or the photos. UserError names what is absent or damaged.

    dataset: 'flowers102' (torchvision's, in data_dir/flowers-102, downloaded where that folder is absent),
    'synthetic' (drawn by flowers.synthetic), 'synthetic-30' (its first 30 species) or a folder with train/,
    val/ and test/, each one folder a class (ImageFolder); without val/, a fifth of train/ validates.
    """
    return load_sizes(dataset, split, data_dir, cache_dir, [size])[0]


def load_sizes(dataset: str, split: str, data_dir: Path | str, cache_dir: Path | str, sizes: list[int],
               may_be_none: bool = False) -> list[FlowerSet]:
    """As load has it, one split at several sizes: each photo is decoded once. may_be_none: [], and a line,
    where train/ stands in for val/, too, and no photo fell to this split."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} has to be among {SPLITS}")
    state, photos = BUILT_IN.get(dataset, folder).scan(dataset, data_dir, split)
    name = os.path.basename(os.path.abspath(dataset))[:50]  # of four bytes each at most, so that it fits
    try:
        found = cache.load(Path(cache_dir), name, split, sizes, state, photos)
    except folder.NoneFell as error:
        if not may_be_none:
            raise UserError(f"{error}; add some, or a folder val/, or in stage two --with-val") from error
        print(error)
        return []
    sets = [FlowerSet(**fields) for fields in found]
    decoding.tell_brightened(sets[0].brightened)
    labels, classes = sets[0].labels, sets[0].classes
    if lacking := sorted({*range(len(classes))} - {*labels.tolist()}):
        fell = sorted({*lacking} & {*photos().labels})  # of a folder without val/ alone
        why = ", whose photos all fell to the other side of train and val; more, or a folder val/, would help"
        print(f"--dataset {dataset}: {split} has no photo of {len(lacking)} of {len(classes)} classes, such "
              f"as {printable(classes[(fell or lacking)[0]])}{why if fell else ''}")
    return sets


def join(a: FlowerSet, b: FlowerSet) -> FlowerSet:
    """Two splits of the same classes as one, its images in memory."""
    return FlowerSet(torch.cat([a.images, b.images]), torch.cat([a.labels, b.labels]), a.classes,
                     a.names + b.names, a.digests + b.digests)


def batches(count: int, batch_size: int, generator: torch.Generator | None = None) -> list[torch.Tensor]:
    """Indices 0..count-1, shuffled where there is a generator, in batches of batch_size."""
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:  # merged, since batch norm cannot train on one image
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def to_input(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 (B, 3, H, W) -> float32 in [0, 1] on the device, in its memory format."""
    return images.to(device).to(torch.float32, memory_format=machine.memory_format(device)).div_(255)
