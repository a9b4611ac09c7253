"""Guards the files of earlier versions: runs of format 1 resume and evaluate, or one line says why not.

old_runs.json has the plain entries of both stages' files as an earlier version wrote them, and of each tensor
its shape and type. The values are drawn here.
"""

import json
import shutil

import pytest
import torch
from conftest import COMMON, ROOT, assert_one_line, run_script

import data
from support import run_log

OLD = json.loads((ROOT / "tests/old_runs.json").read_text())
UNTYPED = COMMON[2:]  # without --recipe: a resume takes the run's, and these know of none but the report's
FLAGS = {"autoencoder": [*UNTYPED, "--precision", "fp32", "--out", "old-ae"],
         "classifier": [*UNTYPED, "--precision", "fp32", "--out", "old-cl",
                        "--autoencoder", "old-ae/autoencoder.pt"]}
POSITIVE = ("running_var", "exp_avg_sq", "sum")


def rebuild(entry, name, generator):
    """What an entry of old_runs.json stands for, its tensors drawn; name: the key it is found under."""
    if isinstance(entry, list):
        return [rebuild(each, name, generator) for each in entry]
    if not isinstance(entry, dict):
        return entry
    if "dict" in entry:
        return {key: rebuild(value, str(key), generator) for key, value in entry["dict"]}
    if "tuple" in entry:
        return tuple(rebuild(each, name, generator) for each in entry["tuple"])
    dtype = getattr(torch, entry["dtype"])
    if "value" in entry:
        return torch.tensor(entry["value"], dtype=dtype)
    drawn = torch.randn(entry["tensor"], generator=generator, dtype=dtype)
    return drawn.abs_().add_(0.5) if name.endswith(POSITIVE) else drawn.mul_(0.02)


def write_run(stage, out, digest, files=("last.pt", "product")):
    """The files of an earlier version's run, of the photos that have this digest."""
    out.mkdir()
    generator = torch.Generator().manual_seed(0)
    for file in files:
        file = f"{stage}.pt" if file == "product" else file
        content = rebuild(OLD[f"{stage}/{file}"], "", generator)
        if file == "last.pt":
            content["photos"] = digest
        torch.save(content, out / file)
    rows = "".join(json.dumps(row) + "\n" for row in OLD[f"{stage}/log.jsonl"])
    (out / "log.jsonl").write_text(rows)


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """A folder with photos/ and an earlier version's runs of both stages."""
    root = tmp_path_factory.mktemp("old")
    (root / "photos").symlink_to(trained / "photos")
    train, val = (data.load(str(trained / "photos"), split, cache_dir=str(root / "cache")).digest()
                  for split in ("train", "val"))
    write_run("autoencoder", root / "old-ae", train)
    write_run("classifier", root / "old-cl", train + val)
    yield root
    shutil.rmtree(root)  # gigabytes


@pytest.mark.parametrize("stage,out", (("autoencoder", "old-ae"), ("classifier", "old-cl")))
def test_an_earlier_versions_run_resumes(stage, out, folder):
    done = len(OLD[f"{stage}/log.jsonl"]) - 1
    resumed = run_script(folder, f"train_{stage}", *FLAGS[stage], "--resume", "--epochs", done + 1)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resuming {out}/last.pt after epoch {done}\n" in resumed.stdout
    header, rows = run_log.read_log(folder / out / "log.jsonl")
    assert [row["epoch"] for row in rows] == list(range(1, done + 2)) and len(header["resumes"]) == 1
    last = torch.load(folder / out / "last.pt", weights_only=True, mmap=True)
    assert last["format"] == 2 and not {"crop", "init", "unpooling", "from_scratch"} & last["flags"].keys()


def test_an_earlier_versions_products_are_evaluated_and_predict(folder, tmp_path):
    write_run("autoencoder", tmp_path / "ae", "", files=("product",))
    write_run("classifier", tmp_path / "cl", "", files=("product",))
    checkpoint = ["--classifier", tmp_path / "cl/classifier.pt"]
    evaluated = run_script(folder, "evaluate", *checkpoint, "--autoencoder", tmp_path / "ae/autoencoder.pt",
                           "--cache-dir", "cache", "--device", "cpu")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "cl/evaluation.json").read_text())["splits"]["test"]["images"] == 9
    predicted = run_script(folder, "predict", *checkpoint, "photos/test/rose/0.jpg")
    assert predicted.returncode == 0 and "daisy" in predicted.stdout
    (tmp_path / "cl/classifier.pt").unlink()  # half a gigabyte


@pytest.mark.parametrize("where,field,value", (("config", "unpooling", "nearest"), ("flags", "init", "he"),
                                               ("flags", "crop", "squash"), (None, "crop", "squash"),
                                               ("flags", "target", "edges")))
def test_a_field_that_went_is_refused_where_it_holds_another_value(where, field, value, folder, tmp_path):
    content = rebuild(OLD["autoencoder/autoencoder.pt"], "", torch.Generator().manual_seed(0))
    (content[where] if where else content)[field] = value
    torch.save(content, tmp_path / "odd.pt")
    refused = run_script(folder, "train_classifier", *COMMON, "--autoencoder", tmp_path / "odd.pt",
                         "--out", tmp_path / "run")
    assert_one_line(refused, 2, str(tmp_path / "odd.pt"), f"was made with {field} {value}, which went")
    assert not (tmp_path / "run").exists()
