"""Speed and memory of a training step: ours, the report's code, and ours with one speed-up off, in one run.

    python -m bench.benchmark    # about 10 minutes on two cores
    python -m bench.benchmark --rounds 8 --results results/without-bf16    # on another machine

Writes results/benchmark.json. Seconds are medians over rounds in which a side and ours take turns, each in a
process of its own: the allocator's settings and the peak memory belong to a process. The report's code is
tests/reference.py: loops, fp32, contiguous, default optimizer, and in stage two the decoder.
"""

import argparse
import contextlib
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import augment
import inverse_maxpool
import models
import training
from support import errors, files, machine
from support.flags import number
from tests import reference

REPORTS_CODE = "the report's code"
IN_BOTH_STAGES = (REPORTS_CODE, f"{REPORTS_CODE}, our allocator", "ours without channels_last",
                  "ours without bf16", "ours without batch norm")
SIDES = {"autoencoder": (*IN_BOTH_STAGES, "ours without fusion"), "classifier": IN_BOTH_STAGES}  # beside ours
PHOTOS = 1020  # random ones


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("--device", default="auto", help="as of the training scripts (%(default)s)")
    parser.add_argument("--batch-size", type=number(int, 2, 2**31), default=128, help="(%(default)s)")
    parser.add_argument("--rounds", type=number(int, 1), default=4, help="(%(default)s)")
    parser.add_argument("--results", type=Path, default="results", help="of benchmark.json (%(default)s)")
    return parser.parse_args(argv)


def seconds(function: Callable[[], object], device: torch.device) -> float:
    wait = getattr(torch, device.type).synchronize
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def peak_memory(device: torch.device) -> int:
    """Bytes: the largest resident set of this process so far, or the largest allocation on its GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # Linux has it; getrusage would count the parent's memory as well.
    peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text() if status.exists() else "")
    return 1024 * int(peak[1]) if peak else 0


def begin(stage: str, side: str, device: torch.device, batch_size: int) -> None:
    """Make this process's training step, that of a side, on random photos."""
    global answers  # Each question to the process is a call of its own.
    idle_memory = peak_memory(device)
    torch.backends.cudnn.allow_tf32 = False  # as in machine.set_up
    if side != REPORTS_CODE:
        machine.keep_memory()
    is_reports, batch_norm = side.startswith(REPORTS_CODE), side != "ours without batch norm"
    code = reference if is_reports else models
    encoder, decoder, head = code.Encoder(batch_norm), code.Decoder(batch_norm), torch.nn.Identity()
    if side == "ours without fusion":  # the report's decoder, its unpooling without loops
        reference.InverseMaxPool2 = inverse_maxpool.InverseMaxPool2
        reference.InverseMaxPool3 = inverse_maxpool.InverseMaxPool3
        decoder = reference.Decoder(batch_norm)
    if stage == "classifier":
        head = code.Classifier(batch_norm=batch_norm, dropout=0.25)
        decoder = decoder if is_reports else torch.nn.Identity()
    layout, precision = torch.channels_last, machine.choose_precision("auto", device)
    if is_reports or side == "ours without channels_last":
        layout = torch.contiguous_format
    if is_reports or side == "ours without bf16":
        precision = "fp32"
    parts = torch.nn.ModuleList([encoder, decoder, head]).to(device, memory_format=layout)
    rule = "adam" if stage == "autoencoder" else "adagrad"
    optimizer = training.make_optimizer(rule, [{"params": list(parts.parameters())}], 0.001, 0.0)
    if is_reports:  # not fused
        optimizer = type(optimizer)(parts.parameters(), lr=0.001)
    images = torch.randint(256, (PHOTOS, 3, 100, 100), dtype=torch.uint8).to(device)
    labels = torch.randint(102, (PHOTOS,)).to(device)

    def step() -> None:
        batch = torch.randint(PHOTOS, (batch_size,))
        x = images[batch].to(torch.float32, memory_format=layout).div_(255)  # (B, 3, 100, 100)
        with machine.autocast(device, precision):
            z = encoder(x)  # (B, 400, 4, 4)
            x_hat = decoder(z)  # (B, 3, 100, 100), without a decoder z
            logits = head(z)  # (B, 102), without a head z
        if stage == "autoencoder":
            loss = F.mse_loss(x_hat.float(), x)
        else:
            loss = F.cross_entropy(logits.float(), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    with FlopCounterMode(display=False) as counter:  # It counts convolutions and matrix products.
        step()
    facts = {"flops": counter.get_total_flops(), "precision": precision}
    answers = {"seconds": lambda: seconds(step, device),
               "facts": lambda: {"memory": peak_memory(device) - idle_memory, **facts}}


def answer(question: str) -> float | dict:
    return answers[question]()


@contextlib.contextmanager
def process(*what) -> Iterator[Callable[[str], float | dict]]:
    """A step, as of `begin`, in a process: to be asked for the "seconds" of one more, or for its "facts"."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(begin, *what).result()
        yield lambda question: pool.submit(answer, question).result()


def limits(rounds: int, device: torch.device) -> dict[str, float]:
    """The machine's own: matrix product in FLOP/s, memory copy in bytes/s, read and written."""
    found = {}
    has_bf16 = machine.choose_precision("auto", device) == "bf16"
    for dtype in ("float32", "bfloat16") if has_bf16 else ("float32",):
        a, b = torch.randn(2, 4096, 4096, device=device).to(getattr(torch, dtype))
        best = min(seconds(lambda: a @ b, device) for _ in range(rounds + 1))
        found[f"matrix product, {dtype}"] = 2 * 4096**3 / best
    a, b = torch.zeros(2, 2**28, dtype=torch.uint8, device=device)
    best = min(seconds(lambda: b.copy_(a), device) for _ in range(rounds + 1))
    return found | {"memory copy": 2 * a.numel() / best}


def steps(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Our step in turns with each other side; where ours has no bf16, none is without it."""
    rows, precision = [], machine.choose_precision("auto", device)
    for stage, sides in SIDES.items():
        with process(stage, "ours", device, args.batch_size) as our_step:
            for side in sides:
                if side == "ours without bf16" and precision == "fp32":
                    continue
                with process(stage, side, device, args.batch_size) as step:
                    # a first round, not counted, warms up
                    turns = [(step("seconds"), our_step("seconds")) for _ in range(args.rounds + 1)][1:]
                    facts, our_facts = step("facts"), our_step("facts")
                theirs, ours = zip(*turns)
                row = {"stage": stage, "side": side, "seconds": statistics.median(theirs),
                       "to ours": statistics.median(a / b for a, b in turns), "turns": turns,
                       **facts, "flops": our_facts["flops"]}  # Every side is rated by the arithmetic of ours.
                rows.append(row)
                if side == REPORTS_CODE:
                    rows.append({**row, "side": "ours", "seconds": statistics.median(ours), "to ours": 1.0,
                                 **our_facts})
    return rows


def augmentation(args: argparse.Namespace, device: torch.device) -> dict:
    """Seconds that changing 64 pictures takes, in turns with a step of the report's network on as many."""
    images = torch.randint(256, (64, 3, augment.SQUARE, augment.SQUARE), dtype=torch.uint8).to(device)
    (draws,) = augment.draw([torch.arange(64)], torch.Generator().manual_seed(0), device)
    with process("classifier", "ours", device, 64) as step:
        turns = [(seconds(lambda: augment.cutmix(augment.augment(images, draws), draws), device),
                  step("seconds")) for _ in range(args.rounds + 1)][1:]
    changed, stepped = map(statistics.median, zip(*turns))
    return {"seconds": changed, "step": stepped, "share": statistics.median(a / b for a, b in turns)}


def main(args: argparse.Namespace) -> int:
    device = machine.choose_device(args.device)
    args.results.mkdir(parents=True, exist_ok=True)
    about = machine.describe(device, machine.choose_precision("auto", device))
    about |= {"limits": limits(args.rounds, device), "batch_size": args.batch_size, "rounds": args.rounds}
    rows, changed = steps(args, device), augmentation(args, device)
    path = args.results / "benchmark.json"
    former = files.read_json(path) if path.exists() else {}  # it holds what earlier versions measured, too
    files.write_json(path, former | {"steps": about | {"rows": rows}, "augmentation": about | changed})
    print(*rows, changed, sep="\n")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
