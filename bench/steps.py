"""What the benchmark compares: InverseMaxPool's forms, and training steps with a speed-up on or off.

A step has a process of its own, as its user would run it: the allocator's settings and the peak memory
belong to a process. The report's code is tests/reference.py: loops, fp32, contiguous, default optimizer,
and in stage two the decoder as well.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import inverse_maxpool
import models
import training
from support import machine
from tests import reference

# What our step has, each a switch of its own; of these the report's code has batch norm alone.
IN_BOTH_STAGES = ("channels_last", "bf16", "fused optimizer", "allocator", "ReLU after pool", "batch norm")
SWITCHES = {"autoencoder": ("fusion", *IN_BOTH_STAGES), "classifier": ("no decoder", *IN_BOTH_STAGES)}
ALL_SWITCHES = ("fusion", "no decoder", *IN_BOTH_STAGES)
REPORTS_CODE = {"batch norm"}
# each layer's C, D, H, window
DECODER = ((400, 256, 4, 3), (256, 144, 7, 3), (144, 64, 13, 3), (64, 16, 25, 2), (16, 3, 50, 2))


def seconds(function: Callable[[], object], device: torch.device) -> float:
    wait = getattr(torch, device.type).synchronize
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def precision(switches: set[str]) -> str:
    return "bf16" if "bf16" in switches else "fp32"


def take_turns(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each side in each round; a first round, not counted, warms up."""
    turns = [{name: side() for name, side in sides.items()} for _ in range(rounds + 1)][1:]
    return {name: [turn[name] for turn in turns] for name in sides}


def layers(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """InverseMaxPool, alone and with its convolution, at the decoder's sizes: forward and backward."""
    machine.keep_memory()
    machine.keep_fp32()
    rows = []

    def measure(what: str, sides: dict[str, Callable], inputs: list[torch.Tensor]) -> None:
        def both_ways(function: Callable) -> Callable[[], float]:
            grad = torch.randn_like(function(*inputs))
            return lambda: seconds(lambda: torch.autograd.grad(function(*inputs), inputs, grad), device)

        times = take_turns({name: both_ways(function) for name, function in sides.items()}, args.rounds)
        rows.extend({"what": what, "size": f"{C} x {H} x {H}", "side": name,
                     "seconds": statistics.median(values)} for name, values in times.items())

    for C, D, H, window in DECODER:
        loops, plain = (getattr(module, f"InverseMaxPool{window}").apply
                        for module in (reference, inverse_maxpool))
        size, grid = 2 * H - (window == 3), 2 * torch.arange(H, device=device)
        indices = (grid[:, None] * size + grid).expand(args.batch_size, C, H, H).contiguous()
        x = torch.randn(args.batch_size, C, H, H, device=device, requires_grad=True)
        measure("alone", {"loops": loops, "plain": plain, "max_unpool2d": lambda x: F.max_unpool2d(
            x, indices, 2, output_size=(size, size))}, [x])
        weight, bias = torch.randn(D, C, 3, 3, device=device), torch.randn(D, device=device)
        sides = {"loops": lambda x, *conv: F.conv2d(loops(x), *conv, padding=1),
                 "plain": lambda x, *conv: F.conv2d(plain(x), *conv, padding=1),
                 "fused": lambda x, *conv: inverse_maxpool.inverse_maxpool_conv2d(x, *conv, window),
                 "nearest": lambda x, *conv: F.conv2d(F.interpolate(x, size=(size, size)), *conv, padding=1)}
        for dtype in (torch.float32, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last):
                inputs = [t.detach().to(dtype, memory_format=memory_format).requires_grad_()
                          for t, memory_format in zip(
                              (x, weight, bias), (layout, layout, torch.preserve_format))]
                measure(f"with convolution, {str(dtype)[6:]}, {str(layout)[6:].removesuffix('_format')}",
                        sides, inputs)
    return rows


def make_step(stage: str, switches: set[str], device: torch.device, batch_size: int,
              photos: int) -> Callable[[], None]:
    """One training step of a stage on random photos: the report's code with some switches on."""
    machine.keep_fp32()
    if "allocator" in switches:
        machine.keep_memory()
    is_reports_code, batch_norm = switches - {"allocator"} == REPORTS_CODE, "batch norm" in switches
    if not is_reports_code:  # where not fused, its decoder has our plain layers
        reference.InverseMaxPool2 = inverse_maxpool.InverseMaxPool2
        reference.InverseMaxPool3 = inverse_maxpool.InverseMaxPool3
    layout = torch.channels_last if "channels_last" in switches else torch.contiguous_format
    encoder = (models if "ReLU after pool" in switches else reference).Encoder(batch_norm)
    decoder = head = None
    if "no decoder" not in switches:
        decoder = (models if "fusion" in switches else reference).Decoder(batch_norm)
    if stage == "classifier":
        head = (reference if is_reports_code else models).Classifier(batch_norm=batch_norm, dropout=0.25)
    parts = torch.nn.ModuleList(part for part in (encoder, decoder, head) if part)
    parts.to(device, memory_format=layout)
    name = {"autoencoder": "adam", "classifier": "adagrad"}[stage]
    if "fused optimizer" in switches:
        optimizer = training.make_optimizer(name, [{"params": list(parts.parameters())}], 0.001, 0.0)
    else:
        kind = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[name]
        optimizer = kind(parts.parameters(), lr=0.001)
    images = torch.randint(256, (photos, 3, 100, 100), dtype=torch.uint8).to(device)
    labels = torch.randint(102, (photos,)).to(device)

    def step() -> None:
        batch = torch.randint(photos, (batch_size,))
        x = images[batch].to(torch.float32, memory_format=layout).div_(255)
        with machine.autocast(device, precision(switches)):
            z = encoder(x)
            x_hat = decoder(z) if decoder else None
            logits = head(z) if head else None
        loss = F.cross_entropy(logits.float(), labels[batch]) if head else F.mse_loss(x_hat.float(), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def peak_memory(device: torch.device) -> int:
    """Bytes: the largest resident set of this process so far, or the largest allocation on its GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # (getrusage would tell the parent's too)
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def begin(*what) -> None:
    global step
    step = make_step(*what)


def timed_step(device: torch.device) -> float:
    return seconds(step, device)


def arithmetic() -> int:
    """Floating-point operations of a step's convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


@contextlib.contextmanager
def process(stage: str, switches: set[str], device: torch.device, batch_size: int,
            photos: int = 1020) -> Iterator[tuple[Callable, ...]]:
    """A step in a process of its own: functions that give its seconds, memory added in bytes, arithmetic."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        idle = pool.submit(peak_memory, device).result()
        pool.submit(begin, stage, switches, device, batch_size, photos).result()
        yield (lambda: pool.submit(timed_step, device).result(),
               lambda: pool.submit(peak_memory, device).result() - idle,
               lambda: pool.submit(arithmetic).result())


def switches_of_ours(stage: str, device: torch.device) -> list[str]:
    """The switches that our step has on: bf16 only where the scripts take it by default."""
    default = machine.choose_precision("auto", device)
    return [switch for switch in SWITCHES[stage] if switch != "bf16" or default == "bf16"]
