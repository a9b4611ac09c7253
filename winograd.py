"""A 3x3 convolution of small maps by Winograd's minimal filtering, where a CPU computes in fp32.

A 4x4 tile of outputs takes 36 products for each pair of channels instead of 144, and all of them are
matrix products, which oneDNN multiplies faster than it convolves 4x4 maps. F(4x4, 3x3) of Lavin & Gray,
"Fast Algorithms for Convolutional Neural Networks" (2016). B batch, C channels in, D out, H height,
W width, T tiles a side, N = B T T.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 8  # pixels a side: of larger maps the tiles take longer to cut than is saved
FEWEST = 64  # tiles: with fewer the kernel's own transform is the greater work
# from a row of inputs, of a kernel, and of products to outputs; a tile takes each along rows and columns
OF_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
OF_KERNEL = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
             [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
TO_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def winograd_conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """conv2d(x, weight (D, C, 3, 3), bias (D,), padding=1), to rounding: x (B, C, H, W) -> (B, D, H, W)."""
    (B, C, H, W), D = x.shape, len(weight)
    T = -(-max(H, W) // 4)  # tiles a side
    of_tile, of_kernel, to_output = (  # (36, 36), (36, 9), (16, 36)
        torch.from_numpy(np.kron(side, side)).to(x.dtype) for side in (OF_INPUT, OF_KERNEL, TO_OUTPUT))
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 4 * T + 1 - W, 1, 4 * T + 1 - H))  # -> (B, 4T+2, 4T+2, C)
    tiles = x.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)  # they overlap: (6, 6, B, T, T, C)
    tiles = (of_tile @ tiles.reshape(36, -1)).view(36, -1, C)  # -> (36, N, C)
    kernels = (of_kernel @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, C, D)  # -> (36, C, D)
    products = tiles @ kernels  # (36, N, D)
    out = (to_output @ products.view(36, -1)).view(4, 4, B, T, T, D)  # -> (4, 4, B, T, T, D)
    out = out.permute(2, 3, 0, 4, 1, 5).reshape(B, 4 * T, 4 * T, D)[:, :H, :W]  # -> (B, H, W, D)
    return (out + bias).contiguous().permute(0, 3, 1, 2)  # -> (B, D, H, W), channels_last


class Conv3x3(nn.Conv2d):
    """3x3 nn.Conv2d, padding 1; on a CPU batches of small maps in fp32 (and fp64) take winograd_conv2d."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and x.shape[1] == self.in_channels and x.device.type == "cpu" and self._in_fp32(x):
            side = max(x.shape[2:])
            if 0 < side <= LARGEST and len(x) * (-(-side // 4)) ** 2 >= FEWEST:
                return winograd_conv2d(x, self.weight, self.bias)
        return super().forward(x)

    def _in_fp32(self, x: Tensor) -> bool:  # bf16 and half are too coarse for it
        is_fine = x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64)
        return is_fine and not torch.is_autocast_enabled("cpu")
