"""Guards runs against damaged or hostile files, flags and photos that do not fit, losses not finite."""

import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COMMON, HEADS, assert_one_line, contents, draw_folder, run_script
from PIL import Image

import data
import evaluate
import train_autoencoder
import train_classifier
from flowers import decoding
from study import rows
from study import run as study_run
from support import checkpoint, files, machine, run_folder, run_log
from support.errors import UserError
from tests.kills import same

# --- damaged and hostile checkpoints ---


SMALL = {"kind": "autoencoder", "config": {"batch_norm": True},
         "model": {"weight": torch.arange(7.0), "count": torch.tensor(3)}, "dataset": "flowers102"}


def saved(content: dict, folder: Path) -> bytes:
    checkpoint.save(folder / "whole.pt", content)
    return (folder / "whole.pt").read_bytes()


def flipped(whole: bytes, place: int, bit: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1:]


def loads(damaged: bytes, content: dict, folder: Path) -> bool:
    """Whether what is left of a checkpoint loads, with its content then; else it is refused as promised."""
    path = folder / "damaged.pt"
    path.write_bytes(damaged)
    try:
        found = checkpoint.load(path, content["kind"])
    except UserError as error:
        assert str(path) in str(error) and error.exit_status == 2
        return False
    assert same(found, content)
    return True


def test_each_cut_is_refused_and_a_flipped_bit_of_each_byte_is_or_changes_nothing(tmp_path):
    whole = saved(SMALL, tmp_path)
    assert not any(loads(whole[:length], SMALL, tmp_path) for length in range(len(whole)))
    # it may hit a field that no reader uses
    kept = [loads(flipped(whole, i, i % 8), SMALL, tmp_path) for i in range(len(whole))]
    assert 0 < sum(kept) < len(kept)


def test_a_flipped_bit_in_real_weights_is_refused(trained, tmp_path):
    content = torch.load(trained / "runs/autoencoder/last.pt", weights_only=True)
    whole = saved(content, tmp_path)
    for place in np.random.default_rng(0).integers(0, len(whole), 20):
        loads(flipped(whole, place, 6), content, tmp_path)


@pytest.mark.parametrize("what", ("missing", "empty", "folder", "text", "photo", "compressed", "other kind",
                                  "plain tensor", "lacks a field"))
def test_what_is_no_checkpoint_is_refused_and_named(what, trained, tmp_path):
    path = tmp_path / "file.pt"
    if what == "empty":
        path.touch()
    elif what == "folder":
        path.mkdir()
    elif what == "text":
        path.write_text("weights")
    elif what == "photo":
        path.write_bytes((trained / "photos/train/rose/0.jpg").read_bytes())
    elif what == "compressed":
        old = zipfile.ZipFile(trained / "runs/autoencoder/autoencoder.pt")
        with old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
    elif what == "other kind":
        checkpoint.save(path, {"kind": "classifier"})
    elif what == "plain tensor":
        torch.save(torch.zeros(3), path)
    elif what == "lacks a field":
        checkpoint.save(path, {"kind": "autoencoder"})
    done = run_script(trained, "train_classifier", *COMMON, "--autoencoder", path, "--out", tmp_path / "run")
    assert_one_line(done, 2, str(path))
    assert not (tmp_path / "run").exists()


def test_a_damaged_run_is_never_begun_afresh(trained, tmp_path):
    (tmp_path / "last.pt").write_bytes((trained / "runs/autoencoder/last.pt").read_bytes()[:-100])
    before = contents(tmp_path)
    assert_one_line(run_script(trained, "train_autoencoder", *COMMON, "--resume", "--out", tmp_path),
                    2, "last.pt", "damaged")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("change", ("no batch norm", "a weight less", "another shape", "another flag"))
def test_an_autoencoder_that_does_not_fit_is_refused_and_named(change, trained, tmp_path):
    content = checkpoint.load(trained / "runs/autoencoder/autoencoder.pt", "autoencoder")
    if change == "no batch norm":
        content["config"]["batch_norm"] = False
    elif change == "a weight less":
        del content["model"]["encoder.conv1.weight"]
    elif change == "another shape":
        content["model"]["encoder.conv1.bias"] = torch.zeros(5)
    elif change == "another flag":
        content["config"]["layers"] = 7
    checkpoint.save(tmp_path / "odd.pt", content)
    with pytest.raises(UserError, match="odd.pt does not fit AutoEncoder") as refusal:
        evaluate.load_encoder(tmp_path / "odd.pt")
    assert "\n" not in str(refusal.value)  # torch's own message has several lines


def test_a_resume_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="--resume: there is no .*/run/last.pt; start without --resume"):
        train_autoencoder.main(train_autoencoder.parse_args(["--resume", "--out", str(tmp_path / "run")]))
    assert not (tmp_path / "run").exists()


def test_a_run_whose_weights_do_not_fit_is_not_resumed(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    content = checkpoint.load("runs/autoencoder/last.pt", "autoencoder run")
    del content["model"]["encoder.conv1.weight"]
    checkpoint.save(tmp_path / "last.pt", content)
    (tmp_path / "log.jsonl").write_bytes(Path("runs/autoencoder/log.jsonl").read_bytes())
    args = train_autoencoder.parse_args([*COMMON, "--epochs", "2", "--resume", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="last.pt does not fit AutoEncoder"):
        train_autoencoder.main(args)


@pytest.mark.parametrize("change", ("a moment of another shape", "a weight without moments", "no list",
                                    "a step count of many", "a moment that is text", "a moment less"))
def test_an_optimizer_whose_state_does_not_fit_is_not_resumed(change, trained, tmp_path):
    """PyTorch checks no shapes here, and its fused step then writes past a tensor's end."""
    content = checkpoint.load(trained / "runs/autoencoder/last.pt", "autoencoder run")
    state = content["optimizer"]["state"]
    if change == "a moment of another shape":
        state[0]["exp_avg"] = torch.zeros(3)
    elif change == "a weight without moments":
        del state[0]
    elif change == "no list":
        content["optimizer"]["param_groups"] = 7
    elif change == "a step count of many":
        state[0]["step"] = torch.zeros(3)
    elif change == "a moment less":
        del state[0]["exp_avg_sq"]
    elif change == "a moment that is text":
        state[0]["exp_avg"] = "much"
    checkpoint.save(tmp_path / "last.pt", content)
    (tmp_path / "log.jsonl").write_bytes((trained / "runs/autoencoder/log.jsonl").read_bytes())
    done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path)
    assert_one_line(done, 2, "last.pt does not fit Adam")


@pytest.mark.parametrize("odd", ({"lr": 7.0}, {"lr": "fast"}, {"betas": None}))
def test_the_rates_of_a_resumed_run_are_its_flags_whatever_its_optimizer_holds(odd, trained, tmp_path):
    content = checkpoint.load(trained / "runs/autoencoder/last.pt", "autoencoder run")
    content["optimizer"]["param_groups"][0] |= odd
    for name, state in (("as it was", None), ("odd", content)):
        shutil.copytree(trained / "runs/autoencoder", tmp_path / name)
        if state:
            checkpoint.save(tmp_path / name / "last.pt", state)
        done = run_script(
            trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path / name
        )
        assert done.returncode == 0, done.stderr
    models = [
        checkpoint.load(tmp_path / name / "last.pt", "autoencoder run")["model"]
        for name in ("as it was", "odd")
    ]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_an_environment_without_versions_is_another_machines(trained, tmp_path, capsys):
    content = checkpoint.load(trained / "runs/autoencoder/last.pt", "autoencoder run")
    run_folder.check_resume(
        content | {"environment": {"versions": None}},
        content["flags"],
        content["environment"],
        content["photos"],
        tmp_path / "last.pt",
    )
    assert capsys.readouterr().out.count("not the same bits as without a break") == 3


@pytest.mark.parametrize("field,value", (("flags", [1]), ("epoch", "2"), ("environment", 1),
                                         ("optimizer", None), ("model", {1: 2})))
def test_a_field_of_another_type_is_refused(field, value, trained, tmp_path):
    content = torch.load(trained / "runs/autoencoder/last.pt", weights_only=True)
    checkpoint.save(tmp_path / "last.pt", content | {field: value})
    (tmp_path / "log.jsonl").write_bytes((trained / "runs/autoencoder/log.jsonl").read_bytes())
    done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path)
    assert_one_line(done, 2, "last.pt")


def test_what_a_run_left_is_not_replaced_when_its_last_pt_is_gone(trained, tmp_path):
    for name in ("autoencoder.pt", "log.jsonl"):
        shutil.copy(trained / "runs/autoencoder" / name, tmp_path)
    before = contents(tmp_path)
    done = run_script(trained, "train_autoencoder", *COMMON, "--out", tmp_path)
    assert_one_line(done, 2, "holds a run already", "--overwrite")
    assert "--resume" not in done.stderr and contents(tmp_path) == before  # there is nothing to resume


def test_a_run_is_resumed_with_its_photos_under_another_path_and_no_others(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "runs/autoencoder", run)
    shutil.copytree(trained / "photos", tmp_path / "moved")
    flags = [*COMMON, "--out", run, "--resume", "--epochs", "3", "--dataset", tmp_path / "moved"]
    (tmp_path / "moved/train/rose/0.jpg").rename(tmp_path / "0.jpg")
    assert_one_line(run_script(trained, "train_autoencoder", *flags), 2, "the photos or labels are not those")
    (tmp_path / "0.jpg").rename(tmp_path / "moved/train/rose/0.jpg")
    assert run_script(trained, "train_autoencoder", *flags).returncode == 0
    header = run_log.read_log(run / "log.jsonl")[0]
    assert header["dataset"] == header["flags"]["dataset"] == str(tmp_path / "moved")


def test_a_run_that_was_killed_after_its_last_save_still_gets_its_product(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "runs/autoencoder", run, ignore=shutil.ignore_patterns("autoencoder.pt"))
    assert (
        run_script(
            trained, "train_autoencoder", *COMMON, "--out", run, "--resume", "--epochs", "2"
        ).returncode
        == 0
    )
    assert (run / "autoencoder.pt").exists()


def test_a_resume_keeps_who_began_and_notes_who_goes_on(trained, tmp_path):
    run, log = tmp_path / "run", tmp_path / "run/log.jsonl"
    shutil.copytree(trained / "runs/autoencoder", run)
    first, *rows = log.read_text().splitlines()
    log.write_text("\n".join([json.dumps(json.loads(first) | {"processor": "abacus"}), *rows]) + "\n")
    done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", run)
    header = run_log.read_log(log)[0]
    assert done.returncode == 0 and header["processor"] == "abacus" and header["flags"]["epochs"] == 3
    who = [(each["after epoch"], each["processor"]) for each in header["resumes"]]
    assert who == [(2, json.loads(first)["processor"])]


def test_what_a_replaced_run_left_goes_though_its_removal_was_killed(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    shutil.copytree("runs/autoencoder", tmp_path / "run")
    flags, save = [*COMMON, "--epochs", "1", "--out", str(tmp_path / "run")], checkpoint.save

    def save_and_be_killed(path, content):
        save(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint, "save", save_and_be_killed)
        train_autoencoder.main(train_autoencoder.parse_args([*flags, "--overwrite"]))
    assert (tmp_path / "run/reconstruction_002.png").exists()
    train_autoencoder.main(train_autoencoder.parse_args([*flags, "--resume"]))
    assert "stays as it was" not in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "autoencoder.pt", "curve.png", "last.pt", "log.jsonl", "reconstruction_001.png"]


def test_a_resume_elsewhere_tells_what_is_left_by_its_own_epochs(trained, tmp_path):
    run, log = tmp_path / "run", tmp_path / "run/log.jsonl"
    shutil.copytree(trained / "runs/autoencoder", run)
    first, *rows = log.read_text().splitlines()
    slow = [json.dumps(json.loads(row) | {"seconds": 9e9}) for row in rows]
    log.write_text("\n".join([first, *slow]) + "\n")
    done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "4", "--resume", "--out", run)
    assert re.search(r"^1 more epoch will take about \d+ s$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("log", (None, "", '{}\n{"epoch": 1, "cost": 1.0}\n{"epoch": 2}\n',
                                 '{}\n{"epoch": 1}\n', '{}\n{"epoch": 1}\n{"epo',
                                 '{}\n{"epoch": 2}\n{"epoch": 1}\n'))
def test_a_resume_with_a_damaged_log_is_refused_and_leaves_it(log, tmp_path):
    path = tmp_path / "log.jsonl"
    if log is not None:
        path.write_text(log)
    with pytest.raises(UserError, match="log.jsonl is missing or damaged: it should hold 2 finished epochs"):
        run_log.start_log(path, {}, 2)
    assert (path.read_text() if path.exists() else None) == log


class Payload:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("form", ("zip", "legacy", "pickle"))
def test_a_payload_is_refused_and_not_run(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"kind": "autoencoder", "model": Payload()}
    if form == "pickle":
        (tmp_path / "bad.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, "bad.pt", _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=("bad.pt is refused: it holds more" if form == "zip" else
                                         "bad.pt is not a checkpoint")):
        checkpoint.load("bad.pt", "autoencoder")
    assert not (tmp_path / "harmed").exists()


def test_an_autoencoder_of_another_data_set_is_transfer_and_a_classifier_of_other_classes_is_refused(
    trained, tmp_path
):
    other, autoencoder = draw_folder(tmp_path / "other"), ["--autoencoder", "runs/autoencoder/autoencoder.pt"]
    done = run_script(trained, "train_classifier", *COMMON, *autoencoder, "--dataset", other,
                      *HEADS["classifier"], "--epochs", "1", "--out", tmp_path)
    assert done.returncode == 0 and done.stdout.count("transfer: ") == 1
    assert "trained with --dataset photos" in done.stdout
    for split in data.SPLITS:
        for folder in list((other / split).iterdir()):
            folder.rename(folder.with_name(f"wild {folder.name}"))
    done = run_script(trained, "evaluate", "--classifier", tmp_path / "classifier.pt", *autoencoder,
                      "--cache-dir", "cache")
    assert_one_line(done, 2, "knows none of its classes, but daisy, rose")
    assert "wild rose" in done.stdout
    assert "trained with --dataset photos" in done.stdout


def test_weights_of_another_torch_version_are_loaded_with_a_line(trained, tmp_path, capsys):
    content = torch.load(trained / "runs/autoencoder/autoencoder.pt", weights_only=True)
    content["environment"]["versions"]["torch"] = "1.0"
    checkpoint.save(tmp_path / "old.pt", content)
    checkpoint.load(tmp_path / "old.pt", "autoencoder")
    assert f"old.pt was made with torch 1.0, this is {torch.__version__}" in capsys.readouterr().out
    checkpoint.load(trained / "runs/autoencoder/autoencoder.pt", "autoencoder")
    assert capsys.readouterr().out == ""


def test_a_resume_elsewhere_says_that_the_bits_may_differ(trained, tmp_path):
    content = torch.load(trained / "runs/autoencoder/last.pt", weights_only=True)
    content["environment"]["versions"]["torch"] = "1.0"
    content["environment"] |= {"threads": 64, "processor": "abacus"}
    checkpoint.save(tmp_path / "last.pt", content)
    (tmp_path / "log.jsonl").write_bytes((trained / "runs/autoencoder/log.jsonl").read_bytes())
    done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path)
    assert done.returncode == 0
    assert all(
        f"made with {made}, this is" in done.stdout
        for made in ("torch 1.0", "threads 64", "processor abacus")
    )


@pytest.mark.parametrize("stage", ("autoencoder", "classifier"))
@pytest.mark.parametrize("device", ("cpu", "cuda"))
def test_a_resume_goes_on_in_another_precision_or_on_another_device(stage, device, trained, tmp_path):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    flags = [*COMMON, *HEADS[stage], "--out", tmp_path]
    begun = run_script(trained, f"train_{stage}", *flags, "--epochs", "1", "--device", device, "--precision",
                       "bf16")
    assert begun.returncode == 0, begun.stderr
    done = run_script(trained, f"train_{stage}", *flags, "--epochs", "2", "--precision", "fp32", "--resume")
    assert done.returncode == 0, done.stderr
    differ = [line for line in done.stdout.splitlines() if line.startswith("not the same bits")]
    assert f"not the same bits as without a break: {tmp_path}/last.pt was made with precision bf16, " \
           f"this is fp32" in differ
    assert (device == "cuda") == any("device cuda, this is cpu" in line for line in differ)
    header = run_log.read_log(tmp_path / "log.jsonl")[0]
    assert (header["precision"], header["resumes"][0]["precision"]) == ("bf16", "fp32")


@pytest.mark.parametrize("flag,value", (("--seed", "1"), ("--batch-size", "5"), ("--optimizer", "sgd"),
                                        ("--learning-rate", "0.1"), ("--weight-decay", "0.1"),
                                        ("--no-batch-norm", None)))
def test_a_resume_with_another_flag_is_refused_with_both_values(flag, value, trained, monkeypatch):
    monkeypatch.chdir(trained)
    args = train_autoencoder.parse_args(
        [*COMMON, "--epochs", "2", "--resume", flag, *([value] if value else [])]
    )
    name = flag.removeprefix("--no-")
    with pytest.raises(UserError, match=f"--resume: --{name.removeprefix('--')} is {value or False}, "
                                        f"but .* was made with"):
        train_autoencoder.main(args)


@pytest.mark.parametrize("stage", (train_autoencoder, train_classifier))
def test_a_resume_compares_each_flag_that_changes_the_result(stage):
    flags = vars(stage.parse_args([]))
    for name in flags.keys() - {"out", "epochs", "save_every", "resume", "overwrite", "data_dir", "cache_dir",
                                "dataset", "device", "precision"}:
        made = {"flags": flags | {name: "other"}, "epoch": 0, "photos": "", "environment": {"versions": {}}}
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is .* was made with other"):
            run_folder.check_resume(made, flags, {"versions": {}}, "", Path("last.pt"))


def test_a_resume_takes_the_same_autoencoder_by_another_spelling(trained, monkeypatch):
    monkeypatch.chdir(trained)
    flags = vars(train_classifier.parse_args(
        ["--recipe", "report", "--autoencoder", "runs/autoencoder/autoencoder.pt"]))
    flags["autoencoder"] = str(flags["autoencoder"])
    made = {
        "kind": "classifier run",
        "flags": flags,
        "epoch": 0,
        "photos": "",
        "environment": {"versions": {}},
    }
    for spelling in (
        "runs/../runs/autoencoder/autoencoder.pt",
        str(trained / "runs/autoencoder/autoencoder.pt"),
    ):
        run_folder.check_resume(
            made, flags | {"autoencoder": spelling}, {"versions": {}}, "", Path("last.pt")
        )
    with pytest.raises(
        UserError, match="--autoencoder is other.pt, but last.pt was made with runs/autoencoder/"
    ):
        run_folder.check_resume(
            made, flags | {"autoencoder": "other.pt"}, {"versions": {}}, "", Path("last.pt")
        )


def test_a_run_that_goes_on_past_its_end_says_that_its_product_is_older(trained, tmp_path):
    shutil.copytree(trained / "runs/autoencoder", tmp_path / "run")
    done = run_script(
        trained, "train_autoencoder", *COMMON, "--resume", "--epochs", "3", "--out", tmp_path / "run"
    )
    assert f"{tmp_path / 'run/autoencoder.pt'} stays as it was until this run ends\n" in done.stdout
    done = run_script(
        trained, "train_autoencoder", *COMMON, "--resume", "--epochs", "3", "--out", tmp_path / "run"
    )
    assert done.returncode == 0 and "stays as it was" not in done.stdout


def test_a_resume_to_fewer_epochs_than_are_done_is_refused(trained, monkeypatch):
    monkeypatch.chdir(trained)
    with pytest.raises(UserError, match="--epochs is 1, but .* is at 2"):
        train_autoencoder.main(train_autoencoder.parse_args([*COMMON, "--epochs", "1", "--resume"]))


# --- data ---


@pytest.mark.parametrize("stage,words", (
    (train_autoencoder, "one training photo is too few"),
    (train_classifier, "there is only rose; want two classes or more")))
def test_one_photo_is_too_few(stage, words, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "rose").mkdir(parents=True)
        Image.new("RGB", (100, 100)).save(tmp_path / split / "rose/0.jpg")
    flags = ["--dataset", str(tmp_path), "--cache-dir", str(tmp_path / "cache"),
             "--out", str(tmp_path / "run"), "--epochs", "1"]
    with pytest.raises(UserError, match=words):
        stage.main(stage.parse_args(flags))
    assert not (tmp_path / "run").exists()


def test_a_bomb_of_pixels_is_named_not_decoded(folder, tmp_path):
    bomb = folder / "train/rose/bomb.png"
    Image.new("1", (20000, 20000)).save(bomb)
    with pytest.raises(UserError, match="bomb.png"):
        data.load(str(folder), "train", cache_dir=tmp_path / "cache")


def test_16_bit_grey_keeps_its_tones(tmp_path):
    Image.fromarray(np.linspace(0, 65535, 100 * 100).astype(np.uint16).reshape(100, 100)).save(
        tmp_path / "deep.png"
    )
    pixels = decoding.decode(tmp_path / "deep.png", 100)
    assert np.array_equal(pixels[..., 0].ravel(), np.linspace(0, 65535, 10000).astype(np.uint16) >> 8)


def test_a_cache_with_other_content_is_rebuilt_with_a_line(folder, tmp_path, capsys):
    fresh = data.load(str(folder), "train", cache_dir=tmp_path)
    cached = next(tmp_path.glob("*.pt"))
    for content in ({"kind": "photos"}, {"kind": "autoencoder"}):  # of another version; something else
        checkpoint.save(cached, content)
        assert torch.equal(data.load(str(folder), "train", cache_dir=tmp_path).images, fresh.images)
        assert "decoding the photos again" in capsys.readouterr().out


# --- the run itself ---


@pytest.mark.parametrize("stage,model", (("autoencoder", "model"), ("classifier", "classifier")))
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(stage, model, trained, tmp_path):
    flags = [*COMMON, *HEADS[stage], "--out", tmp_path, "--optimizer", "sgd", "--learning-rate", "1e30",
             "--save-every", "1", "--epochs", "2"]
    assert_one_line(run_script(trained, f"train_{stage}", *flags), 1, "epoch 1", "1e+30")
    content = torch.load(tmp_path / "last.pt", weights_only=True, mmap=True)
    assert content["epoch"] == 0 and all(torch.isfinite(w).all() for w in content[model].values())


def test_a_last_step_that_ruins_the_weights_is_not_saved(trained, tmp_path):
    """One step an epoch: its loss is that of the weights before it."""
    flags = ["--dataset", "photos", "--cache-dir", "cache", "--out", tmp_path, "--optimizer", "sgd",
             "--learning-rate", "1e60", "--epochs", "1"]
    assert_one_line(
        run_script(trained, "train_autoencoder", *flags), 1, "not finite", str(tmp_path / "last.pt")
    )
    assert (checkpoint.load(tmp_path / "last.pt", "autoencoder run")["epoch"] == 0
            and not (tmp_path / "autoencoder.pt").exists())


def test_every_source_of_randomness_follows_seed_and_epoch():
    def draw(seed, epoch):
        shuffle = machine.seeded_shuffle(seed, epoch)
        return torch.randperm(50, generator=shuffle).tolist(), torch.rand(3).tolist()

    draws = {(seed, epoch): draw(seed, epoch) for seed in range(3) for epoch in range(3)}
    torch.rand(7)  # what was drawn in between does not matter
    assert draw(1, 2) == draws[1, 2]
    for drawn in zip(*draws.values()):  # the shuffles; torch's own
        assert len({json.dumps(each) for each in drawn}) == 9


# --- experiments ---


def test_an_experiment_that_fails_is_named_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    for name in ("first", "second"):
        monkeypatch.setitem(rows.ROWS, name, rows.Row("", f"--dataset {tmp_path}/{name}", seeds=(0,)))
    args = study_run.parse_args(["--results", str(tmp_path), "--work", str(tmp_path / "work")])
    args.only = ["first", "second"]
    assert study_run.main(args) == 1
    failed = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in failed] == ["== first, seed 0", "== second, seed 0"]
    assert all(
        f"{tmp_path}/{name}: there is no such folder" in line
        for name, line in zip(("first", "second"), failed)
    )


FINISHED = {
    "seed": 0,
    "flags": {},
    "val_accuracy": 40.0,
    "splits": {},
}  # and its precision: what a result tells


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/final-0.json").write_text("{")
    flags = "--only", "final", "--seeds", "1", "--work", tmp_path / "work", "--results", tmp_path
    done = run_script(tmp_path, "study.run", *flags)
    assert_one_line(done, 1, f"{tmp_path}/runs/final-0.json is damaged", "remove it")


def test_a_finished_experiment_is_not_done_again(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/final-0.json").touch()
    flags = [
        "--only",
        "final",
        "--seeds",
        "0",
        "--results",
        str(tmp_path),
        "--work",
        str(tmp_path / "work"),
    ]
    assert study_run.main(study_run.parse_args(flags)) == 0 and capsys.readouterr().out == ""


@pytest.mark.parametrize("begun", ("runs/final-0.json", "work/final-3/log.jsonl"))  # finished, or not yet
def test_a_row_begun_in_another_precision_is_named_and_left_out(begun, tmp_path, capsys):
    here = machine.choose_precision("auto", machine.choose_device("auto"))
    other = {"fp32": "bf16", "bf16": "fp32"}[here]
    (tmp_path / begun).parent.mkdir(parents=True)
    (tmp_path / begun).write_text(json.dumps(FINISHED | {"precision": other}) + "\n")
    flags = ["--only", "final", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert study_run.main(study_run.parse_args(flags)) == 1
    named = capsys.readouterr().err.splitlines()
    seeds = (1, 2, 3, 4) if "runs" in begun else (0, 1, 2, 3, 4)
    assert named == [f"== final, seed {seed}: it was begun in {other}, here it would be in {here}"
                     for seed in seeds]


def test_a_row_that_another_machine_begins_meanwhile_in_its_precision_is_named(tmp_path, capsys, monkeypatch):
    """The first row fails, which gives the other machine its moment: it finishes a seed of the second."""
    here = machine.choose_precision("auto", machine.choose_device("auto"))
    other = {"fp32": "bf16", "bf16": "fp32"}[here]
    for name in ("first", "second"):
        monkeypatch.setitem(rows.ROWS, name, rows.Row("", f"--dataset {tmp_path}/{name}", seeds=(0, 1)))
    args = study_run.parse_args(
        ["--seeds", "0", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    )
    args.only, measure = ["first", "second"], study_run.measure

    def measure_beside_another(name, *rest):
        files.write_json(tmp_path / "runs/second-1.json", FINISHED | {"precision": other})
        measure(name, *rest)

    monkeypatch.setattr(study_run, "measure", measure_beside_another)
    assert study_run.main(args) == 1
    assert capsys.readouterr().err.splitlines()[1] == (
        f"== second, seed 0: it was begun in {other}, here it would be in {here}")
    assert not (tmp_path / "work/second-0").exists()


def test_a_run_that_failed_is_free_for_other_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(rows.ROWS, "first", rows.Row("", f"--dataset {tmp_path}/none", seeds=(0,)))
    args = study_run.parse_args(["--results", str(tmp_path), "--work", str(tmp_path / "work")])
    args.only = ["first"]
    (tmp_path / "work/first-0").mkdir(parents=True)  # an earlier process began it
    assert study_run.main(args) == 1 and "there is no" in capsys.readouterr().err
    with files.lock(tmp_path / "work/first-0", wait=False) as free:
        assert free
