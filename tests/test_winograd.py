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
@pytest.mark.parametrize("shape", [(2, 25, 40, 7, 7), (2, 40, 70, 4, 4), (3, 5, 2, 8, 8), (1, 1, 1, 1, 1),
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


@pytest.mark.parametrize("shape", [(8, 256, 400, 7, 7), (8, 700, 1000, 4, 4)])
def test_in_fp32_outputs_and_gradients_are_within_a_ten_thousandth_of_the_largest(shape):
    inputs, exact = leaves(*shape, dtype=torch.float32), leaves(*shape)
    y, expected = winograd_conv2d(*inputs), F.conv2d(*exact, padding=1)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    pairs = [(y, expected), *zip(torch.autograd.grad(y, inputs, grad),
                                 torch.autograd.grad(expected, exact, grad.double()))]
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_batches_of_small_maps_in_fp32_on_a_cpu_take_it_and_no_others(monkeypatch):
    calls = []
    monkeypatch.setattr(winograd, "winograd_conv2d",
                        lambda x, *rest: calls.append(tuple(x.shape)) or winograd_conv2d(x, *rest))
    conv = Conv3x3(2, 3)
    for shape in ((64, 2, 4, 4), (16, 2, 8, 8), (63, 2, 4, 4), (64, 2, 9, 9), (2, 4, 4)):
        torch.testing.assert_close(conv(torch.ones(shape)),
                                   F.conv2d(torch.ones(shape), conv.weight, conv.bias, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.ones(64, 2, 4, 4)).dtype == torch.bfloat16
    for dtype in (torch.bfloat16, torch.half):
        assert Conv3x3(2, 3).to(dtype)(torch.ones(64, 2, 4, 4, dtype=dtype)).dtype == dtype
    assert Conv3x3(2, 3).to("meta")(torch.ones(64, 2, 4, 4, device="meta")).shape == (64, 3, 4, 4)
    assert calls == [(64, 2, 4, 4), (16, 2, 8, 8)]
    assert Conv3x3(64, 3)(torch.ones(64, 4, 4)).shape == (3, 4, 4)  # one map, no batch
    with pytest.raises(RuntimeError, match="to have 2 channels"):
        conv(torch.ones(64, 3, 4, 4))


def test_a_first_call_in_inference_mode_does_not_keep_others_from_learning():
    conv, x = Conv3x3(2, 3), torch.ones(64, 2, 4, 4)
    with torch.inference_mode():
        conv(x)
    conv(x).sum().backward()
    assert conv.weight.grad.abs().sum() > 0


def test_each_model_of_an_ensemble_has_its_own_gradient_under_torch_func():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 64, 2, 4, 4, dtype=torch.float64, generator=generator)  # a batch for each
    weight, bias = leaves(1, 2, 3, 4, 4)[1:]

    def loss(convolve):
        return lambda weight, x: convolve(x, weight, bias.detach()).square().sum()

    ours = torch.func.vmap(torch.func.grad(loss(winograd_conv2d)), (None, 0))(weight.detach(), x)
    for one, batch in zip(ours, x):
        plain = torch.func.grad(loss(lambda *inputs: F.conv2d(*inputs, padding=1)))(weight.detach(), batch)
        torch.testing.assert_close(one, plain, rtol=1e-10, atol=1e-10)
