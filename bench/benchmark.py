"""Speed and memory against the report's code and the alternatives, side by side in one run.

    python -m bench.benchmark              # every section but `full`: about 10 minutes on two cores
    python -m bench.benchmark --only steps --switches "batch norm" --rounds 8 --results results/without-bf16
    python -m bench.benchmark --only full --data-dir data    # 30 + 30 epochs of training, twice

Writes results/benchmark.json. Seconds are medians over rounds in which the sides take turns, each side of a
training step in a process of its own (bench/steps.py). `growth` has nine at once: some 15 GB.
"""

import argparse
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

import data
import training
from bench import steps as training_steps
from bench.steps import precision as precision_of
from bench.steps import process, seconds, take_turns
from support import checkpoint, errors, files, machine


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS)[:-1], metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)} (all but full)")
    machine.add_device(parser)
    parser.add_argument("--batch-size", type=training.number(int, 2, 2**31), default=128,
                        help="images a step (%(default)s)")
    parser.add_argument("--rounds", type=training.number(int, 1), default=4,
                        help="turns a side (%(default)s)")
    switches = training_steps.ALL_SWITCHES
    parser.add_argument("--switches", nargs="+", choices=switches, default=switches, metavar="SWITCH",
                        help=f"of our step, to be turned off one by one: {', '.join(switches)} (all)")
    parser.add_argument("--data-dir", default="data",
                        help="folder that holds flowers-102/, for commands and full (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"),
                        help="of benchmark.json (%(default)s)")
    return parser.parse_args(argv)


def limits(args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """The machine's own: matrix product in FLOP/s, memory copy in bytes/s, read and written."""
    found = {}
    has_bf16 = machine.choose_precision("auto", device) == "bf16"
    for name in ("float32", "bfloat16") if has_bf16 else ("float32",):
        a, b = (torch.randn(4096, 4096, device=device).to(getattr(torch, name)) for _ in range(2))
        best = min(seconds(lambda: a @ b, device) for _ in range(args.rounds + 1))
        found[f"matrix product, {name}"] = 2 * 4096**3 / best
    a, b = torch.zeros(2, 2**28, dtype=torch.uint8, device=device)
    best = min(seconds(lambda: b.copy_(a), device) for _ in range(args.rounds + 1))
    return found | {"memory copy": 2 * a.numel() / best}


def steps(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Our step in turns with each other side: the report's code, and ours with one switch off."""
    rows = []
    for stage in training_steps.SWITCHES:
        switches, reports = training_steps.switches_of_ours(stage, device), training_steps.REPORTS_CODE
        ours = set(switches)
        sides = {"the report's code": reports, "the report's code, our allocator": reports | {"allocator"}}
        sides |= {f"ours without {each}": ours - {each} for each in switches if each in args.switches}
        with process(stage, ours, device, args.batch_size) as (_, _, arithmetic):
            flops = arithmetic()
        with process(stage, ours, device, args.batch_size) as (time_ours, memory_of_ours, _):
            for name, switched in sides.items():
                with process(stage, switched, device, args.batch_size) as (time_side, memory, _):
                    times = take_turns({"side": time_side, "ours": time_ours}, args.rounds)
                    turns = list(zip(times["side"], times["ours"]))
                    row = {"stage": stage, "side": name, "seconds": statistics.median(times["side"]),
                           "to ours": statistics.median(a / b for a, b in turns), "turns": turns,
                           "memory": memory(), "flops": flops, "precision": precision_of(switched)}
                rows.append(row)
                if name == "the report's code":
                    rows.append({**row, "side": "ours", "seconds": statistics.median(times["ours"]),
                                 "to ours": 1.0, "memory": memory_of_ours(), "precision": precision_of(ours)})
    return rows


def growth(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Our autoencoder step by batch size, and by the number of photos in memory."""
    sizes = [(batch, 1020) for batch in (16, 32, 64, 128, 256, 512)]
    sizes += [(args.batch_size, 1020 * k) for k in (2, 4, 8)]
    ours = set(training_steps.switches_of_ours("autoencoder", device))
    with contextlib.ExitStack() as stack:
        sides = {size: stack.enter_context(process("autoencoder", ours, device, *size)) for size in sizes}
        times = take_turns({size: timed for size, (timed, _, _) in sides.items()}, args.rounds)
        return [{"batch": size[0], "photos": size[1], "seconds": statistics.median(times[size]),
                 "memory": memory()} for size, (_, memory, _) in sides.items()]


def command(script: str, args: argparse.Namespace, *flags) -> list:
    where = ["--data-dir", args.data_dir, "--device", args.device]
    return [sys.executable, Path(__file__).parent.parent / f"{script}.py", *where, *flags]


def commands(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Whole commands on the photos; the classifier that is evaluated has random weights."""
    def first_step(script: str) -> float:
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        child = subprocess.Popen(command(script, args, "--cache-dir", cache, "--out", out),
                                 stdout=subprocess.DEVNULL)
        while child.poll() is None and not (out / "log.jsonl").exists():  # begun right before the first step
            time.sleep(0.005)
        took, status = time.perf_counter() - start, child.poll()
        child.kill()
        child.wait()
        if status:
            raise subprocess.CalledProcessError(status, child.args)
        return took

    with tempfile.TemporaryDirectory() as folder:
        cache, out = Path(folder) / "cache", Path(folder) / "run"
        rows = [("train_autoencoder.py to its first step, cache cold", first_step("train_autoencoder"))]
        shutil.rmtree(cache)
        rows.append(("decoding all photos", seconds(lambda: [
            data.load("flowers102", split, args.data_dir, cache) for split in data.SPLITS], device)))
        for script in ("train_autoencoder", "train_classifier"):
            times = [first_step(script) for _ in range(3)]
            rows.append((f"{script}.py to its first step, cache warm", statistics.median(times)))
        content = torch.load(out / "last.pt", weights_only=True)
        rows.append(("writing the classifier's last.pt", seconds(
            lambda: checkpoint.save(out / "last.pt", content), device)))
        classes = data.load("flowers102", "train", args.data_dir, cache).classes
        checkpoint.save(out / "classifier.pt", content | {
            "kind": "classifier", "classes": classes, "dataset": "flowers102", "optimizer": None})
        evaluation = command("evaluate", args, "--classifier", out / "classifier.pt", "--cache-dir", cache)
        rows.append(("evaluate.py", seconds(lambda: subprocess.run(evaluation, check=True), device)))
    return [{"what": what, "seconds": took} for what, took in rows]


def full(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """30 + 30 epochs, everything included, with batch norm and without, as the report timed them."""
    def run(script: str, *flags: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            where = ["--cache-dir", f"{folder}/cache", "--out", f"{folder}/run"]
            return seconds(lambda: subprocess.run(command(script, args, *where, *flags), check=True), device)

    return [{"what": " ".join([f"{script}.py", *flags]), "seconds": run(script, *flags)}
            for flags in (["--epochs", "30"], ["--epochs", "30", "--no-batch-norm"])
            for script in ("train_autoencoder", "train_classifier")]


SECTIONS = {"layers": training_steps.layers, "steps": steps, "growth": growth, "commands": commands,
            "full": full}


def main(args: argparse.Namespace) -> int:
    device = machine.choose_device(args.device)
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / "benchmark.json"
    result = files.read_json(path) if path.exists() else {}
    about = machine.describe(device, machine.choose_precision("auto", device)) | {
        "limits": limits(args, device)}
    for name in args.only:
        start = time.perf_counter()
        try:
            rows = SECTIONS[name](args, device)
        except subprocess.CalledProcessError as error:
            how = "was killed" if error.returncode < 0 else "failed, as its line above says"
            raise errors.UserError(f"{name}: {error.cmd[1].name} {how}", exit_status=1) from error
        except BrokenProcessPool as error:
            raise errors.UserError(f"{name}: a step's process was killed, as where memory is short",
                                    exit_status=1) from error
        result[name] = {**about, "batch_size": args.batch_size, "rounds": args.rounds, "rows": rows}
        files.write_json(path, result)
        print(f"{name}: {time.perf_counter() - start:.0f} s", *map(str, rows), sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
