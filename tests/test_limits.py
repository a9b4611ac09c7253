"""Guards runs against where they run: full disks, too little memory, no permission, closed outputs."""

import argparse
import contextlib
import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMON, OURS, ROOT, assert_one_line, contents, draw_folder, run_script

import data
from support import checkpoint, errors, files, run_log
from support.errors import UserError
from tests.kills import differences

# as Python's output is by default
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@contextlib.contextmanager
def largest_file(size: int):
    """A limit to the bytes of a file stands for a full disk: a write past it fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- disks, memory, permissions ---


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(trained, tmp_path):
    run = tmp_path / "run"
    assert run_script(trained, "train_autoencoder", *COMMON, "--epochs", "1", "--out", run).returncode == 0
    before = contents(run)
    with largest_file(3_000_000):
        done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "2", "--out", run, "--resume")
    assert_one_line(done, 1, str(run / "last.pt"), "bytes", "--resume")
    after = contents(run)
    assert (
        after.keys() - before.keys() == {"reconstruction_002.png"} and after["last.pt"] == before["last.pt"]
    )
    with largest_file(3_000_000):
        done = run_script(trained, "train_autoencoder", *COMMON, "--epochs", "2", "--out", run, "--overwrite")
    assert_one_line(done, 1, str(run / "last.pt"))
    assert contents(run) == after  # an old run goes when there is room for the new one
    assert (
        run_script(
            trained, "train_autoencoder", *COMMON, "--epochs", "2", "--out", run, "--resume"
        ).returncode
        == 0
    )
    assert differences(trained / "runs/autoencoder", run) == []


def test_a_log_that_cannot_grow_is_named():
    with pytest.raises(UserError, match="cannot write /dev/full: No space left") as caught:
        run_log.log_row(Path("/dev/full"), {"epoch": 1})
    assert caught.value.exit_status == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot write .*/absent/result.json: No such file") as caught:
        files.write_json(tmp_path / "absent/result.json", {})
    assert caught.value.exit_status == 1


def test_where_a_folder_cannot_be_flushed_its_files_still_are(tmp_path, monkeypatch):
    flush = os.fsync

    def as_some_network_drives(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", as_some_network_drives)
    files.write_json(tmp_path / "file.json", {"a": 1})
    assert contents(tmp_path) == {"file.json": b'{\n "a": 1\n}\n'}


def test_a_checkpoint_that_cannot_be_written_for_want_of_something_else_than_room_says_so(tmp_path):
    with pytest.raises(UserError, match="cannot write .*/absent/last.pt: No such file or directory$"):
        checkpoint.save(tmp_path / "absent/last.pt", {})


def test_a_cache_that_does_not_fit_is_done_without(trained, tmp_path, capsys):
    with largest_file(200_000):
        assert len(data.load(str(trained / "photos"), "train", cache_dir=str(tmp_path))) == 12
    assert "going on without a cache" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_one_line_with_the_flag_to_lower(trained, tmp_path):
    code = (
        "import resource, train_classifier as t, torch; from support import errors\n"
        "torch.ones(10) @ torch.ones(10)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)\n"
        "errors.run(t.main, t.parse_args)"
    )
    command = [sys.executable, "-c", code, *COMMON, "--out", tmp_path / "run"]
    done = subprocess.run(command, cwd=trained, capture_output=True, text=True, env=OURS)
    assert_one_line(done, 1, "not enough memory", "--batch-size")


@pytest.mark.parametrize(
    "message",
    (
        (
            "[enforce fail at alloc_cpu.cpp:114] err == 0. "
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        (
            "[enforce fail at alloc_cpu.cpp:121] data. "
            "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
        ),
        (
            "MPS backend out of memory "
            "(MPS allocated: 9.00 GB, other allocations: 1.00 MB, max allowed: 9.07 GB)."
        ),
        "Invalid buffer size: 47.68 GB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ),
)
def test_each_devices_words_for_too_little_memory_are_known(message):
    told, status = errors.explain(RuntimeError(message), argparse.Namespace(batch_size=128))
    assert message in told and told.endswith("; lower --batch-size") and status == 1
    assert (
        errors.explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), argparse.Namespace())
        is None
    )


def unprivileged(folder, *runs) -> list[subprocess.CompletedProcess]:
    """Scripts, one after another in one process that file modes stop, as they do not stop root."""
    code = "import json, sys; from conftest import run_script\n" \
           "print(json.dumps([vars(run_script('.', *run)) for run in json.loads(sys.argv[1])]))"
    command = [sys.executable, "-c", code, json.dumps(runs, default=str)]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root, and no setpriv to give up root's rights with")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"})
    return [subprocess.CompletedProcess(**run) for run in json.loads(done.stdout)]


def test_files_without_permission_are_named(trained, tmp_path):
    secret, locked, sealed = tmp_path / "secret.pt", tmp_path / "locked", tmp_path / "sealed"
    photos, forbidden, partly = (draw_folder(tmp_path / name) for name in ("photos", "forbidden", "partly"))
    secret.write_bytes((trained / "runs/autoencoder/autoencoder.pt").read_bytes())
    locked.mkdir(mode=0o555)
    for folder in (sealed, partly / "train/rose/inner"):
        folder.mkdir(mode=0)
    for path in (secret, forbidden / "train/rose/1.jpg"):
        path.chmod(0)

    def train(stage, *more):
        return [f"train_{stage}", "--dataset", photos, "--cache-dir", tmp_path / "cache", "--epochs", "1",
                "--out", tmp_path / "run", *more]

    refused = (
        (secret, train("classifier", "--autoencoder", secret)),
        (forbidden / "train/rose/1.jpg", train("autoencoder", "--dataset", forbidden)),
        (locked, train("autoencoder", "--out", locked / "run")),
        (sealed, train("autoencoder", "--out", sealed / "run")),
        (sealed, train("autoencoder", "--dataset", sealed / "photos")),
        (sealed, train("autoencoder", "--data-dir", sealed, "--dataset", "flowers102")))
    without_a_cache = tuple(
        (path, train("autoencoder", "--dataset", partly, "--cache-dir", path, "--overwrite"))
        for path in (locked, sealed)
    )
    named, runs = zip(*refused, *without_a_cache)
    done = unprivileged(tmp_path, *runs)
    for path, each in zip(named[:len(refused)], done):
        of_out = path in (locked, sealed) and "--out " in each.stderr
        assert_one_line(each, 2, str(path), "may not be written to" if of_out else "Permission denied")
    for path, each in zip(named[len(refused):], done[len(refused):]):
        assert each.returncode == 0 and "going on without a cache" in each.stdout and str(path) in each.stdout
        assert ("left out 1 file: 1 that cannot be read (train/rose/inner; see to its permissions)"
                in each.stdout)


# --- outputs and terminals ---


def test_a_full_disk_under_the_output_is_one_line(trained, tmp_path):
    with open("/dev/full", "w") as full:
        flags = [*COMMON, "--epochs", "1", "--out", str(tmp_path / "run")]
        done = subprocess.run([sys.executable, ROOT / "train_autoencoder.py", *flags], cwd=trained,
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space left" in done.stderr


def test_a_disk_that_is_full_at_the_last_line_is_one_line():
    code = "from support import errors; errors.run(lambda args: print('wrote autoencoder.pt'), lambda: None)"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )  # so that the line waits for the end
    assert_one_line(done, 1, "No space left")


@pytest.mark.parametrize("stdout", ("| head -1", ">&- 2>&-"))
def test_a_closed_output_is_no_traceback(stdout, trained, tmp_path):
    flags = f"{' '.join(COMMON)} --epochs 2 --out {tmp_path}"
    command = f"{sys.executable} {ROOT}/train_autoencoder.py {flags} {stdout}"
    done = subprocess.run(["bash", "-c", command], cwd=trained, capture_output=True, text=True, env=BUFFERED)
    told = "nobody reads the output any more, so the run ended; --resume continues it"
    assert done.stderr == (f"train_autoencoder.py: error: {told}\n" if "head" in stdout else "")
    assert checkpoint.load(tmp_path / "last.pt", "autoencoder run")  # whatever was saved is whole


@pytest.mark.parametrize("stdout", ("| true", ">/dev/full"))
def test_a_refusal_is_one_line_also_where_the_output_is_closed(stdout, trained, tmp_path):
    script = f"{sys.executable} {ROOT}/train_autoencoder.py --dataset nowhere --out {tmp_path / 'run'}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {script} {stdout}"], cwd=trained,
                          capture_output=True, text=True, env=BUFFERED)
    assert_one_line(done, 2, "nowhere")


def test_any_locale_and_terminal_will_do_and_no_control_characters_reach_a_file(trained, tmp_path):
    environment = {"LC_ALL": "C", "TERM": "dumb", "NO_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    photos = draw_folder(tmp_path / "fleurs-é")
    flags = [
        "--dataset",
        photos,
        "--cache-dir",
        tmp_path / "cache",
        "--epochs",
        "1",
        "--out",
        tmp_path / "run-ü",
    ]
    done = subprocess.run(
        [sys.executable, ROOT / "train_autoencoder.py", *flags],
        cwd=trained,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and all(
        character.isprintable() or character == "\n" for character in done.stdout
    )


def test_a_terminal_shows_bars_which_change_no_bit(trained, tmp_path):
    """Of the decoding and of each epoch; against the run of `trained`, where none is drawn."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(trained)
        flags = " ".join(
            [*COMMON, "--epochs", "2", "--cache-dir", f"{tmp_path}/cache", "--out", f"{tmp_path}/run"]
        )
        os.execvp("sh", [
            "sh", "-c", f"stty rows 24 cols 100; exec {sys.executable} {ROOT}/train_autoencoder.py {flags}"])
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # how Linux tells the end
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert all(bar in shown for bar in (b"\r", b"decoding train photos", b"epoch 1", b"images/s", b"cost="))
    assert differences(trained / "runs/autoencoder", tmp_path / "run") == []
