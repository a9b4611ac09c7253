"""Models at work: load them in eval mode, classify and reconstruct images, set batch norm's statistics."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import data
from flowers import decoding
from models import AutoEncoder, Classifier, Encoder
from support import checkpoint, machine
from support.errors import UserError

BATCH_SIZE = 256


def load_classifier(path: Path, device: torch.device) -> tuple[Encoder, Classifier, dict]:
    """Encoder and classifier in eval mode, rebuilt from a classifier.pt, and the rest of its content."""
    content = checkpoint.load(path, "classifier")
    config, batch_norm = content["config"], {"batch_norm": content["config"].get("batch_norm")}
    encoder = checkpoint.rebuild(Encoder, batch_norm, content.pop("encoder"), path)
    classifier = checkpoint.rebuild(Classifier, config, content.pop("classifier"), path)
    classes, outputs = content["classes"], classifier.linear4.out_features
    if len(classes) != outputs:
        raise UserError(f"{path} names {len(classes)} classes, but its classifier has {outputs} outputs")
    if content["crop"] not in decoding.CROPS:
        raise UserError(f"{path}: its crop is {content['crop']!r}, not one of {', '.join(decoding.CROPS)}")
    for model in (encoder, classifier):
        model.to(device, memory_format=machine.memory_format(device)).eval()
    return encoder, classifier, content


def load_autoencoder(path: Path, device: torch.device) -> tuple[AutoEncoder, dict]:
    """An autoencoder in eval mode, rebuilt from an autoencoder.pt, and the rest of its content."""
    content = checkpoint.load(path, "autoencoder")
    model = checkpoint.rebuild(AutoEncoder, content["config"], content.pop("model"), path)
    return model.to(device, memory_format=machine.memory_format(device)).eval(), content


def measure_batch_norm(encoder: Encoder, images: Tensor, batch_size: int, seed: int, precision: str) -> None:
    """Set batch norm's mean and variance to the mean over shuffled batches of uint8 images (N, 3, H, W)."""
    order = data.batches(len(images), batch_size, machine.seed_epoch(seed, 0))
    with machine.autocast(images.device, precision):
        update_bn((data.to_input(images[batch], images.device) for batch in order), encoder)


@torch.no_grad()
def classify(encoder: nn.Module, classifier: nn.Module, images: Tensor, device: torch.device,
             precision: str) -> Tensor:
    """uint8 images (N, 3, H, W) -> logits (N, classes), float32 on the CPU; in eval mode, restored after."""
    modes = [(model, model.training) for model in (encoder, classifier)]
    encoder.eval()
    classifier.eval()
    logits = []
    with machine.autocast(device, precision):  # around the loop: it casts the weights once
        for batch in data.batches(len(images), BATCH_SIZE):
            z = encoder(data.to_input(images[batch], device))  # (B, 400, 4, 4)
            logits.append(classifier(z).float().cpu())  # (B, classes)
    for model, mode in modes:
        model.train(mode)
    return torch.cat(logits)


@torch.no_grad()
def reconstruct(model: AutoEncoder, x: Tensor, precision: str) -> Tensor:
    """A batch x (B, 3, H, W), as from data.to_input -> x_hat (B, 3, H, W), float32; model in eval mode."""
    with machine.autocast(x.device, precision):
        _, x_hat = model(x)
    return x_hat.float()


def reconstruction_error(model: AutoEncoder, images: Tensor, device: torch.device, precision: str) -> float:
    """Mean squared error per value of uint8 images (N, 3, H, W), in [0, 1] units; model in eval mode."""
    total = 0.0
    for batch in data.batches(len(images), BATCH_SIZE):
        x = data.to_input(images[batch], device)  # (B, 3, H, W)
        total += F.mse_loss(reconstruct(model, x, precision), x).item() * len(batch)
    return total / len(images)
