"""Guards evaluate.py on other people's photos: folders of other layouts, other classes, odd names."""

import json
import os
import re
import shutil
import unicodedata

import pandas
import pytest
import torch
from conftest import assert_one_line, draw_folder, run_script

import data
from models import Encoder, PooledClassifier
from support import checkpoint

CLASSES = ["daisy", "rose", "tulip"]


def save_classifier(path, classes, dataset="photos", **more) -> None:
    """A classifier.pt of random weights."""
    torch.manual_seed(0)
    checkpoint.save(path, {
        "kind": "classifier", "config": {"num_classes": len(classes), "batch_norm": True},
        "head": "pooled", "classes": classes,
        "encoder": Encoder().state_dict(), "classifier": PooledClassifier(len(classes)).state_dict(),
        "dataset": dataset, "flags": {}, **more})


@pytest.fixture
def root(tmp_path):
    """A folder with photos/ and runs/classifier/classifier.pt."""
    draw_folder(tmp_path / "photos")
    (tmp_path / "runs/classifier").mkdir(parents=True)
    save_classifier(tmp_path / "runs/classifier/classifier.pt", CLASSES)
    return tmp_path


def evaluate(root, *flags):
    return run_script(root, "evaluate", "--device", "cpu", "--precision", "fp32", *flags)


def table(root, name, where="classifier"):
    """What pandas reads of a CSV that was written."""
    return pandas.read_csv(root / f"runs/{where}/{name}.csv", keep_default_na=False)


def splits(root, where="classifier") -> dict:
    return json.loads((root / f"runs/{where}/evaluation.json").read_text())["splits"]


@pytest.mark.parametrize("layout", ("test/ alone", "class folders at its top"))
def test_of_a_folder_with_test_images_alone_their_accuracy_is_that_of_the_whole_folder(layout, root):
    assert evaluate(root).returncode == 0
    whole = splits(root)["test"]
    (root / "photos/test").rename(root / "given")
    if layout == "test/ alone":
        (root / "new").mkdir()
        (root / "given").rename(root / "new/test")
    done = evaluate(root, "--dataset", "given" if layout != "test/ alone" else "new")
    assert done.returncode == 0, done.stderr
    assert splits(root, "evaluation") == {"test": whole}
    assert splits(root).keys() == {"train", "val", "test"}  # the run's own is not replaced
    assert f"Accuracy of the network on test images: {whole['accuracy']} %\n" in done.stdout
    assert "on train images" not in done.stdout


def test_photos_of_classes_that_the_classifier_lacks_are_left_out_and_the_others_keep_their_numbers(root):
    assert evaluate(root, "--views", "1").returncode == 0
    before = table(root, "predictions").query("split == 'test' and `class` == 'rose'")
    (root / "photos/test/tulip").rename(root / "photos/test/aster")
    shutil.rmtree(root / "photos/test/daisy")
    done = evaluate(root, "--dataset", "photos/test", "--views", "6")
    assert done.returncode == 0, done.stderr
    pt = os.path.join("runs", "classifier", "classifier.pt")
    assert f"test: left out 3 photos of aster, which {pt} does not know\n" in done.stdout
    assert f"test: there is no photo of daisy, tulip, which {pt} knows, too\n" in done.stdout
    after = table(root, "predictions", "evaluation")
    assert after["file"].tolist() == [f"rose/{i}.jpg" for i in range(3)]
    assert after["class number"].tolist() == [1, 1, 1]
    assert after["predicted"].tolist() == before["predicted"].tolist()
    assert after["predicted number"].tolist() == [CLASSES.index(name) for name in after["predicted"]]
    assert table(root, "per_class", "evaluation")["test images"].tolist() == [0, 3, 0]
    assert splits(root, "evaluation")["test"]["images"] == 3


def test_a_folder_without_a_class_that_the_classifier_knows_is_refused_by_both_names(root):
    for name in CLASSES:
        (root / f"photos/test/{name}").rename(root / f"photos/test/wild {name}")
    assert_one_line(evaluate(root, "--dataset", "photos/test"), 2,
                    "knows none of its classes, but daisy, rose, tulip")


def test_a_split_without_a_class_that_the_classifier_knows_does_not_keep_the_others_from_being_judged(root):
    assert evaluate(root).returncode == 0
    whole = splits(root)
    for name in CLASSES:
        (root / f"photos/test/{name}").rename(root / f"photos/test/wild {name}")
    done = evaluate(root)
    pt = os.path.join("runs", "classifier", "classifier.pt")
    assert (done.returncode, done.stderr) == (0, "")
    told = f"test: left out 9 photos of wild daisy, wild rose, wild tulip, which {pt} does not know\n"
    assert done.stdout.count(told) == 1
    assert "no test photos, so tables and figures are of val images\n" in done.stdout
    assert splits(root) == {split: whole[split] for split in ("train", "val")}


def test_a_classifier_of_before_knows_a_class_by_either_unicode_form(root):
    (root / "photos/test/rose").rename(root / "photos/test/rosé")
    names = ["daisy", unicodedata.normalize("NFD", "rosé"), "tulip"]
    save_classifier(root / "runs/classifier/classifier.pt", names)
    done = evaluate(root, "--dataset", "photos/test", "--views", "1")
    assert done.returncode == 0 and "left out" not in done.stdout
    assert splits(root, "evaluation")["test"]["images"] == 9


def test_a_data_set_that_is_not_found_from_here_is_asked_for_by_its_flag(root):
    (root / "photos").rename(root / "moved")
    assert_one_line(evaluate(root), 2, "was trained on the folder photos, which is not here", "--dataset")
    assert evaluate(root, "--dataset", "moved").returncode == 0


def test_a_line_tells_how_many_of_the_photos_were_trained_on(root):
    load = {split: data.load(str(root / "photos"), split, cache_dir=str(root)) for split in data.SPLITS}
    assert "was trained on" not in evaluate(root, "--views", "1").stdout
    digests = load["train"].digests + load["test"].digests[:2]
    save_classifier(root / "runs/classifier/classifier.pt", CLASSES, digests=digests)
    told = re.findall(r"(\w+): \S+ was trained on (.*)", evaluate(root, "--views", "1").stdout)
    assert told == [("test", "2 of 9 photos here")]
    save_classifier(root / "runs/classifier/classifier.pt", CLASSES, digests=["0" * 16])
    other = "was trained on other photos than lie in photos/ here: another folder?"
    assert other in evaluate(root, "--views", "1").stdout
    assert other not in evaluate(root, "--views", "1", "--dataset", "photos").stdout  # it was asked for


ODD = ["NA", "null", "01", "rosé", "a, b", 'the "rose"', " x ", "two\nlines", "cr\rlf\r\n"]
LATIN1 = os.fsdecode(b"ros\xe9")  # as an old disk has it


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_pandas_gives_every_name_back_exactly(root):
    shutil.rmtree(root / "photos/train")
    shutil.rmtree(root / "photos/val")
    (root / "photos/test/rose").rename(root / f"photos/test/{LATIN1}")
    for name in ODD:
        shutil.copytree(root / "photos/test/tulip", root / "photos/test" / name)
        (root / "photos/test" / name / "0.jpg").rename(root / "photos/test" / name / f"NA{name}.jpg")
    classes = data.load(str(root / "photos"), "test", cache_dir=str(root)).classes
    assert {*ODD, LATIN1} < {*classes}
    save_classifier(root / "runs/classifier/classifier.pt", classes)
    done = evaluate(root, "--views", "1")
    assert done.returncode == 0, done.stderr

    def exact(name: str) -> str:
        return re.sub("//(..)", lambda byte: chr(0xDC00 + int(byte[1], 16)), name)

    per_class, predictions = table(root, "per_class"), table(root, "predictions")
    assert [exact(name) for name in per_class["class"]] == classes
    assert per_class["class number"].tolist() == list(range(len(classes)))
    assert "ros//e9" in per_class["class"].values
    assert all((root / "photos/test" / os.path.relpath(exact(name), "test")).exists()
               for name in predictions["file"]) and len(predictions) == 3 * len(classes)
    for column in ("class", "predicted"):
        numbers = predictions[f"{column} number"]
        assert [exact(name) for name in predictions[column]] == [classes[i] for i in numbers]
    for name in ("per_class", "predictions"):
        assert (root / f"runs/classifier/{name}.csv").read_bytes().startswith(b"\xef\xbb\xbf")
