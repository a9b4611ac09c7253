"""Photos to tensors: the data sets, their splits and class names, the cache, and batches.

A split is one uint8 tensor (N, 3, H, W) in memory, decoded once and kept in a cache; a batch is a selection.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from flowers import blades, decoding, flowers102, species, synthetic
from support import checkpoint, machine
from support.errors import UserError

SPLITS = ("train", "val", "test")
BUILT_IN = ("flowers102", "synthetic")
CACHE_FORMAT = 4  # to be raised when decoding.decode, or what is cached, changes


@dataclass
class FlowerSet:
    """One split: images uint8 (N, 3, H, W), labels int64 (N,), class names, file names."""
    images: torch.Tensor
    labels: torch.Tensor
    classes: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """A hash of pixels and labels: two sets with the same digest train alike."""
        digest = hashlib.sha256(self.images.numpy())
        digest.update(self.labels.numpy())
        return digest.hexdigest()


def dataset_name(text: str) -> str:
    """An argparse type: a built-in set's name, or the path of a folder; ./synthetic stays a folder."""
    path = os.path.normpath(text)
    return os.path.join(".", path) if path in BUILT_IN and text not in BUILT_IN else path


def load(dataset: str, split: str, data_dir: str = "data", cache_dir: str = ".cache",
         size: int = 100, crop: str = "centre") -> FlowerSet:
    """One split of a data set, from the cache where it is there, else decoded from the photos.

    dataset: 'flowers102' (torchvision's, in data_dir/flowers-102, downloaded where that folder is absent),
        'synthetic' (drawn by flowers.synthetic) or a folder with train/, val/ and test/, each one folder a class
        (torchvision's ImageFolder); without val/, every fifth photo of each class in train/ validates.
    size: pixels a side. crop: 'centre' or 'squash', see decoding.decode.
    UserError for data that is absent or damaged, with the file's name.
    """
    if split not in SPLITS or crop not in decoding.CROPS:
        raise ValueError(f"split {split!r} and crop {crop!r} have to be among {SPLITS} and {decoding.CROPS}")
    root, source = _source(dataset, split, data_dir)
    key = "\n".join([str(CACHE_FORMAT), split, str(size), crop, *source])
    hashed = hashlib.sha256(os.fsencode(key)).hexdigest()[:16]
    cached = Path(cache_dir) / f"{Path(dataset).name}-{split}-{size}-{crop}-{hashed}.pt"
    index = None if dataset in BUILT_IN else _folder(root, split)  # cached or not: it may refuse, and tells
    if (flowers := _from_cache(cached)) is not None:
        return flowers
    if dataset == "synthetic":
        images, labels, names = synthetic.draw_split(split, size)
        flowers = FlowerSet(torch.from_numpy(images), torch.tensor(labels), synthetic.class_names(), names)
    else:
        paths, labels, classes = index or flowers102.index(root, split)
        images = decoding.decode_all(paths, size, crop, f"decoding {split} photos")
        names = [str(path.relative_to(root)) for path in paths]
        flowers = FlowerSet(images, torch.tensor(labels), classes, names)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(cached, {"kind": "photos", **vars(flowers)})
    except (UserError, OSError) as error:
        print(f"going on without a cache: {error}")
    return flowers


def _source(dataset: str, split: str, data_dir: str) -> tuple[Path, list[str]]:
    """A data set's folder, and all that the pixels and labels of the split depend on."""
    if dataset == "synthetic":  # drawn, so they depend on the code
        return Path(dataset), [Path(module.__file__).read_text() for module in (synthetic, species, blades)]
    if dataset == "flowers102":
        root = Path(data_dir) / "flowers-102"
        if not root.exists():
            if (Path(data_dir) / "setid.mat").exists():
                raise UserError(f"--data-dir {data_dir} holds the photos itself; "
                                f"name the folder in which they lie as flowers-102/")
            flowers102.download(Path(data_dir))
        return root, _listing(root)
    root = Path(dataset)
    folder, held_out = _split_of(root, split)
    if not (root / folder).is_dir():
        raise UserError(f"--dataset {dataset}: there is no {root / folder}/; want {' or '.join(BUILT_IN)}, "
                        f"or a folder with train/, val/ and test/ in it, each with a folder a class")
    if held_out and split == "train":
        unread = sorted(f"{entry.name}/" for entry in os.scandir(root) if os.path.isdir(entry.path)
                        and entry.name not in SPLITS and not decoding.is_hidden(entry.name))
        print(f"--dataset {dataset}: there is no val/, so every fifth photo of each class in train/ validates"
              f"{'; nothing reads ' * bool(unread)}{', '.join(unread)}")
    source = [os.path.realpath(root), str(held_out)]  # two folders may list the same names, sizes and times
    for name in dict.fromkeys((folder, "train")):  # train/ names the classes
        source += [name, *_listing(root / name)]
    return root, source


def _from_cache(cached: Path) -> FlowerSet | None:
    """The photos of a cache, or None where there is none, or, with a line, where it is damaged."""
    if not os.path.exists(cached):  # (Path.exists would raise where the folder may not be searched)
        return None
    try:
        content = checkpoint.load(cached, "photos")
        images, labels, classes, names = (
            content[field] for field in ("images", "labels", "classes", "names"))
        typed = images.dtype == torch.uint8 and images.dim() == 4 and labels.dtype == torch.int64
        if not typed or len(images) != len(names) or labels.shape != (len(names),):
            raise UserError(f"{cached} has not as many labels and names as photos, or not of their types")
        return FlowerSet(images, labels, classes, names)
    except UserError as error:
        print(f"decoding the photos again: {error}")
        return None


def _listing(root: Path) -> list[str]:
    """Every file below root with its size and time of change: what the cache's name stands for."""
    return sorted(f"{os.path.relpath(entry.path, root)} {entry.stat().st_size} {entry.stat().st_mtime_ns}"
                  for entry in decoding.files_below(root, tell=False))


def _split_of(root: Path, split: str) -> tuple[str, bool]:
    """The folder that holds a split of the user's own photos, and whether train/ serves train and val."""
    held_out = split != "test" and not (root / "val").is_dir()
    return "train" if held_out else split, held_out


def _folder(root: Path, split: str) -> tuple[list[Path], list[int], list[str]]:
    """Paths, labels and class names of one split of the user's own folder; the classes are train/'s."""
    folder, held_out = _split_of(root, split)
    classes, train_classes = (sorted(entry.name for entry in os.scandir(root / name)
                                     if not decoding.is_hidden(entry.name) and os.path.isdir(entry.path))
                              for name in (folder, "train"))
    if not classes:
        raise UserError(f"--dataset {root}: there is no folder of a class in {root / folder}")
    if classes != train_classes:
        odd = sorted(set(classes) ^ set(train_classes))
        raise UserError(f"--dataset {root}: {folder}/ and train/ differ in their classes: {', '.join(odd)}")
    paths, labels, others = [], [], []
    for label, name in enumerate(classes):
        photos, no_photos = decoding.photos_below(root / folder / name)
        if not photos:
            raise UserError(f"--dataset {root}: there is no photo in {root / folder / name}"
                            f"{'; ' * bool(no_photos)}{decoding.told(no_photos)}")
        if held_out:
            photos = [photo for i, photo in enumerate(photos) if (i % 5 == 1) == (split == "val")]
        paths += photos
        labels += [label] * len(photos)
        others += no_photos
    others += sorted(Path(entry.path) for entry in os.scandir(root / folder)
                     if not decoding.is_hidden(entry.name) and os.path.isfile(entry.path))  # in no class
    if others and split == folder:
        print(f"--dataset {root}: left out {decoding.told(others)}")
    if not paths:
        raise UserError(f"--dataset {root}: no class has a second photo in train/ to validate on; "
                        f"add some, or a folder val/")
    return paths, labels, classes


def batches(count: int, batch_size: int, generator: torch.Generator | None = None) -> list[torch.Tensor]:
    """Indices 0..count-1, shuffled where there is a generator, in batches.

    A last batch of one is merged into the one before it, since batch norm cannot train on one image.
    """
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def to_input(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 (B, 3, H, W) -> float32 in [0, 1] on the device, in its memory format."""
    return images.to(device).to(torch.float32, memory_format=machine.memory_format(device)).div_(255)
