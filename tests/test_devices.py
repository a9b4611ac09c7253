"""Guards the scripts on each device that is here, against the CPU's numbers and an unbroken run's bits."""

import csv
import json
import re

import pytest
import torch
from conftest import HEADS, assert_one_line, draw_folder, run_script

from support import machine
from support.run_log import read_log
from tests.kills import differences

HAS_GPU = torch.cuda.is_available()
PLACES = [("cpu", "fp32"), *([("cuda", "fp32"), ("cuda", "bf16")] if HAS_GPU else [])]
in_each_place = pytest.mark.parametrize("device,precision", PLACES)  # (other tests have the CPU's bf16)
needs_a_gpu = pytest.mark.skipif(not HAS_GPU, reason="no GPU; other tests have the CPU's")
STAGES = {"autoencoder": [], "classifier": [*HEADS["classifier"], "--dropout", "0"]}  # it differs by device
STRONG = ["--dataset", "photos", "--cache-dir", "cache", "--batch-size", "6", "--deterministic"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("devices")
    draw_folder(root / "photos")
    return root


def memory() -> int:
    """Bytes that tensors take on the GPU."""
    return torch.cuda.memory_allocated() if HAS_GPU else 0


def run(folder, script, *flags) -> str:
    done = run_script(folder, script, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@in_each_place
def test_both_stages_evaluation_and_prediction_work_and_leave_no_memory_taken(device, precision, folder):
    before, place = memory(), ("--device", device, "--precision", precision)
    out = {stage: f"{device}-{precision}/{stage}" for stage in STAGES}
    from_first = "--autoencoder", f"{out['autoencoder']}/autoencoder.pt"
    for stage, start in (("autoencoder", ()), ("classifier", from_first)):
        said = run(folder, f"train_{stage}", *STRONG, *STAGES[stage], *start, *place, "--epochs", "2",
                   "--out", out[stage])
        assert re.search(rf"on {device}\S* \(.*\) in {precision}\n", said)
    classifier = f"{out['classifier']}/classifier.pt"
    likely = {}
    for where in {device, "cpu"}:
        run(folder, "evaluate", "--classifier", classifier, "--cache-dir", "cache", "--device", where,
            "--precision", "fp32", "--out", f"{out['classifier']}/{where}")
        with open(folder / out["classifier"] / where / "predictions.csv", encoding="utf-8-sig") as file:
            likely[where] = [float(row["probability"]) for row in csv.DictReader(file)]
        said = run(folder, "predict", "photos/test", "--json", "--classifier", classifier, "--device", where)
        likely[where] += [json.loads(line)["names"][0]["probability"] for line in said.splitlines()]
    assert likely[device] == pytest.approx(likely["cpu"], abs=2e-3) and len(likely["cpu"]) == 12 + 6 + 9 + 9
    assert memory() == before


@needs_a_gpu
def test_photos_that_a_gpu_does_not_hold_are_copied_batch_by_batch():
    images = torch.randint(256, (500, 3, 176, 176), dtype=torch.uint8)
    streamed, busy = machine.Streamed(images, torch.device("cuda")), torch.rand(4000, 4000, device="cuda")
    batches = torch.randperm(500).split(50)
    copies = [(streamed[batch], busy.matmul(busy))[0] for batch in batches]
    for batch, copy in zip(batches, copies):
        assert torch.equal(copy.cpu(), images[batch])


@needs_a_gpu
@pytest.mark.parametrize("stage", STAGES)
def test_the_first_epochs_cost_on_a_gpu_what_they_do_on_the_cpu(stage, folder):
    costs = {}
    for where in ("cpu", "cuda"):
        run(folder, f"train_{stage}", *STRONG, *STAGES[stage], "--device", where, "--precision", "fp32",
            "--epochs", "2", "--out", (out := folder / f"costs/{stage}-{where}"))
        costs[where] = [row["cost"] for row in read_log(out / "log.jsonl")[1]]
    assert costs["cuda"] == pytest.approx(costs["cpu"], rel=2e-3) and len(costs["cpu"]) == 2


@needs_a_gpu
@pytest.mark.parametrize("precision", ("fp32", "bf16"))
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_on_a_gpu_that_stopped_goes_on_to_the_bits_of_one_that_did_not(stage, precision, folder):
    flags = (*STRONG, *HEADS[stage], "--device", "cuda", "--precision", precision, "--schedule", "constant")
    out = folder / f"stopped/{stage}-{precision}"
    run(folder, f"train_{stage}", *flags, "--epochs", "3", "--out", out / "unbroken")
    run(folder, f"train_{stage}", *flags, "--epochs", "1", "--out", out / "broken")
    assert "resuming" in run(folder, f"train_{stage}", *flags, "--epochs", "3", "--out", out / "broken",
                             "--resume")
    validated = "seconds", "val_accuracy"  # a run validates its last epoch
    assert differences(out / "unbroken", out / "broken", validated) == []


@needs_a_gpu
def test_too_little_memory_on_a_gpu_is_one_line_and_leaves_none_taken(folder):
    before, free = memory(), torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((before + 2**28) / free)
    try:
        done = run_script(folder, "train_classifier", *STRONG, "--device", "cuda", "--out", "too-large")
        assert_one_line(done, 1, "not enough memory", "--batch-size")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert memory() == before
