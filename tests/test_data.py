"""Guards the way from photo to tensor: torchvision's splits, labels and pixels, the cache, refusals."""

import os
import shutil
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
from flowers import decoding, synthetic
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
    assert len(list((tmp_path / "cache").iterdir())) == 1
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


def test_the_cache_follows_linked_folders_and_does_not_mind_lying_in_the_data(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "train" / "daisy").rename(elsewhere)
    (folder / "train" / "daisy").symlink_to(elsewhere)
    first = data.load(str(folder), "train", cache_dir=str(folder / "cache"))
    data.load(str(folder), "train", cache_dir=str(folder / "cache"))
    assert len(list((folder / "cache").iterdir())) == 1
    Image.new("RGB", (120, 120), "red").save(elsewhere / "0.jpg")
    assert not torch.equal(
        data.load(str(folder), "train", cache_dir=str(folder / "cache")).images[0], first.images[0]
    )


@pytest.mark.parametrize("damage", ("a flipped bit", "a label less", "no batch of images"))
def test_a_damaged_cache_is_rebuilt_with_a_line(damage, folder, tmp_path, capsys):
    fresh = load(folder, "train", tmp_path)
    (cached,) = (tmp_path / "cache").iterdir()
    if damage == "a flipped bit":
        content = bytearray(cached.read_bytes())
        content[len(content) // 2] ^= 1
        cached.write_bytes(content)
    else:
        odd = ({"labels": fresh.labels[1:]} if damage == "a label less" else
               {"images": torch.tensor(1, dtype=torch.uint8)})
        checkpoint.save(cached, {"kind": "photos", **vars(replace(fresh, **odd))})
    assert torch.equal(load(folder, "train", tmp_path).images, fresh.images)
    assert "decoding the photos again" in capsys.readouterr().out
    load(folder, "train", tmp_path)
    assert capsys.readouterr().out == ""


def test_the_digest_follows_pixels_and_labels(folder, tmp_path):
    flowers = load(folder, "train", tmp_path)
    others = (replace(flowers, images=flowers.images ^ 1), replace(flowers, labels=flowers.labels.flip(0)),
              replace(flowers, names=["a"] * 12))
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


def test_floating_point_pixels_are_refused_rather_than_drawn_black(tmp_path):
    Image.new("F", (20, 20), 0.5).save(tmp_path / "photo.tiff")
    with pytest.raises(UserError, match="photo.tiff: its pixels are floating-point"):
        decoding.decode(tmp_path / "photo.tiff", 100)


@pytest.mark.parametrize("name,exif", (("header.ppm", None), ("garbage.png", b"Exif\0\0garbage!"),
                                       ("cut.webp", b"Exif\0\0MM\0*")))
def test_a_photo_with_a_broken_header_is_named(name, exif, tmp_path):
    """Pillow raises ValueError, SyntaxError and struct.error."""
    if exif:
        Image.new("RGB", (20, 20)).save(tmp_path / name, exif=exif)
    else:
        (tmp_path / name).write_bytes(b"P6\n20 x\n255\n")
    with pytest.raises(UserError, match=name):
        decoding.decode(tmp_path / name, 100)


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
    (folder / "test" / "rose").rename(folder / "test" / "lily")
    with pytest.raises(UserError, match="lily, rose"):
        load(folder, "test", tmp_path)
    with pytest.raises(
        UserError, match="there is no .*/train/; want flowers102 or synthetic, or a folder with train/"
    ):
        load(tmp_path, "train", tmp_path)


def test_without_val_every_fifth_training_photo_of_a_class_validates_and_a_line_says_so(
    folder, tmp_path, capsys
):
    everything = load(folder, "train", tmp_path)
    shutil.rmtree(folder / "val")
    for _ in range(2):  # decoded, and from the cache
        train, val = load(folder, "train", tmp_path), load(folder, "val", tmp_path)
        assert (val.names == [f"train/{name}/1.jpg" for name in ("daisy", "rose", "tulip")]
                and val.labels.tolist() == [0, 1, 2])
        assert sorted(train.names + val.names) == everything.names and len(train) == 9
        assert capsys.readouterr().out.count(
            "there is no val/, so every fifth photo of each class in train/ validates") == 1
    which = [everything.names.index(name) for name in val.names]
    assert torch.equal(val.images, everything.images[which]) and val.classes == everything.classes
    for name in ("daisy", "rose", "tulip"):
        for i in (1, 2, 3):
            (folder / "train" / name / f"{i}.jpg").unlink()
    with pytest.raises(UserError, match="no class has a second photo in train/"):
        load(folder, "val", tmp_path)


def test_hidden_files_are_passed_over_and_what_is_no_photo_is_named(folder, tmp_path, capsys):
    plain = load(folder, "train", tmp_path)
    photo = folder / "train/rose/0.jpg"
    for name in (
        "train/rose/._0.jpg",
        "train/.ipynb_checkpoints/0.jpg",
        "train/@eaDir/0.jpg",
        "train/rose/notes.txt",
        "train/rose/.ipynb_checkpoints/1.jpg",
        "train/rose/@eaDir/0.jpg/THUMB.jpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no photo")
    for name in ("é.JPG", os.fsdecode(b"\xe9t\xe9.jfif"), "a b.mpo"):
        shutil.copy(photo, folder / "train/rose" / name)
    for _ in range(2):
        flowers = load(folder, "train", tmp_path)
        assert flowers.classes == plain.classes and len(flowers) == len(plain) + 3
        assert all((folder / name).exists() for name in flowers.names)
    told = f"left out 1 file, as {folder}/train/rose/notes.txt (no photo by its name)\n"
    assert capsys.readouterr().out.count(told) == 2  # decoded, and from the cache


def test_photos_that_no_class_or_split_takes_are_told_of(folder, tmp_path, capsys):
    for name in ("train/loose.jpg", "valid/rose/0.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "train/rose/0.jpg", folder / name)
    shutil.rmtree(folder / "val")
    load(folder, "train", tmp_path)
    printed = capsys.readouterr().out
    assert f"left out 1 file, as {folder}/train/loose.jpg (in no folder of a class)\n" in printed
    assert (
        "there is no val/, so every fifth photo of each class in train/ validates; nothing reads valid/\n"
        in printed
    )
    (folder / "train/daisy/IMG_1.HEIC").write_text("as a phone writes it")
    load(folder, "train", tmp_path)
    assert (
        f"left out 2 files, as {folder}/train/daisy/IMG_1.HEIC "
        f"(Pillow does not read HEIC: convert it to JPEG)"
        in capsys.readouterr().out
    )
    for i in range(4):
        (folder / f"train/daisy/{i}.jpg").unlink()
    with pytest.raises(
        UserError, match="no photo in .*daisy; 1 file, as .*IMG_1.HEIC .Pillow does not read HEIC"
    ):
        load(folder, "train", tmp_path)


def test_synthetic_flowers_are_drawn_once_and_kept(tmp_path, monkeypatch):
    drawn = data.load("synthetic", "val", cache_dir=str(tmp_path), size=20)
    assert (drawn.images.shape == (1020, 3, 20, 20)
            and drawn.labels.tolist() == [k for k in range(102) for _ in range(10)])
    assert drawn.classes == synthetic.class_names() and len(set(drawn.names)) == 1020
    monkeypatch.delattr(synthetic, "draw_split")
    again = data.load("synthetic", "val", cache_dir=str(tmp_path), size=20)
    assert (
        again.digest() == drawn.digest() and again.names == drawn.names and len(list(tmp_path.iterdir())) == 1
    )


def test_linked_folders_are_followed(folder, tmp_path, capsys):
    (folder / "train/rose").rename(tmp_path / "elsewhere")
    (folder / "train/rose").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/notes.txt").write_text("no photo")
    flowers = load(folder, "train", tmp_path)
    assert len({name for name in flowers.names if name.startswith("train/rose/")}) == 4
    assert f", as {folder / 'train/rose/notes.txt'} (" in capsys.readouterr().out


def test_a_link_to_a_folder_above_is_followed_once_and_one_to_itself_passed_over(folder, tmp_path, capsys):
    plain = load(folder, "train", tmp_path)
    (folder / "train/rose/self").symlink_to(".")
    (folder / "train/rose/loop").symlink_to("loop")
    (folder / "train/loop").symlink_to("loop")
    (folder / "train/tulip/deeper").mkdir()
    (folder / "train/tulip/0.jpg").rename(folder / "train/tulip/deeper/0.jpg")
    flowers = load(folder, "train", tmp_path)
    assert len(flowers) == len(plain) and "train/tulip/deeper/0.jpg" in flowers.names
    assert capsys.readouterr().err.count(f"passed over {folder / 'train/rose/loop'}: ") == 1


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
    with pytest.raises(UserError, match="lily"):
        load(folder, "train", tmp_path)


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
