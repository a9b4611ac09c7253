"""InverseMaxPool, the unpooling that keeps only the feature, and its fusion with the convolution behind it.

Its output is zero but for one element of each window, at an even row and column: the top left of a 2x2
window, the centre of a padded 3x3 one (report, section 1). B batch, C and D channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _spread(x: Tensor, edge: int) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H - edge, 2W - edge): x at the even rows and columns, in x's memory format."""
    if x.dim() != 4:
        raise ValueError(f"InverseMaxPool takes a 4-D tensor (B, C, H, W), not {x.dim()} dimensions")
    B, C, H, W = x.shape
    if 0 < x.stride(1) < x.stride(3):  # channels_last
        out = x.new_zeros(B, 2 * H - edge, 2 * W - edge, C).permute(0, 3, 1, 2)
    else:
        out = x.new_zeros(B, C, 2 * H - edge, 2 * W - edge)
    out[:, :, ::2, ::2] = x
    return out


class InverseMaxPool2(torch.autograd.Function):
    """(B, C, H, W) -> (B, C, 2H, 2W): x[k, l] lands at [2k, 2l], the top left of its window.

    Inverse of max_pool2d(2, stride 2). Any dtype, device and strides; channels_last stays; torch.func's
    transforms work. ValueError unless 4-D.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return _spread(x, edge=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass  # linear, at fixed positions: the derivatives need nothing of x

    @staticmethod
    def backward(ctx, grad):
        return grad[..., ::2, ::2]  # (B, C, 2H, 2W) -> (B, C, H, W)

    @staticmethod
    def jvp(ctx, x_tangent):
        return InverseMaxPool2.apply(x_tangent)


class InverseMaxPool3(InverseMaxPool2):
    """Inverse of max_pool2d(3, stride 2, padding 1): (B, C, H, W) -> (B, C, 2H-1, 2W-1), x at the centres."""

    @staticmethod
    def forward(x):
        return _spread(x, edge=1)

    @staticmethod
    def jvp(ctx, x_tangent):
        return InverseMaxPool3.apply(x_tangent)


def inverse_maxpool_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, window: int) -> Tensor:
    """conv2d(InverseMaxPool{window}(x), weight, bias, padding=1) without the zeros: about a quarter of it.

    x (B, C, H, W), weight (D, C, 3, 3), bias (D,) or None -> (B, D, 2H, 2W) for window 2, (B, D, 2H-1, 2W-1)
    for window 3. It is a transposed convolution of stride 2, the kernel flipped, its channel axes swapped.
    """
    if x.dim() != 4 or window not in (2, 3):
        raise ValueError(f"want x (B, C, H, W), window 2 or 3, not {x.dim()} dimensions, window {window}")
    kernel = weight.flip(2, 3).transpose(0, 1)  # (D, C, 3, 3) -> (C, D, 3, 3)
    out = F.conv_transpose2d(x, kernel, bias, stride=2, padding=1, output_padding=1)  # (B, D, 2H, 2W)
    # cropped, as oneDNN is slow at the odd size in bf16; cloned, as batch norm is on a strided input
    return out if window == 2 else out[..., :-1, :-1].clone()  # (B, D, 2H-1, 2W-1)
