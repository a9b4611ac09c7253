"""Name the flowers in photos.

    python predict.py photo.jpg folder/                          # the five most likely names of each photo
    python predict.py folder/ --figure sheet.png                 # the photos beside bars of their names, too

Takes what Pillow reads, upright as its EXIF tag says, and the photos in a folder at any depth. A photo that
cannot be read is named, the others go on, and the exit status is 1. Seconds, then 0.1 s a photo.
Writes nothing but what --figure names.
"""

import argparse
import contextlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

import augment
import evaluate
from flowers import decoding, listing
from support import errors, figures, machine, parts
from support.errors import UserError, few, printable

OWN = Path("runs/classifier/classifier.pt")
SHIPPED = Path(__file__).with_name("weights")  # a model that comes with the project
AT_ONCE = 64  # photos decoded, then classified, then printed
ON_THE_FIGURE = 40


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    add = parser.add_argument
    add("photos", type=Path, nargs="+", metavar="PHOTO", help="photo, or folder of photos")
    add("--classifier", type=Path, help=f"checkpoint ({OWN}; where there is none, weights/)")
    add("--views", type=int, choices=evaluate.VIEWS, default=6, help="crops to average over (%(default)s)")
    add("--json", action=argparse.BooleanOptionalAction, default=False, help="a line a photo (%(default)s)")
    add("--figure", type=Path, metavar="FILE", help=f"also draw the first {ON_THE_FIGURE} photos (off)")
    machine.add_arguments(parser)
    parser.set_defaults(precision="fp32")  # (bf16 ties the less likely names)
    args = parser.parse_args(argv)
    if args.figure and args.figure.suffix.lower() != ".png":
        parser.error(f"--figure {args.figure}: the name has to end in .png")
    return args


def show(path: Path, likely: list[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        names = [{"name": name, "probability": round(p, 6)} for name, p in likely]
        print(json.dumps({"photo": str(path), "names": names}))
    else:
        print(printable(path), *(f"  {100 * p:5.1f} %  {printable(name)}" for name, p in likely), sep="\n")


def main(args: argparse.Namespace) -> int:
    if args.figure and args.figure.exists():
        raise UserError(f"--figure {args.figure} is there already, maybe a photo; remove it, or name another")
    if args.figure and not os.access(os.path.join(there := args.figure.parent, "."), os.W_OK):
        raise UserError(f"--figure {args.figure}: {there} is no folder, or may not be written to")
    path = args.classifier or (SHIPPED if parts.is_in(SHIPPED) and not OWN.exists() else OWN)
    why = f", since there is no {OWN}," if path is SHIPPED else ""
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        device, precision = machine.set_up(args.device, args.precision)
        network, content = evaluate.load_classifier(path, device)
        print(f"naming flowers with {path}{why} {machine.say(device, precision)}")
    if not (paths := list(listing.find(args.photos))):
        raise UserError(f"no photos in {few(args.photos)}")

    failed, rows, brightened, size = 0, [], [], 100 if args.views == 1 else augment.SQUARE
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), AT_ONCE):
            batch = paths[start : start + AT_ONCE]
            tried = list(zip(batch, pool.map(lambda path: decoding.try_read(path, [size]), batch)))
            for error in (got for _, got in tried if isinstance(got, UserError)):
                print(f"predict.py: {error}", file=sys.stderr)
                failed += 1
            read = [(path, got) for path, got in tried if not isinstance(got, UserError)]
            if not read:
                continue
            brightened += [path for path, got in read if got.brightened]
            pixels = np.stack([got.squares[0] for _, got in read]).transpose(0, 3, 1, 2)  # (N, 3, H, W)
            probabilities = evaluate.classify(network, torch.from_numpy(pixels), precision, args.views)
            best = probabilities.topk(min(5, len(content["classes"])))  # of (N, 5) each
            likely = [[(content["classes"][i], p) for i, p in zip(*row)]
                      for row in zip(best.indices.tolist(), best.values.tolist())]
            for (path, got), names in zip(read, likely):
                show(path, names, args.json)
                rows.append((path.name, got.squares[0], names))
            del rows[ON_THE_FIGURE:]
            sys.stdout.flush()

    decoding.tell_brightened(brightened, sys.stderr)
    if args.figure and not rows:
        print(f"predict.py: no photo could be read, so {args.figure} was not written", file=sys.stderr)
    elif args.figure:
        figures.predictions(args.figure, rows)
        print(f"wrote {args.figure}, with {len(rows)} of {len(paths) - failed} photos", file=sys.stderr)
    if failed:
        print(f"predict.py: {failed} of {len(paths)} photos could not be read (said above)", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    errors.run(main, parse_args)
