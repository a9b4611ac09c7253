"""Guards weights/, the model that comes with the project: whole, small, and used where the user has none."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import ROOT, assert_one_line, draw_folder, run_script

import evaluate
import predict
from flowers import decoding
from models import Encoder, PooledClassifier
from support import checkpoint, parts

CLASSES = ["daisy", "rose", "tulip"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder with a classifier.pt of random weights, photos/, and weights/ made of it."""
    root = tmp_path_factory.mktemp("weights")
    draw_folder(root / "photos")
    torch.manual_seed(0)
    checkpoint.save(root / "classifier.pt", {
        "kind": "classifier", "config": {"num_classes": 3, "batch_norm": True}, "head": "pooled",
        "classes": CLASSES, "dataset": "photos", "encoder": Encoder().state_dict(),
        "classifier": PooledClassifier(3).state_dict(), "digests": ["0" * 64],
        "flags": {"recipe": "strong", "data_dir": "/of/another/machine"}, "environment": {}})
    assert run_script(root, "study.ship", "classifier.pt").returncode == 0
    return root


def test_what_is_shipped_is_the_checkpoint_rounded_in_parts_that_sha256sum_checks(shipped):
    parts = sorted((shipped / "weights").glob("classifier.pt.*"))
    sizes = [part.stat().st_size for part in parts]
    assert len(sizes) == 2 and max(sizes) <= 15e6 and sum(sizes) <= 22e6
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=shipped / "weights", check=True,
                   capture_output=True)
    whole, rounded = (evaluate.load_classifier(shipped / name, CPU) for name in ("classifier.pt", "weights"))
    for name, value in whole[0].state_dict().items():
        kept = rounded[0].state_dict()[name]
        assert torch.equal(kept, value.bfloat16().float() if value.dim() > 1 else value), name
    assert rounded[1]["classes"] == CLASSES and rounded[1]["digests"] == ["0" * 64]
    assert rounded[1]["flags"] == {"recipe": "strong"}  # nothing of the machine


def spoil(folder: Path, damage: str) -> str:
    """Damage a copy of weights/; what has to be named."""
    one, two, sums = (folder / name for name in ("classifier.pt.1", "classifier.pt.2", "SHA256SUMS"))
    content = bytearray(two.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        two.unlink()
    elif damage == "swapped":
        two.write_bytes(one.read_bytes())
    elif damage in ("flipped", "cut"):
        two.write_bytes(content if damage == "flipped" else content[:-1])
    else:
        text = sums.read_text()
        sums.write_bytes({"empty list": b"", "zeros": b"\0" * len(text), "half a line": text.encode()[:90],
                          "list in UTF-16": text.encode("utf-16"), "other folder": text.replace(
                              "  ", "  ../").encode()}[damage])
        return "weights/SHA256SUMS is not a list"
    return "weights/classifier.pt.2"


@pytest.mark.parametrize("damage", ("flipped", "cut", "missing", "swapped", "empty list", "zeros",
                                    "half a line", "list in UTF-16", "other folder"))
def test_a_part_that_is_damaged_or_missing_is_one_line(damage, shipped, tmp_path):
    shutil.copytree(shipped / "weights", tmp_path / "weights")
    named = spoil(tmp_path / "weights", damage)
    done = run_script(shipped, "predict", "photos/test", "--classifier", tmp_path / "weights")
    assert_one_line(done, 2, named, "weights/ anew")


def test_a_list_as_other_systems_write_it_is_read(shipped, tmp_path):
    shutil.copytree(shipped / "weights", tmp_path / "weights")
    sums = tmp_path / "weights/SHA256SUMS"
    sums.write_bytes(sums.read_text().replace("  ", " *").replace("\n", "\r\n").upper().replace(
        "CLASSIFIER.PT", "classifier.pt").encode())
    assert parts.read(tmp_path / "weights").getvalue() == parts.read(shipped / "weights").getvalue()


def test_a_part_alone_is_refused_and_an_incomplete_folder_is_not_the_default(shipped, tmp_path, monkeypatch):
    for name in ("classifier.pt.1", "classifier.pt"):
        done = run_script(shipped, "predict", "photos/test", "--classifier", f"weights/{name}")
        assert_one_line(done, 2, f"weights/{name} is a part of a checkpoint; name the folder, weights")
    shutil.copytree(shipped / "weights", tmp_path / "both")
    shutil.copy(shipped / "classifier.pt", tmp_path / "both")  # a whole one beside a list of SHA-256
    assert checkpoint.load(tmp_path / "both/classifier.pt", "classifier")["classes"]
    monkeypatch.setattr(predict, "SHIPPED", tmp_path)
    done = run_script(shipped, "predict", "photos/test")
    assert_one_line(done, 2, "there is no classifier runs/classifier/classifier.pt; run train_classifier.py")


def test_it_names_photos_until_the_user_has_a_run(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "SHIPPED", shipped / "weights")
    shutil.copytree(shipped / "photos", tmp_path / "photos")
    photo = "photos/test/rose/0.jpg"
    done = run_script(tmp_path, "predict", photo)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"naming flowers with {shipped}/weights, since there is no runs/classifier/classifier.pt, on ")
    asked = run_script(tmp_path, "predict", photo, "--classifier", shipped / "weights")
    named = done.stdout.splitlines()[1:]
    assert asked.stdout.splitlines()[1:] == named and len(named) == 4
    (tmp_path / "runs/classifier").mkdir(parents=True)
    shutil.copy(shipped / "classifier.pt", tmp_path / "runs/classifier")
    done = run_script(tmp_path, "predict", photo)
    assert done.stdout.startswith("naming flowers with runs/classifier/classifier.pt on ")


def test_its_temperature_divides_the_logits(shipped, tmp_path):
    assert run_script(shipped, "study.ship", "classifier.pt", "--out", tmp_path, "--temperature",
                      "0.5").returncode == 0
    x = torch.rand(2, 3, 100, 100)
    with torch.no_grad():
        as_it_is, sharper = (evaluate.load_classifier(folder, CPU)[0](x)
                             for folder in (shipped / "weights", tmp_path))
    assert torch.allclose(sharper, 2 * as_it_is)


def test_it_is_evaluated_into_a_folder_of_its_own_and_fine_tuned(shipped):
    before = sorted(shipped.glob("weights/*"))
    done = run_script(shipped, "evaluate", "--classifier", "weights", "--views", "1")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (shipped / "runs/evaluation").iterdir()} == set(evaluate.PRODUCTS)
    assert sorted(shipped.glob("weights/*")) == before
    done = run_script(shipped, "train_classifier", "--autoencoder", "weights", "--head", "pooled",
                      "--dataset", "photos", "--epochs", "1", "--no-augment", "--out", "runs/tuned")
    assert "encoder and classifier (conv1, conv2, linear, bn1, bn2; new: none) from weights, " in done.stdout


def test_the_projects_own_is_whole_and_names_photos_that_it_was_trained_on(photos, tmp_path, capsys):
    """So that no test photo is looked at again."""
    folder = predict.SHIPPED
    sizes = {path.name: path.stat().st_size for path in folder.glob("classifier.pt.*")}
    listed = [line.split()[1] for line in (folder / parts.SUMS).read_text().splitlines()]
    assert folder == ROOT / "weights" and sorted(sizes) == listed
    assert max(sizes.values()) <= 15e6 and sum(sizes.values()) <= 22e6
    content = evaluate.load_classifier(folder, CPU)[1]
    assert len(content["classes"]) == 102 and len(set(content["digests"])) == 2040
    args = evaluate.parse_args(["--data-dir", str(photos), "--cache-dir", str(tmp_path), "--views", "1"])
    evaluate.load("flowers102", "val", args, content | {"digests": []})  # as if of copies in another size
    assert "was trained on 1020 of 1020 photos here" in capsys.readouterr().out
    jpegs = sorted(Path(photos, "flowers-102/jpg").iterdir())
    of = {decoding.digest_of(path.read_bytes()): path for path in jpegs[::10]}
    trained_on = [of[digest] for digest in content["digests"] if digest in of][:20]
    done = run_script(tmp_path, "predict", *trained_on, "--json", "--classifier", folder)
    probabilities = [json.loads(line)["names"][0]["probability"] for line in done.stdout.splitlines()]
    assert len(probabilities) == 20 and sum(probabilities) / 20 > 0.5
