"""Guards runs against what can happen to them: kills, full disks, damaged or hostile files, bad flags, closed terminals."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import damage
import kill_runs
import numpy as np
import pytest
import torch
from conftest import ROOT, draw_folder
from PIL import Image

import checkpoint
import data
import decoding
import experiments
import files
import one_run
import recipes
import runtime
import train_autoencoder
import train_classifier
import training
from runtime import UserError

OURS = {**os.environ, "PYTHONPATH": str(ROOT)}  # for code that imports our modules
# as Python's output is by default
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
COMMON = ["--dataset", "photos", "--cache-dir", "cache", "--device", "cpu", "--batch-size", "6"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with photos/, a decoded cache and runs/autoencoder/ of two epochs."""
    root = tmp_path_factory.mktemp("faults")
    draw_folder(root / "photos")
    assert python(root, "train_autoencoder", *COMMON, "--epochs", "2").returncode == 0
    return root


def python(folder, script: str, *flags, before: str = "", **options) -> subprocess.CompletedProcess:
    """A script as a user runs it; `before` is code to run first, in the same process."""
    code = f"import sys; sys.argv = {[script + '.py', *map(str, flags)]!r}\n{textwrap.dedent(before)}\n" \
           f"import runtime, {script}; runtime.run({script}.main, {script}.parse_args())"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}, **options)


def assert_one_line(done: subprocess.CompletedProcess, status: int, *words: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def contents(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


# --- kills and interrupts ---


@pytest.mark.parametrize("stage,kills", (("autoencoder", 4), ("classifier", 2)))
def test_a_killed_run_resumes_to_the_bits_of_an_uninterrupted_one(stage, kills, tmp_path):
    result = kill_runs.kill_runs(stage, kills, tmp_path)
    assert result["kills"] == kills and result["while saving"] >= 1
    assert result["differences"] == []
    assert not list((tmp_path / "killed").glob("*.tmp*"))  # what the kills while saving left


@pytest.mark.parametrize("stage,number,status", (("autoencoder", signal.SIGINT, 130),
                                                 ("autoencoder", signal.SIGTERM, 143),
                                                 ("classifier", signal.SIGINT, 130)))
def test_an_interrupt_finishes_the_epoch_says_so_and_can_be_resumed(stage, number, status, trained, tmp_path):
    flags = [*COMMON, "--optimizer", "sgd", "--epochs", "100000", "--save-every", "100000", "--out", str(tmp_path / "run")]
    child = subprocess.Popen([sys.executable, ROOT / f"train_{stage}.py", *flags], cwd=trained,
                             stdout=subprocess.PIPE, text=True)
    next(line for line in child.stdout if line.startswith("Epoch : 1 "))
    child.send_signal(number)
    printed = child.stdout.read()
    assert child.wait() == status
    assert "finishing this epoch" in printed and "--resume continues" in printed
    finished = len(training.read_log(tmp_path / "run/log.jsonl")[1])
    assert torch.load(tmp_path / "run/last.pt", weights_only=True, mmap=True)["epoch"] == finished >= 1


def test_an_interrupt_outside_the_epochs_is_one_line():
    code = "import os, runtime, signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); " \
           "runtime.run(lambda args: (os.kill(os.getpid(), signal.SIGINT), time.sleep(9)), None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert_one_line(done, 130, "interrupted")


def test_after_a_stage_interrupts_are_what_they_were():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with training.interrupts():
        pass
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_interrupt_leaves_at_once_and_the_old_checkpoint_is_whole(trained, tmp_path):
    slow = "import torch.nn.functional as F, time, sys; mse = F.mse_loss; " \
           "F.mse_loss = lambda *x: (time.sleep(60), mse(*x))[1]"
    code = f"{slow}; sys.argv[0] = 'train_autoencoder.py'; import runtime, train_autoencoder as t; " \
           f"runtime.run(t.main, t.parse_args())"
    child = subprocess.Popen([sys.executable, "-c", code, *COMMON, "--out", str(tmp_path / "run")], cwd=trained,
                             stdout=subprocess.PIPE, text=True, env=OURS)
    while not (tmp_path / "run/log.jsonl").exists():
        time.sleep(0.05)
    time.sleep(1)  # into the epoch of a minute
    child.send_signal(signal.SIGINT)
    next(line for line in child.stdout if "finishing this epoch" in line)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=20) == -signal.SIGINT
    assert checkpoint.load(tmp_path / "run/last.pt", "autoencoder run")["epoch"] == 0


def test_two_processes_do_not_write_one_run(trained, tmp_path):
    run = tmp_path / "run"  # not there yet: the first process makes it
    child = subprocess.Popen([sys.executable, ROOT / "train_autoencoder.py", *COMMON, "--epochs", "100000", "--out", str(run)],
                             cwd=trained, stdout=subprocess.PIPE, text=True)
    next(line for line in child.stdout if line.startswith("Epoch"))
    for how in ("--resume", "--overwrite"):
        assert_one_line(python(trained, "train_autoencoder", *COMMON, "--out", run, how), 2, str(run), "another process")
    child.kill()
    child.wait()
    assert python(trained, "train_autoencoder", *COMMON, "--out", run, "--overwrite", "--epochs", "1").returncode == 0


# --- full disks ---


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(trained, tmp_path):
    """RLIMIT_FSIZE stands for the full disk: a write past it fails."""
    run = tmp_path / "run"
    assert python(trained, "train_autoencoder", *COMMON, "--epochs", "1", "--out", run).returncode == 0
    before = contents(run)
    shrink = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))"
    done = python(trained, "train_autoencoder", *COMMON, "--epochs", "2", "--out", run, "--resume", before=shrink)
    assert_one_line(done, 1, str(run / "last.pt"), "bytes", "--resume")
    after = contents(run)
    assert after.keys() - before.keys() == {"reconstruction_002.png"} and after["last.pt"] == before["last.pt"]
    done = python(trained, "train_autoencoder", *COMMON, "--epochs", "2", "--out", run, "--overwrite", before=shrink)
    assert_one_line(done, 1, str(run / "last.pt"))
    assert contents(run) == after  # an old run goes when there is room for the new one
    assert python(trained, "train_autoencoder", *COMMON, "--epochs", "2", "--out", run, "--resume").returncode == 0
    assert kill_runs.differences(trained / "runs/autoencoder", run) == []


def test_a_log_that_cannot_grow_is_named():
    with pytest.raises(UserError, match="cannot write /dev/full: No space left") as caught:
        training.log_row(Path("/dev/full"), {"epoch": 1})
    assert caught.value.exit_status == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot write .*/absent/result.json: No such file") as caught:
        files.write_json(tmp_path / "absent/result.json", {})
    assert caught.value.exit_status == 1


def test_a_full_disk_under_the_output_is_one_line(trained, tmp_path):
    with open("/dev/full", "w") as full:
        flags = [*COMMON, "--epochs", "1", "--out", str(tmp_path / "run")]
        done = subprocess.run([sys.executable, ROOT / "train_autoencoder.py", *flags], cwd=trained,
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space left" in done.stderr


def test_a_disk_that_is_full_at_the_last_line_is_one_line():
    code = "import runtime; runtime.run(lambda args: print('wrote autoencoder.pt'), None)"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONUNBUFFERED": ""})  # so that the line waits for the end
    assert_one_line(done, 1, "No space left")


def test_a_cache_that_does_not_fit_is_done_without(trained, tmp_path):
    shrink = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    code = f"{shrink}\nimport data; print(len(data.load('photos', 'train', cache_dir={str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=trained, capture_output=True, text=True, env=OURS)
    assert "going on without a cache" in done.stdout and done.stdout.endswith("12\n")
    assert list(tmp_path.iterdir()) == []


# --- damaged and hostile checkpoints ---


def test_each_cut_and_each_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    size = damage.size_of(damage.SMALL, tmp_path)
    found = damage.damage(damage.SMALL, tmp_path, range(size), [(i, bit) for i in range(size) for bit in range(8)])
    assert found["cut"] == {"refused": size}
    assert found["flipped bit"].keys() == {"refused", "the same values"} and found["flipped bit"].total() == 8 * size


def test_a_flipped_bit_in_real_weights_is_refused(trained, tmp_path):
    content = torch.load(trained / "runs/autoencoder/last.pt", weights_only=True)
    places = np.random.default_rng(0).integers(0, damage.size_of(content, tmp_path), 20)
    found = damage.damage(content, tmp_path, (), [(place, 6) for place in places])["flipped bit"]
    assert not found.keys() - {"refused", "the same values"}


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
    done = python(trained, "train_classifier", *COMMON, "--autoencoder", path, "--out", tmp_path / "run")
    assert_one_line(done, 2, str(path))
    assert not (tmp_path / "run").exists()


def test_a_damaged_run_is_never_begun_afresh(trained, tmp_path):
    (tmp_path / "last.pt").write_bytes((trained / "runs/autoencoder/last.pt").read_bytes()[:-100])
    before = contents(tmp_path)
    assert_one_line(python(trained, "train_autoencoder", *COMMON, "--resume", "--out", tmp_path), 2, "last.pt", "damaged")
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
    args = train_classifier.parse_args([*COMMON, "--autoencoder", str(tmp_path / "odd.pt")])
    with pytest.raises(UserError, match="odd.pt does not fit AutoEncoder") as refusal:
        train_classifier.starting_encoder(args)
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


@pytest.mark.parametrize("change", ("a moment of another shape", "a weight without moments", "no list"))
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
    checkpoint.save(tmp_path / "last.pt", content)
    (tmp_path / "log.jsonl").write_bytes((trained / "runs/autoencoder/log.jsonl").read_bytes())
    done = python(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path)
    assert_one_line(done, 2, "last.pt does not fit Adam")


def test_an_environment_without_versions_is_another_machines(trained, tmp_path, capsys):
    content = checkpoint.load(trained / "runs/autoencoder/last.pt", "autoencoder run")
    checkpoint.check_resume(content | {"environment": {"versions": None}}, content["flags"], content["environment"],
                            content["photos"], tmp_path / "last.pt")
    assert capsys.readouterr().out.count("not the same bits as without a break") == 3


@pytest.mark.parametrize("field,value", (("flags", [1]), ("epoch", "2"), ("environment", 1),
                                         ("optimizer", None), ("model", {1: 2})))
def test_a_field_of_another_type_is_refused(field, value, trained, tmp_path):
    content = torch.load(trained / "runs/autoencoder/last.pt", weights_only=True)
    checkpoint.save(tmp_path / "last.pt", content | {field: value})
    (tmp_path / "log.jsonl").write_bytes((trained / "runs/autoencoder/log.jsonl").read_bytes())
    done = python(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path)
    assert_one_line(done, 2, "last.pt")


def test_what_a_run_left_is_not_replaced_when_its_last_pt_is_gone(trained, tmp_path):
    for name in ("autoencoder.pt", "log.jsonl"):
        shutil.copy(trained / "runs/autoencoder" / name, tmp_path)
    before = contents(tmp_path)
    assert_one_line(python(trained, "train_autoencoder", *COMMON, "--out", tmp_path), 2, "holds a run already", "--overwrite")
    assert contents(tmp_path) == before


def test_a_resume_keeps_who_began_and_notes_who_goes_on(trained, tmp_path):
    run, log = tmp_path / "run", tmp_path / "run/log.jsonl"
    shutil.copytree(trained / "runs/autoencoder", run)
    first, *rows = log.read_text().splitlines()
    log.write_text("\n".join([json.dumps(json.loads(first) | {"processor": "abacus"}), *rows]) + "\n")
    done = python(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", run)
    header = training.read_log(log)[0]
    assert done.returncode == 0 and header["processor"] == "abacus" and header["flags"]["epochs"] == 3
    who = [(each["after epoch"], each["processor"]) for each in header["resumes"]]
    assert who == [(2, json.loads(first)["processor"])]


@pytest.mark.parametrize("log", (None, "", '{}\n{"epoch": 1, "cost": 1.0}\n{"epoch": 2}\n',
                                 '{}\n{"epoch": 1}\n', '{}\n{"epoch": 1}\n{"epo',
                                 '{}\n{"epoch": 2}\n{"epoch": 1}\n'))
def test_a_resume_with_a_damaged_log_is_refused_and_leaves_it(log, tmp_path):
    path = tmp_path / "log.jsonl"
    if log is not None:
        path.write_text(log)
    with pytest.raises(UserError, match="log.jsonl is missing or damaged: it should hold 2 finished epochs"):
        training.start_log(path, {}, 2)
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
    with pytest.raises(UserError, match="bad.pt is refused: it holds more" if form == "zip" else "bad.pt is not a checkpoint"):
        checkpoint.load("bad.pt", "autoencoder")
    assert not (tmp_path / "harmed").exists()


def unprivileged(folder, *command) -> subprocess.CompletedProcess:
    """A command that file modes stop, as they do not stop root."""
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root, and no setpriv to give up root's rights with")
        command = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *command)
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)


def test_files_without_permission_are_named(trained, tmp_path):
    secret, locked, photos = tmp_path / "secret.pt", tmp_path / "locked", draw_folder(tmp_path / "photos")
    secret.write_bytes((trained / "runs/autoencoder/autoencoder.pt").read_bytes())
    secret.chmod(0)
    locked.mkdir(mode=0o555)
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0)
    flags = ["--dataset", photos, "--cache-dir", tmp_path / "cache", "--epochs", "1"]
    train = lambda stage, *more: unprivileged(tmp_path, sys.executable, ROOT / f"train_{stage}.py", *flags, *more)
    assert_one_line(train("classifier", "--autoencoder", secret, "--out", tmp_path / "run"), 2, str(secret),
                    "Permission denied")
    assert_one_line(train("autoencoder", "--out", locked / "run"), 2, str(locked / "run"), "Permission denied")
    done = train("autoencoder", "--cache-dir", locked, "--out", tmp_path / "run")
    assert done.returncode == 0 and "going on without a cache" in done.stdout and str(locked) in done.stdout
    for more in (["--out", sealed / "run"], ["--dataset", sealed / "photos"],
                 ["--data-dir", sealed, "--dataset", "flowers102"]):
        done = train("autoencoder", *more)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and str(sealed) in done.stderr, done.stderr
    done = train("autoencoder", "--cache-dir", sealed, "--overwrite", "--out", tmp_path / "run")
    assert "going on without a cache" in done.stdout
    (photos / "train/rose/1.jpg").chmod(0)
    done = train("autoencoder", "--cache-dir", tmp_path / "new", "--out", tmp_path / "run2")
    assert_one_line(done, 2, "rose/1.jpg", "Permission denied")


def test_an_autoencoder_of_another_data_set_is_transfer_and_a_classifier_of_other_classes_is_refused(trained, tmp_path):
    other, autoencoder = draw_folder(tmp_path / "other"), ["--autoencoder", "runs/autoencoder/autoencoder.pt"]
    done = python(trained, "train_classifier", *COMMON, *autoencoder, "--dataset", other, "--crop", "squash",
                  "--epochs", "1", "--out", tmp_path)
    assert done.returncode == 0 and done.stdout.count("transfer: ") == 2
    assert "trained with --dataset photos" in done.stdout and "trained with --crop centre" in done.stdout
    for split in data.SPLITS:
        (other / split / "rose").rename(other / split / "orchid")
    done = python(trained, "evaluate", "--classifier", tmp_path / "classifier.pt", *autoencoder, "--cache-dir", "cache")
    assert_one_line(done, 2, "orchid", "rose")
    assert "trained with --dataset photos" in done.stdout and "trained with --crop centre" in done.stdout


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
    done = python(trained, "train_autoencoder", *COMMON, "--epochs", "3", "--resume", "--out", tmp_path)
    assert done.returncode == 0
    assert all(f"made with {made}, this is" in done.stdout for made in ("torch 1.0", "threads 64", "processor abacus"))


@pytest.mark.parametrize("flag,value", (("--seed", "1"), ("--batch-size", "5"), ("--optimizer", "sgd"),
                                        ("--learning-rate", "0.1"), ("--weight-decay", "0.1"),
                                        ("--crop", "squash"), ("--init", "he"), ("--precision", "other"),
                                        ("--no-batch-norm", None)))
def test_a_resume_with_another_flag_is_refused_with_both_values(flag, value, trained, monkeypatch):
    monkeypatch.chdir(trained)
    made = torch.load("runs/autoencoder/last.pt", weights_only=True)["flags"]["precision"]
    value = {"fp32": "bf16", "bf16": "fp32"}[made] if value == "other" else value
    args = train_autoencoder.parse_args([*COMMON, "--epochs", "2", "--resume", flag, *([value] if value else [])])
    name = flag.removeprefix("--no-")
    with pytest.raises(UserError, match=f"--resume: --{name.removeprefix('--')} is {value or False}, but .* was made with"):
        train_autoencoder.main(args)


@pytest.mark.parametrize("stage", (train_autoencoder, train_classifier))
def test_a_resume_compares_each_flag_that_changes_the_result(stage):
    flags = vars(stage.parse_args([]))
    for name in flags.keys() - {"out", "epochs", "save_every", "resume", "overwrite", "data_dir", "cache_dir", "quiet"}:
        made = {"flags": flags | {name: "other"}, "epoch": 0, "photos": "", "environment": {"versions": {}}}
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is .* was made with other"):
            checkpoint.check_resume(made, flags, {"versions": {}}, "", Path("last.pt"))


def test_a_resume_to_fewer_epochs_than_are_done_is_refused(trained, monkeypatch):
    monkeypatch.chdir(trained)
    with pytest.raises(UserError, match="--epochs is 1, but .* has 2 behind it"):
        train_autoencoder.main(train_autoencoder.parse_args([*COMMON, "--epochs", "1", "--resume"]))


# --- data ---


@pytest.mark.parametrize("stage", (train_autoencoder, train_classifier))
def test_one_photo_is_too_few(stage, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "rose").mkdir(parents=True)
        Image.new("RGB", (100, 100)).save(tmp_path / split / "rose/0.jpg")
    flags = ["--dataset", str(tmp_path), "--cache-dir", str(tmp_path / "cache"),
             "--out", str(tmp_path / "run"), "--epochs", "1"]
    with pytest.raises(UserError, match="one training photo is too few"):
        stage.main(stage.parse_args(flags))
    assert not (tmp_path / "run").exists()


def test_a_bomb_of_pixels_is_named_not_decoded(folder, tmp_path):
    bomb = folder / "train/rose/bomb.png"
    Image.new("1", (20000, 20000)).save(bomb)
    with pytest.raises(UserError, match="bomb.png"):
        data.load(str(folder), "train", cache_dir=tmp_path / "cache")


def test_16_bit_grey_keeps_its_tones(tmp_path):
    Image.fromarray(np.linspace(0, 65535, 100 * 100).astype(np.uint16).reshape(100, 100)).save(tmp_path / "deep.png")
    pixels = decoding.decode(tmp_path / "deep.png", 100, "centre")
    assert np.array_equal(pixels[..., 0].ravel(), np.linspace(0, 65535, 10000).astype(np.uint16) >> 8)


def test_two_processes_build_one_cache(folder, tmp_path):
    load = f"data.load({str(folder)!r}, 'train', cache_dir={str(tmp_path / 'cache')!r})"
    code = f"import data; print(int({load}.images.long().sum()))"
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=OURS)
                for _ in range(2)]
    sums = {child.communicate()[0] for child in children}
    assert len(sums) == 1 and [child.returncode for child in children] == [0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


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
    flags = [*COMMON, "--out", tmp_path, "--optimizer", "sgd", "--learning-rate", "1e30", "--save-every", "1", "--epochs", "2"]
    assert_one_line(python(trained, f"train_{stage}", *flags), 1, "epoch 1, step 2", "1e+30")
    content = torch.load(tmp_path / "last.pt", weights_only=True, mmap=True)
    assert content["epoch"] == 0 and all(torch.isfinite(w).all() for w in content[model].values())


def test_a_last_step_that_ruins_the_weights_is_not_saved(trained, tmp_path):
    """One step an epoch: its loss is that of the weights before it."""
    flags = ["--dataset", "photos", "--cache-dir", "cache", "--out", tmp_path, "--optimizer", "sgd",
             "--learning-rate", "1e60", "--epochs", "1"]
    assert_one_line(python(trained, "train_autoencoder", *flags), 1, "not finite", str(tmp_path / "last.pt"))
    assert checkpoint.load(tmp_path / "last.pt", "autoencoder run")["epoch"] == 0 and not (tmp_path / "autoencoder.pt").exists()


def test_too_little_memory_is_one_line_with_the_flag_to_lower(trained, tmp_path):
    limit = """
        import resource, train_classifier, torch
        torch.ones(10) @ torch.ones(10)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)"""
    done = python(trained, "train_classifier", *COMMON, "--out", tmp_path / "run", before=limit)
    assert_one_line(done, 1, "not enough memory", "--batch-size")


@pytest.mark.parametrize("environment", ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"NO_COLOR": "1", "TERM": "dumb"}))
def test_any_locale_and_terminal_will_do_and_no_control_characters_reach_a_file(environment, trained, tmp_path):
    photos = draw_folder(tmp_path / "fleurs-é")
    done = python(trained, "train_autoencoder", "--dataset", photos, "--cache-dir", tmp_path / "cache", "--epochs", "1",
                  "--out", tmp_path / "run-ü", env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and all(character.isprintable() or character == "\n" for character in done.stdout)


@pytest.mark.parametrize("stdout", ("| head -1", ">&-", ">&- 2>&-", "2>&-"))
def test_a_closed_output_is_no_traceback(stdout, trained, tmp_path):
    command = f"{sys.executable} {ROOT}/train_autoencoder.py {' '.join(COMMON)} --epochs 5 --out {tmp_path} {stdout}"
    done = subprocess.run(["bash", "-c", command], cwd=trained, capture_output=True, text=True, env=BUFFERED)
    assert done.stderr == ""
    assert checkpoint.load(tmp_path / "last.pt", "autoencoder run")  # whatever was saved is whole


@pytest.mark.parametrize("stdout", ("| true", ">/dev/full"))
def test_a_refusal_is_one_line_also_where_the_output_is_closed(stdout, trained, tmp_path):
    script = f"{sys.executable} {ROOT}/train_autoencoder.py --dataset nowhere --out {tmp_path / 'run'}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {script} {stdout}"], cwd=trained,
                          capture_output=True, text=True, env=BUFFERED)
    assert_one_line(done, 2, "nowhere")


def test_the_progress_bar_changes_no_bit(trained, tmp_path):
    """A run in a terminal, where the bar is drawn, against the run of `trained`, where it is not."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(trained)
        script = f"{sys.executable} {ROOT}/train_autoencoder.py {' '.join(COMMON)} --epochs 2 --out {tmp_path}/run"
        os.execvp("sh", ["sh", "-c", f"stty rows 24 cols 80; exec {script}"])
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # how Linux tells the end
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and b"\r" in shown and b"epoch 1" in shown
    assert kill_runs.differences(trained / "runs/autoencoder", tmp_path / "run") == []


def test_every_source_of_randomness_follows_seed_and_epoch():
    def draw(seed, epoch):
        shuffle = runtime.seed_epoch(seed, epoch)
        return torch.randperm(50, generator=shuffle).tolist(), torch.rand(3).tolist()

    draws = {(seed, epoch): draw(seed, epoch) for seed in range(3) for epoch in range(3)}
    torch.rand(7)  # what was drawn in between does not matter
    assert draw(1, 2) == draws[1, 2]
    for drawn in zip(*draws.values()):  # the shuffles; torch's own
        assert len({json.dumps(each) for each in drawn}) == 9


# --- experiments ---


def test_an_experiment_that_was_interrupted_ends_and_is_resumed(trained, tmp_path, capsys, monkeypatch):
    flags = [*COMMON, "--epochs", "100000", "--save-every", "100000"]
    code = f"import one_run, pathlib, runtime, train_autoencoder as t\nruntime.run(lambda out: " \
           f"(one_run.train(t, out, 'autoencoder.pt', {flags!r}), print('went on')), pathlib.Path({str(tmp_path)!r}))"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=trained, stdout=subprocess.PIPE, text=True,
                             env=OURS)
    next(line for line in child.stdout if line.startswith("Epoch"))
    child.send_signal(signal.SIGTERM)
    assert "went on" not in child.stdout.read() and child.wait() == 143
    monkeypatch.chdir(trained)
    done = torch.load(tmp_path / "last.pt", weights_only=True)["epoch"]
    for printed in (f"after epoch {done}\nEpoch : {done + 1} /", ""):  # resumed; then finished, and left alone
        one_run.train(train_autoencoder, tmp_path, "autoencoder.pt", [*COMMON, "--epochs", str(done + 1)])
        assert printed in (out := capsys.readouterr().out) and bool(out) == bool(printed)


@pytest.mark.parametrize("lock,printed", (("tiny-0", ""), ("autoencoder-0", "== tiny, seed 0\n")))
def test_an_experiment_or_autoencoder_that_another_process_makes_is_waited_for(lock, printed, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "flowers-102").mkdir()  # empty: training ends at once where it is begun
    code = "import experiments, recipes, runtime; recipes.ROWS['tiny'] = recipes.Row('', autoencoder='', seeds=(0,))\n" \
           "runtime.run(experiments.main, experiments.parse_args('run --only tiny --work work --data-dir .'.split()))"
    with files.lock(tmp_path / f"work/{lock}.lock", wait=False):
        child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                                 env=OURS)
        while not (tmp_path / "results/runs").exists():
            time.sleep(0.05)
        time.sleep(3)
        waits = child.poll() is None
        child.kill()
    assert waits and child.communicate()[0] == printed


def test_two_processes_make_a_run_once_and_keep_all_that_it_tells(trained, tmp_path):
    (tmp_path / "photos").symlink_to(trained / "photos")
    flags = " ".join([*COMMON, "--epochs", "1"])
    code = f"import experiments, recipes, runtime; " \
           f"recipes.ROWS['tiny'] = recipes.Row('', {flags!r}, autoencoder={flags!r}, seeds=(0,))\n" \
           f"runtime.run(experiments.main, experiments.parse_args('run --only tiny --results kept --work work'.split()))"
    children = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=OURS)
                for _ in range(2)]
    printed = "".join(child.communicate()[0] for child in children)
    assert [child.returncode for child in children] == [0, 0] and printed.count("== tiny, seed 0\n") == 1
    assert sorted(os.listdir(tmp_path / "kept/runs")) == ["tiny-0.json", "tiny-0.npz"]
    run, table = json.loads((tmp_path / "kept/runs/tiny-0.json").read_text()), np.load(tmp_path / "kept/runs/tiny-0.npz")
    assert table["labels"].dtype == np.uint8 and len(table["labels"]) == run["splits"]["test"]["images"] == 9
    assert 100 * (table["labels"] == table["predicted"]).mean() == pytest.approx(run["splits"]["test"]["accuracy"])
    assert {"row", "seed", "flags", "autoencoder_flags", "val_accuracy", "classifier_cost", "classifier_seconds",
            "autoencoder_seconds", "versions", "processor", "threads", "precision", "commit"} <= run.keys()
    assert run["splits"].keys() == {"train", "val", "test"} and "per_class_accuracy" in run["splits"]["test"]
    assert not list((tmp_path / "work/tiny-0").glob("*.pt"))


def test_an_experiment_that_fails_is_named_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    for name in ("first", "second"):
        monkeypatch.setitem(recipes.ROWS, name, recipes.Row("", f"--dataset {tmp_path}/{name}", seeds=(0,)))
    args = experiments.parse_args(["run", "--results", str(tmp_path), "--work", str(tmp_path / "work")])
    args.only = ["first", "second"]
    assert experiments.main(args) == 1
    failed = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in failed] == ["== first, seed 0", "== second, seed 0"]
    assert all(f"there is no {tmp_path}/{name}/train/" in line for name, line in zip(("first", "second"), failed))


def test_a_finished_experiment_is_not_done_again(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/final-0.json").touch()
    flags = ["run", "--only", "final", "--seeds", "0", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert experiments.main(experiments.parse_args(flags)) == 0 and capsys.readouterr().out == ""
