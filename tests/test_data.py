"""Guards the way from photo to tensor: torchvision's splits, labels and pixels, the cache, refusals."""

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import OURS
from PIL import Image, PngImagePlugin

import data
import flowers.folder
import train_autoencoder
import train_classifier
from flowers import decoding, listing, notices, synthetic
from support import checkpoint
from support.errors import UserError

SIZES = {"train": 1020, "val": 1020, "test": 6149}


def load(folder, split, tmp_path, **options):
    return data.load(str(folder), split, cache_dir=str(tmp_path / "cache"), **options)


@pytest.mark.parametrize("split", data.SPLITS)
def test_flowers102_is_torchvisions_own(split, photos, tmp_path):
    """Every label and name; the pixels of each 10th photo of train and each 40th elsewhere."""
    from torchvision import transforms
    from torchvision.datasets import Flowers102

    flowers = data.load("flowers102", split, photos, str(tmp_path))
    oracle = Flowers102(photos, split)
    assert len(flowers) == len(oracle) == SIZES[split]
    assert flowers.labels.tolist() == oracle._labels and flowers.classes == Flowers102.classes
    assert flowers.names == [f"jpg/{path.name}" for path in oracle._image_files]
    resize = transforms.Resize((100, 100))
    for i in range(0, len(oracle), 10 if split == "train" else 40):
        photo, _ = oracle[i]
        photo = transforms.CenterCrop(min(photo.size))(photo)
        pixels = torch.from_numpy(np.array(resize(photo))).permute(2, 0, 1)
        assert torch.equal(flowers.images[i], pixels), oracle._image_files[i]


def test_the_cache_holds_what_a_fresh_decode_gives_and_its_name_follows_the_source(folder, tmp_path):
    fresh = load(folder, "train", tmp_path)
    cached = load(folder, "train", tmp_path)
    assert torch.equal(fresh.images, cached.images) and torch.equal(fresh.labels, cached.labels)
    assert (fresh.classes, fresh.names) == (cached.classes, cached.names)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".pixels", ".pt"}
    assert load(folder, "train", tmp_path, size=64).images.shape[-2:] == (64, 64)
    photo = folder / "train" / "daisy" / "0.jpg"
    Image.new("RGB", (120, 120), "red").save(photo)
    changed = load(folder, "train", tmp_path)
    assert not torch.equal(changed.images[0], fresh.images[0]) and torch.equal(
        changed.images[1:], fresh.images[1:]
    )


def test_two_folders_that_list_alike_have_a_cache_each(tmp_path):
    for name, colour in (("one", "red"), ("two", "blue")):
        for split in data.SPLITS:
            (tmp_path / name / "photos" / split / "rose").mkdir(parents=True)
            photo = tmp_path / name / "photos" / split / "rose/0.bmp"  # as large in each colour
            Image.new("RGB", (20, 20), colour).save(photo)
            os.utime(photo, (1, 1))
    red, blue = (load(tmp_path / name / "photos", "test", tmp_path).images[0, :, 0, 0].tolist()
                 for name in ("one", "two"))
    assert (red, blue) == ([255, 0, 0], [0, 0, 255])


@pytest.mark.parametrize("letter", ("a", "\N{TULIP}"))
def test_a_data_set_with_the_longest_of_names_has_a_cache(letter, folder, tmp_path):
    long = folder.rename(tmp_path / (letter * (255 // len(letter.encode()))))
    assert len(load(long, "test", tmp_path)) == 9
    names = [path.name for path in (tmp_path / "cache").iterdir()]
    assert len(names) == 2 and all(name.startswith(letter * 50 + "-") for name in names)


def test_a_data_set_has_one_cache_whether_it_is_named_from_within_or_not(folder, tmp_path, monkeypatch):
    load(folder, "test", tmp_path)
    before = {*(tmp_path / "cache").iterdir()}
    assert all(path.name.startswith("photos-") for path in before)
    monkeypatch.chdir(folder / "test")
    for name in ("..", "../../photos/."):
        load(name, "test", tmp_path)
    monkeypatch.chdir(folder)
    load(".", "test", tmp_path)
    assert {*(tmp_path / "cache").iterdir()} == before


def test_the_cache_follows_linked_folders_and_does_not_mind_lying_in_the_data(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "train" / "daisy").rename(elsewhere)
    (folder / "train" / "daisy").symlink_to(elsewhere)
    first = data.load(str(folder), "train", cache_dir=str(folder / "cache"))
    data.load(str(folder), "train", cache_dir=str(folder / "cache"))
    assert len(list((folder / "cache").iterdir())) == 2
    Image.new("RGB", (120, 120), "red").save(elsewhere / "0.jpg")
    assert not torch.equal(
        data.load(str(folder), "train", cache_dir=str(folder / "cache")).images[0], first.images[0]
    )


@pytest.mark.parametrize("damage", ("a flipped bit", "a pixel less", "a pixel more", "no pixels",
                                    "half of the rest", "a label less", "no checksum"))
def test_a_damaged_cache_is_rebuilt_with_a_line(damage, folder, tmp_path, capsys):
    fresh = load(folder, "train", tmp_path)
    (rest,), (pixels,) = (tmp_path.glob(f"cache/*{suffix}") for suffix in (".pt", ".pixels"))
    saved, content = torch.load(rest, weights_only=True), pixels.read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    if damage in (bad := {"a flipped bit": flipped, "a pixel less": content[:-1],
                          "a pixel more": content + b"0", "no pixels": b""}):
        pixels.unlink()  # (fresh.images reads it)
        pixels.write_bytes(bad[damage])
    elif damage == "half of the rest":
        rest.write_bytes(rest.read_bytes()[: rest.stat().st_size // 2])
    else:
        odd = {"labels": fresh.labels[1:]} if damage == "a label less" else {"checksums": []}
        checkpoint.save(rest, saved | odd)
    inode = pixels.stat().st_ino
    capsys.readouterr()
    assert torch.equal(load(folder, "train", tmp_path).images, fresh.images)
    assert capsys.readouterr().out.count("decoding the photos again: ") == 1
    assert pixels.stat().st_ino == inode  # another process may hold it locked, and build
    load(folder, "train", tmp_path)
    assert capsys.readouterr().out == "" and len([*tmp_path.glob("cache/*")]) == 2


def test_the_digest_follows_pixels_and_labels(folder, tmp_path):
    flowers = load(folder, "train", tmp_path)
    changes = {"images": flowers.images ^ 1}, {"labels": flowers.labels.flip(0)}, {"names": ["a"] * 12}
    others = (replace(flowers, known_digest="", **change) for change in changes)
    assert [other.digest() == flowers.digest() for other in others] == [False, False, True]


def test_a_cache_folder_that_cannot_be_made_is_done_without(folder, capsys):
    flowers = data.load(str(folder), "train", cache_dir=str(folder / "train/rose/1.jpg/cache"))
    assert len(flowers) == 12 and "going on without a cache" in capsys.readouterr().out


def test_a_folder_has_its_own_classes_labels_and_names(folder, tmp_path):
    for split, each in (("train", 4), ("val", 2), ("test", 3)):
        flowers = load(folder, split, tmp_path)
        assert flowers.classes == ["daisy", "rose", "tulip"]
        assert flowers.labels.tolist() == [label for label in range(3) for _ in range(each)]
        assert flowers.names[0] == f"{split}/daisy/0.jpg"
        assert flowers.images.dtype == torch.uint8 and flowers.images.shape == (3 * each, 3, 100, 100)


def test_grey_cmyk_transparent_and_rotated_photos_are_converted(tmp_path):
    photo = Image.linear_gradient("L").resize((80, 80))
    for name, mode in (("grey.jpg", "L"), ("cmyk.jpg", "CMYK"), ("palette.png", "P"), ("alpha.png", "RGBA"),
                       ("bits.png", "1")):
        photo.convert(mode).save(tmp_path / name)
        pixels = decoding.decode(tmp_path / name, 50)
        assert pixels.shape == (50, 50, 3) and pixels.dtype == np.uint8
    for dtype in (np.uint16, np.int32):  # 16 bits, in either of Pillow's modes
        Image.fromarray(np.asarray(photo).astype(dtype) << 8).save(tmp_path / "deep.tiff")
        grey = decoding.decode(tmp_path / "deep.tiff", 50).astype(int)
        assert np.abs(grey - decoding.decode(tmp_path / "palette.png", 50)).max() <= 1
    Image.fromarray(np.full((9, 9), 200, np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(UserError, match="deep.tiff: its pixels are 32-bit numbers of no stated range"):
        decoding.decode(tmp_path / "deep.tiff", 50)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    photo.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = photo.convert("RGB").transpose(Image.Transpose.ROTATE_270)
    expected = np.asarray(upright.resize((50, 50), Image.Resampling.BILINEAR))
    assert np.abs(decoding.decode(tmp_path / "turned.jpg", 50).astype(int) - expected).max() <= 4


@pytest.mark.parametrize("mode", ("RGBA", "LA", "P"))
def test_what_is_transparent_is_white_whatever_colour_it_hides(mode, tmp_path, recwarn):
    if mode == "P":  # a palette with a marked colour
        image = Image.fromarray(np.arange(2, dtype=np.uint8).repeat(20)[None].repeat(40, 0))
        image.putpalette([255, 0, 255, 90, 90, 90])
    else:
        image = Image.new("RGBA", (40, 40), (255, 0, 255, 0))
        image.paste((90, 90, 90, 255), (20, 0, 40, 40))
        image = image.convert(mode)
    image.save(tmp_path / "photo.png", **({"transparency": b"\x00\xff"} if mode == "P" else {}))
    pixels = decoding.decode(tmp_path / "photo.png", 40)
    assert (pixels[:, :18] == 255).all() and (pixels[:, 22:] == 90).all() and not list(recwarn)


@pytest.mark.parametrize("mode", ("png", "tiff"))
@pytest.mark.parametrize("bits,stated", ((12, 0), (16, 0), (10, 10), (12, 12), (14, 14)))
def test_deep_grey_uses_its_significant_bits_in_training_and_predict_alike(
        bits, stated, mode, folder, tmp_path, capsys):
    ramp = np.linspace(0, 2**bits - 1, 10000).astype(np.uint16).reshape(100, 100)
    save_deep(folder / f"train/rose/deep.{mode}", ramp, stated)
    for _ in range(2):  # decoded, then from the cache
        flowers = load(folder, "train", tmp_path)
        pixels = flowers.images[flowers.names.index(f"train/rose/deep.{mode}")]
        assert np.array_equal(pixels[0], ramp >> (bits - 8))
        told = f"brightened 1 grey photo whose 16 bits are not all used, such as train/rose/deep.{mode}\n"
        assert (told in capsys.readouterr().out) == (bits < 16)
    read = decoding.read(folder / f"train/rose/deep.{mode}", [100])
    assert np.array_equal(read.squares[0][..., 0], pixels[0]) and read.brightened == (bits < 16)


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, (H, W, channels), which Pillow reads and does not write."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks)


@pytest.mark.parametrize("channels", (2, 3, 4))
def test_colours_of_16_bits_are_read_and_those_that_use_12_refused_by_name(channels, tmp_path):
    ramp = np.linspace(0, 65535, 10000).astype(np.uint16).reshape(100, 100, 1).repeat(channels, 2)
    ramp[..., 3 if channels == 4 else 1] = 65535 if channels != 3 else ramp[..., 0]  # alpha
    (tmp_path / "deep.png").write_bytes(deep_png(ramp))
    assert np.array_equal(decoding.decode(tmp_path / "deep.png", 100)[..., 0], ramp[..., 0] >> 8)
    (tmp_path / "dark.png").write_bytes(deep_png(ramp >> 4))
    with pytest.raises(UserError, match="dark.png: its colours have 16 bits each and use 12 or fewer; save"):
        decoding.decode(tmp_path / "dark.png", 100)


def test_what_a_file_says_of_its_bits_wins_over_its_highest_number(tmp_path):
    dark = np.linspace(0, 1000, 10000).astype(np.uint16).reshape(100, 100)
    for name in ("dark.png", "dark.tiff"):
        save_deep(tmp_path / name, dark, 16)
        assert np.array_equal(decoding.decode(tmp_path / name, 100)[..., 0], dark >> 8)
    save_deep(tmp_path / "nonsense.png", dark, 200)
    assert np.array_equal(decoding.decode(tmp_path / "nonsense.png", 100)[..., 0], dark >> 4)
    save_deep(tmp_path / "scaled.png", dark << 5, 12)  # as PNG's standard wants 12 bits: scaled to 16
    assert np.array_equal(decoding.decode(tmp_path / "scaled.png", 100)[..., 0], (dark << 5) >> 8)


def test_floating_point_pixels_between_0_and_1_are_scaled_and_others_refused_by_name(tmp_path):
    ramp = np.linspace(0, 1, 10000, dtype=np.float32).reshape(100, 100)
    Image.fromarray(ramp).save(tmp_path / "ramp.tiff")
    assert np.array_equal(decoding.decode(tmp_path / "ramp.tiff", 100)[..., 0], np.round(255 * ramp))
    for name, odd in (("degrees.tiff", 300 * ramp), ("below.tiff", ramp - 0.5), ("nan.tiff", ramp * np.nan)):
        Image.fromarray(odd).save(tmp_path / name)
        with pytest.raises(UserError, match=f"{name}: its pixels are floating-point numbers beyond 0 and 1"):
            decoding.decode(tmp_path / name, 100)


def save_deep(path: Path, grey: np.ndarray, bits: int) -> None:
    """Write 16-bit grey whose file says how many bits are significant, unless 0."""
    if path.suffix == ".png":
        info = PngImagePlugin.PngInfo()
        if bits:
            info.add(b"sBIT", bytes([bits]))
        Image.fromarray(grey).save(path, pnginfo=info)
    else:
        Image.fromarray(grey).save(path, tiffinfo={281: 2**bits - 1} if bits else {})


def test_a_photo_with_a_broken_header_is_named(tmp_path):
    (tmp_path / "header.ppm").write_bytes(b"P6\n20 x\n255\n")
    with pytest.raises(UserError, match="header.ppm"):
        decoding.decode(tmp_path / "header.ppm", 100)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


@pytest.mark.parametrize("kind,content", (
    (b"zTXt", b"note\0\0" + zlib.compress(bytes(5_000_000))),
    (b"iTXt", b"note\0\1\0\0\0" + zlib.compress(b"a" * 5_000_000)),
    (b"iCCP", b"profile\0\0" + zlib.compress(bytes(5_000_000)))))
@pytest.mark.parametrize("behind", (False, True))
def test_long_texts_and_profiles_do_not_keep_a_sound_png_from_being_read(kind, content, behind, tmp_path):
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "plain.png")
    png = (tmp_path / "plain.png").read_bytes()
    at = len(png) - 12 if behind else 33  # before IEND, or behind IHDR
    (tmp_path / "long.png").write_bytes(png[:at] + png_chunk(kind, content) + png[at:])
    plain, long = (decoding.decode(tmp_path / name, 100) for name in ("plain.png", "long.png"))
    assert np.array_equal(plain, long)


@pytest.mark.parametrize("suffix,exif", (("png", b"Exif\0\0garbage!"), ("webp", b"Exif\0\0MM\0*"),
                                         ("jpg", b"Exif\0\0garbage!")))
def test_garbage_in_the_place_of_exif_does_not_keep_a_sound_photo_from_being_read(suffix, exif, tmp_path):
    photo = Image.linear_gradient("L").convert("RGB")
    photo.save(tmp_path / f"plain.{suffix}")
    photo.save(tmp_path / f"odd.{suffix}", exif=exif)
    plain, odd = (decoding.decode(tmp_path / f"{name}.{suffix}", 100) for name in ("plain", "odd"))
    assert np.array_equal(plain, odd)


@pytest.mark.parametrize("tag,kind,value", (
    (0x11A, 2, b"72\0\0"), (0x213, 4, b"\x70\x11\1\0"), (0x100, 2, b"640\0")))
def test_a_photo_is_upright_whatever_its_other_exif_tags_say(tag, kind, value, tmp_path):
    """Pillow turns a photo and then fails to write the rest of its EXIF: a resolution in letters, say."""
    entries = sorted([(0x112, 3, 1, b"\6\0\0\0"), (tag, kind, 4 if kind == 2 else 1, value)])
    packed = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + packed + bytes(4)
    photo = Image.linear_gradient("L").convert("RGB")  # from black at the top to white
    photo.save(tmp_path / "odd.jpg", exif=exif)
    square = decoding.decode(tmp_path / "odd.jpg", 100)  # (100, 100, 3)
    assert square[50, 5].mean() > 200 and square[50, -5].mean() < 50


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_content_decides_what_a_photo_is_and_not_its_name(folder, tmp_path, capsys):
    plain, rose = load(folder, "train", tmp_path), folder / "train/rose"
    photo = Image.open(rose / "0.jpg")
    odd = {"phone.HEIC": "JPEG", "web.heic": "WEBP", "screen.jpg": "PNG", "nameless": "JPEG",
           "scan.heic": "TIFF", "paint": "BMP"}
    for name, true_format in odd.items():
        photo.save(rose / name, true_format)
    (rose / "IMG_1.HEIC").write_bytes(HEIC)
    (rose / "film.avi").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    capsys.readouterr()
    flowers = load(folder, "train", tmp_path)
    assert {*flowers.names} - {*plain.names} == {f"train/rose/{name}" for name in odd}
    told = "left out 2 files: 1 .avi (train/rose/film.avi), 1 HEIC (train/rose/IMG_1.HEIC; convert"
    assert told in capsys.readouterr().out
    exact = flowers.images[flowers.names.index("train/rose/screen.jpg")], plain.images[plain.names.index(
        "train/rose/0.jpg")]
    assert torch.equal(*exact)


@pytest.mark.parametrize("content,words", (
    (HEIC, "it is HEIC; convert it to JPEG"),
    (b"\0\0\0\x18ftypavif\0\0\0\0avif", "it is AVIF; convert it to JPEG"),
    (b"<!DOCTYPE html>", "it is a web page; replace or remove"),
    (b"", "it is empty; replace"), (b"%PDF-1.7", "it is PDF; replace"), (b"a\n", "it is no picture; rep")))
def test_what_only_has_a_photos_name_is_refused_with_its_true_format(content, words, folder, tmp_path):
    (folder / "train/rose/a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=f"cannot decode the photo .*/train/rose/a.jpg: {words}"):
        load(folder, "train", tmp_path)


def test_a_png_whose_pixels_are_sound_is_read_whatever_its_other_parts_say(tmp_path):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    photo.save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    for odd in (b"\0\0\0\x04tEXta\0bcWRNG", b"\0\0\0\x01gAMA\0" + struct.pack(">I", zlib.crc32(b"gAMA\0"))):
        (tmp_path / "odd.png").write_bytes(whole[:33] + odd + whole[33:])  # behind IHDR
        assert np.array_equal(decoding.decode(tmp_path / "odd.png", 100), np.asarray(photo))
    (tmp_path / "bad.png").write_bytes(whole[:100] + b"xxxx" + whole[104:])
    with pytest.raises(UserError, match="bad.png: (its PNG data is damaged|broken)"):
        decoding.decode(tmp_path / "bad.png", 100)


def test_a_dead_link_in_the_place_of_flowers102_is_named_and_not_downloaded(tmp_path):
    (tmp_path / "flowers-102").symlink_to("gone")
    with pytest.raises(UserError, match="flowers-102 is a dead link; mend or remove it"):
        data.load("flowers102", "train", str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("link", ("photos", "val", "test"))
def test_a_dead_link_in_the_place_of_a_folder_is_named(link, folder, tmp_path):
    where = folder if link == "photos" else folder / link
    where.rename(tmp_path / "moved")
    where.symlink_to("gone")
    with pytest.raises(UserError, match=f"{where} is a dead link; mend or remove it"):
        load(folder, "train", tmp_path)


@pytest.mark.parametrize("damage", ("missing", "empty", "text", "truncated"))
def test_a_bad_photo_is_named(folder, tmp_path, damage):
    photo = folder / "train" / "rose" / "1.jpg"
    whole = photo.read_bytes()
    photo.write_bytes({"missing": whole, "empty": b"", "text": b"not a photo",
                       "truncated": whole[: len(whole) // 2]}[damage])
    with pytest.raises(UserError, match="rose/1.jpg"):
        if damage == "missing":
            decoding.decode(tmp_path / "rose/1.jpg", 100)
        load(folder, "train", tmp_path)
    assert not list(tmp_path.glob("cache/*"))


def test_all_bad_photos_are_named_at_once(folder, tmp_path):
    for name in ("daisy/3.jpg", "rose/1.jpg", "tulip/0.jpg"):
        (folder / "train" / name).write_text("not a photo")
    with pytest.raises(UserError, match="daisy/3.jpg: .*; as bad: .*rose/1.jpg, .*tulip/0.jpg$"):
        load(folder, "train", tmp_path)


def test_splits_that_differ_in_their_classes_and_folders_without_splits_are_refused(folder, tmp_path):
    (folder / "val" / "rose").rename(folder / "val" / "lily")
    for photo in folder.rglob("*.jpg"):  # none of which is decoded
        photo.write_text("no photo")
    told = "val/ and train/ differ in their classes: val/ lacks rose, train/ lacks lily; add or remove them"
    with pytest.raises(UserError, match=told):
        flowers.folder.check_classes(str(folder))
    shutil.rmtree(folder / "val/lily")
    with pytest.raises(UserError, match="val/ lacks rose; add or remove them, or remove val/$"):
        flowers.folder.check_classes(str(folder))
    with pytest.raises(
        UserError, match="there is no .*/train/; want flowers102 or synthetic, or a folder with train/"
    ):
        load(tmp_path, "train", tmp_path)


def test_of_class_folders_at_the_top_training_says_where_they_belong(folder):
    args = train_classifier.parse_args(["--dataset", str(folder / "train"), "--out", str(folder / "run")])
    with pytest.raises(UserError, match="there is no train/ with folders in it; want two classes or more"):
        train_classifier.main(args)


def test_a_test_of_other_classes_is_told_of_without_decoding_a_photo(folder, capsys):
    flowers.folder.check_classes(str(folder))
    flowers.folder.check_classes("synthetic")
    flowers.folder.check_classes(str(folder / "absent"))
    assert capsys.readouterr().out == ""
    (folder / "test/rose").rename(folder / "test/li\nly")
    for photo in folder.rglob("*.jpg"):
        photo.write_text("no photo")
    flowers.folder.check_classes(str(folder))
    assert capsys.readouterr().out.splitlines() == [
        f"--dataset {folder}: train/ lacks li\\nly, so evaluate.py will not judge these photos of test/",
        f"--dataset {folder}: test/ lacks rose, so evaluate.py will judge the others"]


def test_a_folder_has_the_splits_that_are_there(folder, tmp_path):
    assert data.splits(str(folder)) == ("train", "val", "test")
    assert data.splits(str(folder / "test")) == ("test",)  # class folders at its top
    whole = load(folder, "test", tmp_path)
    top = load(folder / "test", "test", tmp_path)
    assert top.names == [name.removeprefix("test/") for name in whole.names] and len(top) == 9
    assert torch.equal(top.images, whole.images) and torch.equal(top.labels, whole.labels)
    shutil.rmtree(folder / "val")
    assert data.splits(str(folder)) == ("train", "val", "test")  # val is held out
    shutil.rmtree(folder / "train")
    assert data.splits(str(folder)) == ("test",) and len(load(folder, "test", tmp_path)) == 9
    (folder / "train").mkdir()
    shutil.copy(folder / "test/rose/0.jpg", folder / "train")  # for stage one, without a class
    assert data.splits(str(folder)) == ("test",)


def many(root: Path, count: int, classes=("daisy", "rose")) -> Path:
    """A folder with train/ alone, `count` small photos a class, no two alike."""
    for label, name in enumerate(classes):
        (root / "train" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (20, 20), (i, 90 * label, 7)).save(root / f"train/{name}/{i:03d}.png")
    return root


def test_without_val_the_bytes_of_a_photo_say_whether_it_validates(tmp_path, capsys):
    root = many(tmp_path / "photos", 100)
    for _ in range(2):  # decoded, and from the cache
        train, val = load(root, "train", tmp_path), load(root, "val", tmp_path)
        assert capsys.readouterr().out.count("there is no val/, so about a fifth of the photos in ") == 1
    assert sorted(train.names + val.names) == [str(path.relative_to(root)) for path in
                                               sorted((root / "train").rglob("*.png"))]
    assert 20 <= len(val) <= 60 and train.classes == val.classes == ["daisy", "rose"]
    for name, digest, image in zip(val.names, val.digests, val.images):
        assert digest == hashlib.sha256((root / name).read_bytes()).hexdigest()[:16]
        assert int(digest, 16) < 2**64 / 5 and torch.equal(image[:, 0, 0], pixel(root / name))
    assert all(int(digest, 16) >= 2**64 / 5 for digest in train.digests)
    assert val.labels.tolist() == ["rose" in name for name in val.names]


def pixel(path: Path) -> torch.Tensor:
    return torch.tensor(Image.open(path).getpixel((0, 0)), dtype=torch.uint8)


def test_a_photo_keeps_its_side_when_others_come_and_go_and_when_it_is_renamed(tmp_path):
    root = many(tmp_path / "photos", 60)
    before = {split: {*load(root, split, tmp_path).digests} for split in ("train", "val")}
    Image.new("RGB", (20, 20), "white").save(root / "train/rose/a_new.png")  # first by its name
    (root / "train/daisy/001.png").unlink()
    (root / "train/daisy/002.png").rename(root / "train/daisy/zzz.png")
    shutil.copy(root / "train/rose/003.png", root / "train/daisy/copy.png")
    after = {split: load(root, split, tmp_path).digests for split in ("train", "val")}
    assert not {*after["train"]} & before["val"] and not {*after["val"]} & before["train"]
    assert len({*after["train"], *after["val"]} - before["train"] - before["val"]) == 1
    assert not {*after["train"]} & {*after["val"]} and len(after["train"] + after["val"]) == 121


@pytest.mark.parametrize("how", ({}, {"progressive": True}, {"restart_marker_rows": 1}))
def test_a_jpeg_that_lacks_its_end_alone_is_read_and_one_that_lacks_pixels_is_not(how, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).resize((1100, 1080)).save(tmp_path / "a.jpg", **how)
    content, whole = (tmp_path / "a.jpg").read_bytes(), decoding.decode(tmp_path / "a.jpg", 100)
    for lacking in (1, 2):
        (tmp_path / "a.jpg").write_bytes(content[:-lacking])
        assert np.array_equal(decoding.decode(tmp_path / "a.jpg", 100), whole)
    behind_a_restart = len(content) - content.rfind(b"\xff\xd0") if "restart_marker_rows" in how else 50
    for lacking in (50, len(content) // 100, len(content) // 2, behind_a_restart):
        (tmp_path / "a.jpg").write_bytes(content[:-lacking])
        with pytest.raises(UserError, match="truncated"):
            decoding.decode(tmp_path / "a.jpg", 100)


def test_classes_without_a_photo_on_one_side_are_counted_and_no_photo_at_all_is_refused(tmp_path, capsys):
    root = many(tmp_path / "photos", 9, "abcdefghij")
    flowers = load(root, "val", tmp_path)
    lacking = [name for label, name in enumerate("abcdefghij") if label not in flowers.labels]
    assert 0 < len(lacking) < 10
    (root / "train/aa").mkdir()  # of which there is none at all
    told = ("--dataset {}: val has no photo of {} of 11 classes, such as {}, whose photos all fell to the "
            "other side of train and val; more, or a folder val/, would help\n")
    load(root, "val", tmp_path)
    assert told.format(root, len(lacking) + 1, lacking[0]) in capsys.readouterr().out
    for name in flowers.names:
        (root / name).unlink()
    with pytest.raises(UserError, match=r"of \d+ photos in train/ none falls to val; add some"):
        load(root, "val", tmp_path)
    assert data.load_sizes(str(root), "val", "", str(tmp_path / "cache"), [100], may_be_none=True) == []
    assert "none falls to val" in capsys.readouterr().out


def test_with_val_takes_all_photos_also_where_all_fell_to_one_side(tmp_path, capsys):
    root = many(tmp_path / "photos", 20)
    for name in load(root, "train", tmp_path).names:
        (root / name).unlink()
    left = len([*root.rglob("*.png")])
    flags = ["--dataset", root, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run", "--epochs", "1",
             "--recipe", "report", "--head", "pooled", "--device", "cpu"]
    with pytest.raises(UserError, match="none falls to train; add some, or a folder val/, or in stage two"):
        train_classifier.main(train_classifier.parse_args([*map(str, flags)]))
    assert train_classifier.main(train_classifier.parse_args([*map(str, flags), "--with-val"])) == 0
    assert f"training on {left} photos for 1 epoch" in capsys.readouterr().out


def test_the_same_photo_in_two_splits_is_told_in_a_line(folder, tmp_path, capsys):
    shutil.copy(folder / "train/rose/0.jpg", folder / "test/tulip/other.jpg")
    shutil.copy(folder / "train/rose/1.jpg", folder / "val/rose/same.jpg")
    shutil.copy(folder / "train/rose/2.jpg", folder / "train/rose/twice.jpg")  # in one split alone
    flowers = {split: load(folder, split, tmp_path) for split in data.SPLITS}
    capsys.readouterr()
    in_training = {split: flowers[split] for split in ("train", "val")}
    for known in (flowers, in_training):  # that of test/, which it does not decode, too
        notices.tell_copies(known, str(folder), is_folder=True)
        assert capsys.readouterr().out == "2 photos are in two splits, byte for byte: " \
            "train/rose/1.jpg (train) and val/rose/same.jpg (val), " \
            "train/rose/0.jpg (train) and test/tulip/other.jpg (test)\n"
    notices.tell_copies({split: flowers[split] for split in ("val", "test")}, str(folder), is_folder=True)
    assert capsys.readouterr().out == ""


def test_the_same_photo_in_two_classes_is_told_in_a_line(folder, tmp_path, capsys):
    shutil.copy(folder / "train/rose/2.jpg", folder / "train/tulip/other.jpg")
    shutil.copy(folder / "train/rose/2.jpg", folder / "train/rose/twice.jpg")  # of its own class
    flowers = load(folder, "train", tmp_path)
    capsys.readouterr()
    notices.tell_copies({"train": flowers}, str(folder), is_folder=True)
    told = "1 photo is in two classes, byte for byte: train/rose/2.jpg and train/tulip/other.jpg\n"
    assert capsys.readouterr().out == told


def test_hidden_files_are_passed_over_and_what_is_no_photo_is_named(folder, tmp_path, capsys):
    plain = load(folder, "train", tmp_path)
    photo = folder / "train/rose/0.jpg"
    for name in ("train/rose/._0.jpg", "train/rose/.DS_Store", "train/.ipynb_checkpoints/0.jpg",
                 "train/.Trash-1000/0.jpg", "train/.Trashes/0.jpg", "train/rose/.thumbnails/0.jpg",
                 "train/rose/.AppleDouble/0.jpg", "train/#recycle/rose/0.jpg", "train/$RECYCLE.BIN/0.jpg",
                 "train/System Volume Information/0.jpg",
                 "train/@eaDir/0.jpg", "train/__MACOSX/rose/0.jpg", "train/rose/notes.txt",
                 "train/rose/.ipynb_checkpoints/1.jpg", "train/rose/@eaDir/0.jpg/THUMB.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no photo")
    for name in ("é.JPG", os.fsdecode(b"\xe9t\xe9.jfif"), "a b.mpo"):
        shutil.copy(photo, folder / "train/rose" / name)
    capsys.readouterr()
    for _ in range(2):
        flowers = load(folder, "train", tmp_path)
        assert flowers.classes == plain.classes and len(flowers) == len(plain) + 3
        assert all((folder / name).exists() for name in flowers.names)
    told = f"--dataset {folder}: left out 1 file: 1 .txt (train/rose/notes.txt)\n"
    assert capsys.readouterr().out.count(told) == 2  # decoded, and from the cache


def faulty(train: Path) -> str:
    """Plant in a train/ one file of each kind that is left out; what is said of them."""
    for name in ("rose/a.jpg", "rose/b.jpg", "daisy/a.jpg", "lily"):
        (train / name).symlink_to("gone")
    for name in ("@tulip/0.jpg", "@tulip/1.jpg", ".rose/0.jpg", "rose/.kept.jpg"):
        (train / name).parent.mkdir(exist_ok=True)
        shutil.copy(train / "rose/0.jpg", train / name)
    (train / "@tulip/notes.txt").write_text("notes")
    for name in ("@tulip/IMG_0.HEIC", "rose/IMG_1.HEIC", "rose/IMG_2.heic", "tulip/IMG_3.heif"):
        (train / name).write_bytes(HEIC)
    for name in ("rose/.IMG_4.jpg.icloud", "tulip/IMG_5.HEIC.icloud"):
        (train / name).write_bytes(b"bplist00")
    return ("left out 14 files: 4 HEIC ({0}@tulip/IMG_0.HEIC, ...; convert them to JPEG), 4 dead links "
            "({0}daisy/a.jpg, ...), 4 hidden photos ({0}.rose/0.jpg, ...; rename what begins with . or @), "
            "2 placeholders of a cloud folder ({0}rose/.IMG_4.jpg.icloud, ...; download the photos "
            "themselves)\n")


def test_what_is_left_out_is_counted_and_named_by_its_kind(folder, tmp_path, capsys):
    plain = load(folder, "train", tmp_path)
    told = faulty(folder / "train")
    for _ in range(2):  # decoded, and from the cache
        assert load(folder, "train", tmp_path).names == plain.names
        assert told.format("train/") in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_pipe_does_not_stop_the_reading_and_a_name_of_two_lines_stands_in_one(folder, tmp_path, capsys):
    os.mkfifo(folder / "train/rose/pipe")
    (folder / "train/rose/dead\nlink.jpg").symlink_to("nowhere")
    assert len(load(folder, "train", tmp_path)) == 12
    assert ("left out 2 files: 1 dead link (train/rose/dead\\nlink.jpg), 1 pipe or device (train/rose/pipe)\n"
            in capsys.readouterr().out)


def test_predict_tells_the_same_of_a_folder(folder, capsys):
    told = faulty(folder / "train")
    assert len(list(listing.find([folder / "train"]))) == 12
    assert f"{folder}/train: {told.format('')}" == capsys.readouterr().err


def test_photos_that_no_class_or_split_takes_are_told_of(folder, tmp_path, capsys):
    for name in ("train/loose.jpg", "valid/rose/0.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "train/rose/0.jpg", folder / name)
    shutil.rmtree(folder / "val")
    load(folder, "train", tmp_path)
    printed = capsys.readouterr().out
    assert "left out 1 file: 1 in no folder of a class (train/loose.jpg)\n" in printed
    assert printed.count(f"--dataset {folder}: nothing reads valid/\n") == 1
    (folder / "train/daisy/IMG_1.HEIC").write_bytes(HEIC)
    for i in range(4):
        (folder / f"train/daisy/{i}.jpg").unlink()
    with pytest.raises(UserError, match="no photo in .*daisy; left out 1 file: 1 HEIC .train/daisy/IMG_1"):
        flowers.folder.check_classes(str(folder))


def test_what_lies_beside_the_splits_is_named_once_also_where_val_is_there(folder, tmp_path, capsys):
    for name in ("extra/0.jpg", "testing/rose/0.jpg", "loose.jpg", "@marked/0.jpg", ".hidden.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "train/rose/0.jpg", folder / name)
    (folder / "notes.txt").write_text("notes")
    told = f"--dataset {folder}: nothing reads extra/, testing/, loose.jpg\n"
    for lacking in (None, "test", "train"):  # in an evaluation, which loads them all
        if lacking:
            shutil.rmtree(folder / lacking)
        for split in data.splits(str(folder)):
            load(folder, split, tmp_path)
        assert capsys.readouterr().out.count(told) == 1
    for path in (folder / "val").iterdir():
        path.rename(folder / path.name)
    (folder / "val").rmdir()
    load(folder, "test", tmp_path)
    assert "nothing reads" not in capsys.readouterr().out


@pytest.mark.parametrize("empty", ("test", "val", "test/rose", "val/rose", "train/rose", "test/*"))
def test_an_evaluation_passes_over_what_is_empty_and_judges_the_others(empty, folder, tmp_path, capsys):
    for photo in [*folder.glob(f"{empty}/**/*.jpg")]:
        photo.unlink()
    if "/" not in empty:
        for path in (folder / empty).iterdir():
            path.rmdir()
    split, is_whole = empty.split("/")[0], not empty.endswith("rose")
    there = data.splits(str(folder))
    assert there == tuple(each for each in data.SPLITS if each != split or not is_whole)
    told = f"--dataset {folder}: passed over {split}/, as no folder of a class in it has a photo\n"
    assert capsys.readouterr().out == (told if is_whole else "")
    for each in there:
        found = load(folder, each, tmp_path)
        assert found.classes == ["daisy", "rose", "tulip"]
        assert {*found.labels.tolist()} == ({0, 2} if each == split else {0, 1, 2})
        assert (f": {each} has no photo of 1 of 3 classes, such as rose\n" in
                capsys.readouterr().out) == (each == split)


def test_an_evaluation_takes_val_with_its_own_classes(folder, tmp_path):
    (folder / "val/rose").rename(folder / "val/lily")
    assert data.splits(str(folder)) == data.SPLITS
    assert load(folder, "val", tmp_path).classes == ["daisy", "lily", "tulip"]


def test_training_refuses_a_val_without_a_photo_and_says_to_remove_it(folder):
    for photo in folder.glob("val/*/*.jpg"):
        photo.unlink()
    for _ in range(2):  # with folders of classes, and without
        with pytest.raises(UserError, match="in val/; remove it, and about a fifth of train/ validates"):
            flowers.folder.check_classes(str(folder))
        for path in (folder / "val").iterdir():
            path.rmdir()


def test_a_link_to_another_class_does_not_take_its_photos(folder, tmp_path):
    plain = load(folder, "train", tmp_path)
    (folder / "train/rose/deeper").mkdir()
    (folder / "train/rose/0.jpg").rename(folder / "train/rose/deeper/0.jpg")
    for name, where in (("a", "rose"), ("zinnia", "daisy"), ("b", "rose/deeper")):
        (folder / "train" / name).symlink_to(where)
    assert {*load(folder, "train", tmp_path).digests} == {*plain.digests}
    assert {name.split("/")[1] for name in load(folder, "train", tmp_path).names} == {*plain.classes}
    shutil.rmtree(folder / "val")
    told = "there is no photo in .*/train/a; what it links to is empty, or of another class"
    with pytest.raises(UserError, match=told):
        flowers.folder.check_classes(str(folder))


RAW = b"II*\0" + bytes(60)  # as TIFF: of a thumbnail


def test_camera_raw_is_left_out_with_advice_and_what_is_a_jpeg_with_its_name_is_a_photo(
        folder, tmp_path, capsys):
    for name, content in (("IMG_1.NEF", RAW), ("IMG_2.dng", b"MM\0*" + RAW), ("IMG_3.RAF", b"FUJIFILMCCD"),
                          ("IMG_4.CR3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom")):
        (folder / "train/rose" / name).write_bytes(content)
    for name in ("photo.nef", "photo.ARW"):
        shutil.copy(folder / "train/rose/0.jpg", folder / "train/rose" / name)
    Image.new("RGB", (20, 20)).save(folder / "train/rose/thumbnail.cr2", "TIFF")  # which Pillow would read
    names = load(folder, "train", tmp_path).names
    assert len(names) == 14 and {"train/rose/photo.nef", "train/rose/photo.ARW"} < {*names}
    told = "left out 5 files: 5 camera RAW ({}rose/IMG_1.NEF, ...; export them as JPEG)\n"
    assert told.format("train/") in capsys.readouterr().out
    assert len([*listing.find([folder / "train"])]) == 14
    assert told.format("") in capsys.readouterr().err
    for name in ("IMG_1.NEF", "IMG_3.RAF", "IMG_4.CR3", "thumbnail.cr2"):
        with pytest.raises(UserError, match=f"the photo .*{name}: it is camera RAW; export it as JPEG$"):
            decoding.decode(folder / "train/rose" / name, 100)
    assert decoding.decode(folder / "train/rose/photo.nef", 100).shape == (100, 100, 3)


def test_what_may_not_be_read_is_told_from_what_is_damaged_or_gone(folder, tmp_path):
    rose = folder / "train/rose"
    rose.joinpath("0.jpg").chmod(0)
    rose.joinpath("loop.jpg").symlink_to("loop.jpg")
    (folder / "train/tulip/inner").mkdir()
    shutil.copy(folder / "train/tulip/0.jpg", folder / "train/tulip/inner")
    (folder / "train/tulip/inner").chmod(0o444)
    code = f"""
from pathlib import Path; from flowers import decoding, listing
photos, left_out = listing.below(Path({str(folder)!r}, "train"))
print(len(photos), listing.describe(left_out, Path({str(folder)!r})))
for name in ("0.jpg", "loop.jpg"): print(decoding.try_read(Path({str(rose)!r}, name), [100]))
found = [*listing.find([Path({str(folder)!r}, name) for name in ("train", "train/tulip/inner/0.jpg")])]
print(len(found), *found[-2:])
"""
    done = unprivileged(code)
    (folder / "train/tulip/inner").chmod(0o755)
    told = "1 link to itself (train/rose/loop.jpg), 1 that cannot be read (train/tulip/inner; see to its "
    assert done == [
        f"12 2 files: {told}permissions)",
        f"cannot read the photo {rose}/0.jpg: Permission denied; see to its permissions",
        f"cannot read the photo {rose}/loop.jpg: Too many levels of symbolic links",
        # what cannot be read is yielded, so that predict.py names it, goes on and ends with status 1
        f"14 {folder}/train/tulip/inner {folder}/train/tulip/inner/0.jpg"]


def unprivileged(code: str) -> list[str]:
    """The lines that code prints in a process which the permissions of files bind, as they do not root."""
    command = [sys.executable, "-c", code]
    if os.name == "nt" or os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("no permissions of files here, or none that bind root")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, env=OURS, capture_output=True, text=True, check=True).stdout.splitlines()


def test_class_names_in_two_unicode_forms_are_one_class(folder, tmp_path):
    composed, decomposed = "ros\u00e9", "rose\u0301"
    (folder / "train/rose").rename(folder / "train" / composed)
    for split in ("val", "test"):
        (folder / split / "rose").rename(folder / split / decomposed)
    (folder / "train" / decomposed).mkdir()  # both, as after an unpacking on another system
    (folder / "train" / composed / "0.jpg").rename(folder / "train" / decomposed / "0.jpg")
    for split, each in (("train", 4), ("val", 2), ("test", 3)):
        flowers = load(folder, split, tmp_path)
        assert flowers.classes == ["daisy", composed, "tulip"]
        assert flowers.labels.tolist() == [label for label in range(3) for _ in range(each)]
        assert all((folder / name).exists() for name in flowers.names)


@pytest.mark.parametrize("layout", ("straight in it", "straight in train/", "in folders", "in both"))
def test_photos_without_classes_are_for_stage_one_alone(layout, tmp_path, capsys):
    root = many(tmp_path / "photos", 10)
    place = root / "train" if layout == "straight in train/" else root
    for photo in sorted(root.rglob("*.png")):
        in_folder = layout == "in folders" or (layout == "in both" and photo.name != "003.png")
        inside = place / photo.parent.name if in_folder else place
        inside.mkdir(exist_ok=True)
        photo.rename(inside / f"{photo.parent.name}-{photo.name}")
    for name in ("train/daisy", "train/rose", "train"):
        if not any((root / name).iterdir()):
            (root / name).rmdir()
    flowers = load(root, "train", tmp_path)
    assert len(flowers) == 20 and flowers.classes == [] and flowers.labels.tolist() == [0] * 20
    told = f"--dataset {root}: 20 photos without classes below {place}\n"
    assert told in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no"):
        load(root, "val", tmp_path)


def test_stage_one_trains_on_photos_without_classes_and_not_on_its_own_pictures(tmp_path, capsys):
    """As where the data set is the folder that one is in, with runs/ in it."""
    for i in range(10):
        Image.new("RGB", (20, 20), (20 * i, 90, 7)).save(tmp_path / f"{i}.png")
    flags = ["--dataset", tmp_path, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run",
             "--recipe", "report", "--device", "cpu", "--epochs"]
    for more in (["1"], ["2", "--resume"]):
        assert train_autoencoder.main(train_autoencoder.parse_args([*map(str, flags), *more])) == 0
    assert (tmp_path / "run/autoencoder.pt").exists() and (tmp_path / "run/curve.png").exists()
    assert "1 folder of a run, whose pictures are no photos (run)" in capsys.readouterr().out


def test_test_alone_or_class_folders_at_the_top_are_there_to_test_on(folder, tmp_path):
    expected = load(folder, "test", tmp_path)
    for name in ("train", "val"):
        shutil.rmtree(folder / name)
    assert data.splits(str(folder)) == ("test",)
    assert torch.equal(load(folder, "test", tmp_path).images, expected.images)
    assert data.splits(str(folder / "test")) == ("test",)
    flowers = load(folder / "test", "test", tmp_path)
    assert (flowers.digests, flowers.classes) == (expected.digests, expected.classes)


def test_without_train_there_is_val_to_judge_on_and_test(folder, tmp_path):
    shutil.rmtree(folder / "train")
    assert data.splits(str(folder)) == ("val", "test")
    assert [len(load(folder, split, tmp_path)) for split in ("val", "test")] == [6, 9]


def test_a_new_cache_removes_the_one_that_it_replaces_and_nothing_else(folder, tmp_path, capsys):
    cache = tmp_path / "cache"
    twin = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    load(folder, "train", tmp_path)
    replaced = {*cache.iterdir()}
    (pixels,) = (path for path in replaced if path.suffix == ".pixels")
    for path, split, size in ((folder, "train", 64), (folder, "val", 100), (twin, "train", 100)):
        load(path, split, tmp_path, size=size)
    (cache / "photos-train-100-0123456789abcdef.pt").write_text("of somebody else")
    (cache / pixels.name.replace(".pixels", ".npy")).write_text("of somebody else")
    former = cache / f"{pixels.stem[:-16]}0123456789abcdef.pt"  # of an earlier version: one file
    former.write_text("")
    before, printed = {*cache.iterdir()}, capsys.readouterr().out
    assert printed.count("wrote ") == 4 and f"wrote {pixels} (0.4 MB) and .pt: " in printed
    (folder / "train/rose/0.jpg").unlink()
    load(folder, "train", tmp_path)
    gone = before - {*cache.iterdir()}
    assert gone == {*replaced, former} and len({*cache.iterdir()} - before) == 2


@pytest.fixture(scope="module")
def drawn_flowers(tmp_path_factory):
    """The val split of synthetic, at 8 pixels, and the cache in which it lies."""
    cache_dir = tmp_path_factory.mktemp("drawn")
    return data.load("synthetic", "val", cache_dir=str(cache_dir), size=8), cache_dir


def test_synthetic_flowers_are_drawn_once_and_kept(drawn_flowers, monkeypatch):
    drawn, cache_dir = drawn_flowers
    assert (drawn.images.shape == (1020, 3, 8, 8)
            and drawn.labels.tolist() == [k for k in range(102) for _ in range(10)])
    assert drawn.classes == synthetic.class_names() and len(set(drawn.names)) == 1020
    monkeypatch.delattr(synthetic, "draw")
    again = data.load("synthetic", "val", cache_dir=str(cache_dir), size=8)
    assert (again.digest() == drawn.digest() and again.names == drawn.names
            and len(list(cache_dir.iterdir())) == 2)


def test_synthetic_30_is_the_beginning_of_synthetic(drawn_flowers, tmp_path):
    few, (all_, _) = data.load("synthetic-30", "val", cache_dir=str(tmp_path), size=8), drawn_flowers
    assert len(few) == 300 and few.classes == all_.classes[:30] and few.names == all_.names[:300]
    assert torch.equal(few.images, all_.images[:300]) and torch.equal(few.labels, all_.labels[:300])
    test = data.load("synthetic-30", "test", cache_dir=str(tmp_path), size=8)
    assert torch.bincount(test.labels).tolist() == 30 * [20] and len(list(tmp_path.iterdir())) == 4


def test_linked_folders_are_followed(folder, tmp_path, capsys):
    (folder / "train/rose").rename(tmp_path / "elsewhere")
    (folder / "train/rose").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/notes.txt").write_text("no photo")
    flowers = load(folder, "train", tmp_path)
    assert len({name for name in flowers.names if name.startswith("train/rose/")}) == 4
    assert "left out 1 file: 1 .txt (train/rose/notes.txt)\n" in capsys.readouterr().out


def test_a_link_to_a_folder_above_is_followed_once_and_one_to_itself_passed_over(folder, tmp_path, capsys):
    plain = load(folder, "train", tmp_path)
    (folder / "train/rose/self").symlink_to(".")
    (folder / "train/rose/loop").symlink_to("loop")
    (folder / "train/loop").symlink_to("loop")
    (folder / "train/tulip/deeper").mkdir()
    (folder / "train/tulip/0.jpg").rename(folder / "train/tulip/deeper/0.jpg")
    flowers = load(folder, "train", tmp_path)
    assert len(flowers) == len(plain) and "train/tulip/deeper/0.jpg" in flowers.names
    assert "left out 2 files: 2 links to themselves (train/loop, ...)\n" in capsys.readouterr().out


def test_a_train_folder_with_hidden_folders_alone_is_refused(folder, tmp_path):
    shutil.rmtree(folder / "train")
    (folder / "train/.ipynb_checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="there is no folder of a class in .*train"):
        load(folder, "train", tmp_path)


def test_a_folder_named_like_a_built_in_set_is_given_by_its_path():
    assert [data.dataset_name(text) for text in ("synthetic", "flowers102", "photos/", "a/../b")] == [
        "synthetic", "flowers102", "photos", "b"]
    assert [data.dataset_name(text) for text in ("./synthetic", "flowers102/")] == [
        "./synthetic",
        "./flowers102",
    ]


def test_a_class_without_photos_is_named_though_the_others_are_in_the_cache(folder, tmp_path):
    load(folder, "train", tmp_path)
    (folder / "train" / "lily").mkdir()
    (folder / "val" / "lily").mkdir()
    with pytest.raises(UserError, match="there is no photo in .*/train/lily; add some, or remove it$"):
        flowers.folder.check_classes(str(folder))


def test_the_folder_of_the_photos_itself_is_told_from_the_one_above(tmp_path):
    (tmp_path / "flowers-102").mkdir()
    (tmp_path / "flowers-102/setid.mat").write_text("")
    with pytest.raises(
        UserError, match="flowers-102 holds the photos itself; name the folder in which they lie"
    ):
        data.load("flowers102", "train", str(tmp_path / "flowers-102"), str(tmp_path))


def test_without_data_and_network_one_line_says_where_what_and_why(tmp_path, monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(UserError) as refusal:
        data.load("flowers102", "train", str(tmp_path / "deep" / "photos"), str(tmp_path))
    message = str(refusal.value)
    assert (str(tmp_path / "deep/photos/flowers-102") in message
            and "jpg/image_00001.jpg" in message and "setid.mat" in message)
    assert "102flowers.tgz" in message and "no network" in message and "\n" not in message
    assert not list(tmp_path.iterdir())  # nothing half-made is left
    assert f"{tmp_path / 'deep/photos/flowers-102'} does not exist: downloading" in capsys.readouterr().out


def test_a_damaged_flowers102_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "flowers-102" / "jpg").mkdir(parents=True)
    with pytest.raises(UserError, match="not whole"):
        data.load("flowers102", "train", str(tmp_path), str(tmp_path / "cache"))
    assert [path.name for path in (tmp_path / "flowers-102").rglob("*")] == ["jpg"]


@pytest.fixture
def links(photos, tmp_path):
    """A data folder that links to each of Flowers-102's files."""
    source, root = Path(photos) / "flowers-102", tmp_path / "data/flowers-102"
    (root / "jpg").mkdir(parents=True)
    for path in (source / "imagelabels.mat", source / "setid.mat", *(source / "jpg").glob("*.jpg")):
        (root / path.relative_to(source)).symlink_to(path.resolve())
    return root


def test_a_missing_photo_of_flowers102_is_named(links, tmp_path):
    (links / "jpg/image_00077.jpg").unlink()
    with pytest.raises(UserError, match="lacks 1 of 8189 photos, the first image_00077.jpg"):
        data.load("flowers102", "train", str(links.parent), str(tmp_path / "cache"))


def test_changed_labels_of_flowers102_are_refused(links, tmp_path):
    content = (links / "imagelabels.mat").read_bytes()
    (links / "imagelabels.mat").unlink()
    (links / "imagelabels.mat").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="not whole"):
        data.load("flowers102", "train", str(links.parent), str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "count,batch_size,sizes",
    (
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (1, 4, [1]),
        (8, 4, [4, 4]),
        (3, 2, [3]),
        (1020, 128, [128] * 7 + [124]),
    ),
)
def test_batches_hold_each_image_once_and_no_batch_of_one(count, batch_size, sizes):
    plain = data.batches(count, batch_size)
    assert [len(part) for part in plain] == sizes and torch.cat(plain).tolist() == list(range(count))
    shuffled = torch.cat(data.batches(count, batch_size, torch.Generator().manual_seed(0)))
    assert sorted(shuffled.tolist()) == list(range(count)) and (
        count < 8 or shuffled.tolist() != list(range(count))
    )


def test_input_is_in_0_1_and_channels_last():
    images = torch.arange(256, dtype=torch.uint8).repeat(3 * 4).reshape(1, 3, 32, 32)
    x = data.to_input(images, torch.device("cpu"))
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, images / 255)
