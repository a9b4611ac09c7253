"""Cut a checkpoint short at every byte, flip every bit of it, and count what loading then does.

    python -m bench.damage --real 50      # some seconds
    python -m bench.damage      # about a minute; writes results/damage.json

Every cut and every bit of a small checkpoint, and as many random ones as --real says of one with the
autoencoder's weights.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

import models
from support import checkpoint, errors, files, machine

ROOT = Path(__file__).parent.parent
SMALL = {"kind": "autoencoder", "config": {"batch_norm": True},
         "model": {"weight": torch.arange(7.0), "count": torch.tensor(3)},
         "dataset": "flowers102"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=int, default=500,
                        help="cuts, and as many flips, of the autoencoder's weights (%(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "results",
                        help="folder of damage.json (%(default)s)")
    return parser.parse_args(argv)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def outcome(path: Path, content: dict) -> str:
    """'refused' in one line that names the file, 'the same values', or, as must not be, 'other values'."""
    try:
        loaded = checkpoint.load(path, content["kind"])
    except errors.UserError as error:
        return "refused" if str(path) in str(error) and error.exit_status == 2 else f"refused with {error}"
    return "the same values" if same(loaded, content) else "other values"


def damage(content: dict, folder: Path, cuts: Iterator[int],
           flips: Iterator[tuple[int, int]]) -> dict[str, Counter]:
    """Outcomes of a checkpoint cut to each of `cuts` bytes, and with each of `flips` (byte, bit) flipped."""
    path = folder / "damaged.pt"
    checkpoint.save(path, content)
    whole, counts = bytearray(path.read_bytes()), {"cut": Counter(), "flipped bit": Counter()}
    for length in cuts:
        path.write_bytes(whole[: length % len(whole)])
        counts["cut"][outcome(path, content)] += 1
    for place, bit in flips:
        whole[place % len(whole)] ^= 1 << bit
        path.write_bytes(whole)
        whole[place % len(whole)] ^= 1 << bit
        counts["flipped bit"][outcome(path, content)] += 1
    return counts


def size_of(content: dict, folder: Path) -> int:
    checkpoint.save(folder / "whole.pt", content)
    return (folder / "whole.pt").stat().st_size


def main(args: argparse.Namespace) -> int:
    real = {**SMALL, "model": models.AutoEncoder().state_dict()}
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), []
        size = size_of(SMALL, folder)
        bits = [(i, bit) for i in range(size) for bit in range(8)]
        counts = {"small": damage(SMALL, folder, range(size), bits)}
        at_random = [random.randrange(size_of(real, folder)) for _ in range(args.real)]
        counts["the autoencoder's"] = damage(real, folder, at_random, [(i, i % 8) for i in at_random])
        for which, content in (("small", SMALL), ("the autoencoder's", real)):
            rows += [{"checkpoint": which, "bytes": size_of(content, folder), "damage": how,
                      "tried": sum(found.values()), **found} for how, found in counts[which].items()]
    print(*rows, sep="\n")
    about = machine.describe(torch.device("cpu"), "auto")
    files.write_json(args.results / "damage.json", {**about, "rows": rows})
    return int(any(row.keys() - {"checkpoint", "bytes", "damage", "tried", "refused", "the same values"}
                   for row in rows))


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
