"""The official photos, Oxford Flowers-102: torchvision's data set, what it leaves unchecked, its download."""

import contextlib
import http.client
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor

from flowers import decoding
from support.errors import UserError

PHOTOS = 8189
IDS_OF = {"train": "trnid", "val": "valid", "test": "tstid"}  # the fields of setid.mat
URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"
LAYOUT = "flowers-102/ with jpg/image_00001.jpg to image_08189.jpg, imagelabels.mat and setid.mat"


def find(dataset: str, data_dir: str) -> Path:
    """The folder flowers-102 in data_dir, downloaded where it does not exist."""
    root = Path(data_dir) / "flowers-102"
    if not root.exists():
        if (Path(data_dir) / "setid.mat").exists():
            raise UserError(f"--data-dir {data_dir} holds the photos itself; "
                            f"name the folder in which they lie as flowers-102/")
        download(Path(data_dir))
    return root


def splits(dataset: str) -> tuple[str, ...]:
    return tuple(IDS_OF)


def fingerprint(root: Path, split: str) -> list[str]:
    """What the pixels and labels of a split depend on."""
    return decoding.listing(root)


def read(root: Path, split: str, size: int) -> tuple[Tensor, list[int], list[str], list[str]]:
    """Images uint8 (N, 3, size, size), labels, class names and file names of an official split."""
    paths, labels, classes = index(root, split)
    images = decoding.decode_all(paths, size, f"decoding {split} photos")
    return images, labels, classes, [str(path.relative_to(root)) for path in paths]


def index(root: Path, split: str) -> tuple[list[Path], list[int], list[str]]:
    """Paths, labels 0..101 and class names of an official split; UserError where the folder is not whole."""
    from scipy.io import loadmat
    from torchvision.datasets import Flowers102

    try:
        Flowers102(root.parent, split)  # checks the md5s of both .mat files
    except (RuntimeError, OSError) as error:
        raise UserError(f"{root} is not whole (want {LAYOUT}, both .mat files with the md5 that torchvision "
                        f"expects); restore it, or remove it to have it downloaded: {error}") from error
    photos = [root / "jpg" / f"image_{i:05d}.jpg" for i in range(1, PHOTOS + 1)]
    if missing := [photo.name for photo in photos if not photo.is_file()]:
        raise UserError(f"{root}/jpg lacks {len(missing)} of {len(photos)} photos, the first {missing[0]}; "
                        f"restore them, or remove {root} to have it downloaded")
    label_of = loadmat(root / "imagelabels.mat")["labels"].ravel() - 1  # 1..102 -> 0..101, photo by photo
    ids = loadmat(root / "setid.mat")[IDS_OF[split]].ravel()  # photos count from 1
    labels, classes = label_of[ids - 1].tolist(), list(Flowers102.classes)
    assert sorted(set(labels)) == list(range(len(classes))), "labels are not 0..101"
    assert split == "test" or np.bincount(labels).tolist() == [10] * len(classes), "not 10 photos a class"
    return [photos[i - 1] for i in ids], labels, classes


def download(data_dir: Path) -> None:
    """torchvision's download to data_dir/flowers-102; UserError where it fails, with nothing left behind."""
    from torchvision.datasets import Flowers102

    looked_in = (data_dir / "flowers-102").absolute()
    print(f"{looked_in} does not exist: downloading Oxford Flowers-102 (345 MB)", flush=True)
    made = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".flowers-102-", dir=data_dir) as temporary:
            Flowers102(temporary, download=True)
            os.rename(Path(temporary) / "flowers-102", data_dir / "flowers-102")  # whole or not at all
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        if (data_dir / "flowers-102").is_dir():  # another process was first
            return
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise UserError(f"no photos: {looked_in} does not exist (--data-dir wants {LAYOUT} in it), and the "
                        f"download of {URL} failed: {error}") from error
