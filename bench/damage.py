"""Cut a checkpoint short at every byte, flip every bit of it, and count what loading then does.

    python -m bench.damage --real 50    # some seconds
    python -m bench.damage              # about a minute; writes results/damage.json

A small checkpoint meets every cut and flip, the autoencoder's weights as many random ones as --real says.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

import models
from support import checkpoint, errors, files, machine

SMALL = {"kind": "autoencoder", "config": {"batch_norm": True},
         "model": {"weight": torch.arange(7.0), "count": torch.tensor(3)}, "dataset": "flowers102"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--real", type=int, default=500, help="random cuts, and flips (%(default)s)")
    parser.add_argument("--results", type=Path, default="results", help="of damage.json (%(default)s)")
    return parser.parse_args(argv)


def same(a, b) -> bool:
    """Whether two nests of dicts hold the same keys, the same tensors and equal values."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def damage(content: dict, folder: Path, cuts: Iterable[int], flips: Iterable[tuple]) -> dict[str, Counter]:
    """Outcomes of a checkpoint cut to each of `cuts` bytes, and with each of `flips` (byte, bit) flipped."""
    path = folder / "damaged.pt"
    checkpoint.save(path, content)
    whole = path.read_bytes()

    def outcome(damaged: bytes) -> str:
        path.write_bytes(damaged)
        try:
            loaded = checkpoint.load(path, content["kind"])
        except errors.UserError as error:
            as_promised = str(path) in str(error) and error.exit_status == 2
            return "refused" if as_promised else f"refused with {error}"
        return "the same values" if same(loaded, content) else "other values"

    flipped = (whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1:] for i, bit in flips)
    return {"cut": Counter(outcome(whole[:length]) for length in cuts),
            "flipped bit": Counter(map(outcome, flipped))}


def main(args: argparse.Namespace) -> int:
    real = {**SMALL, "model": models.AutoEncoder().state_dict()}
    random.seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for which, content in (("small", SMALL), ("the autoencoder's", real)):
            checkpoint.save(Path(name) / "whole.pt", content)
            size = (Path(name) / "whole.pt").stat().st_size
            cuts = range(size) if content is SMALL else [random.randrange(size) for _ in range(args.real)]
            flips = [(i, bit) for i in cuts for bit in range(8) if content is SMALL or bit == i % 8]
            rows += [{"checkpoint": which, "bytes": size, "damage": how, "tried": found.total(), **found}
                     for how, found in damage(content, Path(name), cuts, flips).items()]
    print(*rows, sep="\n")
    about = machine.describe(torch.device("cpu"), "auto")
    files.write_json(args.results / "damage.json", about | {"rows": rows})
    allowed = {"checkpoint", "bytes", "damage", "tried", "refused", "the same values"}
    return int(any(row.keys() - allowed for row in rows))


if __name__ == "__main__":
    errors.run(main, parse_args())
