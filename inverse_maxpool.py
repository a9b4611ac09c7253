"""InverseMaxPool, the unpooling that keeps only the feature, and its fusion with the convolution behind it.

A max pool keeps one element of each window. Its inverse here is a zero tensor with that one element of each
window filled in, always at an even row and column: the top left of a 2x2 window, the centre of a padded
3x3 one. (Report, section 1; it writes both as a Python double loop over positions.)

Dimensions: B batch, C channels, H and W height and width of the small map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _channels_last(x: Tensor) -> bool:
    """Whether the channels of (..., C, H, W) lie closer together in memory than the columns."""
    return 0 < x.stride(-3) < x.stride(-1)


def _spread(x: Tensor, edge: int) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H - edge, 2W - edge), zero but for x at the even rows and columns."""
    if x.dim() != 4:
        raise ValueError(f"InverseMaxPool takes a 4-D tensor (B, C, H, W), not one of shape {tuple(x.shape)}")
    B, C, H, W = x.shape
    height, width = max(2 * H - edge, 0), max(2 * W - edge, 0)
    if _channels_last(x):
        out = x.new_zeros(B, height, width, C).permute(0, 3, 1, 2)  # (B, C, height, width)
    else:
        out = x.new_zeros(B, C, height, width)
    out[:, :, ::2, ::2] = x
    return out


def _batched(function: type[torch.autograd.Function], x: Tensor, dim: int) -> tuple[Tensor, int]:
    """The vmap rule: fold the mapped dimension V into the batch, apply, unfold."""
    x = x.movedim(dim, 0)  # (V, B, C, H, W)
    V, B = x.shape[:2]
    if _channels_last(x):  # a fold that has to copy would lose the memory format
        x = x.movedim(2, 4).flatten(0, 1).movedim(3, 1)  # (V * B, C, H, W), channels innermost
    else:
        x = x.flatten(0, 1)  # (V * B, C, H, W)
    return function.apply(x).unflatten(0, (V, B)), 0


class InverseMaxPool2(torch.autograd.Function):
    """(B, C, H, W) -> (B, C, 2H, 2W): x[k, l] lands at [2k, 2l], the top left of its window.

    Any dtype, device and strides; channels_last stays channels_last. ValueError unless x is 4-D.
    Inverse of max_pool2d(kernel 2, stride 2). Report, section 1.
    """

    @staticmethod
    def forward(x):
        return _spread(x, edge=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass  # linear, with fixed positions: backward needs nothing of x

    @staticmethod
    def backward(ctx, grad):
        return grad[:, :, ::2, ::2]

    @staticmethod
    def jvp(ctx, x_tangent):
        return InverseMaxPool2.apply(x_tangent)

    @staticmethod
    def vmap(info, in_dims, x):
        return _batched(InverseMaxPool2, x, in_dims[0])


class InverseMaxPool3(torch.autograd.Function):
    """(B, C, H, W) -> (B, C, 2H-1, 2W-1): x[k, l] lands at [2k, 2l], the centre of its padded window.

    Otherwise as InverseMaxPool2. Inverse of max_pool2d(kernel 3, stride 2, padding 1): 4 -> 7 -> 13 -> 25.
    """

    @staticmethod
    def forward(x):
        return _spread(x, edge=1)

    setup_context = InverseMaxPool2.setup_context
    backward = InverseMaxPool2.backward

    @staticmethod
    def jvp(ctx, x_tangent):
        return InverseMaxPool3.apply(x_tangent)

    @staticmethod
    def vmap(info, in_dims, x):
        return _batched(InverseMaxPool3, x, in_dims[0])


def inverse_maxpool_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, window: int) -> Tensor:
    """conv2d(InverseMaxPool{window}(x), weight, bias, padding=1), without the zeros: a quarter of the work.

    x (B, C, H, W), weight (D, C, 3, 3), bias (D,) or None, window 2 or 3 -> (B, D, 2H, 2W) or (B, D, 2H-1, 2W-1).
    Spreading a map over even positions and convolving it is what a transposed convolution of stride 2 does,
    once the kernel is flipped and its channel axes are swapped; output_padding makes the even size.
    """
    if x.dim() != 4 or window not in (2, 3):
        raise ValueError(f"want x (B, C, H, W) and window 2 or 3, not shape {tuple(x.shape)}, window {window}")
    kernel = weight.flip(2, 3).transpose(0, 1)  # (C, D, 3, 3)
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1, output_padding=3 - window)
