"""Stage two: train an encoder and a classifier together. The encoder is a random one, or stage one's.

    python train_classifier.py                     # encoder from random weights
    python train_classifier.py --autoencoder runs/autoencoder/autoencoder.pt --out runs/pretrained

Writes to runs/classifier/, or to --out: last.pt (for --resume), classifier.pt (weights and configuration of
encoder and classifier, class names; for evaluate.py and predict.py), log.jsonl and curve.png. Takes minutes
on two cores, as README.md says. Report, section 3: cross-entropy, Adagrad, learning rate 0.001 for both
parameter groups, dropout 0.25, 40 epochs. The decoder takes no part: its output does not enter the loss.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import data
import evaluate
import training
from models import DROPOUTS_AFTER, AutoEncoder, Classifier, Encoder
from support import checkpoint, errors, machine, run_folder

KIND = "classifier run"
PRODUCTS = ("classifier.pt", "curve.png", *evaluate.PRODUCTS)  # --overwrite removes them, too


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = training.parser_of(__doc__, out="runs/classifier", epochs=40, optimizer="adagrad", save_every=10)
    group = parser.add_argument_group("model")
    group.add_argument("--autoencoder", type=Path,
                       help="stage one's checkpoint, to start from (none: random weights)")
    group.add_argument("--freeze-encoder", action=argparse.BooleanOptionalAction, default=False,
                       help="train the classifier alone; the encoder stays, in eval mode (%(default)s)")
    group.add_argument("--encoder-learning-rate", type=training.number(float, 0, above=True),
                       help="learning rate of the encoder (that of the classifier)")
    group.add_argument("--batch-norm", action=argparse.BooleanOptionalAction,
                       help="batch normalisation behind all layers but the last (on, or as in --autoencoder)")
    group.add_argument("--dropout", type=training.number(float, 0, 1), default=0.25,
                       help="probability (%(default)s)")
    group.add_argument("--dropout-after", choices=DROPOUTS_AFTER, default="all",
                       help="each activation of the classifier, or those of its linear layers (%(default)s)")
    args = parser.parse_args(argv)
    if args.autoencoder is None:  # settled here, so that log and checkpoint record what was done
        args.batch_norm = args.batch_norm is not False
    elif args.batch_norm is not None:
        parser.error("--batch-norm and --no-batch-norm do not go with --autoencoder, which decides")
    if not args.freeze_encoder:
        args.encoder_learning_rate = args.encoder_learning_rate or args.learning_rate
    elif args.encoder_learning_rate is not None:
        parser.error("--encoder-learning-rate has no effect with --freeze-encoder")
    return args


def starting_encoder(args: argparse.Namespace, resumed: dict | None = None) -> Encoder:
    """The encoder before the first step; a line says where it comes from. A resumed run fills it itself."""
    if resumed:
        return Encoder(resumed["config"].get("batch_norm", True))
    # Drawn even if replaced, so that the classifier's first weights are the same either way.
    model = AutoEncoder(args.batch_norm is not False)
    if args.autoencoder is None:
        print("encoder from random weights (--autoencoder FILE starts from a trained one)")
        return model.encoder
    saved = checkpoint.load(args.autoencoder, "autoencoder")
    if saved["dataset"] != args.dataset:
        print(f"transfer: {args.autoencoder} was trained with --dataset {saved['dataset']}, "
              f"not {args.dataset}")
    return checkpoint.rebuild(AutoEncoder, saved["config"], saved["model"], args.autoencoder).encoder


def freeze(encoder: Encoder, images: Tensor, args: argparse.Namespace, run: run_folder.Run) -> None:
    """Keep the encoder from learning; a random one first gets batch norm's statistics of the images."""
    if args.autoencoder is None and args.batch_norm and not run.resumed:
        print("frozen random encoder: its batch norm is measured once, on the training images")
        evaluate.measure_batch_norm(encoder, images, args.batch_size, args.seed, run.precision)
    encoder.requires_grad_(False)


def train_one_epoch(encoder: Encoder, classifier: Classifier, optimizer: torch.optim.Optimizer,
                    images: Tensor, labels: Tensor, epoch: int, args: argparse.Namespace,
                    run: run_folder.Run) -> dict:
    """One pass over the training images, uint8 (N, 3, 100, 100), a step a batch; returns the log's row."""
    start, losses, correct = time.perf_counter(), [], 0
    encoder.train(not args.freeze_encoder)  # in eval mode its batch norm stays as it is, too
    classifier.train()
    batches = data.batches(len(images), args.batch_size, machine.seeded_shuffle(args.seed, epoch))
    for batch in run.progress(batches, epoch):  # indices (B,)
        x, y = data.to_input(images[batch], images.device), labels[batch]  # (B, 3, 100, 100), (B,)
        with machine.autocast(x.device, run.precision):
            logits = classifier(encoder(x))  # (B, classes)
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        correct += (logits.argmax(1) == y).sum()
    cost = training.epoch_cost(losses, batches, epoch, args.learning_rate)
    return {"cost": cost, "seconds": round(time.perf_counter() - start, 3),
            "train_accuracy": 100 * int(correct) / len(images)}


def main(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    device, precision = machine.set_up(args.device, args.precision, args.deterministic)
    flags, environment = training.plain_flags(args, device, precision), machine.describe(device, precision)
    with run_folder.open(args.out, KIND, PRODUCTS, flags, environment) as run:
        flowers, val = (data.load(args.dataset, split, args.data_dir, args.cache_dir)
                        for split in ("train", "val"))
        run.check_photos(flowers.digest() + val.digest())
        training.check_photos(flowers, args.dataset, classes=2)
        images, labels = flowers.images.to(device), flowers.labels.to(device)  # (N, 3, 100, 100), (N,)

        machine.seeded_shuffle(args.seed, 0)
        encoder = starting_encoder(args, run.resumed)
        config = {"num_classes": len(flowers.classes), "batch_norm": encoder.batch_norm,
                  "dropout": args.dropout, "dropout_after": args.dropout_after}
        classifier = Classifier(**config)
        for model in (encoder, classifier):
            model.to(device, memory_format=machine.memory_format(device))
        groups = [{"params": list(classifier.parameters())}]
        if args.freeze_encoder:
            freeze(encoder, images, args, run)
        else:
            groups.append({"params": list(encoder.parameters()), "lr": args.encoder_learning_rate})
        optimizer = training.make_optimizer(args.optimizer, groups, args.learning_rate, args.weight_decay)

        run.begin({"encoder": encoder, "classifier": classifier, "optimizer": optimizer},
                  splits={"train": len(flowers), "val": len(val)}, config=config)
        for epoch in run.epochs(args.epochs):
            row = train_one_epoch(encoder, classifier, optimizer, images, labels, epoch, args, run)
            row["val_accuracy"] = None
            if epoch % 5 == 0 or epoch == args.epochs:
                row["val_accuracy"] = evaluate.accuracy(encoder, classifier, val, device, precision)
            run.end_epoch(epoch, row, "cross-entropy (nats)")
        if run.stopped:
            return run.exit_status()

        checkpoint.save(args.out / "classifier.pt", {
            "kind": "classifier", "flags": flags, "config": config, "environment": environment,
            "encoder": encoder.state_dict(), "classifier": classifier.state_dict(),
            "classes": flowers.classes, "dataset": args.dataset})
        print(f"wrote {args.out / 'classifier.pt'} after {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
