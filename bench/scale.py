"""What more processes cost, and more photos than memory holds: time, bytes sent, memory. On CPUs.

    python -m bench.scale                                  # half an hour on two cores, 19 GB in --folder
    python -m bench.scale --photos 2000 --results /tmp     # a rehearsal

Writes results/scale.json. Each process has one thread. What is compared takes turns: one process and
several, photos in memory and photos that the cache's file maps to it.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image

import augment
import data
from flowers import cache, decoding, folder
from models import HEADS, Encoder
from support import distributed, errors, files, machine, parallel
from support.flags import number

CPU = torch.device("cpu")
BATCH, STEPS = 16, 6  # photos a process and step; steps a round, after two that warm up
PLAIN, APART = "as it is", "nothing sent: each trains a model of its own"
CASES = [(head, *how) for head in HEADS for how in ((1, PLAIN), (2, PLAIN), (4, PLAIN), (2, APART))]
IN_MEMORY = 2000  # photos, beside --photos of them


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("--photos", type=number(int, IN_MEMORY), default=200_000, help="made (%(default)s)")
    parser.add_argument("--rounds", type=number(int, 1), default=3, help="(%(default)s)")
    parser.add_argument("--folder", type=Path, default=tempfile.gettempdir(), help="(%(default)s)")
    parser.add_argument("--results", type=Path, default="results", help="of scale.json (%(default)s)")
    return parser.parse_args(argv)


def own_memory() -> int:
    """Bytes of this process that no file stands behind: Linux's RssAnon."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def sent() -> int:
    """Bytes that all processes have sent each other on this machine."""
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def work(rank: int, head: str, processes: int, way: str, root: Path) -> None:
    """One of some processes that train a classifier for a round; the first writes what was measured."""
    torch.set_num_threads(1)
    _, precision = machine.set_up("cpu", "auto")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    if processes > 1:
        dist.init_process_group("gloo", f"file://{root}/store", rank=rank, world_size=processes)
    network = torch.nn.Sequential(Encoder(), HEADS[head]()).to(memory_format=torch.channels_last)
    trained = network if way == APART else parallel.data_parallel(network, CPU)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x, y = torch.rand(BATCH, 3, 100, 100), torch.randint(102, (BATCH,))
    steps = []
    for _ in range(2 + STEPS):
        start, before = time.perf_counter(), sent()
        with machine.autocast(CPU, precision):
            loss = F.cross_entropy(trained(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append((time.perf_counter() - start, (sent() - before) / processes))
    seconds, sent_a_step = map(statistics.median, zip(*steps[2:]))
    everyones = distributed.gathered([own_memory()])
    if rank == 0:
        measured = {"seconds": seconds, "sent": sent_a_step, "memory": max(everyones)}
        files.write_json(root / "round.json", measured)
    if processes > 1:
        dist.destroy_process_group()


def one_round(head: str, processes: int, way: str) -> dict:
    with tempfile.TemporaryDirectory() as root:
        torch.multiprocessing.spawn(work, (head, processes, way, Path(root)), processes)
        return files.read_json(Path(root) / "round.json")


def together(rounds: int) -> list[dict]:
    """Of each case the time of a step, in times of one process's with the same head, bytes sent, memory."""
    found, rows = [], []
    for i in range(rounds):
        found.append({case: one_round(*case) for case in (CASES[::-1] if i % 2 else CASES)})
        print(found[-1], flush=True)
    for case in CASES:
        row = dict(zip(("head", "processes", "way"), case))
        row["times"] = statistics.median(
            turn[case]["seconds"] / turn[case[0], 1, PLAIN]["seconds"] for turn in found)
        row |= {what: statistics.median(turn[case][what] for turn in found) for what in found[0][case]}
        rows.append(row)
    return rows


def made_up(count: int) -> folder.Photos:
    """So many photos of noise; 64 of them differ."""
    def decode(sizes: list[int], start: int) -> Iterator[decoding.Decoded]:
        noise = np.random.default_rng(0).integers(0, 256, (64, sizes[0], sizes[0], 3), np.uint8)
        for i in range(start, count):
            yield decoding.Decoded([noise[i % 64]], f"{i:016x}")

    return folder.Photos([0] * count, ["noise"], [f"{i}.jpg" for i in range(count)], decode)


def epoch_of(count: int, side: int, rounds: int, root: Path) -> dict:
    """Of photos mapped to memory, in a process of its own: the most memory that it has in an epoch, and the
    microseconds in which a photo is read and augmented, in turns with some in memory; cold: from the disk."""
    torch.set_num_threads(1)
    machine.set_up("cpu", "auto")
    before, start = own_memory(), time.perf_counter()
    (content,) = cache.load(root, "made-up", "train", [side], ["nowhere"], lambda: made_up(count))
    built, images, shuffle = time.perf_counter() - start, content["images"], torch.Generator().manual_seed(0)

    def microseconds(of: torch.Tensor) -> float:
        batches = data.batches(len(of), 64, shuffle)[:16]
        draws = augment.draw(batches, shuffle)
        begun = time.perf_counter()
        for batch, drawn in zip(batches, draws):
            augment.cutmix(augment.augment(of[batch], drawn), drawn)
        return 1e6 * (time.perf_counter() - begun) / sum(map(len, batches))

    few = images[:IN_MEMORY].clone()
    microseconds(few)  # warms up
    with open(next(root.glob("*.pixels")), "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # the part that a start checks stays
    cold, batches = microseconds(images), data.batches(count, 64, shuffle)
    draws, own = augment.draw(batches, shuffle), 0
    for i, batch in enumerate(batches):  # an epoch: each photo is read, one of a thousand batches augmented
        photos = images[batch]
        if i % 1000 == 0:
            augment.cutmix(augment.augment(photos, draws[i]), draws[i])
        own = max(own, own_memory() - before - few.nbytes)
    turns = [(microseconds(images), microseconds(few)) for _ in range(4 * rounds + 1)][1:]
    mapped, in_memory = map(statistics.median, zip(*turns))
    return {"photos": count, "side": side, "bytes": images.nbytes, "memory": own, "mapped": mapped,
            "in memory": in_memory, "times": statistics.median(a / b for a, b in turns), "cold": cold,
            "built": count / built}


def decoded(root: Path) -> dict[str, list[float]]:
    """Photos a second and core that decoding reads, of JPEGs with blobs and grain, and those read whole."""
    rng, rates = np.random.default_rng(0), {}
    for width, height in ((4000, 3000), (500, 400)):
        blobs = Image.fromarray(rng.integers(0, 256, (height // 100, width // 100, 3), np.uint8))
        smooth = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC))
        grainy = (smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(path := root / "photo.jpg", quality=90)
        found = rates[f"{width} x {height}, {path.stat().st_size / 1e3:.0f} kB"] = []
        for least in (width, augment.SQUARE):  # the first keeps a JPEG from being read reduced
            decoding.LARGEST, start = least, time.process_time()
            for _ in range(20):
                decoding.decode(path, 100)
            found.append(20 / (time.process_time() - start))
    return rates


def main(args: argparse.Namespace) -> int:
    about = machine.describe(CPU, machine.choose_precision("auto", CPU))
    about |= {"threads": 1, "rounds": args.rounds, "cores": os.cpu_count(), "batch_size": BATCH}
    rows = []
    for side in (100, augment.SQUARE):
        with (tempfile.TemporaryDirectory(dir=args.folder) as root,
              ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool):
            rows.append(pool.submit(epoch_of, args.photos, side, args.rounds, Path(root)).result())
        print(rows[-1], flush=True)
    with tempfile.TemporaryDirectory() as root:
        rates = decoded(Path(root))
    print(rates, flush=True)
    found = about | {"processes": together(args.rounds), "photos": rows, "decoding": rates}
    files.write_json(args.results / "scale.json", found)
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
