"""What decoding.py does to a photo once it is read, in tensors: for programs without ours and Pillow."""

import torch
from torch import Tensor, nn


def resize_matrix(length: int, side: int) -> Tensor:
    """(100, length): Pillow's bilinear filter, from the centred part of a row, side pixels, to 100."""
    first, step = torch.full((), length - side).div(2).round(), torch.full((), side) / 100
    pixel = torch.arange(length) + 0.5 - first  # (length,), places in the part
    centre = (torch.arange(100)[:, None] + 0.5) * step  # (100, 1)
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0) * ((pixel > 0) & (pixel < side))
    return weight / weight.sum(1, keepdim=True)


class Preprocess(nn.Module):
    """uint8 photos (B, 3, H, W) -> x (B, 3, 100, 100), as decoding.decode and data.to_input make it.

    Of a JPEG with sides above 1055 to within a few grey levels, since decoding reads it reduced.
    """

    def forward(self, photos: Tensor) -> Tensor:
        height, width = photos.shape[2:]
        side = torch.sym_min(height, width)
        x = (photos.float() @ resize_matrix(width, side).T + 0.5).floor()  # (B, 3, H, 100), in grey levels
        return (resize_matrix(height, side) @ x + 0.5).floor() / 255  # -> (B, 3, 100, 100)
