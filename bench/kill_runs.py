"""Kill training runs at random moments and compare what their resumes end with to an uninterrupted run.

    python -m bench.kill_runs --kills 2       # about a minute
    python -m bench.kill_runs --kills 20      # about 8 minutes; writes results/kills.json

Each stage trains on a dozen drawn photos in processes of its own. SIGKILL also meets them as they save.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from support import errors, files, machine, run_folder, run_log

FLAGS = ["--dataset", "photos", "--cache-dir", "cache", "--device", "cpu", "--batch-size", "6",
         "--save-every", "1"]
ROOT = Path(__file__).parent.parent
TIME_FIELDS = ("seconds",)  # the only fields of a log that two equal runs do not share


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each stage (%(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "results",
                        help="folder of kills.json (%(default)s)")
    return parser.parse_args(argv)


def draw_folder(root: Path) -> Path:
    random = np.random.default_rng(0)
    for split, each in (("train", 4), ("val", 2), ("test", 3)):
        for label, name in enumerate(("daisy", "rose", "tulip")):
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                # a texture of its own, a tint of its class
                pixels = random.integers(0, 120, (13, 11 + i, 3), np.uint8)
                pixels[..., label] += 120
                photo = Image.fromarray(pixels).resize((110 + 10 * i, 130))
                photo.save(root / split / name / f"{i}.jpg")
    return root


def train(stage: str, folder: Path, out: str, epochs: int, *flags: str) -> subprocess.Popen:
    command = [sys.executable, ROOT / f"train_{stage}.py", *FLAGS, "--epochs", str(epochs), "--out", out]
    return subprocess.Popen([*command, *flags], cwd=folder, stdout=subprocess.PIPE, text=True)


def differences(a: Path, b: Path, unlike: tuple[str, ...] = TIME_FIELDS) -> list[str]:
    """What two runs' last checkpoints and logs do not share, fields of the log that are `unlike` apart."""
    found = []

    def compare(where: str, x, y) -> None:
        if isinstance(x, dict):
            found.extend([where] if x.keys() != y.keys() else [])
            for key in x.keys() & y.keys():
                compare(f"{where}/{key}", x[key], y[key])
        elif isinstance(x, list):
            found.extend([where] if len(x) != len(y) else [])
            for i, pair in enumerate(zip(x, y)):
                compare(f"{where}/{i}", *pair)
        elif not (torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y):
            found.append(where)

    contents = [torch.load(run / "last.pt", weights_only=True, mmap=True) for run in (a, b)]
    for content in contents:
        for flag in run_folder.FREE_FLAGS - {"epochs"}:
            content["flags"].pop(flag)
    compare("last.pt", *contents)
    logs = [run_log.read_log(run / "log.jsonl")[1] for run in (a, b)]
    compare("log", *([{name: row[name] for name in row if name not in unlike} for row in log]
                     for log in logs))
    return found


def is_saving(run: Path) -> bool:
    return any(run.glob("last.pt.*.tmp*"))


def stopped_while_saving(child: subprocess.Popen, run: Path) -> bool:
    """Halt a process that writes last.pt: it stays so until the kill comes, however late that is."""
    if is_saving(run):
        child.send_signal(signal.SIGSTOP)
        if is_saving(run):
            return True
        child.send_signal(signal.SIGCONT)
    return False


def kill_runs(stage: str, kills: int, folder: Path, *flags: str, seed: int = 0) -> dict:
    """Kill a stage's run so many times, resume it; counts, and what differs from an uninterrupted run."""
    draw_folder(folder / "photos")
    epochs, delays = 2 * kills + 2, random.Random(seed)
    whole = train(stage, folder, "whole", epochs, *flags)
    next(line for line in whole.stdout if line.startswith("Epoch"))
    start = time.perf_counter()
    assert whole.wait() == 0, "the uninterrupted run failed"
    cycle = (time.perf_counter() - start) / (epochs - 1)  # an epoch with its save
    done, in_save = 0, 0
    while done < kills:
        how = ["--resume"] if (folder / "killed/last.pt").exists() else []
        child = train(stage, folder, "killed", epochs, *flags, *how)
        next(line for line in child.stdout if line.startswith("Epoch"))  # so that each process gets on
        time.sleep(delays.uniform(0, cycle))
        while done % 2 == 0 and child.poll() is None and not stopped_while_saving(child, folder / "killed"):
            pass  # every other kill comes while last.pt is being written
        child.send_signal(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            break  # it had ended
        done += 1
        in_save += is_saving(folder / "killed")
    resumed = train(stage, folder, "killed", epochs, *flags, "--resume")
    resumed.communicate()
    assert resumed.returncode == 0, "the resume failed"
    return {"stage": stage, "kills": done, "while saving": in_save, "epochs": epochs,
            "differences": differences(folder / "whole", folder / "killed")}


def main(args: argparse.Namespace) -> int:
    rows = []
    for stage in ("autoencoder", "classifier"):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(kill_runs(stage, args.kills, Path(folder)))
            print(rows[-1], flush=True)
    about = machine.describe(torch.device("cpu"), "auto")
    files.write_json(args.results / "kills.json", {**about, "rows": rows})
    return int(any(row["differences"] for row in rows))


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
