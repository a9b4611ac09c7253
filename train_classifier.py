"""Stage two: train an encoder and a classifier together, from stage one's encoder or a random one.

    python train_classifier.py                     # from random weights, which did better (README.md)
    python train_classifier.py --autoencoder runs/autoencoder/autoencoder.pt      # from stage one
    python train_classifier.py --head pooled       # a classifier of 9 instead of 158 million weights
    python train_classifier.py --recipe report     # as the report's code does, from random weights

Writes to runs/classifier/, or to --out: last.pt (for --resume), classifier.pt (for the other scripts),
log.jsonl, curve.png. Hours on a core: about 2, pooled 1.5, in bf16 0.7. Cross-entropy (report, section 3).
"""

import argparse
import copy
import functools
import os
import time
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import augment
import data
import evaluate
import recipes
import training
from flowers import notices
from models import DROPOUTS_AFTER, HEADS, AutoEncoder, Encoder
from support import checkpoint, distributed, machine, parallel, run_folder, run_log
from support.errors import path_of
from support.flags import number

PRODUCTS = ("classifier.pt", "curve.png", *evaluate.PRODUCTS)  # --overwrite removes them, too


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = training.parser_of(__doc__, out="runs/classifier")
    switch, add = argparse.BooleanOptionalAction, parser.add_argument_group("model").add_argument
    add("--autoencoder", type=lambda text: None if text == "none" else path_of(text),
        help="where to start: stage one's checkpoint, a classifier.pt, or none: random weights (%(default)s)")
    add("--head", choices=HEADS, help="the report's, or a smaller one that averages its maps (%(default)s)")
    add("--freeze-encoder", action=switch, default=False, help="train the classifier alone (%(default)s)")
    add("--encoder-learning-rate", type=number(float, 0, above=True), help="its own (--learning-rate)")
    add("--batch-norm", action=switch, help="behind all layers but the last (on, or as in --autoencoder)")
    add("--dropout", type=number(float, 0, 1), help="probability (%(default)s)")
    add("--dropout-after", choices=DROPOUTS_AFTER, help="activations of the report's head (%(default)s)")
    add("--label-smoothing", type=number(float, 0, 1), help="share spread over all classes (%(default)s)")
    add("--class-weights", choices=("none", "balanced"), default="none",
        help="balanced: a class of few photos counts as much as one of many (%(default)s)")
    add("--keep", choices=("best", "last"), default="last",
        help="which epoch's weights; best: of those that are validated, each fifth or fewer (%(default)s)")
    add("--with-val", action=switch, default=False, help="train on val, too: none validates (%(default)s)")
    add("--average", type=number(float, 0, 1), help="decay of averaged weights at most; 0: off (%(default)s)")
    args = recipes.parse(parser, "classifier", argv)
    if not args.resume:  # whose flags are compared with the run's
        if args.autoencoder and args.batch_norm is not None:
            parser.error("--batch-norm and --no-batch-norm do not go with --autoencoder FILE, only with none")
        if args.with_val and args.keep == "best":
            parser.error("--keep best does not go with --with-val, which leaves no photo to validate")
        if args.freeze_encoder and args.encoder_learning_rate is not None:
            parser.error("--encoder-learning-rate has no effect with --freeze-encoder")
    if args.autoencoder is None:  # settled here, so that log and checkpoint record what was done
        args.batch_norm = args.batch_norm is not False
    if not args.freeze_encoder:
        args.encoder_learning_rate = args.encoder_learning_rate or args.learning_rate
    return args


def starting_network(args: argparse.Namespace, classes: list[str], start: tuple,
                     resumed: dict | None) -> tuple[nn.Sequential, dict, list[str]]:
    """Both networks before the first step (a resumed run fills them), a config, digests of photos learned."""
    machine.seeded_shuffle(args.seed, 0)
    # drawn even if replaced, so that the classifier's first weights are the same either way
    encoder, earlier, saved = AutoEncoder(args.batch_norm is not False).encoder, None, {}
    if resumed:
        encoder = Encoder(resumed["config"].get("batch_norm", True))
    elif start:
        encoder, earlier, saved = start
    else:
        print("encoder from random weights (--autoencoder FILE starts from a trained one)")
    config = {"num_classes": len(classes), "batch_norm": encoder.batch_norm, "dropout": args.dropout}
    config |= {"dropout_after": args.dropout_after} if args.head == "report" else {}
    classifier = HEADS[args.head](**config)
    if start:
        what, recipe = "encoder", saved.get("flags", {}).get("recipe", "report")
        if earlier:
            fit = checkpoint.load_what_fits(classifier, earlier, is_last_new=saved["classes"] != classes)
            what = f"encoder and classifier ({fit})"
        print(f"{what} from {args.autoencoder}, trained by the recipe {recipe}")
        if os.path.abspath(saved["dataset"]) != os.path.abspath(args.dataset):
            print(f"transfer: it was trained with --dataset {saved['dataset']}, not {args.dataset}")
    encoder.requires_grad_(not args.freeze_encoder)
    network = nn.Sequential(OrderedDict(encoder=encoder, classifier=classifier))
    return network, config, (resumed or saved).get("digests", [])


def make_optimizer(network: nn.Sequential, images: Tensor, args: argparse.Namespace,
                   run: run_folder.Run) -> torch.optim.Optimizer:
    """The optimizer of both parts; a frozen encoder gets batch norm's statistics of the images, once."""
    groups = [{"params": list(network.classifier.parameters())}]
    if not args.freeze_encoder:
        groups.append({"params": list(network.encoder.parameters()), "lr": args.encoder_learning_rate})
    elif args.autoencoder is None and args.batch_norm and not run.resumed:
        print("frozen random encoder: its batch norm is measured once, on the training images")
        training.measure_batch_norm(network.encoder, images, args.seed, run.precision)
    return training.make_optimizer(args.optimizer, groups, args.learning_rate, args.weight_decay)


def train_one_epoch(network: nn.Module, averaged: nn.Sequential | None, optimizer: torch.optim.Optimizer,
                    images: Tensor, labels: Tensor, weights: Tensor, epoch: int,
                    args: argparse.Namespace, run: run_folder.Run) -> dict:
    """One pass over the images, uint8 (N, 3, S, S), of classes with weights (classes,); the log's row."""
    start, losses, correct = time.perf_counter(), [], 0
    encoder, classifier = getattr(network, "module", network)  # of what DistributedDataParallel wraps
    cross_entropy = functools.partial(F.cross_entropy, label_smoothing=args.label_smoothing, reduction="none")
    encoder.train(not args.freeze_encoder)  # in eval mode its batch norm stays as it is, too
    classifier.train()
    shuffle = machine.seeded_shuffle(args.seed, epoch)
    batches = data.batches(len(images), args.batch_size, shuffle)
    draws = augment.draw(batches, shuffle, images.device, args.smallest_crop) if args.augment else []
    mine, draws, scale = training.own_parts(batches, draws, images)  # of each batch this process's part
    for i, batch in enumerate(run.progress(mine, epoch)):  # indices (B,)
        step, photos, y = (epoch - 1) * len(batches) + i, images[batch], labels[batch]  # (B, 3, S, S), (B,)
        training.set_learning_rate(optimizer, args.schedule, step, args.epochs * len(batches))
        x = augment.augment(photos, draws[i]) if draws else augment.plain(photos)  # (B, 3, 100, 100)
        if draws:
            x_all, y_all = (distributed.joined(own, len(batches[i])) for own in (x, y))  # of the whole batch
            x, share = augment.cutmix(x, draws[i], x_all[draws[i].partner])  # share (B,): how much is its own
        with machine.autocast(x.device, run.precision):
            logits = network(x).float()  # (B, classes)
        # an image weighs as its class; F.cross_entropy's weight would smooth labels towards rare classes
        each = weights[y] * cross_entropy(logits, y)  # (B,)
        if draws:  # each picture has the label of its partner, too, by its share
            partner = y_all[draws[i].partner]  # (B,)
            each = share * each + (1 - share) * weights[partner] * cross_entropy(logits, partner)
        loss = scale[i] * each.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if averaged is not None:
            training.update_average(averaged, network, step, args.average)
        losses.append(loss.detach())
        correct += (logits.argmax(1) == y).sum()  # of mixed pictures by their own label, so it is low
    cost = run_log.epoch_cost(losses, batches, epoch, args.learning_rate)
    return {"cost": cost, "seconds": round(time.perf_counter() - start, 3),
            "train_accuracy": 100 * int(distributed.total(correct)) / len(images)}


def main(args: argparse.Namespace) -> int:
    with run_folder.open(args, "classifier run", PRODUCTS, recipes.RECIPES["report"]["classifier"]) as run:
        start = () if run.resumed or not args.autoencoder else evaluate.load_encoder(args.autoencoder)
        flowers = training.load_photos(args, run, "classifier")  # may take long, so a wrong start ends before
        splits = {"train": flowers}
        if not args.with_val:
            splits["val"] = distributed.in_turn(data.load, args.dataset, "val", args.data_dir, args.cache_dir)
        distributed.from_first(notices.tell_copies, splits, args.dataset, args.dataset not in data.BUILT_IN)
        run.check_photos("".join(flowers.digest() for flowers in splits.values()))
        images = machine.place(flowers.images, run.device)  # uint8 (N, 3, size, size)
        labels = flowers.labels.to(run.device)  # (N,)

        network, config, before = starting_network(args, flowers.classes, start, run.resumed)
        digests = list(dict.fromkeys(flowers.digests + before))  # of all photos that trained the network
        if start and not args.with_val:
            notices.tell_learned(splits["val"], "val", args.dataset, start[2], args.autoencoder)
        del start  # up to 0.6 GB
        network.to(run.device, memory_format=machine.memory_format(run.device))
        trained = parallel.data_parallel(network, run.device)
        optimizer = make_optimizer(network, images, args, run)
        averaged = copy.deepcopy(network) if args.average else None
        product = averaged or network  # what is validated and handed over
        best = copy.deepcopy(product) if args.keep == "best" else None
        weights = training.class_weights(flowers, args.class_weights).to(run.device)  # (classes,)
        copies = {"": network, "averaged_": averaged, "best_": best}
        parts = {f"{prefix}{name}": part for prefix, each in copies.items() if each
                 for name, part in each.named_children()}
        run.begin({**parts, "optimizer": optimizer}, {name: len(each) for name, each in splits.items()},
                  config=config, head=args.head, digests=digests)
        for epoch in run.epochs(args.epochs):
            row = train_one_epoch(trained, averaged, optimizer, images, labels, weights, epoch, args, run)
            row["val_accuracy"] = None
            if run.is_due(epoch) and not args.with_val:
                judged = training.settled(product, images, args, run.precision)
                row["val_accuracy"] = evaluate.accuracy(judged, splits["val"], run.precision)
            if best and run.best_epoch(row | {"epoch": epoch}) == epoch:
                best.load_state_dict(judged.state_dict())
            run.end_epoch(epoch, row, "cross-entropy (nats)")
        if run.stopped:
            return 128 + run.stopped  # as a shell has it of a process that a signal ended

        epoch = run.best_epoch() if best else None  # None: a run stopped before any was measured, too
        product = best if epoch else training.settled(product, images, args, run.precision)
        run.hand_over(epoch or args.epochs, config=config, head=args.head, classes=flowers.classes,
                      digests=digests, encoder=product.encoder.state_dict(),
                      classifier=product.classifier.state_dict())
    return 0


if __name__ == "__main__":
    distributed.run(main, parse_args)
