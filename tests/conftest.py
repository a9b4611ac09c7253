"""What tests share: scripts run in this process, drawn photos, a trained autoencoder, the real photos."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from support import errors, machine
from tests.kills import draw_folder

ROOT = Path(__file__).parent.parent

machine.keep_memory()  # before torch allocates, as the scripts do: the classifier's tests take half the time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits what `make test &` ignores
PHOTOS = ROOT.parent / "shared"
OURS = {**os.environ, "PYTHONPATH": str(ROOT)}  # the environment of a process whose code imports our modules
COMMON = ["--recipe", "report", "--dataset", "photos", "--cache-dir", "cache", "--device", "cpu",
          "--batch-size", "6"]
HEADS = {"autoencoder": [], "classifier": ["--head", "pooled"]}  # the report's fills gigabytes


def run_script(folder: Path, name: str, *flags) -> subprocess.CompletedProcess:
    """A script as from a command line in `folder`, but in this process: importing torch takes seconds."""
    module, printed, complaints, before = (
        importlib.import_module(name),
        io.StringIO(),
        io.StringIO(),
        os.getcwd(),
    )
    command = [f"{name.replace('.', '/')}.py", *map(str, flags)]
    with (mock.patch.object(sys, "argv", command), contextlib.redirect_stdout(printed),
          contextlib.redirect_stderr(complaints), pytest.raises(SystemExit) as ended):
        try:
            os.chdir(folder)
            errors.run(module.main, module.parse_args)
        finally:
            os.chdir(before)
    return subprocess.CompletedProcess(
        command, ended.value.code or 0, printed.getvalue(), complaints.getvalue()
    )


def assert_one_line(done: subprocess.CompletedProcess, status: int, *words: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with photos/, a decoded cache and runs/autoencoder/ of two epochs."""
    root = tmp_path_factory.mktemp("trained")
    draw_folder(root / "photos")
    assert run_script(root, "train_autoencoder", *COMMON, "--epochs", "2").returncode == 0
    return root


@pytest.fixture(scope="session")
def photos() -> str:
    """The --data-dir of the real photos; the test is skipped where they are absent."""
    if not (PHOTOS / "flowers-102").is_dir():
        pytest.skip(f"needs the Flowers-102 photos in {PHOTOS}")
    return str(PHOTOS)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder in ImageFolder layout: three classes of drawn JPEGs, 4 to train, 2 to validate, 3 to test."""
    return draw_folder(tmp_path / "photos")
