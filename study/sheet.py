"""A sheet of what training sees: five photos, each changed at random seven times.

    python -m study.sheet                                          # 8 s
    python -m study.sheet --dataset synthetic --out drawn.png      # the same of the drawn flowers, 30 s
"""

import argparse

import torch

import augment
import data
import recipes
from support import errors, files


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    data.add_arguments(parser)
    parser.add_argument("--out", default="sheet.png", help="PNG to write (%(default)s)")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    from torchvision.utils import save_image

    flowers = data.load(args.dataset, "train", args.data_dir, args.cache_dir, augment.SQUARE)
    chosen = torch.linspace(0, len(flowers) - 1, 5).long().repeat_interleave(8)
    smallest = recipes.RECIPES["strong"]["classifier"]["smallest_crop"]
    (draws,) = augment.draw([chosen], torch.Generator().manual_seed(0), smallest=smallest)
    x, _ = augment.cutmix(augment.augment(flowers.images[chosen], draws), draws)  # (40, 3, 100, 100)
    x[::8] = augment.plain(flowers.images[chosen[::8]])
    with files.atomic(args.out) as temporary:
        save_image(x, temporary, nrow=8, padding=0, format="PNG")
    print(f"wrote {args.out}: 5 photos, each changed 7 times")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
