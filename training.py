"""Flags, optimizer and schedule of both stages; stage two's averaged weights, batch norm measured anew."""

import argparse
import copy
import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import augment
import data
import recipes
from flowers import folder, notices
from support import distributed, machine, parallel, run_folder
from support.errors import Parser, UserError
from support.flags import add_run, number

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad,
              "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}
WARM_UP = 0.05  # of the steps, with the cosine schedule
MEASURED_AT_ONCE = 256  # images whose statistics are taken at once; with fewer they are rougher, and slower


def parser_of(doc: str, out: str) -> argparse.ArgumentParser:
    """A parser with the flags that mean the same in both training scripts; a recipe sets their defaults."""
    parser = Parser(doc)
    data.add_arguments(parser.add_argument_group("data"))
    add = parser.add_argument_group("training").add_argument
    add("--recipe", choices=recipes.RECIPES, help="what sets the defaults (strong, or a resumed run's)")
    add("--epochs", type=number(int, 1), help="passes; None: enough for the recipe's steps (%(default)s)")
    add("--batch-size", type=number(int, 2, 2**31), help="images a step (%(default)s)")
    add("--optimizer", choices=OPTIMIZERS, help="PyTorch's rule for a step (%(default)s)")
    add("--learning-rate", type=number(float, 0, above=True), help="at its peak (%(default)s)")
    add("--weight-decay", type=number(float, 0), help="adamw's; with others L2, 0 if not typed (%(default)s)")
    add("--schedule", choices=("constant", "cosine"), help="of the learning rate (%(default)s)")
    add("--augment", action=argparse.BooleanOptionalAction, help="vary photos, by augment.py (%(default)s)")
    add("--smallest-crop", type=number(float, 0, 1, above=True), help="least area, as a share (%(default)s)")
    add("--seed", type=number(int, 0), default=0, help="of all that is random (%(default)s)")
    add_run(parser, out)
    return parser


def load_photos(args: argparse.Namespace, run: run_folder.Run, stage: str) -> data.FlowerSet:
    """The training photos; settles --epochs by them. UserError where photos, or classes, are too few."""
    if stage == "classifier" and args.dataset not in data.BUILT_IN:
        folder.check_classes(args.dataset)
    size = augment.SQUARE if args.augment else 100
    splits = ["train", "val"] if stage == "classifier" and args.with_val else ["train"]
    sets = [each for split in splits for each in distributed.in_turn(  # without val/ one may be none
        data.load_sizes, args.dataset, split, args.data_dir, args.cache_dir, [size], len(splits) > 1)]
    flowers = data.join(*sets) if len(sets) > 1 else sets[0]
    if len(flowers) < 2:
        raise UserError(f"--dataset {args.dataset}: one training photo is too few for batch norm; add more")
    if stage == "classifier":
        notices.tell_few(flowers.labels, flowers.classes, args.class_weights != "none")
    sizes = [len(batch) for batch in data.batches(len(flowers), args.batch_size)]
    parallel.check_batches(sizes, args.batch_size)
    args.epochs = run.flags["epochs"] = recipes.epochs(args, stage, len(sizes), run.resumed)
    return flowers


def own_parts(batches: list[Tensor], draws: list[augment.Draws],
              images: Tensor | machine.Streamed) -> tuple[list, list, list[float]]:
    """Of each batch this process's images, draws, and what scales its loss, as parts may differ by one."""
    # indices lie beside the images, since a GPU is waited for to copy them, once now and not at each step
    place = images.device if isinstance(images, Tensor) else "cpu"
    mine = [distributed.part(batch).to(place) for batch in batches]
    scale = [distributed.count() * len(own) / len(batch) for own, batch in zip(mine, batches)]
    return mine, [augment.Draws(*map(distributed.part, each)) for each in draws], scale


def class_weights(flowers: data.FlowerSet, kind: str) -> Tensor:
    """What an image of each class counts, (classes,): 1; "balanced": so that all classes count the same."""
    if kind == "none":
        return torch.ones(len(flowers.classes))
    counts = torch.bincount(flowers.labels, minlength=len(flowers.classes))  # (classes,)
    return len(flowers) / ((counts > 0).sum() * counts.clamp(min=1))


def make_optimizer(name: str, groups: list[dict], rate: float, decay: float) -> torch.optim.Optimizer:
    """One of OPTIMIZERS, in one pass over the weights (RMSprop has no fused form)."""
    if name == "adamw":  # decays matrices and kernels alone: biases and batch norm's factors stay free
        groups = [group | {"params": [p for p in group["params"] if (p.dim() > 1) == decayed],
                           "weight_decay": decay if decayed else 0.0}
                  for group in groups for decayed in (True, False)]
    device = groups[0]["params"][0].device.type
    # Adagrad's is for the CPU: earlier releases had it there alone, and MPS has none yet
    fused = {} if name == "rmsprop" or (name == "adagrad" and device != "cpu") else {"fused": True}
    optimizer = OPTIMIZERS[name](groups, lr=rate, weight_decay=decay, **fused)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, schedule: str, step: int, steps: int) -> None:
    """Of step 0 to steps - 1. cosine: linearly up over the first 5 % of the steps, then to 0 as a cosine."""
    warm_up = max(1, round(WARM_UP * steps))
    up = (step + 1) / warm_up
    down = 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
    share = 1.0 if schedule == "constant" else up if step < warm_up else down
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights and batch norm's statistics towards the model's, exponentially."""
    # less at first, so that a short run forgets its start: a decay of 0.998 begins to act at step 4490
    kept = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - kept)
        else:
            mean.copy_(value)


@torch.no_grad()
def measure_batch_norm(model: nn.Module, images: Tensor, seed: int, precision: str,
                       before: nn.Module | None = None) -> None:
    """Set batch norm's statistics to their mean over uint8 images (N, 3, S, S), after `before`."""
    size = math.ceil(len(images) / math.ceil(len(images) / MEASURED_AT_ONCE))  # as each batch weighs the same
    batches = data.batches(len(images), size, machine.seeded_shuffle(seed, 0))
    with machine.autocast(images.device, precision):
        inputs = (augment.plain(images[distributed.part(batch)]) for batch in batches)
        update_bn(map(before, inputs) if before else inputs, model)


def settled(model: nn.Sequential, images: Tensor, args: argparse.Namespace, precision: str) -> nn.Sequential:
    """The model; of a strong run of few steps a copy, whose batch norm is measured anew on plain images."""
    steps = args.epochs * len(data.batches(len(images), args.batch_size))
    if args.recipe != "strong" or steps >= recipes.FEW_STEPS:
        return model
    model = copy.deepcopy(model)
    model.classifier.dropout.p = 0.0  # as when it is used
    encoder = model.encoder.eval()  # and so it stays
    if not args.freeze_encoder:
        measure_batch_norm(encoder, images, args.seed, precision)
    measure_batch_norm(model.classifier, images, args.seed, precision, before=encoder)
    return model
