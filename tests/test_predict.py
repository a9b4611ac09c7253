"""Guards predict.py: names and probabilities are the checkpoint's, bad photos are named, figures written."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, draw_folder, run_script
from PIL import Image
from torchvision.transforms import CenterCrop

import data
import evaluate
from flowers import decoding
from models import AutoEncoder, PooledClassifier
from support import checkpoint

CLASSES = ["daisy", "rose", "tulip", "orchid", "lily", "poppy"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with photos/ and the checkpoints of both stages, random weights in them."""
    root = tmp_path_factory.mktemp("predict")
    draw_folder(root / "photos")
    torch.manual_seed(0)
    model, classifier = AutoEncoder(), PooledClassifier(len(CLASSES))
    common = {"dataset": "photos", "flags": {}}
    checkpoint.save(root / "autoencoder.pt", {"kind": "autoencoder", "config": {"batch_norm": True},
                                              "model": model.state_dict(), **common})
    checkpoint.save(root / "classifier.pt", {
        "kind": "classifier", "head": "pooled", "classes": CLASSES,
        "config": {"num_classes": len(CLASSES), "batch_norm": True},
        "encoder": model.encoder.state_dict(), "classifier": classifier.state_dict(), **common})
    return root


def predict(root, *arguments) -> subprocess.CompletedProcess:
    return run_script(
        root,
        "predict",
        "--classifier",
        root / "classifier.pt",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        *arguments,
    )


def test_names_and_probabilities_are_those_of_the_networks(trained):
    done = predict(trained, "photos/test/rose", "photos/test/daisy/0.jpg", "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["photo"] for row in found] == [*(f"photos/test/rose/{i}.jpg" for i in range(3)),
                                               "photos/test/daisy/0.jpg"]
    network, _ = evaluate.load_classifier(trained / "classifier.pt", torch.device("cpu"))
    for row in found:
        photo = Image.open(trained / row["photo"])
        photo = CenterCrop(min(photo.size))(photo)
        pixels = np.asarray(photo.resize((100, 100), Image.Resampling.BILINEAR))
        with torch.no_grad():
            expected = network(torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None]).softmax(1)[0]
        best = expected.sort(descending=True)
        assert [name["name"] for name in row["names"]] == [CLASSES[i] for i in best.indices[:5]]
        assert [name["probability"] for name in row["names"]] == pytest.approx(
            best.values[:5].tolist(), abs=1e-4
        )


def test_without_json_each_photo_is_followed_by_five_names(trained):
    command = [sys.executable, ROOT / "predict.py", "--classifier", "classifier.pt", "photos/test/rose/0.jpg"]
    done = subprocess.run(command, cwd=trained, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("naming flowers with classifier.pt on ")
    assert lines[1] == "photos/test/rose/0.jpg" and len(lines) == 7
    assert all(line.endswith(tuple(CLASSES)) and "%" in line for line in lines[2:])


def test_odd_photos_are_read_and_bad_ones_named_while_the_others_go_on(trained, tmp_path):
    photo = Image.open(trained / "photos/test/rose/0.jpg")
    photo.convert("CMYK").save(tmp_path / "a.tiff")
    photo.convert("L").save(tmp_path / "b.PNG")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    photo.rotate(90, expand=True).save(tmp_path / "c.jpg", exif=exif, quality=100)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.jpg").write_bytes(b"no photo")
    for name in ("notes.txt", "paper.pdf", "film.mpg", "._a.jpg"):
        (tmp_path / name).write_text("not a photo's name: passed over")
    named = tmp_path, "absent.jpg", f"{300 * 'x'}.jpg", "photos/test/rose/0.jpg"
    done = predict(trained, *named, "--json")
    found = {
        row["photo"].split("/")[-1]: row["names"][0] for row in map(json.loads, done.stdout.splitlines())
    }
    assert done.returncode == 1 and found.keys() == {"a.tiff", "b.PNG", "c.jpg", "0.jpg"}
    assert ("deeper/d.jpg" in done.stderr and "absent.jpg" in done.stderr
            and "3 of 7 photos could not be read" in done.stderr)
    assert "left out 3 files: 1 .mpg (film.mpg), 1 .pdf (paper.pdf), 1 .txt (notes.txt)\n" in done.stderr
    assert "there is no photo absent.jpg" in done.stderr and "Traceback" not in done.stderr
    assert found["c.jpg"]["probability"] == pytest.approx(
        found["0.jpg"]["probability"], abs=0.02
    )  # upright again


def test_a_glob_that_the_shell_left_is_expanded_and_one_that_matches_nothing_named(trained, tmp_path):
    """As on Windows, whose shells hand over *.jpg as it is."""
    photo = trained / "photos/test/rose/0.jpg"
    for name in ("b.jpg", "a.jpg", "c[1].jpg", "deeper/d.jpg", "sub[2]/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "deeper/notes.txt").write_text("no photo, and not named")
    given = ("?.jpg", "**/d.*", "c[1].jpg", "sub[2]/*.jpg", "*.png", "deeper/**")
    done = predict(trained, *(tmp_path / name for name in given), "--json")
    found = [json.loads(line)["photo"] for line in done.stdout.splitlines()]
    expected = ("a.jpg", "b.jpg", "deeper/d.jpg", "c[1].jpg", "sub[2]/e.jpg", "deeper/d.jpg")
    assert found == [str(tmp_path / name) for name in expected]
    assert done.returncode == 1 and f"there is no photo {tmp_path / '*.png'}\n" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_are_printed_on_one_line_whatever_they_hold(trained, tmp_path):
    for name in ("two\nlines.jpg", "\x1b[31mred.jpg", os.fsdecode(b"ros\xe9.jpg"), "rosé.jpg"):
        shutil.copy(trained / "photos/test/rose/0.jpg", tmp_path / name)
    (tmp_path / "bad  two\n\x1b.jpg").write_text("no photo")
    done = predict(trained, tmp_path)
    lines = [line for line in done.stdout.splitlines()[1:] if not line.startswith("  ")]
    assert sorted(line.removeprefix(f"{tmp_path}/") for line in lines) == [
        "\\x1b[31mred.jpg", "ros//e9.jpg", "rosé.jpg", "two\\nlines.jpg"]
    assert f"cannot decode the photo {tmp_path}/bad  two\\n\\x1b.jpg: " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr and len(done.stderr.splitlines()) == 2


def test_a_figure_is_all_that_is_written(trained, tmp_path):
    before = sorted(path for path in trained.rglob("*"))
    done = predict(trained, "photos/test", "--figure", tmp_path / "sheet.png")
    assert done.returncode == 0 and Image.open(tmp_path / "sheet.png").width == 850, done.stderr
    assert (sorted(path for path in trained.rglob("*")) == before
            and [path.name for path in tmp_path.iterdir()] == ["sheet.png"])


def test_more_photos_than_are_decoded_at_once_all_get_their_names_in_linked_folders_too(trained, tmp_path):
    for name in ("real", "album"):
        (tmp_path / name).mkdir()
    (tmp_path / "album/linked").symlink_to(tmp_path / "real")
    (tmp_path / "real/loop").symlink_to(tmp_path / "album")
    for i in range(70):
        shutil.copy(trained / "photos/test/rose/0.jpg", tmp_path / f"real/{i:02d}.jpg")
    found = [json.loads(line) for line in predict(trained, tmp_path / "album", "--json",
                                                          "--views", "1").stdout.splitlines()]
    assert [row["photo"] for row in found] == [str(tmp_path / f"album/linked/{i:02d}.jpg") for i in range(70)]
    assert (
        len({json.dumps(row["names"]) for row in found}) <= 2
    )  # (the last batch is smaller, and rounds otherwise)


@pytest.mark.parametrize("arguments,words", (
    (["photos/test", "--figure", "absent/sheet.png"], "--figure absent/sheet.png: absent is no folder, or"),
    (["photos/test", "--figure", "taken.png/sheet.png"], "taken.png is no folder, or may not be"),
    (["photos/test", "--figure", "taken.png"], "taken.png is there already, maybe a photo"),
    (["empty"], "no photos in empty"),
    (["photos/test", ""], "PHOTO: the name is empty"),
    (["photos/test", "--classifier", "autoencoder.pt"], "holds no classifier, but autoencoder"),
))
def test_bad_input_is_one_line(arguments, words, trained):
    (trained / "empty").mkdir(exist_ok=True)
    (trained / "taken.png").touch()
    done = predict(trained, *arguments)
    assert (
        done.returncode in (1, 2) and words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize("field,value,words", (
    ("classes", CLASSES[:2], "names 2 classes, but its classifier has 6 outputs"),
    ("classes", [["rose"]] * 6, "its classes are not all names"),
    ("flags", {"seed": torch.zeros(1)}, "its flags are no plain values"),
    ("crop", "squash", "was made with crop squash, which went; only centre stayed"),
    ("format", 99, "is of format 99, newer than this code reads")))
def test_a_checkpoint_that_does_not_fit_itself_is_refused(field, value, words, trained, tmp_path):
    content = checkpoint.load(trained / "classifier.pt", "classifier")
    checkpoint.save(tmp_path / "odd.pt", content | {field: value})
    done = predict(trained, "photos/test", "--classifier", tmp_path / "odd.pt")
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_photos_are_decoded_as_in_training(trained, tmp_path):
    flowers = data.load(str(trained / "photos"), "test", cache_dir=str(tmp_path))
    pixels = decoding.decode(trained / "photos" / flowers.names[0], 100)
    assert np.array_equal(pixels, flowers.images[0].permute(1, 2, 0).numpy())
