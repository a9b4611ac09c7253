"""Make of a finished run's classifier.pt the model that comes with the project: in bf16, in parts.

    python -m study.ship runs/classifier/classifier.pt               # writes weights/, seconds
    python -m study.ship runs/classifier/classifier.pt --out other   # or another folder

Matrices and kernels are rounded to bf16, biases and batch norm's numbers are not. predict.py reads weights/
where the user has no run; weights/README.md says what it was trained on.
"""

import argparse
import io
from pathlib import Path

import torch

from study import run
from support import checkpoint, errors, parts
from support.flags import number

LARGEST = 15_000_000  # bytes a part
KEPT = ("kind", "config", "head", "classes", "dataset", "digests", "epoch")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("classifier", type=Path, help="checkpoint, a classifier.pt")
    parser.add_argument("--out", type=Path, default="weights", help="folder to write to (%(default)s)")
    parser.add_argument("--temperature", type=number(float, 0, above=True), default=1.0,
                        help="of study.calibration: the last layer is divided by it (%(default)s)")
    return parser.parse_args(argv)


def rounded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.bfloat16() if value.dim() > 1 else value for name, value in state.items()}


def main(args: argparse.Namespace) -> int:
    content = checkpoint.load(args.classifier, "classifier")
    kept = {name: content[name] for name in KEPT if name in content}
    last = [name for name in content["classifier"] if name.startswith("linear")][-2:]  # weight and bias
    for name in last:  # and with it the logits, for predict.py, evaluate.py and export.py alike
        content["classifier"][name] /= args.temperature
    kept |= {part: rounded(content[part]) for part in ("encoder", "classifier")}
    file = io.BytesIO()
    kept |= {"flags": run.recipe(content["flags"])}
    torch.save({"format": checkpoint.FORMAT, **kept}, file)
    args.out.mkdir(parents=True, exist_ok=True)
    parts.write(args.out, "classifier.pt", file.getvalue(), LARGEST)
    print(f"wrote {args.out}/, {len(file.getvalue()):,} bytes")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
