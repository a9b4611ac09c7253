"""Photos to tensors: the data sets, their splits and class names, the cache, and batches.

A split is one uint8 tensor (N, 3, H, W) in memory. Photos are decoded once and kept in a cache; batches are
index selections, converted on the device.
"""

import contextlib
import hashlib
import http.client
import os
import struct
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import checkpoint
from runtime import UserError

SPLITS = ("train", "val", "test")
CROPS = ("centre", "squash")
FLOWERS102_PHOTOS = 8189
FLOWERS102_LAYOUT = "flowers-102/ with jpg/image_00001.jpg to image_08189.jpg, imagelabels.mat and setid.mat"


@dataclass
class FlowerSet:
    """One split: images uint8 (N, 3, H, W), labels int64 (N,), class names, file names."""

    images: Tensor
    labels: Tensor
    classes: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """A hash of pixels and labels: two sets with the same digest train alike."""
        digest = hashlib.sha256(self.images.numpy())
        digest.update(self.labels.numpy())
        return digest.hexdigest()


def load(dataset: str, split: str, data_dir: str = "data", cache_dir: str = ".cache",
         size: int = 100, crop: str = "centre") -> FlowerSet:
    """One split of a data set, from the cache where it is there, else decoded from the photos.

    dataset: 'flowers102' (torchvision's, in data_dir/flowers-102, downloaded where that folder is absent) or the
        path of a folder with train/, val/ and test/, each one folder a class (torchvision's ImageFolder).
    size: pixels a side. crop: 'centre', the largest centred square of a photo, or 'squash', all of it; either is
        then resized by Pillow's bilinear filter.
    UserError for data that is absent or damaged, with the file's name.
    """
    if split not in SPLITS or crop not in CROPS:
        raise ValueError(f"split {split!r} and crop {crop!r} have to be among {SPLITS} and {CROPS}")
    if dataset == "flowers102":
        root, index = Path(data_dir) / "flowers-102", _flowers102
        if not root.exists():
            _download(Path(data_dir))
    else:
        root, index = Path(dataset), _folder
        if not (root / split).is_dir():
            raise UserError(f"--dataset {dataset}: neither 'flowers102' nor a folder with a folder {split}/ in it")
    folders = [root] if dataset == "flowers102" else [root / split, root / "train"]  # train/ names the classes
    key = "\n".join(["1", split, str(size), crop, *(row for folder in folders for row in _listing(folder))])
    name = f"{Path(dataset).name}-{split}-{size}-{crop}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
    cached = Path(cache_dir) / name
    if cached.exists():
        try:
            content = checkpoint.load(cached, "photos")
            return FlowerSet(*(content[field] for field in ("images", "labels", "classes", "names")))
        except UserError as error:
            print(f"decoding the photos again: {error}")
    paths, labels, classes = index(root, split)
    flowers = FlowerSet(_decode_all(paths, size, crop, f"decoding {split} photos"), torch.tensor(labels), classes,
                        [str(path.relative_to(root)) for path in paths])
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(cached, {"kind": "photos", **vars(flowers)})
    except (UserError, OSError) as error:
        print(f"going on without a cache: {error}")
    return flowers


def _listing(root: Path) -> list[str]:
    """Every file below root with its size and time of change: what the cache's name stands for."""
    rows = []
    for folder, _, _ in os.walk(root, followlinks=True):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():
                    stat = entry.stat()
                    rows.append(f"{os.path.relpath(entry.path, root)} {stat.st_size} {stat.st_mtime_ns}")
    return sorted(rows)


def _flowers102(root: Path, split: str) -> tuple[list[Path], list[int], list[str]]:
    """Paths, labels 0..101 and class names of an official split, after the checks that torchvision leaves out."""
    from torchvision.datasets import Flowers102

    try:
        dataset = Flowers102(root.parent, split)  # checks the md5s of both .mat files
    except (RuntimeError, OSError) as error:
        raise UserError(f"{root} is not whole (want {FLOWERS102_LAYOUT}, both .mat files with the md5 that torchvision "
                        f"expects); restore it, or remove the folder to have it downloaded: {error}") from error
    missing = [i for i in range(1, FLOWERS102_PHOTOS + 1) if not (root / "jpg" / f"image_{i:05d}.jpg").is_file()]
    if missing:
        raise UserError(f"{root}/jpg lacks {len(missing)} of {FLOWERS102_PHOTOS} photos, the first image_{missing[0]:05d}.jpg; "
                        f"restore them, or remove {root} to have it downloaded")
    labels, classes = dataset._labels, list(Flowers102.classes)
    assert sorted(set(labels)) == list(range(len(classes))), "labels are not 0..101"
    assert split == "test" or np.bincount(labels).tolist() == [10] * len(classes), "not 10 photos a class"
    return [Path(path) for path in dataset._image_files], labels, classes


def _download(data_dir: Path) -> None:
    """torchvision's download, into a temporary folder first: a broken one leaves nothing behind."""
    from torchvision.datasets import Flowers102

    looked_in = (data_dir / "flowers-102").absolute()
    print(f"{looked_in} does not exist: downloading Oxford Flowers-102 (345 MB)", flush=True)
    existing = {folder for folder in (data_dir, *data_dir.parents) if folder.exists()}
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".flowers-102-", dir=data_dir) as temporary:
            Flowers102(temporary, download=True)
            os.rename(Path(temporary) / "flowers-102", data_dir / "flowers-102")
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        for folder in (data_dir, *data_dir.parents):  # those that were made above
            with contextlib.suppress(OSError):
                folder.rmdir() if folder not in existing else None
        raise UserError(f"no photos: {looked_in} does not exist (--data-dir wants {FLOWERS102_LAYOUT} in it), and the "
                        f"download of {Flowers102._download_url_prefix}102flowers.tgz failed: {error}") from error


def _folder(root: Path, split: str) -> tuple[list[Path], list[int], list[str]]:
    """Paths, labels and class names of one split of the user's own folder; the classes are those of train/."""
    from torchvision.datasets import ImageFolder

    try:
        samples, classes = zip(*((d.samples, d.classes) for d in map(ImageFolder, (root / split, root / "train"))))
    except OSError as error:
        raise UserError(f"--dataset {root}: {error}") from error
    if classes[0] != classes[1]:
        odd = sorted(set(classes[0]) ^ set(classes[1]))
        raise UserError(f"--dataset {root}: {split}/ and train/ differ in their classes: {', '.join(odd)}")
    return [Path(path) for path, _ in samples[0]], [label for _, label in samples[0]], classes[0]


def decode(path: Path, size: int, crop: str) -> np.ndarray:
    """One photo -> uint8 (size, size, 3), upright as its EXIF tag says; UserError that names a bad file."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"cannot decode the photo {path}: {error}; replace or remove it") from error
    if crop == "centre":
        side = min(image.size)
        left, top = round((image.width - side) / 2), round((image.height - side) / 2)
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _decode_all(paths: list[Path], size: int, crop: str, title: str) -> Tensor:
    """Photos -> uint8 (N, 3, size, size); Pillow decodes outside the interpreter's lock, so threads do."""
    images = torch.empty(len(paths), size, size, 3, dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda path: decode(path, size, crop), paths)
        for i, image in enumerate(tqdm(decoded, title, len(paths), leave=False, disable=None)):
            images[i] = torch.from_numpy(image.copy())
    return images.permute(0, 3, 1, 2).contiguous()  # (N, size, size, 3) -> (N, 3, size, size)


def batches(count: int, batch_size: int, generator: torch.Generator | None = None) -> list[Tensor]:
    """Indices 0..count-1, shuffled where there is a generator, in batches.

    A last batch of one is merged into the one before it, since batch norm cannot train on one image.
    """
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def to_input(images: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 in [0, 1] on the device, channels_last."""
    return images.to(device).to(torch.float32, memory_format=torch.channels_last).div_(255)
