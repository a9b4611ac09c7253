"""Guards runs against what can happen to their process: kills, interrupts, others at the same work."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COMMON, HEADS, OURS, ROOT, assert_one_line, contents, run_script

import evaluate
import train_autoencoder
import train_classifier
from study import run as study_run
from support import checkpoint, errors, files, machine, run_log
from support.errors import UserError
from tests.kills import kill_runs, same

PRECISION = machine.choose_precision("auto", machine.choose_device("auto"))


def wait_for(path: Path, child: subprocess.Popen) -> None:
    while not path.exists():
        assert child.poll() is None, f"the process that makes {path} has ended"
        time.sleep(0.05)


def start_changed(change: str, root: Path, out: Path, **pipes) -> subprocess.Popen:
    """train_autoencoder.py as a process of its own in which `change`, a statement, has run first."""
    code = (
        f"{change}; sys.argv[0] = 'train_autoencoder.py'; "
        f"import train_autoencoder as t; from support import errors; "
        f"errors.run(t.main, t.parse_args)"
    )
    return subprocess.Popen([sys.executable, "-c", code, *COMMON, "--out", str(out)], cwd=root,
                            stdout=subprocess.PIPE, text=True, env=OURS, **pipes)


# --- kills and interrupts ---


@pytest.mark.parametrize("stage,kills,flags", (
    ("autoencoder", 1, ["--deterministic"]),
    ("classifier", 2, ["--recipe", "strong", "--head", "pooled", "--autoencoder", "none", "--keep", "best"])))
def test_a_killed_run_resumes_to_the_bits_of_an_uninterrupted_one(stage, kills, flags, tmp_path):
    """Killed while it saves, then, where it is killed twice, anywhere."""
    while_saving, differences = kill_runs(stage, kills, run_script, tmp_path, *flags)
    assert while_saving >= 1
    assert differences == []
    assert not list((tmp_path / "killed").glob("*.tmp*"))  # what the kills while saving left
    assert (tmp_path / "killed/curve.png").exists()
    products = [torch.load(tmp_path / run / f"{stage}.pt", weights_only=True) for run in ("whole", "killed")]
    for name in {"epoch", "model", "encoder", "classifier"} & products[0].keys():
        assert same(*(product[name] for product in products)), name


@pytest.mark.parametrize("stage,number,status", (
    ("autoencoder", signal.SIGTERM, 143), ("classifier", signal.SIGINT, 130)))
def test_an_interrupt_finishes_the_epoch_says_so_and_can_be_resumed(stage, number, status, trained, tmp_path):
    flags = [*COMMON, *HEADS[stage], "--optimizer", "sgd", "--epochs", "100000", "--save-every", "100000",
             "--out", str(tmp_path / "run")]
    child = subprocess.Popen([sys.executable, ROOT / f"train_{stage}.py", *flags], cwd=trained,
                             stdout=subprocess.PIPE, text=True)
    next(line for line in child.stdout if line.startswith("Epoch : 1 "))
    child.send_signal(number)
    printed = child.stdout.read()
    assert child.wait() == status
    assert "finishing this epoch" in printed and "the same command with --resume" in printed
    assert (tmp_path / "run/curve.png").exists()
    finished = len(run_log.read_log(tmp_path / "run/log.jsonl")[1])
    assert torch.load(tmp_path / "run/last.pt", weights_only=True, mmap=True)["epoch"] == finished >= 1


def test_an_interrupt_outside_the_epochs_is_one_line():
    code = "import os, signal, time; from support import errors; " \
           "errors.run(lambda args: (os.kill(os.getpid(), signal.SIGINT), time.sleep(9)), lambda: None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert_one_line(done, 130, "interrupted")


def test_after_a_stage_interrupts_are_what_they_were():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with errors.interrupts():
        pass
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("stage", (train_autoencoder, train_classifier))
def test_a_stage_runs_in_a_thread(stage, trained, tmp_path, monkeypatch):
    """As in a web server: its signals are the caller's affair."""
    monkeypatch.chdir(trained)
    head = HEADS[stage.__name__.removeprefix("train_")]
    args = stage.parse_args([*COMMON, *head, "--epochs", "1", "--out", str(tmp_path)])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(stage.main, args).result() == 0


def test_an_interrupt_that_the_caller_ignores_stays_ignored():
    """A script that starts a stage with `&` ignores SIGINT for it: Ctrl-C is meant for the script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with errors.interrupts() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted == [] and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_may_come_while_its_handler_is_put_in_place(monkeypatch):
    before, put = signal.getsignal(signal.SIGINT), signal.signal

    def put_and_interrupt(number, handler):
        former = put(number, handler)
        if number == signal.SIGINT and callable(handler) and handler != before:
            os.kill(os.getpid(), signal.SIGINT)
        return former

    monkeypatch.setattr(signal, "signal", put_and_interrupt)
    with errors.interrupts() as caught:
        assert caught == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_interrupt_leaves_at_once_and_the_old_checkpoint_is_whole(trained, tmp_path):
    slow = "import torch.nn.functional as F, time, sys; mse = F.mse_loss; " \
           "F.mse_loss = lambda *x: (time.sleep(60), mse(*x))[1]"
    child = start_changed(slow, trained, tmp_path / "run")
    wait_for(tmp_path / "run/log.jsonl", child)
    time.sleep(1)  # into the epoch of a minute
    child.send_signal(signal.SIGINT)
    next(line for line in child.stdout if "finishing this epoch" in line)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=20) == -signal.SIGINT
    assert checkpoint.load(tmp_path / "run/last.pt", "autoencoder run")["epoch"] == 0


# --- processes at the same work ---


def test_two_processes_do_not_write_one_run(trained, tmp_path):
    run = tmp_path / "run"  # not there yet: the first process makes it
    child = subprocess.Popen([sys.executable, ROOT / "train_autoencoder.py", *COMMON, "--epochs", "100000",
                              "--out", str(run)], cwd=trained, stdout=subprocess.PIPE, text=True)
    next(line for line in child.stdout if line.startswith("Epoch"))
    for how in ("--resume", "--overwrite"):
        assert_one_line(run_script(trained, "train_autoencoder", *COMMON, "--out", run, how),
                        2, str(run), "another process")
    child.kill()
    child.wait()
    assert run_script(trained, "train_autoencoder", *COMMON, "--out", run, "--overwrite",
                      "--epochs", "1").returncode == 0


def test_a_run_that_appears_while_the_photos_are_loaded_is_not_replaced(trained, tmp_path):
    """Two processes begin in one new folder; the second is slow to load, and comes when the first is done."""
    slow = "import data, sys; load = data.load_sizes; data.load_sizes = lambda *x, **y: (" \
           "print('loading', flush=True), sys.stdin.read(), load(*x, **y))[2]"
    child = start_changed(slow, trained, tmp_path / "run", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    next(line for line in child.stdout if line == "loading\n")
    assert (
        run_script(
            trained, "train_autoencoder", *COMMON, "--out", tmp_path / "run", "--epochs", "1"
        ).returncode
        == 0
    )
    before = contents(tmp_path / "run")
    _, complaint = child.communicate("")
    assert_one_line(
        subprocess.CompletedProcess([], child.returncode, "", complaint), 2, "holds a run already"
    )
    assert contents(tmp_path / "run") == before


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_an_evaluation_does_not_write_into_a_folder_that_a_run_has(trained, tmp_path):
    flags = [*COMMON, *HEADS["classifier"], "--epochs", "1", "--out", tmp_path / "run"]
    assert run_script(trained, "train_classifier", *flags).returncode == 0
    before = contents(tmp_path / "run")
    evaluation = "--cache-dir", "cache", "--classifier", tmp_path / "run/classifier.pt", "--views", "1"
    hold = (
        "import pathlib, sys; from support import run_folder\n"
        "with run_folder.claim(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path / "run"], env=OURS, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert_one_line(
            run_script(trained, "evaluate", *evaluation), 2, str(tmp_path / "run"), "another process"
        )
        assert contents(tmp_path / "run") == before
        assert run_script(trained, "evaluate", *evaluation, "--out", tmp_path / "apart").returncode == 0
        other.communicate("")
    assert run_script(trained, "evaluate", *evaluation).returncode == 0


def test_a_stages_lock_ends_with_its_main(trained, tmp_path, monkeypatch):
    """As in a notebook: a stage twice in one process that lives on, then a script as another process."""
    monkeypatch.chdir(trained)
    for _ in range(2):
        flags = [*COMMON, "--epochs", "1", *HEADS["classifier"], "--out", str(tmp_path), "--overwrite"]
        train_classifier.main(train_classifier.parse_args(flags))
    evaluation = "--cache-dir", "cache", "--classifier", str(tmp_path / "classifier.pt"), "--views", "1"
    evaluate.main(evaluate.parse_args(evaluation))
    with pytest.raises(UserError, match="holds a run already"):  # no SystemExit
        train_classifier.main(train_classifier.parse_args(flags[:-1]))
    done = subprocess.run([sys.executable, ROOT / "evaluate.py", *evaluation], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_processes_build_one_cache(folder, tmp_path):
    load = f"data.load({str(folder)!r}, 'train', cache_dir={str(tmp_path / 'cache')!r})"
    code = f"import data; print(int({load}.images.long().sum()))"
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=OURS)
                for _ in range(2)]
    sums = {child.communicate()[0].splitlines()[-1] for child in children}  # after a line on the cache
    assert len(sums) == 1 and [child.returncode for child in children] == [0, 0]
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".pixels", ".pt"}


def test_a_killed_run_is_finished_once_by_two_processes_and_keeps_all_that_it_tells(trained, tmp_path):
    (tmp_path / "photos").symlink_to(trained / "photos")
    classifier, autoencoder = (" ".join([*COMMON, "--epochs", epochs]) for epochs in ("1", "6"))
    (tmp_path / "tiny.py").write_text(
        f"from study import rows, run as study_run; from support import errors\n"
        f"rows.ROWS['tiny'] = rows.Row("
        f"'', {classifier + ' --head pooled'!r}, {autoencoder!r}, seeds=(0,))\n"
        f"errors.run(study_run.main, "
        f"lambda: study_run.parse_args('--only tiny --results kept --work work'.split()))\n"
    )
    first = subprocess.Popen(
        [sys.executable, "tiny.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=OURS
    )
    next(line for line in first.stdout if line.startswith("Epoch : 2 /"))
    first.kill()
    assert first.wait() == -signal.SIGKILL
    tiny = [sys.executable, "tiny.py"]
    both = [subprocess.Popen(tiny, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=OURS)
            for _ in range(2)]
    printed = "".join(child.communicate()[0] for child in both)
    assert [child.returncode for child in both] == [0, 0] and printed.count("== tiny, seed 0\n") == 1
    assert re.search(r"resuming work/autoencoder-0-.*/last.pt after epoch [1-5]\n", printed)
    assert sorted(os.listdir(tmp_path / "kept/runs")) == ["tiny-0.json", "tiny-0.npz"]
    run, table = (json.loads((tmp_path / "kept/runs/tiny-0.json").read_text()),
                  np.load(tmp_path / "kept/runs/tiny-0.npz"))
    assert table["labels"].dtype == np.uint8 and len(table["labels"]) == run["splits"]["test"]["images"] == 9
    assert 100 * (table["labels"] == table["predicted"]).mean() == pytest.approx(
        run["splits"]["test"]["accuracy"]
    )
    assert len(run["autoencoder_header"]["resumes"]) == 1
    assert {
        "row",
        "seed",
        "flags",
        "autoencoder_flags",
        "val_accuracy",
        "classifier_cost",
        "classifier_seconds",
        "autoencoder_seconds",
        "versions",
        "processor",
        "threads",
        "precision",
        "commit",
    } <= run.keys()
    assert run["splits"].keys() == {"train", "val", "test"} and "per_class_accuracy" in run["splits"]["test"]
    assert len(run["autoencoder_costs"]) == 6 and not list((tmp_path / "work/tiny-0").glob("*.pt"))


@pytest.mark.parametrize(
    "lock,waits,printed", (
        ("tiny-0", False, ""),
        (f"autoencoder-0-{PRECISION}", True, (
            "== tiny, seed 0\nwaiting for another process, which is at work on "
            f"work/autoencoder-0-{PRECISION}.lock\n")))
)
def test_an_experiment_of_another_process_is_left_to_it_and_an_autoencoder_waited_for(
        lock, waits, printed, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "flowers-102").mkdir()  # empty: training ends at once where it is begun
    code = (
        "from study import rows, run as study_run; from support import errors; "
        "rows.ROWS['tiny'] = rows.Row('', autoencoder='', seeds=(0,))\n"
        "flags = '--only tiny --work work --data-dir .'.split()\n"
        "errors.run(study_run.main, lambda: study_run.parse_args(flags))"
    )
    with files.lock(tmp_path / f"work/{lock}.lock", wait=False):
        child = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=OURS
        )
        if waits:
            wait_for(tmp_path / "results/runs", child)
            time.sleep(3)
            assert child.poll() is None
            child.kill()
        else:
            assert child.wait() == 0
    assert child.communicate()[0] == printed


def test_an_experiment_that_was_interrupted_ends_and_is_resumed(trained, tmp_path, capsys, monkeypatch):
    flags = [*COMMON, "--epochs", "100000", "--save-every", "100000"]
    code = (
        "import pathlib, train_autoencoder as t; from study import run; from support import errors\n"
        f"main = lambda out: (run.train(t, out, 'autoencoder.pt', {flags!r}), print('went on'))\n"
        f"errors.run(main, lambda: pathlib.Path({str(tmp_path)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=trained, stdout=subprocess.PIPE, text=True,
                             env=OURS)
    next(line for line in child.stdout if line.startswith("Epoch"))
    child.send_signal(signal.SIGTERM)
    assert "went on" not in child.stdout.read() and child.wait() == 143
    monkeypatch.chdir(trained)
    done = torch.load(tmp_path / "last.pt", weights_only=True)["epoch"]
    for printed in (
        f"after epoch {done}\nEpoch : {done + 1} /",
        "",
    ):  # resumed; then finished, and left alone
        study_run.train(train_autoencoder, tmp_path, "autoencoder.pt", [*COMMON, "--epochs", str(done + 1)])
        assert printed in (out := capsys.readouterr().out) and bool(out) == bool(printed)
