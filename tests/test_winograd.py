"""Guards Winograd's convolution: F.conv2d, to rounding, in value and gradient, and only where it is meant."""

import pytest
import torch
import torch.nn.functional as F

import winograd
from winograd import Conv3x3, winograd_conv2d


def leaves(B, C, D, H, W, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    scale = (9 * C) ** -0.5  # as a fresh convolution: outputs of about 1
    shapes = ((B, C, H, W), 1), ((D, C, 3, 3), scale), ((D,), 1)
    return [(torch.randn(shape, dtype=torch.float64, generator=generator) * by).to(dtype).requires_grad_()
            for shape, by in shapes]


@pytest.mark.parametrize("channels_last", (True, False))
@pytest.mark.parametrize("shape", [(2, 256, 400, 7, 7), (2, 400, 700, 4, 4), (3, 5, 2, 8, 8), (1, 1, 1, 1, 1),
                                   (2, 3, 4, 5, 2), (2, 3, 4, 1, 6), (2, 4, 3, 13, 13), (0, 3, 2, 4, 4)])
def test_it_is_a_convolution_in_value_and_gradient_to_1e_12(shape, channels_last):
    x, weight, bias = leaves(*shape)
    y = winograd_conv2d(x.to(memory_format=torch.channels_last) if channels_last else x, weight, bias)
    expected = F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert y.is_contiguous(memory_format=torch.channels_last)
    grad = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(*(torch.autograd.grad(each, (x, weight, bias), grad) for each in (y, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12 * max(grad.numel(), 1) ** 0.5)


def test_first_and_second_derivatives_by_finite_differences():
    inputs = leaves(2, 2, 3, 5, 4)
    assert torch.autograd.gradcheck(winograd_conv2d, inputs) and torch.autograd.gradgradcheck(winograd_conv2d, inputs)


@pytest.mark.parametrize("shape", [(128, 256, 400, 7, 7), (128, 700, 1000, 4, 4)])
def test_in_fp32_it_stays_within_some_units_of_rounding_of_the_largest_output(shape):
    inputs = leaves(*shape, dtype=torch.float32)
    with torch.no_grad():
        exact = F.conv2d(*(each.double() for each in inputs), padding=1)
        error = (winograd_conv2d(*inputs) - exact).abs().max() / exact.abs().max()
    assert error < 100 * torch.finfo(torch.float32).eps


def test_small_maps_of_a_whole_batch_in_fp32_on_a_cpu_take_it_and_no_others(monkeypatch):
    calls = []
    monkeypatch.setattr(winograd, "winograd_conv2d", lambda x, *rest: calls.append(tuple(x.shape)) or winograd_conv2d(x, *rest))
    conv = Conv3x3(2, 3)
    for shape in ((64, 2, 4, 4), (16, 2, 8, 8), (63, 2, 4, 4), (64, 2, 9, 9)):
        torch.testing.assert_close(conv(torch.ones(shape)), F.conv2d(torch.ones(shape), conv.weight, conv.bias, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.ones(64, 2, 4, 4)).dtype == torch.bfloat16
    assert calls == [(64, 2, 4, 4), (16, 2, 8, 8)]
