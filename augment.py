"""Photos changed at random, whole batches on their device: crop, turn, mirror, colour, CutMix.
`python -m study.sheet` draws what training sees."""

from collections import namedtuple
from collections.abc import Iterator
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

import data
from flowers import decoding
from support import machine

SQUARE = decoding.LARGEST  # pixels a side of what is augmented, so that a zoomed crop stays sharp at 100
Draws = namedtuple("Draws", "crop colour box partner", defaults=[None] * 3)  # what is random in a batch
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
VIEWS = ((1, 1, 0.5, 0.5), (0.85**2, 1, 0.5, 0.5), (0.7**2, 1, 0.5, 0.5),  # area, aspect, row and column
         (0.8**2, 1, 0, 0), (0.8**2, 1, 0, 1), (0.8**2, 1, 1, 0), (0.8**2, 1, 1, 1))


def draw(batches: list[Tensor], generator: torch.Generator, device: torch.device | str = "cpu",
         smallest: float = 0.2) -> list[Draws]:
    """All that is random in an epoch, for each batch of data.batches. Drawn on the CPU: alike on any device.

    A row an image. crop (B, 2, 3) and colour (B, 3, 6): as crop_matrix and colour_matrix give them. box
    (B, 3): CutMix's centre (row, column) and half its side, in sides of the picture; 0 is no CutMix. partner
    (B,): the image that fills the box, as a position in the whole batch. smallest: a crop's least area.
    """
    sizes = [len(batch) for batch in batches]
    ranges = dict(area=(smallest, 1), log_aspect=(-0.29, 0.29), row=(0, 1), column=(0, 1),  # of the crop
                  degrees=(-45, 45), mirror=(0, 1),
                  brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.6, 1.4), turn=(-0.05, 0.05),
                  box_row=(0, 1), box_column=(0, 1), kept=(0, 1), mixes=(0, 1))  # of CutMix; kept: its lambda
    low, high = torch.tensor([*ranges.values()]).T
    drawn = low + (high - low) * torch.rand(sum(sizes), len(low), generator=generator)  # (N, 14), N an epoch
    of = SimpleNamespace(**dict(zip(ranges, drawn.T)))  # each (N,)
    crop = crop_matrix(of.area, of.log_aspect.exp(), of.row, of.column, of.degrees, of.mirror < 0.5)
    colour = colour_matrix(of.brightness, of.contrast, of.saturation, of.turn)
    half_side = torch.where(of.mixes < 0.5, (1 - of.kept).sqrt() / 2, 0)
    box = torch.stack([of.box_row, of.box_column, half_side], 1)
    partner = torch.cat([torch.randperm(size, generator=generator) for size in sizes])
    epoch = crop, colour, box, partner  # (N, 2, 3), (N, 3, 6), (N, 3), (N,)
    return [Draws(*rows) for rows in zip(*(each.to(device).split(sizes) for each in epoch))]


def crop_matrix(area: Tensor, aspect: Tensor, row: Tensor, column: Tensor, degrees: Tensor,
                mirror: Tensor) -> Tensor:
    """Inception's crops (Szegedy et al. 2015, arXiv 1409.4842), turned: six (B,) -> affine_grid's (B, 2, 3).

    area: of the square's; aspect: width by height, a side cut to the square's; row, column: place, 0 (top,
    left) to 1; degrees: counterclockwise, about the crop's centre; mirror: 1, at last.
    """
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    x, y = (1 - width) * (2 * column - 1), (1 - height) * (2 * row - 1)  # the centre, in a square of [-1, 1]
    cos, sin, across = degrees.deg2rad().cos(), degrees.deg2rad().sin(), width * (1 - 2 * mirror.float())
    return torch.stack([across * cos, -height * sin, x, across * sin, height * cos, y], 1).view(-1, 2, 3)


def colour_matrix(brightness: Tensor, contrast: Tensor, saturation: Tensor, turn: Tensor) -> Tensor:
    """Colour jitter, four (B,) -> (B, 3, 6): what a pixel's colour weighs, and what the picture's mean.

    Factors of brightness, contrast (about the mean grey), saturation as in torchvision v2, then hue, in turns
    from red to yellow. Saturation scales YIQ's I and Q, hue turns them: a grey stays, and luminance.
    """
    zero, angle = torch.zeros_like(turn), 2 * torch.pi * turn
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    chroma = torch.stack([zero + 1, zero, zero, zero, cos, sin, zero, -sin, cos], 1).view(-1, 3, 3)
    pixel, mean = YIQ.inverse() @ chroma @ YIQ, YIQ[0].expand(len(turn), 3, 3)  # each (B, 3, 3)
    brightness, contrast = brightness[:, None, None], contrast[:, None, None]  # (B, 1, 1)
    return brightness * torch.cat([contrast * pixel, (1 - contrast) * mean], 2)


def augment(images: Tensor, draws: Draws, size: int = 100) -> Tensor:
    """uint8 (B, 3, S, S) -> float32 (B, 3, size, size) in [0, 1]; colours stay where draws.colour is None."""
    with torch.autocast(images.device.type, enabled=False):  # in bf16 pixels would lie beside their places
        fine = -(-images.shape[-1] // size)  # against aliasing: finer than a pixel, then averaged
        grid = F.affine_grid(draws.crop, [len(images), 3, fine * size, fine * size], align_corners=False)
        x = F.grid_sample(images.float(), grid, "bilinear", "reflection", align_corners=False)
        x = F.avg_pool2d(x, fine).div_(255)  # (B, 3, fine * size, fine * size) -> (B, 3, size, size)
        if draws.colour is not None:
            of_pixel, of_mean = draws.colour.split(3, 2)  # each (B, 3, 3)
            x = (of_mean @ x.mean((2, 3))[:, :, None]).baddbmm(of_pixel, x.flatten(2)).clamp_(0, 1).view_as(x)
    return x.contiguous(memory_format=machine.memory_format(x.device))


def cutmix(x: Tensor, draws: Draws, partners: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al. 2019, arXiv 1905.04899): x (B, 3, H, H) -> mixed, share (B,) of its own label."""
    centre, half = (x.shape[-1] * draws.box[:, :, None]).split([2, 1], 1)  # (B, 2, 1), (B, 1, 1), in pixels
    near = (torch.arange(x.shape[-1], device=x.device) + 0.5 - centre).abs() < half  # (B, 2, H)
    inside = near[:, :1, :, None] & near[:, 1:, None]  # -> (B, 1, H, H)
    partners = x[draws.partner] if partners is None else partners  # given where x is a part of its batch
    return torch.where(inside, partners, x), 1 - inside.float().mean((1, 2, 3))


def views(images: Tensor, count: int) -> Iterator[Tensor]:
    """uint8 (B, 3, S, S) -> (B, 3, 100, 100) each: the whole, centres, corners (Krizhevsky et al. 2012)."""
    for i in range(count):  # 1, 6 or 14
        values = torch.tensor([*VIEWS[i // 2], 0, i % 2], device=images.device)
        yield augment(images, Draws(crop_matrix(*values.expand(len(images), 6).T)))


def plain(images: Tensor) -> Tensor:
    """uint8 (B, 3, S, S), on its device -> float32 (B, 3, 100, 100) in [0, 1], the whole square."""
    return data.to_input(images, images.device) if images.shape[-1] == 100 else next(views(images, 1))
