"""The cache of decoded photos: pixels in a file that is read memory-mapped, the rest in a checkpoint beside.

Of a split at a size {name}-{place}-{split}-{size}-{hash}.pixels has the images, uint8 (N, 3, size, size), and
.pt labels, names and checksums. A cache counts once its .pt is there, which is written last. Until then .done
has a record of each photo whose pixels are on the disk: the next start goes on where a killed one stopped.
"""

import contextlib
import errno
import glob
import hashlib
import itertools
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from flowers.decoding import Decoded
from flowers.folder import Photos
from support import checkpoint, files
from support.errors import UserError

FORMAT = 9  # to be raised when decoding.decode, or what is cached, changes
CHUNK = 256  # photos that are written, and have a checksum, together
CHECKED = 2**29  # bytes of pixels that a start compares with their checksums: all, or of more a sample
RECORD = np.dtype([("number", np.uint64), ("digest", np.uint64), ("brightened", bool)])  # of a photo
SUFFIXES = (".pt", ".pixels", ".done")
FIELDS = ("labels", "classes", "names", "digests", "brightened")  # of data.FlowerSet


def load(folder: Path, name: str, split: str, sizes: list[int], state: list[str],
         photos: Callable[[], Photos]) -> list[dict]:
    """The fields of data.FlowerSet, of a split at some sizes; what the cache lacks is decoded together.

    state: where the photos are, then what their pixels and labels depend on. An older cache of these photos
    goes. Where none can be written, images are in memory and no digest is known.
    """
    kinds = {size: f"{name}-{_hash(state[:1])[:8]}-{split}-{size}-" for size in sizes}
    stems = {size: folder / (kind + _hash([str(FORMAT), split, str(size), *state])[:16])
             for size, kind in kinds.items()}
    found = {size: _read(stem, size) for size, stem in stems.items()}
    if lacking := {size: stems[size] for size in sorted(stems) if found[size] is None}:
        decodable = photos()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _build(lacking, decodable)
            for size, stem in lacking.items():
                _remove(folder, glob.escape(kinds[size]) + 16 * "[0-9a-f]", stem.name)
            found |= {size: _read(stem, size) for size, stem in lacking.items()}
        except (UserError, OSError) as error:
            for stem in lacking.values():
                _remove(folder, glob.escape(stem.name))
            if isinstance(error, UserError) and error.exit_status == 2:  # of the photos, not of writing
                raise
            print(f"going on without a cache, in memory: {error}")
        if None in found.values():
            found |= _in_memory([*lacking], decodable)
    return [found[size] for size in sizes]


def digest_of(images: np.ndarray, labels: torch.Tensor) -> str:
    """A hash of pixels, uint8 (N, 3, size, size), and labels (N,): photos with the same one train alike."""
    digest = hashlib.sha256(images)
    digest.update(labels.numpy())
    return digest.hexdigest()


def _hash(parts: list[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()


def _remove(folder: Path, pattern: str, kept: str = "") -> None:
    """Remove the caches whose names fit, but for one."""
    for path in [path for suffix in SUFFIXES for path in folder.glob(pattern + suffix)]:
        with contextlib.suppress(OSError):  # Windows keeps a file that another process reads
            if path.name.removesuffix(path.suffix) != kept:
                path.unlink()


def _read(stem: Path, size: int) -> dict | None:
    """A cache, or None where there is none, or where it is damaged, which a line says; then it goes."""
    path, pixels = f"{stem}.pt", f"{stem}.pixels"
    if not os.path.exists(path):  # Path.exists would raise where the folder may not be searched
        return None
    try:
        content = checkpoint.load(path, "photos")
        labels, count = content["labels"], len(content["names"])
        there = 0 < count == len(content["digests"]) == os.path.getsize(pixels) / (3 * size * size)
        if not there or labels.dtype != torch.int64 or labels.shape != (count,):
            raise UserError(f"{path} has not as many labels and names as photos, or not of their types")
        images = np.memmap(pixels, np.uint8, "r", shape=(count, 3, size, size))
        sums, every = content["checksums"], -(-images.nbytes // CHECKED)
        if _checksums(images, every) != sums[::every]:
            raise UserError(f"{pixels} has other pixels than were written: wrong CRC")
    except (UserError, OSError) as error:
        print(f"decoding the photos again: {error}")
        with contextlib.suppress(OSError):  # .pixels stays: it is the lock of a process that builds it anew
            os.unlink(path)
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
        return {"images": torch.from_numpy(images), "known_digest": content["digest"],
                **{name: content[name] for name in FIELDS}}


def _checksums(images: np.ndarray, every: int = 1) -> list[int]:
    """A CRC of each chunk of images (N, 3, size, size), or of every second, third ... of them."""
    return [zlib.crc32(images[i : i + CHUNK]) for i in range(0, len(images), every * CHUNK)]


def _chunks(decoded: Iterator[Decoded], start: int = 0) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Of photos that are kept, CHUNK at a time: RECORDs (n,), and of each size pixels (n, 3, size, size)."""
    kept = ((number, *photo) for number, photo in enumerate(decoded, start) if photo.squares is not None)
    while chunk := [*itertools.islice(kept, CHUNK)]:
        numbers, photos, digests, brightened = zip(*chunk)
        records = [*zip(numbers, (int(digest, 16) for digest in digests), brightened)]
        yield np.array(records, RECORD), [np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
                                          for images in zip(*photos)]  # (n, H, W, 3) -> (n, 3, H, W)


def _facts(photos: Photos, records: np.ndarray) -> dict:
    """FIELDS of the photos of some RECORDs (N,)."""
    numbers, digests = records["number"].tolist(), [f"{each:016x}" for each in records["digest"].tolist()]
    names, labels = [photos.names[i] for i in numbers], torch.tensor(photos.labels)[numbers]
    brightened = [*itertools.compress(names, records["brightened"])]
    return dict(zip(FIELDS, (labels, photos.classes, names, digests, brightened)))


def _in_memory(sizes: list[int], photos: Photos) -> dict[int, dict]:
    """What load returns, by size."""
    images = [torch.empty(len(photos.names), 3, size, size, dtype=torch.uint8) for size in sizes]
    records = np.empty(0, RECORD)
    for more, parts in _chunks(photos.decode(sizes, 0)):
        for whole, part in zip(images, parts):
            whole[len(records) : len(records) + len(more)] = torch.from_numpy(part)
        records = np.concatenate([records, more])
    facts = _facts(photos, records)
    return {size: {"images": whole[: len(records)], **facts} for size, whole in zip(sizes, images)}


def _build(stems: dict[int, Path], photos: Photos) -> None:
    """Write the caches of some sizes. Of processes that want the same, one does it and the others wait.

    UserError of status 2 for bad photos; UserError of status 1 or OSError for what cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for stem in stems.values():
            stack.enter_context(files.lock(Path(f"{stem}.pixels"), wait=True))
        stems = {size: stem for size, stem in stems.items() if not os.path.exists(f"{stem}.pt")}
        if not stems:  # another process was first
            return
        growing = []  # of each size its pixels, then its records: these stand for pixels that are on the disk
        for size, stem in stems.items():
            for suffix, width in ((".pixels", 3 * size * size), (".done", RECORD.itemsize)):
                Path(f"{stem}{suffix}").touch()
                growing.append((stack.enter_context(open(f"{stem}{suffix}", "r+b")), width))
        count = min(os.fstat(file.fileno()).st_size // width for file, width in growing) // CHUNK * CHUNK
        records = np.fromfile(f"{stem}.done", RECORD, count)
        for file, width in growing:
            file.seek(count * width)
        start, total = int(records["number"][-1]) + 1 if count else 0, len(photos.names)
        if count:
            print(f"going on with {stem}.pixels: {start:,} of {total:,} photos were decoded before")
        decoded = stack.enter_context(contextlib.closing(photos.decode([*stems], start)))
        for more, parts in _chunks(decoded, start):
            for (file, _), content in zip(growing, [each for part in parts for each in (part, more)]):
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            records = np.concatenate([records, more])
            share = (int(more["number"][-1]) + 1) / total  # of the photos; as many are kept of the others
            needed = (1 / share - 1) * len(records) * sum(width for _, width in growing)
            if needed > (free := shutil.disk_usage(stem.parent).free):
                raise OSError(errno.ENOSPC, f"it takes {needed / 1e9:.1f} GB more, {free / 1e9:.1f} are free",
                              str(stem.parent))
        for file, width in growing:
            file.truncate(len(records) * width)  # a damaged cache's file may be longer
            file.close()
        for size, stem in stems.items():
            _finish(stem, size, photos, records)


def _finish(stem: Path, size: int, photos: Photos, records: np.ndarray) -> None:
    """Write the .pt, so that the cache counts."""
    images = np.memmap(f"{stem}.pixels", np.uint8, "r", shape=(len(records), 3, size, size))
    facts = _facts(photos, records)
    facts |= {"digest": digest_of(images, facts["labels"]), "checksums": _checksums(images)}
    checkpoint.save(f"{stem}.pt", {"kind": "photos", **facts})
    Path(f"{stem}.done").unlink(missing_ok=True)
    print(f"wrote {stem}.pixels ({images.nbytes / 1e6:.1f} MB) and .pt: the next run need not decode")
