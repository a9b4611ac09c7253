"""Stage one: train the autoencoder to reproduce the training photos.

    python train_autoencoder.py                            # Flowers-102 in data/, the report's final model
    python train_autoencoder.py --dataset photos --epochs 100 --out runs/photos

Writes to runs/autoencoder/, or to --out: last.pt (for --resume), autoencoder.pt (weights and model
configuration, for train_classifier.py), log.jsonl, reconstruction_005.png ... (every 5th epoch and the last)
and curve.png. Takes minutes on two cores, as README.md says. Report, section 2: MSE between x_hat and x,
Adam, learning rate 0.001, 40 epochs, batches of 128.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

import data
import evaluate
import training
from models import UNPOOLINGS, AutoEncoder
from support import checkpoint, errors, figures, machine, run_folder

KIND = "autoencoder run"
PRODUCTS = ("autoencoder.pt", "curve.png", "reconstruction_*.png")  # --overwrite removes them, too


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = training.parser_of(__doc__, out="runs/autoencoder", epochs=40, optimizer="adam", save_every=1)
    group = parser.add_argument_group("model")
    group.add_argument("--batch-norm", action=argparse.BooleanOptionalAction, default=True,
                       help="batch normalisation behind each convolution but the last (%(default)s)")
    group.add_argument("--unpooling", choices=UNPOOLINGS, default="inverse",
                       help="of the decoder: InverseMaxPool, nearest upsampling, or the indices of the "
                            "encoder's max pools (%(default)s)")
    args = parser.parse_args(argv)
    if args.deterministic and args.unpooling == "indices":
        parser.error("--deterministic does not go with --unpooling indices: where windows share a place, "
                     "either's value may stay")
    return args


def pictured(count: int) -> torch.Tensor:
    """Indices of the training images that are drawn: the report's, the last, and seven more."""
    return torch.linspace(count - 1, 0, min(8, count)).long()


def draw(model: AutoEncoder, images: torch.Tensor, device: torch.device, precision: str, out: Path,
         epoch: int) -> None:
    """Write reconstruction_{epoch}.png, of the images `pictured` names; leaves the model in eval mode."""
    model.eval()
    x = data.to_input(images[pictured(len(images))], device)  # (B, 3, 100, 100), B up to 8
    x_hat = evaluate.reconstruct(model, x, precision)  # (B, 3, 100, 100)
    figures.reconstructions(out / f"reconstruction_{epoch:03d}.png", x, x_hat,
                            f"training images after epoch {epoch}")


def main(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    device, precision = machine.set_up(args.device, args.precision, args.deterministic)
    flags, environment = training.plain_flags(args, device, precision), machine.describe(device, precision)
    last, log = args.out / "last.pt", args.out / "log.jsonl"
    resumed = run_folder.open_run(args.out, args.resume, args.overwrite, KIND, PRODUCTS)

    flowers = data.load(args.dataset, "train", args.data_dir, args.cache_dir, crop=args.crop)
    digest = flowers.digest()
    if resumed:
        run_folder.check_resume(resumed, flags, environment, digest, last)
    training.check_photos(flowers, args.dataset)
    images = flowers.images.to(device)  # uint8 (N, 3, 100, 100)

    machine.seed_epoch(args.seed, 0)
    model = AutoEncoder(args.batch_norm, args.unpooling)
    training.initialise(model, args.init)
    model.to(device, memory_format=machine.memory_format(device))
    optimizer = training.make_optimizer(args.optimizer, [{"params": list(model.parameters())}],
                                        args.learning_rate, args.weight_decay)

    def save_last(epoch: int) -> None:
        checkpoint.save(last, {"kind": KIND, "flags": flags, "environment": environment, "photos": digest,
                               "epoch": epoch, "model": model.state_dict(),
                               "optimizer": optimizer.state_dict()})

    if resumed:
        for name, part in (("model", model), ("optimizer", optimizer)):
            checkpoint.load_state(part, resumed.pop(name), last)
        print(f"resuming {last} after epoch {resumed['epoch']}")
    else:
        run_folder.begin_run(args.out, args.overwrite, KIND, PRODUCTS, save_last)
    first_epoch = resumed["epoch"] + 1 if resumed else 1
    header = {"flags": flags, **environment, "dataset": args.dataset, "splits": {"train": len(flowers)}}
    training.start_log(log, header, first_epoch - 1)

    with training.interrupts() as interrupted:
        for epoch in range(first_epoch, args.epochs + 1):
            epoch_start = time.perf_counter()
            shuffle = machine.seed_epoch(args.seed, epoch)
            total = 0.0  # squared error, mean over an image's values, summed over images
            model.train()
            with tqdm(None, f"epoch {epoch}", len(images), leave=False, unit=" images", disable=None) as bar:
                for step, batch in enumerate(data.batches(len(images), args.batch_size, shuffle), 1):
                    x = data.to_input(images[batch], device)  # (B, 3, 100, 100)
                    with machine.autocast(device, precision):
                        z, x_hat = model(x)  # (B, 400, 4, 4), (B, 3, 100, 100)
                    loss = F.mse_loss(x_hat.float(), x)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    batch_cost = loss.item()  # once: on a GPU it waits for the step
                    training.check_finite(batch_cost, epoch, step, args.learning_rate)
                    total += batch_cost * len(batch)
                    bar.set_postfix(cost=f"{batch_cost:.4f}", refresh=False)
                    bar.update(len(batch))
            cost = total / len(images)
            seconds = time.perf_counter() - epoch_start
            print(f"Epoch : {epoch} / {args.epochs}, cost : {cost:.4f}", flush=True)
            training.log_row(log, {"epoch": epoch, "cost": cost, "seconds": round(seconds, 3)})
            stop = bool(interrupted)  # read once: the signal may come at any moment
            if epoch % 5 == 0 or epoch == args.epochs:  # before the save: a kill leaves none out
                draw(model, images, device, precision, args.out, epoch)
            if epoch % 5 == 0 or epoch == args.epochs or stop:
                figures.curves(args.out / "curve.png", training.read_log(log)[1], "mean squared error")
            if epoch % args.save_every == 0 or epoch == args.epochs or stop:
                save_last(epoch)
            if stop:
                print(f"stopped after epoch {epoch}; the same flags with --resume (no --overwrite) continue")
                return 128 + interrupted[0]

    checkpoint.save(args.out / "autoencoder.pt", {
        "kind": "autoencoder", "config": {"batch_norm": args.batch_norm, "unpooling": args.unpooling},
        "model": model.state_dict(), "dataset": args.dataset, "crop": args.crop, "flags": flags,
        "environment": environment})
    print(f"wrote {args.out / 'autoencoder.pt'} after {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
