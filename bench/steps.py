"""What the benchmark compares: training steps with a speed-up on or off.

A step has a process of its own, since the allocator's settings and the peak memory belong to a process. The
report's code is tests/reference.py: loops, fp32, contiguous, default optimizer, and in stage two the decoder.
"""

import contextlib
import multiprocessing
import re
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

# What our step has, each a switch of its own. The report's code has batch norm alone.
IN_BOTH_STAGES = ("channels_last", "bf16", "fused optimizer", "allocator", "ReLU after pool", "batch norm")
SWITCHES = {"autoencoder": ("fusion", *IN_BOTH_STAGES), "classifier": ("no decoder", *IN_BOTH_STAGES)}
REPORTS_CODE = {"batch norm"}
PHOTOS = 1020  # random ones


def seconds(function: Callable[[], object], device: torch.device) -> float:
    wait = getattr(torch, device.type).synchronize
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def ours(stage: str, device: torch.device) -> set[str]:
    """The switches that our step has on: bf16 only where the scripts take it by default."""
    return set(SWITCHES[stage]) - ({"bf16"} - {machine.choose_precision("auto", device)})


def peak_memory(device: torch.device) -> int:
    """Bytes: the largest resident set of this process so far, or the largest allocation on its GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # Linux has it; getrusage would count the parent's memory as well.
    peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text() if status.exists() else "")
    return 1024 * int(peak[1]) if peak else 0


def begin(stage: str, switches: set[str], device: torch.device, batch_size: int) -> None:
    """Make this process's training step on random photos: the report's code with some switches on."""
    global answers  # Each question to the process is a call of its own.
    idle_memory = peak_memory(device)
    torch.backends.cudnn.allow_tf32 = False  # as in machine.set_up
    if "allocator" in switches:
        machine.keep_memory()
    is_reports_code = switches - {"allocator"} == REPORTS_CODE
    if not is_reports_code:  # Our decoder, where it is not fused, has no loops.
        reference.InverseMaxPool2 = inverse_maxpool.InverseMaxPool2
        reference.InverseMaxPool3 = inverse_maxpool.InverseMaxPool3
    batch_norm = "batch norm" in switches
    layout = torch.channels_last if "channels_last" in switches else torch.contiguous_format
    encoder = (models if "ReLU after pool" in switches else reference).Encoder(batch_norm)
    decoder = head = torch.nn.Identity()
    if "no decoder" not in switches:
        decoder = (models if "fusion" in switches else reference).Decoder(batch_norm)
    if stage == "classifier":
        head = (reference if is_reports_code else models).Classifier(batch_norm=batch_norm, dropout=0.25)
    parts = torch.nn.ModuleList([encoder, decoder, head]).to(device, memory_format=layout)
    rule = "adam" if stage == "autoencoder" else "adagrad"
    optimizer = training.make_optimizer(rule, [{"params": list(parts.parameters())}], 0.001, 0.0)
    if "fused optimizer" not in switches:
        optimizer = type(optimizer)(parts.parameters(), lr=0.001)
    precision = "bf16" if "bf16" in switches else "fp32"
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
