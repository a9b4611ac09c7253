"""Guards weights/, the model that comes with the project: whole, small, and used where the user has none."""

import json
import shutil
import subprocess

import pytest
import torch
from conftest import assert_one_line, draw_folder, run_script

import evaluate
import predict
from models import Encoder, PooledClassifier
from support import checkpoint

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
    for before, after in zip(whole[:2], rounded[:2]):
        for name, value in before.state_dict().items():
            kept = after.state_dict()[name]
            assert torch.equal(kept, value.bfloat16().float() if value.dim() > 1 else value), name
    assert rounded[2]["classes"] == CLASSES and rounded[2]["digests"] == ["0" * 64]
    assert rounded[2]["flags"] == {"recipe": "strong"}  # nothing of the machine


@pytest.mark.parametrize("damage", ("flipped", "cut", "missing", "swapped"))
def test_a_part_that_is_damaged_or_missing_is_one_line(damage, shipped, tmp_path):
    shutil.copytree(shipped / "weights", tmp_path / "weights")
    one, two = (tmp_path / f"weights/classifier.pt.{number}" for number in (1, 2))
    content = bytearray(two.read_bytes())
    if damage == "missing":
        two.unlink()
    elif damage == "swapped":
        two.write_bytes(one.read_bytes())
    else:
        content[len(content) // 2] ^= 1
        two.write_bytes(content if damage == "flipped" else content[:-1])
    done = run_script(shipped, "predict", "photos/test", "--classifier", tmp_path / "weights")
    assert_one_line(done, 2, "weights/classifier.pt.2", "weights/ anew")


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


def test_its_temperature_sharpens_the_probabilities_that_are_shown(shipped, tmp_path):
    assert run_script(shipped, "study.ship", "classifier.pt", "--out", tmp_path, "--temperature",
                      "0.5").returncode == 0
    as_it_is, sharper = (
        json.loads(run_script(shipped, "predict", "photos/test/rose/0.jpg", "--json", "--classifier",
                              folder).stdout)["names"] for folder in ("weights", tmp_path))
    squares = [name["probability"] ** 2 for name in as_it_is]  # all three classes
    assert [name["name"] for name in sharper] == [name["name"] for name in as_it_is]
    assert [name["probability"] for name in sharper] == pytest.approx(
        [square / sum(squares) for square in squares], abs=1e-5)


def test_it_is_evaluated_into_a_folder_of_its_own_and_fine_tuned(shipped):
    before = sorted(shipped.glob("weights/*"))
    done = run_script(shipped, "evaluate", "--classifier", "weights", "--views", "1")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (shipped / "runs/weights").iterdir()} == set(evaluate.PRODUCTS)
    assert sorted(shipped.glob("weights/*")) == before
    done = run_script(shipped, "train_classifier", "--autoencoder", "weights", "--head", "pooled",
                      "--dataset", "photos", "--epochs", "1", "--no-augment", "--out", "runs/tuned")
    assert "encoder and classifier (conv1, conv2, linear, bn1, bn2; new: none) from weights, " in done.stdout
