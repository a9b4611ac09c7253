"""Guards export.py: another program gets the checkpoint's logits, class names and preprocessing."""

import functools
import importlib.util
import json
import os

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import assert_one_line, run_script
from PIL import Image

import data
import evaluate
from flowers import decoding
from models import HEADS, Encoder
from support import checkpoint

CLASSES = ["daisy", "NA", "two\nlines", os.fsdecode(b"ros\xe9"), "rosé"]


def save_classifier(path, head: str, batch_norm: bool) -> None:
    """A classifier.pt of random weights, with batch norm so that maps do not fade out."""
    torch.manual_seed(0)
    config = {"num_classes": len(CLASSES), "batch_norm": batch_norm}
    encoder, classifier = Encoder(batch_norm), HEADS[head](**config)
    for module in (*encoder.modules(), *classifier.modules()):
        if hasattr(module, "running_var"):
            module.running_var.fill_(0.1)
    checkpoint.save(path, {
        "kind": "classifier", "config": config, "head": head, "classes": CLASSES, "dataset": "photos",
        "encoder": encoder.state_dict(), "classifier": classifier.state_dict(), "flags": {}})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint of the pooled head, and what onnxruntime makes of its export."""
    root = tmp_path_factory.mktemp("export")
    save_classifier(root / "classifier.pt", "pooled", batch_norm=True)
    done = run_script(root, "export", "classifier.pt", "flower.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote flower.onnx: photos to logits of 5 classes, whose names it holds\n"
    assert done.stderr == ""
    assert sorted(path.name for path in root.iterdir()) == ["classifier.pt", "flower.onnx"]
    return root / "classifier.pt", onnxruntime.InferenceSession(root / "flower.onnx")


def pixels(*shape: int) -> torch.Tensor:
    """Smooth uint8 photos."""
    coarse = torch.rand(*shape[:2], 6, 6, generator=torch.Generator().manual_seed(shape[-1])) * 255
    return torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 255).to(torch.uint8)


def logits_of(path, photos: torch.Tensor) -> np.ndarray:
    """The networks' own, of uint8 (B, 3, 100, 100)."""
    network, _ = evaluate.load_classifier(path, torch.device("cpu"))
    with torch.no_grad():
        return network(data.to_input(photos, torch.device("cpu"))).numpy()


@pytest.mark.parametrize("count", (1, 3))
def test_logits_are_those_of_the_networks_for_any_batch(count, exported):
    path, session = exported
    photos = pixels(count, 3, 100, 100)
    (logits,) = session.run(None, {"photos": photos.numpy()})
    expected = logits_of(path, photos)
    assert logits.shape == (count, len(CLASSES)) and np.ptp(expected) > 0.1
    assert logits == pytest.approx(expected, abs=1e-5 * float(np.ptp(expected)))


@pytest.mark.parametrize("height,width", ((130, 171), (500, 333), (60, 47), (1, 1)))
def test_photos_of_any_size_are_cut_and_resized_as_in_training(height, width, exported, tmp_path):
    path, session = exported
    photo = pixels(1, 3, height, width)
    Image.fromarray(photo[0].permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    decoded = torch.from_numpy(decoding.decode(tmp_path / "photo.png", 100).copy()).permute(2, 0, 1)[None]
    (logits,) = session.run(None, {"photos": photo.numpy()})
    expected = logits_of(path, decoded)  # Pillow rounds the filter's weights, too
    assert logits == pytest.approx(expected, abs=0.01 * float(np.ptp(expected)))


def test_the_file_names_its_classes_and_its_input(exported):
    _, session = exported
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == [
        "daisy", "NA", "two\nlines", "ros//e9", "rosé"]
    (photos,) = session.get_inputs()
    assert (photos.name, photos.type) == ("photos", "tensor(uint8)")
    assert photos.shape == ["batch", 3, "height", "width"]


def test_the_reports_head_without_batch_norm_is_one_file_too(tmp_path):
    save_classifier(tmp_path / "classifier.pt", "report", batch_norm=False)
    assert run_script(tmp_path, "export", "classifier.pt", "flower.onnx").returncode == 0
    photos = pixels(2, 3, 100, 100)
    (logits,) = onnxruntime.InferenceSession(tmp_path / "flower.onnx").run(None, {"photos": photos.numpy()})
    expected = logits_of(tmp_path / "classifier.pt", photos)
    assert logits == pytest.approx(expected, abs=1e-5) and len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_done_is_one_line(exported, monkeypatch):
    path, _ = exported
    export = functools.partial(run_script, path.parent, "export")
    assert_one_line(export("absent.pt", "flower.onnx"), 2, "there is no classifier absent.pt")
    assert_one_line(export("classifier.pt", "absent/flower.onnx"), 1, "cannot write absent/flower.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", {"onnx": "here"}.get)
    assert_one_line(export("classifier.pt", "flower.onnx"), 2, "needs more packages: pip install onnxscript")


def test_a_checkpoint_is_not_written_over(exported):
    path, _ = exported
    done = run_script(path.parent, "export", "flower.onnx", "classifier.pt")
    assert done.returncode == 2 and "has to end in .onnx" in done.stderr
