"""What the tests of kills and resumes share: photos to train on, killed runs, and how two runs differ."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from support import resume, run_log

ROOT = Path(__file__).parent.parent
FLAGS = ["--recipe=report", "--dataset=photos", "--cache-dir=cache", "--device=cpu", "--batch-size=6",
         "--save-every=1"]
SAVING = "last.pt.*.tmp*"  # What lies in a run's folder while it saves.


def draw_folder(root: Path) -> Path:
    """Photos in train/, val/ and test/, each with a texture of its own and a tint of its class."""
    draw = np.random.default_rng(0)
    for split, each in (("train", 4), ("val", 2), ("test", 3)):
        for label, name in enumerate(("daisy", "rose", "tulip")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(each):
                pixels = draw.integers(0, 120, (13, 11 + i, 3), np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).resize((110 + 10 * i, 130)).save(folder / f"{i}.jpg")
    return root


def same(a, b) -> bool:
    """Whether two nests of dicts hold the same keys, the same tensors and equal values."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def differences(a: Path, b: Path, unlike: tuple[str, ...] = ("seconds",)) -> list[str]:
    """What two runs' last checkpoints and logs do not share, fields of the log that are `unlike` apart."""
    contents = [torch.load(run / "last.pt", weights_only=True, mmap=True) for run in (a, b)]
    for run, content in zip((a, b), contents):
        for flag in resume.FREE_FLAGS - {"epochs"}:
            content["flags"].pop(flag)
        rows = run_log.read_log(run / "log.jsonl")[1]
        content["log"] = [{field: row[field] for field in row if field not in unlike} for row in rows]
    return [part for part in contents[0] | contents[1] if not same(*(each.get(part) for each in contents))]


def start(stage: str, folder: Path, out: str, epochs: int, *flags: str) -> subprocess.Popen:
    """A training process that has finished an epoch, so that a killed one got on, or has ended."""
    command = [sys.executable, ROOT / f"train_{stage}.py", *FLAGS, "--epochs", str(epochs), "--out", out]
    child = subprocess.Popen([*command, *flags], cwd=folder, stdout=subprocess.PIPE, text=True)
    next((line for line in child.stdout if line.startswith("Epoch")), None)
    return child


def halt_while_saving(child: subprocess.Popen, run: Path) -> None:
    """Stop a process that writes last.pt: it stays so until the kill comes, however late that is."""
    while child.poll() is None:
        child.send_signal(signal.SIGSTOP)
        if any(run.glob(SAVING)):
            return
        child.send_signal(signal.SIGCONT)
        time.sleep(0.001)  # The process works in between.


def kill_runs(stage: str, kills: int, run_script: Callable, folder: Path, *flags) -> tuple[int, list[str]]:
    """Kill a stage's run so many times and resume it: how many kills met it saving, and what differs from an
    uninterrupted run. Every other kill waits until it saves; run_script, conftest's, runs what is whole."""
    draw_folder(folder / "photos")
    killed, epochs, delays = folder / "killed", 2 * kills + 2, random.Random(0)
    command = [f"train_{stage}", *FLAGS, "--epochs", epochs, *flags]
    begun = time.perf_counter()
    assert run_script(folder, *command, "--out", "whole").returncode == 0, "the uninterrupted run failed"
    epoch_seconds = (time.perf_counter() - begun) / epochs
    while_saving = 0
    for i in range(kills):
        how = ["--resume"] if (killed / "last.pt").exists() else []
        child = start(stage, folder, "killed", epochs, *flags, *how)
        time.sleep(delays.uniform(0, epoch_seconds))
        if i % 2 == 0:
            halt_while_saving(child, killed)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, "it ended before it could be killed so many times"
        while_saving += any(killed.glob(SAVING))
    resumed = run_script(folder, *command, "--out", "killed", "--resume")
    assert resumed.returncode == 0, f"the resume failed: {resumed.stderr}"
    return while_saving, differences(folder / "whole", killed)
