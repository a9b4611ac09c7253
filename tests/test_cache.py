"""Guards the cache of decoded photos: memory-mapped, built once for all sizes, continued after a kill."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import OURS, run_script
from PIL import Image

import augment
import data
from flowers import cache, decoding
from flowers.folder import Photos

EPOCH = """
import sys; from pathlib import Path; import numpy as np, torch; import data
from flowers import cache; from flowers.decoding import Decoded; from flowers.folder import Photos
from support import machine

def own():  # bytes of memory that no file stands behind
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

def decode(sizes, start):
    noise = np.random.default_rng(0).integers(0, 256, (64, 100, 100, 3), np.uint8)
    for i in range(start, 12_000):
        yield Decoded([noise[i % 64] for _ in sizes], f"{i:016x}")

before, names = own(), [f"{i}.jpg" for i in range(12_000)]
photos = lambda: Photos([0] * 12_000, ["rose"], names, decode)
(content,) = cache.load(Path(sys.argv[1]), "made", "train", [100], ["here"], photos)
images = machine.place(content["images"], torch.device("cpu"))
for batch in data.batches(12_000, 64, torch.Generator().manual_seed(0)):
    assert images[batch].sum() > 0
print(own() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_an_epoch_of_360_megabytes_of_photos_takes_a_fraction_of_the_processs_own_memory(tmp_path):
    for _ in range(2):  # the process that builds the cache, and one that finds it
        command = [sys.executable, "-c", EPOCH, tmp_path]
        done = subprocess.run(command, env=OURS, capture_output=True, text=True, check=True)
        assert int(done.stdout.splitlines()[-1]) < 120e6


def many(root: Path, count: int) -> Path:
    """A folder without val/, so that a part of the photos is kept for each split; no two alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3), np.uint8)
    for i, each in enumerate(pixels):
        photo = root / "train" / ("daisy", "rose")[i % 2] / f"{i:04d}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each).save(photo)
    return root


def test_a_build_that_was_killed_goes_on_and_ends_with_the_same_bytes(tmp_path, capsys):
    root, whole, killed = many(tmp_path / "photos", 1500), tmp_path / "whole", tmp_path / "killed"
    sizes = [40, 60]
    expected = data.load_sizes(str(root), "train", "", str(whole), sizes)
    code = f"import data; data.load_sizes({str(root)!r}, 'train', '', {str(killed)!r}, {sizes})"
    child = subprocess.Popen([sys.executable, "-c", code], env=OURS)
    while child.poll() is None and not any(path.stat().st_size for path in killed.glob("*-60-*.done")):
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not [*killed.glob("*.pt")]
    capsys.readouterr()
    flowers = data.load_sizes(str(root), "train", "", str(killed), sizes)
    printed = capsys.readouterr().out
    assert "going on with " in printed and " of 1,500 photos were decoded before\n" in printed
    assert {path.name: path.read_bytes() for path in killed.glob("*.pixels")} == {
        path.name: path.read_bytes() for path in whole.glob("*.pixels")}
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
    for ours, theirs in zip(flowers, expected):
        assert (ours.names, ours.digests, ours.digest()) == (theirs.names, theirs.digests, theirs.digest())
        assert torch.equal(ours.labels, theirs.labels) and {*ours.labels.tolist()} == {0, 1}


def test_several_sizes_cost_one_decode_and_are_those_of_each_alone(folder, tmp_path):
    asked = []

    def decode(sizes, start):
        asked.append(sizes)
        yield from decoding.decode_all(paths, "train", sizes, start)

    paths = sorted((folder / "train").rglob("*.jpg"))
    names = [path.name for path in paths]
    both, alone = ([cache.load(tmp_path / where, "a", "train", sizes, ["here"], lambda: Photos(
        [0] * 12, ["rose"], names, decode)) for sizes in asked_for]
        for where, asked_for in (("both", [[176, 100], [100]]), ("alone", [[100], [176]])))
    assert asked == [[100, 176], [100], [176]]
    assert [content["images"].shape[-1] for content in both[0]] == [176, 100]
    for (ours,), theirs in zip(alone, both[0][::-1]):
        assert torch.equal(ours["images"], theirs["images"])
        assert ours["known_digest"] == theirs["known_digest"]


def test_an_evaluation_says_each_thing_once(folder, tmp_path):
    root = folder.parent
    shutil.rmtree(folder / "val")
    (folder / "train/rose/notes.txt").write_text("no photo")
    for i in range(5):  # so that some fall to val
        for name in ("daisy", "rose", "tulip"):
            Image.new("RGB", (20, 20), (i, 9, len(name))).save(folder / f"train/{name}/plain{i}.png")
    flags = ["--recipe", "report", "--dataset", "photos", "--head", "pooled", "--epochs", "1"]
    assert run_script(root, "train_classifier", *flags).returncode == 0
    shutil.rmtree(root / ".cache")
    for written in (5, 0):  # caches: train's, and those of val and test at 100 pixels and for six views
        done = run_script(root, "evaluate", "--device", "cpu")
        assert done.returncode == 0, done.stderr
        told = [line for line in done.stdout.splitlines() if line.startswith(("--dataset", "wrote .cache"))]
        assert len({*told}) == len(told) and sum(line.startswith("wrote") for line in told) == written
        for words in ("there is no val/", "left out 1 file: 1 .txt"):
            assert sum(words in line for line in told) == 1


def test_a_photo_more_than_the_disk_takes_is_foreseen(tmp_path, capsys):
    def decode(sizes, start):
        for i in range(1000):
            assert i < 400, "it goes on though the disk will not do"
            yield decoding.Decoded([np.zeros((100, 100, 3), np.uint8)], f"{i:016x}")

    photos = Photos([], ["rose"], range(10**13), decode)
    with pytest.raises((RuntimeError, MemoryError)):  # nor will memory
        cache.load(tmp_path, "a", "train", [100], ["here"], lambda: photos)
    printed = capsys.readouterr().out
    assert "going on without a cache, in memory: " in printed and " GB more, " in printed
    assert not [*tmp_path.iterdir()]


def test_the_digest_that_a_cache_keeps_is_that_of_pixels_and_labels(folder, tmp_path):
    for where in (tmp_path / "cache", folder / "train/rose/0.jpg/no folder"):
        for flowers in (data.load(str(folder), "train", cache_dir=str(where)) for _ in range(2)):
            pixels = hashlib.sha256(flowers.images.numpy())
            pixels.update(flowers.labels.numpy())
            assert flowers.digest() == pixels.hexdigest()


# --- JPEG's draft mode ---


def photo_of(width: int, height: int) -> Image.Image:
    """Texture at the scales of a photo's, from its size down to a few pixels."""
    draw, pixels = np.random.default_rng(0), np.zeros((height, width, 3))
    for cells in (4, 40, 400):
        coarse = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 3
    return Image.fromarray(pixels.astype(np.uint8))


def fully_decoded(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = (round((length - side) / 2) for length in image.size)
    box = left, top, left + side, top + side
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR)).astype(int)


@pytest.mark.parametrize("size", (100, 176))
@pytest.mark.parametrize("mode", ("RGB", "L", "CMYK"))
def test_a_large_jpeg_that_is_read_reduced_differs_by_a_few_grey_levels(mode, size, tmp_path):
    photo_of(2500, 1800).convert(mode).save(tmp_path / "large.jpg", quality=90)
    off = np.abs(decoding.decode(tmp_path / "large.jpg", size) - fully_decoded(tmp_path / "large.jpg", size))
    assert off.max() <= 4 and (off.max() > 0) == (mode != "CMYK")


@pytest.mark.parametrize("width,height", ((1055, 1055), (4000, 1000)))
def test_a_jpeg_that_would_keep_too_few_pixels_is_read_whole(width, height, tmp_path):
    photo_of(width, height).save(tmp_path / "small.jpg")
    for size in (100, 176):
        expected = fully_decoded(tmp_path / "small.jpg", size)
        assert np.array_equal(decoding.decode(tmp_path / "small.jpg", size), expected)
    assert decoding.LARGEST == augment.SQUARE


def test_a_size_is_the_same_whatever_other_sizes_are_asked_for_and_a_turned_photo_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees to see it upright
    photo_of(2400, 1600).save(tmp_path / "turned.jpg", exif=exif, quality=90)
    together, *_ = decoding.read(tmp_path / "turned.jpg", [100, 176])
    for pixels in together:
        assert np.array_equal(pixels, decoding.decode(tmp_path / "turned.jpg", len(pixels)))
        turned = np.rot90(fully_decoded(tmp_path / "turned.jpg", len(pixels)), -1)
        assert np.abs(pixels - turned).max() <= 4
