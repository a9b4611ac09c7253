"""Guards InverseMaxPool and its fusion: the report's loops, under every transform, layout and dtype."""

import pytest
import torch
import torch.nn.functional as F

from inverse_maxpool import InverseMaxPool2, InverseMaxPool3, inverse_maxpool_conv2d
from tests import reference

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
POOLS = {2: InverseMaxPool2, 3: InverseMaxPool3}
LOOPS = {2: reference.InverseMaxPool2, 3: reference.InverseMaxPool3}
# window, in, out, side
DECODER = [(3, 400, 256, 4), (3, 256, 144, 7), (3, 144, 64, 13), (2, 64, 16, 25), (2, 16, 3, 50)]
EMPTY_OR_THIN = [(0, 3, 4, 5), (2, 3, 1, 6), (2, 3, 5, 1), (2, 3, 1, 1), (1, 1, 2, 3)]

both = pytest.mark.parametrize("window", (2, 3))
on_each_device = pytest.mark.parametrize("device", DEVICES)


def values(shape, device="cpu", dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).to(device)


@on_each_device
@pytest.mark.parametrize("window,shape", [(w, (2, c, s, s)) for w, c, _, s in DECODER]
                         + [(w, shape) for w in (2, 3) for shape in [(3, 2, 5, 8), *EMPTY_OR_THIN]])
def test_plain_form_is_the_loops_in_value_and_gradient(window, shape, device):
    x = values(shape, device).requires_grad_()
    ours, loops = POOLS[window].apply(x), LOOPS[window].apply(x)
    assert torch.equal(ours, loops)
    grad = values(ours.shape, device, seed=1)
    assert torch.equal(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, loops)))


@on_each_device
@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("window,inputs,outputs,height,width",
                         [(w, i, o, s, s) for w, i, o, s in DECODER]
                         + [(w, 5, 4, h, v) for w in (2, 3) for h, v in ((3, 6), (1, 1), (1, 4))])
def test_fused_form_is_the_loops_and_a_convolution_to_1e_12(
    window, inputs, outputs, height, width, bias, device
):
    scale = (9 * inputs) ** -0.5  # as a fresh convolution: outputs of about 1
    leaves = [
        values((2, inputs, height, width), device),
        values((outputs, inputs, 3, 3), device, seed=1) * scale,
    ]
    leaves = [leaf.requires_grad_() for leaf in [*leaves, values((outputs,), device, seed=2)][: 2 + bias]]
    x, weight, b = [*leaves, None][:3]
    fused = inverse_maxpool_conv2d(x, weight, b, window)
    loops = F.conv2d(LOOPS[window].apply(x), weight, b, padding=1)
    torch.testing.assert_close(fused, loops, rtol=1e-12, atol=1e-12)
    grad = values(fused.shape, device, seed=3)
    for ours, theirs in zip(*(torch.autograd.grad(y, leaves, grad) for y in (fused, loops))):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12 * grad.numel() ** 0.5)


@both
def test_fused_form_takes_an_empty_batch(window):
    out = inverse_maxpool_conv2d(values((0, 5, 4, 4)), values((6, 5, 3, 3)), None, window)
    assert out.shape == {2: (0, 6, 8, 8), 3: (0, 6, 7, 7)}[window]


@on_each_device
@both
def test_first_and_second_derivatives_by_finite_differences(window, device):
    x = values((2, 2, 3, 2), device).requires_grad_()
    apply = POOLS[window].apply
    assert torch.autograd.gradcheck(apply, x, check_forward_ad=True, check_batched_grad=True,
                                    check_batched_forward_grad=True)
    # the layer is linear, so its square is what gives the second derivative something to see
    assert torch.autograd.gradgradcheck(lambda x: apply(x) ** 2, x, check_fwd_over_rev=True)
    weight, bias = (
        values((3, 2, 3, 3), device, seed=1).requires_grad_(),
        values((3,), device, seed=2).requires_grad_(),
    )

    def fused(*leaves):
        return inverse_maxpool_conv2d(*leaves, window)

    assert torch.autograd.gradcheck(fused, (x, weight, bias), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(fused, (x, weight, bias))


@both
def test_forward_mode_derivative_is_the_layer_itself(window):
    x, tangent = values((2, 3, 4, 5)), values((2, 3, 4, 5), seed=1)
    value, derivative = torch.func.jvp(POOLS[window].apply, (x,), (tangent,))
    assert torch.equal(value, LOOPS[window].apply(x)) and torch.equal(
        derivative, LOOPS[window].apply(tangent)
    )


@both
@pytest.mark.parametrize("in_dim", range(5))
@pytest.mark.parametrize("memory_format", (torch.contiguous_format, torch.channels_last))
def test_vmap_is_a_loop_over_samples_and_keeps_the_memory_format(window, in_dim, memory_format):
    samples = [values((2, 3, 4, 5), seed=s).contiguous(memory_format=memory_format) for s in range(3)]
    apply = POOLS[window].apply
    x = (torch.stack([s.permute(0, 2, 3, 1) for s in samples]).permute(0, 1, 4, 2, 3)
         if memory_format == torch.channels_last else
         torch.stack(samples))  # (V, B, C, H, W), each sample in its memory format
    out = torch.func.vmap(apply, in_dims=in_dim)(x.movedim(0, in_dim))
    assert torch.equal(out, torch.stack([LOOPS[window].apply(s) for s in samples]))
    assert all(o.is_contiguous(memory_format=memory_format) for o in out)


@both
def test_transforms_compose(window):
    x = values((3, 2, 2, 2, 3))

    def square(x):
        return (POOLS[window].apply(x) ** 2).sum()

    # each element stands in the output once
    assert torch.equal(torch.func.vmap(torch.func.grad(square))(x), 2 * x)
    assert torch.equal(torch.func.grad(lambda x: torch.func.vmap(square)(x).sum())(x), 2 * x)
    assert torch.equal(torch.func.vmap(torch.func.vmap(lambda x: POOLS[window].apply(x[None])))(x)[:, :, 0],
                       torch.stack([LOOPS[window].apply(s) for s in x]))


@both
def test_compiles(window):
    x = values((2, 3, 4, 5)).requires_grad_()
    compiled = torch.compile(lambda x: POOLS[window].apply(x * 2), backend="aot_eager")
    out = compiled(x)
    assert torch.equal(out, LOOPS[window].apply(x * 2))
    out.sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))


@on_each_device
@both
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64,
                                   torch.bool, torch.complex64))
def test_any_dtype(window, dtype, device):
    x = values((2, 3, 4, 5), device).mul(9).to(dtype)
    out = POOLS[window].apply(x)
    assert out.dtype == dtype and out.device == x.device and torch.equal(out, LOOPS[window].apply(x))


@both
@pytest.mark.parametrize(
    "layout", ("channels_last", "transposed", "sliced", "expanded", "channels_last of 1 x 1")
)
def test_any_strides_and_channels_last_stays(window, layout):
    x = {"channels_last": values((2, 3, 4, 5)).contiguous(memory_format=torch.channels_last),
         "transposed": values((2, 3, 5, 4)).transpose(2, 3), "sliced": values((2, 6, 8, 5))[:, ::2, 1::2],
         "expanded": values((1, 3, 1, 5)).expand(2, 3, 4, 5),
         "channels_last of 1 x 1": values((2, 3, 1, 1)).to(memory_format=torch.channels_last)}[layout]
    out = POOLS[window].apply(x)
    assert torch.equal(out, LOOPS[window].apply(x))
    assert out.is_contiguous(memory_format=(torch.channels_last if "channels_last" in layout else
                                            torch.contiguous_format))


@both
@pytest.mark.parametrize("shape", ((), (3,), (2, 3, 4), (1, 2, 3, 4, 5)))
def test_what_is_not_4d_is_refused(window, shape):
    for call in (
        POOLS[window].apply,
        lambda x: inverse_maxpool_conv2d(x, values((3, 3, 3, 3)), None, window),
    ):
        with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
            call(values(shape))


@both
def test_it_inverts_the_pooling_and_its_positions_are_those_of_max_unpool(window):
    """Pooling what was spread gives a positive map back; F.max_unpool2d at the same places agrees."""
    x = values((2, 3, 4, 5)).abs() + 1
    out = POOLS[window].apply(x)
    pooled = F.max_pool2d(out, 2, 2) if window == 2 else F.max_pool2d(out, 3, 2, padding=1)
    assert torch.equal(pooled, x)
    rows, columns = 2 * torch.arange(4)[:, None], 2 * torch.arange(5)
    indices = (rows * out.shape[3] + columns).expand(2, 3, 4, 5)
    assert torch.equal(out, F.max_unpool2d(x, indices, 2, 2, output_size=out.shape[2:]))
