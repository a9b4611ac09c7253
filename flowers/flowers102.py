"""The official photos, Oxford Flowers-102: torchvision's data set, what it leaves unchecked, its download."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flowers import decoding, listing
from flowers.folder import Photos
from support.errors import UserError

PHOTOS = 8189
IDS_OF = {"train": "trnid", "val": "valid", "test": "tstid"}  # the fields of setid.mat
URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"
LAYOUT = "flowers-102/ with jpg/image_00001.jpg to image_08189.jpg, imagelabels.mat and setid.mat"


def splits(dataset: str) -> tuple[str, ...]:
    return tuple(IDS_OF)


def scan(dataset: str, data_dir: Path | str, split: str) -> tuple[list[str], Callable[[], Photos]]:
    """As folder.scan has it, of the folder flowers-102 in data_dir, downloaded where it does not exist."""
    root = Path(data_dir) / "flowers-102"
    if root.is_symlink() and not root.exists():  # as to a disk that is not there
        raise UserError(f"--data-dir {data_dir}: {root} is a dead link; mend or remove it")
    if not root.exists():
        if (Path(data_dir) / "setid.mat").exists():
            raise UserError(f"--data-dir {data_dir} holds the photos itself; name the folder in which they "
                            f"lie as flowers-102/")
        download(root)
    files = sorted(path for path in (*root.glob("*.mat"), *(root / "jpg").glob("*")) if path.is_file())
    names = [str(path.relative_to(root)) for path in files]
    return [os.path.realpath(root), *listing.fingerprint(files, names)], partial(_photos, root, split)


def _photos(root: Path, split: str) -> Photos:
    """The photos, labels 0..101; UserError for a missing file."""
    from scipy.io import loadmat
    from torchvision.datasets import Flowers102

    try:
        Flowers102(root.parent, split)  # checks the md5s of both .mat files, so labels and splits
    except (RuntimeError, OSError) as error:
        raise UserError(f"{root} is not whole (want {LAYOUT}, both .mat files with the md5 that torchvision "
                        f"expects); restore it, or remove it to have it downloaded: {error}") from error
    photos = [root / "jpg" / f"image_{i:05d}.jpg" for i in range(1, PHOTOS + 1)]
    if missing := [photo.name for photo in photos if not photo.is_file()]:
        raise UserError(f"{root}/jpg lacks {len(missing)} of {len(photos)} photos, the first {missing[0]}; "
                        f"restore them, or remove {root} to have it downloaded")
    chosen = loadmat(root / "setid.mat")[IDS_OF[split]].ravel() - 1  # photos count from 1, and classes
    labels = loadmat(root / "imagelabels.mat")["labels"].ravel()[chosen] - 1  # -> 0..101
    chosen = [photos[i] for i in chosen]
    return Photos(labels.tolist(), list(Flowers102.classes), [f"jpg/{photo.name}" for photo in chosen],
                  partial(decoding.decode_all, chosen, split))


def download(root: Path) -> None:
    """torchvision's download to root, data_dir/flowers-102; UserError where it fails, and nothing is left."""
    from torchvision.datasets import Flowers102

    print(f"{root.absolute()} does not exist: downloading Oxford Flowers-102 (345 MB)", flush=True)
    existing = next(folder for folder in root.absolute().parents if os.path.lexists(folder))
    try:
        with tempfile.TemporaryDirectory(prefix=".flowers-102-", dir=existing) as temporary:
            Flowers102(temporary, download=True)
            root.parent.mkdir(parents=True, exist_ok=True)
            os.rename(Path(temporary) / "flowers-102", root)  # whole or not at all
    except Exception as error:  # network, archive and disk fail in many ways
        if root.is_dir():  # another process was first
            return
        raise UserError(f"no photos: {root.absolute()} does not exist (--data-dir wants {LAYOUT} in it), "
                        f"and the download of {URL} failed: {error}") from error
