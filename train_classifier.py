"""Stage two: train an encoder, fresh or stage one's, and a classifier on its code together.

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

import torch.nn.functional as F
from tqdm import tqdm

import data
import evaluate
import training
from models import DROPOUTS_AFTER, AutoEncoder, Classifier, Encoder
from support import checkpoint, errors, figures, machine, run_folder

KIND = "classifier run"
PRODUCTS = ("classifier.pt", "curve.png", *evaluate.PRODUCTS)  # --overwrite removes them, too


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = training.parser_of(__doc__, out="runs/classifier", epochs=40, optimizer="adagrad", save_every=10)
    group = parser.add_argument_group("model")
    start = group.add_mutually_exclusive_group()
    start.add_argument("--autoencoder", type=Path, help="stage one's checkpoint, to start from (none)")
    start.add_argument("--from-scratch", action="store_true", help="from random weights (the default)")
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
    args.from_scratch = args.autoencoder is None
    if args.from_scratch:  # settled here, so that log and checkpoint tell what was done
        args.batch_norm = args.batch_norm is not False
    elif args.batch_norm is not None:
        parser.error("--batch-norm and --no-batch-norm do not go with --autoencoder, which decides")
    if not args.freeze_encoder:
        args.encoder_learning_rate = args.encoder_learning_rate or args.learning_rate
    elif args.encoder_learning_rate is not None:
        parser.error("--encoder-learning-rate has no effect with --freeze-encoder")
    return args


def starting_encoder(args: argparse.Namespace) -> Encoder:
    """The encoder before the first step; a line tells each way in which it was made for something else."""
    # drawn even if replaced, so that the classifier's first weights are the same (with --init default)
    model = AutoEncoder(args.batch_norm is not False)
    if args.from_scratch:
        print("encoder from random weights (--autoencoder FILE starts from a trained one)")
        training.initialise(model, args.init)
        return model.encoder
    saved = checkpoint.load(args.autoencoder, "autoencoder")
    for name in ("dataset", "crop"):
        if saved[name] != vars(args)[name]:
            print(f"transfer: {args.autoencoder} was trained with --{name} {saved[name]}, "
                  f"not {vars(args)[name]}")
    return checkpoint.rebuild(AutoEncoder, saved["config"], saved["model"], args.autoencoder).encoder


def main(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    device, precision = machine.set_up(args.device, args.precision, args.deterministic)
    flags, environment = training.plain_flags(args, device, precision), machine.describe(device, precision)
    last, log = args.out / "last.pt", args.out / "log.jsonl"
    resumed = run_folder.open_run(args.out, args.resume, args.overwrite, KIND, PRODUCTS)

    flowers, val = (data.load(args.dataset, split, args.data_dir, args.cache_dir, crop=args.crop)
                    for split in ("train", "val"))
    digest = flowers.digest() + val.digest()
    if resumed:
        run_folder.check_resume(resumed, flags, environment, digest, last)
    training.check_photos(flowers, args.dataset, classes=2)
    images, labels = flowers.images.to(device), flowers.labels.to(device)  # uint8 (N, 3, 100, 100), (N,)

    machine.seed_epoch(args.seed, 0)
    encoder = Encoder(resumed["config"].get("batch_norm", True)) if resumed else starting_encoder(args)
    config = {"num_classes": len(flowers.classes), "batch_norm": encoder.batch_norm,
              "dropout": args.dropout, "dropout_after": args.dropout_after}
    classifier = Classifier(**config)
    training.initialise(classifier, args.init)
    for model in (encoder, classifier):
        model.to(device, memory_format=machine.memory_format(device))
    encoder.requires_grad_(not args.freeze_encoder)
    if args.freeze_encoder and args.from_scratch and args.batch_norm and not resumed:
        print("frozen random encoder: its batch norm is measured once, on the training images")
        evaluate.measure_batch_norm(encoder, images, args.batch_size, args.seed, precision)
    groups = [{"params": list(classifier.parameters())}]
    if not args.freeze_encoder:
        groups.append({"params": list(encoder.parameters()), "lr": args.encoder_learning_rate})
    optimizer = training.make_optimizer(args.optimizer, groups, args.learning_rate, args.weight_decay)

    def weights() -> dict:
        return {"flags": flags, "config": config, "environment": environment,
                "encoder": encoder.state_dict(), "classifier": classifier.state_dict()}

    def save_last(epoch: int) -> None:
        checkpoint.save(last, {"kind": KIND, **weights(), "photos": digest, "epoch": epoch,
                               "optimizer": optimizer.state_dict()})

    if resumed:
        for name, part in (("encoder", encoder), ("classifier", classifier), ("optimizer", optimizer)):
            checkpoint.load_state(part, resumed.pop(name), last)
        print(f"resuming {last} after epoch {resumed['epoch']}")
    else:
        run_folder.begin_run(args.out, args.overwrite, KIND, PRODUCTS, save_last)
    first_epoch = resumed["epoch"] + 1 if resumed else 1
    training.start_log(log, {"flags": flags, **environment, "dataset": args.dataset,
                             "splits": {"train": len(flowers), "val": len(val)}}, first_epoch - 1)

    with training.interrupts() as interrupted:
        for epoch in range(first_epoch, args.epochs + 1):
            epoch_start = time.perf_counter()
            shuffle = machine.seed_epoch(args.seed, epoch)
            total, correct = 0.0, 0  # both summed over images; cross-entropy in nats
            encoder.train(not args.freeze_encoder)
            classifier.train()
            with tqdm(None, f"epoch {epoch}", len(images), leave=False, unit=" images", disable=None) as bar:
                for step, batch in enumerate(data.batches(len(images), args.batch_size, shuffle), 1):
                    x, y = data.to_input(images[batch], device), labels[batch]  # (B, 3, 100, 100), (B,)
                    with machine.autocast(device, precision):
                        logits = classifier(encoder(x))  # (B, classes)
                    loss = F.cross_entropy(logits.float(), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    batch_cost = loss.item()  # once: on a GPU it waits for the step
                    training.check_finite(batch_cost, epoch, step, args.learning_rate)
                    total += batch_cost * len(batch)
                    correct += (logits.argmax(1) == y).sum()
                    bar.set_postfix(cost=f"{batch_cost:.4f}", refresh=False)
                    bar.update(len(batch))
            cost, val_accuracy = total / len(images), None  # (validation takes its turn every fifth epoch)
            seconds = round(time.perf_counter() - epoch_start, 3)
            line = f"Epoch : {epoch} / {args.epochs}, cost : {cost:.4f}"
            if epoch % 5 == 0 or epoch == args.epochs:
                predicted = evaluate.classify(encoder, classifier, val.images, device, precision).argmax(1)
                val_accuracy = 100 * (predicted == val.labels).sum().item() / len(val)
                line += f", validation accuracy : {val_accuracy:.2f} %"
            print(line, flush=True)
            training.log_row(log, {"epoch": epoch, "cost": cost, "seconds": seconds,
                                   "train_accuracy": 100 * int(correct) / len(images),
                                   "val_accuracy": val_accuracy})
            stop = bool(interrupted)  # read once: the signal may come at any moment
            if epoch % 5 == 0 or epoch == args.epochs or stop:  # before the save: a kill leaves none out
                figures.curves(args.out / "curve.png", training.read_log(log)[1], "cross-entropy (nats)")
            if epoch % args.save_every == 0 or epoch == args.epochs or stop:
                save_last(epoch)
            if stop:
                print(f"stopped after epoch {epoch}; the same flags with --resume (no --overwrite) continue")
                return 128 + interrupted[0]

    checkpoint.save(args.out / "classifier.pt", {
        "kind": "classifier", **weights(), "classes": flowers.classes, "dataset": args.dataset,
        "crop": args.crop})
    print(f"wrote {args.out / 'classifier.pt'} after {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
