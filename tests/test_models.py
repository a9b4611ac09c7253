"""Guards the networks: the report's, to the state dict, in value and gradient; and that they can learn."""

import pytest
import torch
import torch.nn.functional as F

import models
from tests import reference

PARTS = {"Encoder": (2, 3, 100, 100), "Decoder": (2, 400, 4, 4), "AutoEncoder": (2, 3, 100, 100),
         "Classifier": (4, 400, 4, 4)}


@pytest.fixture(scope="module")
def classifier():
    """One classifier for all tests that may share it: making 149 million weights takes seconds."""
    torch.manual_seed(0)
    return models.Classifier()


each_part = pytest.mark.parametrize("name", PARTS)
with_and_without_batch_norm = pytest.mark.parametrize("batch_norm", (True, False))


def pair(name, batch_norm, dtype):
    """Our network and the report's, with the same weights, and statistics as after some images."""
    torch.manual_seed(0)
    theirs = getattr(reference, name)(batch_norm=batch_norm).to(dtype)
    for buffer in theirs.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2)
    with torch.device("meta"):
        ours = getattr(models, name)(batch_norm=batch_norm)
    state = theirs.state_dict()
    statistics = {key: buffer.clone() for key, buffer in theirs.named_buffers()}
    ours.load_state_dict({**state, **statistics}, strict=True, assign=True)  # weights shared, not copied
    return ours, theirs


def last(output):
    return output if isinstance(output, torch.Tensor) else output[-1]


@each_part
@with_and_without_batch_norm
def test_state_dicts_load_strictly_both_ways(name, batch_norm):
    with torch.device("meta"):
        theirs, ours = (getattr(module, name)(batch_norm=batch_norm) for module in (reference, models))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert [(k, v.shape) for k, v in ours.state_dict().items() if "bn" not in k] == \
           [(k, v.shape) for k, v in theirs.state_dict().items() if "bn" not in k]


def within_1e_10(a, b, scale):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * scale)


def same_bits(a, b, scale):
    assert torch.equal(a, b)


def assert_same_outputs_gradients_and_statistics(ours, theirs, x, x_ours, close):
    """In eval and in train mode; close(a, b, scale) asserts, scale the largest value to be expected in b."""
    for mode in (False, True):
        out_ours, out_theirs = last(ours.train(mode)(x_ours)), last(theirs.train(mode)(x))
        close(out_ours, out_theirs, out_theirs.abs().max().item())
        target = torch.rand_like(out_theirs)
        for model, out in ((ours, out_ours), (theirs, out_theirs)):
            model.zero_grad()
            F.mse_loss(out, target).backward()
        largest = {key: p.grad.norm(float("inf")).item() for key, p in theirs.named_parameters()}
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters()):
            assert p.grad is not None, f"{key} has no gradient"
            # a bias in front of batch norm has the gradient zero, to rounding: its weight's gives the scale
            close(p.grad, q.grad, max(largest[key], largest[key.replace("bias", "weight")]))
    for a, b in zip(ours.buffers(), theirs.buffers()):  # running statistics after the step in train mode
        close(a.double(), b.double(), b.abs().max().item())


@pytest.mark.parametrize("name", ("Encoder", "Decoder", "AutoEncoder"))
@with_and_without_batch_norm
@pytest.mark.parametrize("memory_format", (torch.contiguous_format, torch.channels_last))
def test_autoencoder_is_the_reports_in_float64(name, batch_norm, memory_format):
    ours, theirs = pair(name, batch_norm, torch.float64)
    x = torch.rand(PARTS[name], dtype=torch.float64)
    assert_same_outputs_gradients_and_statistics(ours.to(memory_format=memory_format), theirs, x,
                                                 x.to(memory_format=memory_format), within_1e_10)


@with_and_without_batch_norm
def test_the_autoencoder_unpools_each_element_to_the_even_places(batch_norm):
    """Against the same layers, each element placed by hand."""
    torch.manual_seed(0)
    model = models.AutoEncoder(batch_norm).double().eval()
    x = torch.rand(2, 3, 100, 100, dtype=torch.float64)
    z, x_hat = model(x)
    assert torch.equal(model.encoder(x), z)
    out = z
    for i, edge in enumerate((1, 1, 1, 0, 0), 1):
        size = [2 * length - edge for length in out.shape[2:]]
        small, out = out, torch.zeros(*out.shape[:2], *size, dtype=torch.float64)
        out[..., ::2, ::2] = small
        out = getattr(model.decoder, f"deconv{i}")(out)
        if i < 5:
            out = F.relu(getattr(model.decoder, f"bn{i}")(out) if batch_norm else out)
    within_1e_10(x_hat, out, x_hat.abs().max().item())
    x_hat.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@with_and_without_batch_norm
def test_classifier_is_the_reports(batch_norm):
    """In float32, 149 million weights being many: the same operations in the same order, so the same bits."""
    ours, theirs = pair("Classifier", batch_norm, torch.float32)
    x = torch.rand(PARTS["Classifier"])
    assert_same_outputs_gradients_and_statistics(ours, theirs, x, x, same_bits)


def test_shapes_along_the_way_are_the_reports_tables():
    shapes = []
    encoder, decoder = models.Encoder(), models.Decoder()
    for model in (encoder, decoder):
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_hook(
                    lambda module, inputs, output: shapes.append(tuple(output.shape[1:]))
                )
    z = encoder(torch.rand(2, 3, 100, 100))
    x_hat = decoder(z)
    assert shapes == [
        (16, 100, 100),
        (64, 50, 50),
        (144, 25, 25),
        (256, 13, 13),
        (400, 7, 7),  # before each pool
        (256, 7, 7),
        (144, 13, 13),
        (64, 25, 25),
        (16, 50, 50),
    ]
    assert z.shape == (2, 400, 4, 4) and x_hat.shape == (2, 3, 100, 100)


@pytest.mark.parametrize("place,expected", (("all", [4, 4, 2, 2, 2]), ("linear", [2, 2, 2])))
def test_dropout_acts_where_it_says_and_in_train_mode_alone(place, expected, classifier):
    classifier.dropout_after, classifier.dropout.p = place, 0.5
    dimensions, dropped = [], []

    def look(module, inputs, output):
        dimensions.append(output.dim())
        dropped.append(output[inputs[0] > 0].eq(0).float().mean().item())

    hook = classifier.dropout.register_forward_hook(look)
    z = torch.rand(8, 400, 4, 4)
    with torch.no_grad():
        classifier.train()(z)
        assert dimensions == expected
        assert all(abs(share - 0.5) < 0.05 for share in dropped)
        dropped.clear()
        classifier.eval()(z)
        assert dropped == [0] * len(expected)
    hook.remove()


def test_every_parameter_of_encoder_and_classifier_learns_and_one_batch_can_be_overfitted(classifier):
    torch.manual_seed(0)
    encoder = models.Encoder()
    classifier.train().dropout.p = 0.0
    parameters = [*encoder.named_parameters(), *classifier.named_parameters()]
    before = [p.detach().clone() for _, p in parameters]
    optimizer = torch.optim.SGD([p for _, p in parameters], lr=0.02, fused=True)
    x, y = torch.rand(8, 3, 100, 100), torch.arange(8)
    for _ in range(8):
        loss = F.cross_entropy(classifier(encoder(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    for old, (name, new) in zip(before, parameters):
        assert not torch.equal(old, new), f"{name} stayed as it was"


def test_the_autoencoder_overfits_one_batch():
    torch.manual_seed(0)
    model = models.AutoEncoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    x = F.interpolate(torch.rand(2, 3, 4, 4), (100, 100), mode="bilinear")  # two pictures of soft colours
    for _ in range(100):
        _, x_hat = model(x)
        loss = F.mse_loss(x_hat, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * x.var().item()  # of which a picture of one grey keeps all
