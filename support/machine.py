"""Where and how a script runs: device, precision, seeds, allocator."""

import contextlib
import ctypes
import functools
import os
import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import torch

from support import distributed
from support.errors import UserError, counted


def keep_memory() -> None:
    """Before torch allocates: stop glibc from returning large blocks, which the kernel then zeroes anew."""
    if platform.libc_ver()[0] == "glibc":
        M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
        ctypes.CDLL(None).mallopt(M_MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def add_arguments(group) -> None:
    """The flags of device and precision, to a group of an argparse parser."""
    group.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto",
                       help="auto: CUDA where there is one, else MPS, else the CPU (%(default)s)")
    group.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto",
                       help="auto: bf16 where a CUDA GPU or an x86 CPU multiplies it (%(default)s)")


def choose_device(name: str) -> torch.device:
    """'auto' is CUDA where there is one, else MPS, else the CPU; UserError where this machine has none."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    found = [device for device, is_present in present.items() if is_present]
    name = found[0] if name == "auto" else name
    if name not in found:
        raise UserError(
            f"--device {name}: this machine has none that PyTorch can use (it has {', '.join(found)})")
    number, most = distributed.local_rank(), torch.cuda.device_count() or 1
    if name != "cpu" and number >= most and distributed.count() > 1:
        raise UserError(f"--device {name}: this machine has {most}, so start no more processes than that")
    if name == "cuda":  # each process of torchrun has its own
        return torch.device(name, number % most)
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """'fp32' or 'bf16'; 'auto' takes bf16 only where the hardware multiplies it natively."""
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of every forward pass: bf16 where precision says so, else fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def set_up(device_name: str, precision_name: str, deterministic: bool = False) -> tuple[torch.device, str]:
    """Settle allocator, device and precision; `say` tells what was chosen."""
    keep_memory()
    torch.backends.cudnn.allow_tf32 = False  # else cuDNN rounds what fp32 convolutions multiply to ten bits
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if deterministic and device.type != "cpu":  # a CPU has no other algorithms
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before cuBLAS starts, as the next line's docs ask
        torch.use_deterministic_algorithms(True)
    precision = choose_precision(precision_name, device)
    distributed.agree((device.type, precision), "--device or --precision")
    return device, precision


def say(device: torch.device, precision: str) -> str:
    """Device, threads, precision and processes in words."""
    threads = f", {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    processes = f", {distributed.count()} processes" if distributed.count() > 1 else ""
    return f"on {device} ({processor(device)}{threads}) in {precision}{processes}"


def processor(device: torch.device) -> str:
    """The processor's name, and of a CPU the vector instructions that PyTorch uses: both decide rounding."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # Linux has it
    name = re.search(r"^model name\s*: (.*\S)", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    vectors = f", {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else ""
    return (name[1] if name else platform.processor() or platform.machine()) + vectors


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last, the faster; but not on MPS, where batch norm's and ReLU's backward have gone wrong."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


class Streamed:
    """Images (N, 3, S, S) that stay on the CPU; images[batch] are copied to the GPU while it computes."""

    def __init__(self, images: torch.Tensor, device: torch.device):
        self.images, self.device, self.stream = images, device, torch.cuda.Stream(device)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(self.stream):  # beside the steps that still wait in the other one
            photos = self.images[batch].pin_memory().to(self.device, non_blocking=True)
        torch.cuda.current_stream().wait_stream(self.stream)
        photos.record_stream(torch.cuda.current_stream())  # so that its memory is not reused before
        return photos


def place(images: torch.Tensor, device: torch.device) -> torch.Tensor | Streamed:
    """Images on the device; where they take over half of a GPU's free memory, a batch once it is read."""
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return Streamed(images, device)
    return images.to(device)


@functools.cache  # the code is that of the first call, whatever is committed while it runs
def commit() -> str | None:
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError):  # no git
        done = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        return done.stdout.strip() or None


def describe(device: torch.device, precision: str) -> dict:
    """What a log needs for its numbers to be repeated: commit, versions, device, precision, threads, ..."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    return {"commit": commit(), "versions": versions, "device": str(device), "processor": processor(device),
            "precision": precision, "threads": torch.get_num_threads(), "processes": distributed.count()}


def seeded_shuffle(seed: int, epoch: int) -> torch.Generator:
    """Seed all randomness of an epoch (0: first weights) by these two alone; the shuffle's generator."""
    shuffle_seed, torch_seed = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64).tolist()
    own = distributed.rank() if epoch else 0  # processes begin with the same weights, but drop out their own
    torch.manual_seed(torch_seed ^ own)  # dropout and initial weights, on every device
    return torch.Generator().manual_seed(shuffle_seed)
