"""Stage one: train the autoencoder to reproduce the training photos, changed at random or as they are.

    python train_autoencoder.py                            # Flowers-102 in data/, 60 epochs
    python train_autoencoder.py --recipe report            # 40 epochs on photos as they are

Writes to runs/autoencoder/, or to --out: last.pt (for --resume), autoencoder.pt (for train_classifier.py),
log.jsonl, curve.png, and reconstruction_005.png ... mostly every 5th epoch. Minutes on two cores. The mean
squared error of x_hat, which is to be x (report, section 2); recipes.py has the settings.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import augment
import data
import evaluate
import recipes
import training
from models import AutoEncoder
from support import distributed, figures, machine, parallel, run_folder, run_log

PRODUCTS = ("autoencoder.pt", "curve.png", "reconstruction_*.png")  # --overwrite removes them, too


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = training.parser_of(__doc__, out="runs/autoencoder")
    add = parser.add_argument_group("model").add_argument
    add("--batch-norm", action=argparse.BooleanOptionalAction, default=True,
        help="batch normalisation behind each convolution but the last (%(default)s)")
    return recipes.parse(parser, "autoencoder", argv)


def train_one_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, epoch: int,
                    args: argparse.Namespace, run: run_folder.Run) -> dict:
    """One pass over the training images, uint8 (N, 3, S, S), a step a batch; returns the log's row."""
    start, losses = time.perf_counter(), []
    model.train()
    shuffle = machine.seeded_shuffle(args.seed, epoch)
    batches = data.batches(len(images), args.batch_size, shuffle)
    draws = augment.draw(batches, shuffle, images.device, args.smallest_crop) if args.augment else []
    mine, draws, scale = training.own_parts(batches, draws, images)  # of each batch this process's part
    for i, batch in enumerate(run.progress(mine, epoch)):  # indices (B,)
        step, photos = (epoch - 1) * len(batches) + i, images[batch]  # (B, 3, S, S)
        training.set_learning_rate(optimizer, args.schedule, step, args.epochs * len(batches))
        x = augment.augment(photos, draws[i]) if draws else augment.plain(photos)  # (B, 3, 100, 100)
        with machine.autocast(x.device, run.precision):
            _, x_hat = model(x)  # (B, 3, 100, 100)
        loss = scale[i] * F.mse_loss(x_hat.float(), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    cost = run_log.epoch_cost(losses, batches, epoch, args.learning_rate)
    return {"cost": cost, "seconds": round(time.perf_counter() - start, 3)}


def draw(model: AutoEncoder, images: Tensor, epoch: int, args: argparse.Namespace, precision: str) -> None:
    """Write reconstruction_{epoch}.png: the report's image, the last, and seven more; leaves eval mode."""
    model.eval()
    shown = torch.linspace(len(images) - 1, 0, min(8, len(images))).long()
    x = augment.plain(images[shown])  # (B, 3, 100, 100), B up to 8
    x_hat = evaluate.reconstruct(model, x, precision)  # (B, 3, 100, 100)
    figures.reconstructions(args.out / f"reconstruction_{epoch:03d}.png", x, x_hat,
                            f"training images after epoch {epoch}")


def main(args: argparse.Namespace) -> int:
    with run_folder.open(args, "autoencoder run", PRODUCTS, recipes.RECIPES["report"]["autoencoder"]) as run:
        flowers = training.load_photos(args, run, "autoencoder")
        run.check_photos(flowers.digest())
        images = machine.place(flowers.images, run.device)  # uint8 (N, 3, size, size)

        machine.seeded_shuffle(args.seed, 0)
        model = AutoEncoder(args.batch_norm).to(run.device, memory_format=machine.memory_format(run.device))
        trained = parallel.data_parallel(model, run.device)
        optimizer = training.make_optimizer(args.optimizer, [{"params": list(model.parameters())}],
                                            args.learning_rate, args.weight_decay)

        run.begin({"model": model, "optimizer": optimizer}, splits={"train": len(flowers)})
        for epoch in run.epochs(args.epochs):
            row = train_one_epoch(trained, optimizer, images, epoch, args, run)
            if run.is_due(epoch) and distributed.rank() == 0:
                draw(model, images, epoch, args, run.precision)
            run.end_epoch(epoch, row, "mean squared error")
        if run.stopped:
            return 128 + run.stopped  # as a shell has it of a process that a signal ended

        run.hand_over(args.epochs, config={"batch_norm": args.batch_norm}, model=model.state_dict())
    return 0


if __name__ == "__main__":
    distributed.run(main, parse_args)
