"""Accuracy of a classifier checkpoint on the training, validation and test images, and where it goes wrong.

    python evaluate.py                                     # runs/classifier/classifier.pt
    python evaluate.py --autoencoder runs/autoencoder/autoencoder.pt     # its reconstruction error too

4 to 13 minutes on a core. Writes beside the checkpoint (of weights/ or another --dataset to runs/evaluation/)
evaluation.json, predictions.csv; of test images, by one view, per_class.csv, confusion.png, confused.png
(report, section 4).
"""

import argparse
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import augment
import data
from flowers import notices
from models import HEADS, AutoEncoder, Encoder
from support import checkpoint, distributed, figures, files, machine, run_folder
from support.errors import Parser, UserError, counted, few

PRODUCTS = ("evaluation.json", "predictions.csv", "per_class.csv", "confusion.png", "confused.png")
BATCH_SIZE = 256
VIEWS = {1: "one view", 6: "six views", 14: "fourteen views"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument_group("what is measured").add_argument
    add("--classifier", type=Path, default="runs/classifier/classifier.pt", help="checkpoint (%(default)s)")
    add("--views", type=int, choices=VIEWS, default=6, help="crops of val and test to average (%(default)s)")
    add("--autoencoder", type=Path, help="also measure this autoencoder's mean squared error (off)")
    data.add_arguments(parser.add_argument_group("data"), None)
    group = parser.add_argument_group("run")
    group.add_argument("--out", type=Path, help="folder to write to (the checkpoint's, or runs/evaluation)")
    machine.add_arguments(group)
    return parser.parse_args(argv)


def load_classifier(path: Path, device: torch.device) -> tuple[nn.Sequential, dict]:
    """A classifier.pt's network, .encoder and .classifier, in eval mode, and the rest of its content."""
    content = distributed.from_first(checkpoint.load, path, "classifier")
    config, batch_norm = content["config"], {"batch_norm": content["config"].get("batch_norm")}
    encoder = checkpoint.rebuild(Encoder, batch_norm, content.pop("encoder"), path)
    head = HEADS.get(str(content.get("head", "report")))  # files of earlier versions do not say it
    if head is None:
        raise UserError(f"{path} has a head {content['head']!r}, which this version does not know")
    classifier = checkpoint.rebuild(head, config, content.pop("classifier"), path)
    classes, outputs = content["classes"], config.get("num_classes", 102)
    if len(classes) != outputs:
        raise UserError(f"{path} names {len(classes)} classes, but its classifier has {outputs} outputs")
    network = nn.Sequential(OrderedDict(encoder=encoder, classifier=classifier))
    return network.to(device, memory_format=machine.memory_format(device)).eval(), content


def load_autoencoder(path: Path, device: torch.device) -> tuple[AutoEncoder, dict]:
    """An autoencoder in eval mode, rebuilt from an autoencoder.pt, and the rest of its content."""
    content = distributed.from_first(checkpoint.load, path, "autoencoder")
    model = checkpoint.rebuild(AutoEncoder, content["config"], content.pop("model"), path)
    return model.to(device, memory_format=machine.memory_format(device)).eval(), content


def load_encoder(path: Path) -> tuple[Encoder, nn.Module | None, dict]:
    """On the CPU: the encoder of an autoencoder.pt, or both parts of a classifier.pt; what else it holds."""
    device = torch.device("cpu")
    if distributed.from_first(checkpoint.peek, path).get("kind") in ("classifier", "classifier run"):
        network, content = load_classifier(path, device)
        return network.encoder, network.classifier, content
    autoencoder, content = load_autoencoder(path, device)
    return autoencoder.encoder, None, content


@torch.no_grad()
def logits(network: nn.Module, images: Tensor, precision: str, views: int = 1) -> Iterator[Tensor]:
    """uint8 images (N, 3, S, S) -> logits (views, B, classes), float32, of each batch of this process."""
    network.eval()  # and so it stays: an epoch begins with train()
    device = next(network.parameters()).device
    with machine.autocast(device, precision):  # around the loop: it casts the weights once
        for batch in distributed.part(data.batches(len(images), BATCH_SIZE)):
            photos = images[batch].to(device)  # (B, 3, S, S)
            seen = augment.views(photos, views) if views > 1 else [augment.plain(photos)]  # (B, 3, 100, 100)
            yield torch.stack([network(x).float() for x in seen])


def classify(network: nn.Module, images: Tensor, precision: str, views: int = 1) -> Tensor:
    """uint8 images (N, 3, S, S) -> probabilities (N, classes), float32 on the CPU: the mean over views."""
    each = logits(network, images, precision, views)  # (views, B, classes)
    return torch.cat(distributed.gathered([batch.softmax(2).mean(0).cpu() for batch in each]))


@torch.no_grad()
def reconstruct(model: AutoEncoder, x: Tensor, precision: str) -> Tensor:
    """A batch x (B, 3, H, W), as from data.to_input -> x_hat (B, 3, H, W), float32; model in eval mode."""
    with machine.autocast(x.device, precision):
        _, x_hat = model(x)
    return x_hat.float()


def reconstructing(args: argparse.Namespace, content: dict, device: torch.device) -> AutoEncoder:
    """The autoencoder that --autoencoder names; a line says where other photos trained it."""
    model, saved = load_autoencoder(args.autoencoder, device)
    if saved["dataset"] != content["dataset"]:
        print(f"{args.autoencoder} was trained with --dataset {saved['dataset']}, "
              f"{args.classifier} with {content['dataset']}")
    return model


def reconstruction_error(model: AutoEncoder, images: Tensor, precision: str) -> float:
    """Mean squared error per value of uint8 images (N, 3, H, W), in [0, 1] units; model in eval mode."""
    total, device = 0.0, next(model.parameters()).device
    for batch in distributed.part(data.batches(len(images), BATCH_SIZE)):
        x = data.to_input(images[batch], device)  # (B, 3, H, W)
        total += F.mse_loss(reconstruct(model, x, precision), x).item() * len(batch)
    return distributed.total(torch.tensor(total, dtype=torch.float64)).item() / len(images)


def accuracy(network: nn.Module, flowers: data.FlowerSet, precision: str, views: int = 1) -> float:
    """Percent of the images whose likeliest class is their own."""
    predicted = classify(network, flowers.images, precision, views).argmax(1)  # (N,)
    return 100 * (predicted == flowers.labels).sum().item() / len(flowers)


def summarise(correct: Tensor, labels: Tensor, confidence: Tensor) -> dict:
    """Of (N,) each, percentages: accuracy, Wilson's 95 % interval, the classes' mean, mean probability."""
    from scipy.stats import binomtest

    right, count = int(correct.sum()), len(labels)
    interval = binomtest(right, count).proportion_ci(0.95, method="wilson")
    of_class = torch.bincount(labels).double()
    share = torch.bincount(labels[correct], minlength=len(of_class)) / of_class  # NaN: an absent class
    return {"images": count, "correct": right, "accuracy": 100 * right / count,
            "accuracy_interval": [100 * interval.low, 100 * interval.high],
            "per_class_accuracy": 100 * share.nanmean().item(),
            "mean_probability": 100 * confidence.mean().item()}


def print_summaries(splits: dict[str, dict], views: int) -> None:
    """The report's lines, that over views, then a line of each split."""
    for split, name in (("train", "train"), ("test", "test"), ("val", "validation")):
        if split in splits:
            print(f"Accuracy of the network on {name} images: {splits[split]['accuracy']} %")
    over = [f"{split} {of['views_accuracy']:.2f} %" for split, of in splits.items() if "views_accuracy" in of]
    if over:
        print(f"Over {VIEWS[views]} of each photo: {', '.join(over)}")
    for split, result in splits.items():
        low, high = result["accuracy_interval"]
        print(f"{split:5} {result['images']:5} images: {result['accuracy']:6.2f} % [{low:.2f}, {high:.2f}], "
              f"mean of the classes {result['per_class_accuracy']:6.2f} %  (95 % interval)")
        if "reconstruction_error" in result:
            print(f"      mean squared error of the reconstructions: {result['reconstruction_error']:.5f}")


def load(dataset: str, split: str, args: argparse.Namespace, content: dict) -> list[data.FlowerSet]:
    """A split's photos of the classifier's classes, at 100 pixels and for views at SQUARE; [] for none."""
    sizes = [100, augment.SQUARE] if args.views > 1 and split != "train" else [100]
    sets = distributed.in_turn(data.load_sizes, dataset, split, args.data_dir, args.cache_dir, sizes, True)
    if not sets:
        return []
    distributed.agree([each.digest() for each in sets], f"the photos of {split}")
    names, count, classes = sets[0].classes, len(sets[0]), content["classes"]
    sets = [each.of_classes(classes) for each in sets]
    if left_out := count - len(sets[0]):
        strange = [name for name in names if name not in classes]
        print(f"{split}: left out {counted(left_out, 'photo')} of {few(strange)}, which {args.classifier} "
              f"does not know")
    if left_out == count:
        return []
    if absent := [name for name in classes if name not in names]:
        print(f"{split}: there is no photo of {few(absent)}, which {args.classifier} knows, too")
    trained_on = content.get("digests") if not args.dataset and dataset not in data.BUILT_IN else None
    if split != "train":
        notices.tell_learned(sets[0], split, dataset, content, args.classifier)
    elif trained_on and {*trained_on}.isdisjoint(sets[0].digests):
        print(f"{args.classifier} was trained on other photos than lie in {dataset}/ here: another folder?")
    return sets


def main(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    device, precision = machine.set_up(args.device, args.precision)
    network, content = load_classifier(args.classifier, device)
    print(f"evaluating {args.classifier} {machine.say(device, precision)}")
    autoencoder = reconstructing(args, content, device) if args.autoencoder else None
    classes, dataset = content["classes"], args.dataset or content["dataset"]
    if not (args.dataset or dataset in data.BUILT_IN or Path(dataset).is_dir()):
        raise UserError(f"{args.classifier} was trained on the folder {dataset}, which is not here; "
                        f"say where it is with --dataset")
    is_own = Path(dataset).resolve() == Path(content["dataset"]).resolve() and not args.classifier.is_dir()
    beside = args.classifier.parent if is_own else Path("runs/evaluation")  # lest it replace the run's own
    out, there = args.out or beside, data.splits(dataset)
    with run_folder.claim(out):  # no training run there deletes half-written tables
        distributed.agree(there, "the splits")
        loaded = {split: load(dataset, split, args, content) for split in there}
        photos = {split: sets for split, sets in loaded.items() if sets}
        if not photos:
            raise UserError(f"--dataset {dataset}: {args.classifier} knows none of its classes, but "
                            f"{few(classes)}")
        notices.tell_copies({split: sets[0] for split, sets in photos.items()}, dataset,
                            is_folder=dataset not in data.BUILT_IN)
        if "test" not in photos:
            print(f"--dataset {dataset}: no test photos, so tables and figures are of {[*photos][-1]} images")
        splits = {}
        rows = [["split", "file", "class", "class number", "predicted", "predicted number", "probability"]]
        for split, (flowers, *squares) in photos.items():
            likely = classify(network, flowers.images, precision)  # (N, classes)
            confidence, predicted = likely.max(1)  # (N,)
            splits[split] = result = summarise(predicted == flowers.labels, flowers.labels, confidence)
            for larger in squares:
                result |= {"views": args.views,
                           "views_accuracy": accuracy(network, larger, precision, args.views)}
            if autoencoder:
                result["reconstruction_error"] = reconstruction_error(autoencoder, flowers.images, precision)
            columns = flowers.names, flowers.labels.tolist(), predicted.tolist(), confidence.tolist()
            rows += [[split, name, classes[i], i, classes[j], j, f"{p:.4f}"]
                     for name, i, j, p in zip(*columns)]
        if distributed.rank() > 0:
            return 0
        files.write_csv(out / "predictions.csv", rows)
        seconds = round(time.perf_counter() - start, 2)
        files.write_json(out / "evaluation.json", {
            "classifier": str(args.classifier), "dataset": dataset, "flags": content["flags"],
            "splits": splits, "seconds": seconds, **machine.describe(device, precision)})
        figures.where_it_goes_wrong(out, split, flowers, predicted.numpy())  # of the last, mostly test
        print_summaries(splits, args.views)  # last: where nobody reads the output on, it ends here
        print(f"wrote {out / PRODUCTS[0]}, {', '.join(PRODUCTS[1:])} after {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    distributed.run(main, parse_args)
