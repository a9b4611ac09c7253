"""Whether a classifier's probabilities can be trusted: expected calibration error, one view and six.

    python -m study.calibration runs/classifier/classifier.pt                        # on Flowers-102
    python -m study.calibration runs/seed-0/classifier.pt runs/seed-1/classifier.pt  # mean probabilities

A temperature divides the logits. Validation photos over six views choose it, by their likelihood; test photos
are measured with it and without, in fp32 on the CPU. Several models count as their mean. Writes --out.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import augment
import data
import evaluate
from study import run
from study.intervals import markdown
from support import errors, files, machine

TEMPERATURES = [round(0.2 + 0.05 * i, 2) for i in range(57)]  # 0.2 to 3
BINS = 15
VIEWS = 6


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("classifiers", type=Path, nargs="+", metavar="CLASSIFIER",
                        help="checkpoint, whose run did not see validation photos")
    parser.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    parser.add_argument("--out", type=Path, help="file of results to write, a JSON (none)")
    return parser.parse_args(argv)


def likely(logits: Tensor, temperature: float) -> Tensor:
    """Logits (views, N, classes) -> probabilities (N, classes), the mean over views, as in predict.py."""
    return (logits.double() / temperature).softmax(2).mean(0)


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """In points: how far confidence lies from accuracy, in bins of equal width (Guo et al. 2017, eq. 3)."""
    confidence, predicted = probabilities.max(1)  # (N,)
    bins = (BINS * confidence).long().clamp(max=BINS - 1)  # (N,)
    too_sure = torch.bincount(bins, confidence - (predicted == labels).double())  # (up to BINS,)
    return 100 * too_sure.abs().sum().item() / len(labels)


def cost(probabilities: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood, in nats."""
    return -probabilities[torch.arange(len(labels)), labels].log().mean().item()


def table(rows: list[dict]) -> str:
    """Of each split and number of views: as it is, and with the temperature."""
    return markdown(["", "accuracy (%)", "mean probability of the likeliest name (%)",
                     "expected calibration error (points)", "temperature", "error with it (points)"],
                    [[f"{row['split']}, {evaluate.VIEWS[row['views']]}", f"{row['accuracy']:.2f}",
                      f"{row['confidence']:.2f}", f"{row['error']:.2f}", row["temperature"],
                      f"{row['error_at_temperature']:.2f}"] for row in rows])


def seen(paths: list[Path], data_dir: str, device: torch.device,
         precision: str) -> tuple[dict[tuple[str, int], tuple[Tensor, Tensor]], list[dict]]:
    """By split and views: logits (models * views, N, classes) and labels (N,); each checkpoint's flags."""
    models = [evaluate.load_classifier(path, device) for path in paths]
    sets = {split: data.load_sizes("flowers102", split, data_dir, ".cache", [100, augment.SQUARE])
            for split in ("val", "test")}
    validated, found = sets["val"][0], {}
    for path, (_, content) in zip(paths, models):
        if content["classes"] != validated.classes:
            raise errors.UserError(f"{path} does not name the 102 species of Flowers-102")
        learned = {*content.get("digests", validated.digests)}
        if content["flags"].get("with_val") or {*validated.digests} & learned:
            raise errors.UserError(f"{path} was trained on validation photos, which choose here")
    for split, both in sets.items():
        for flowers, views in zip(both, (1, VIEWS)):
            logits = [torch.cat([*evaluate.logits(network, flowers.images, precision, views)], 1)
                      for network, _ in models]
            found[split, views] = torch.cat(logits), flowers.labels
    return found, [run.recipe(content["flags"]) for _, content in models]


def main(args: argparse.Namespace) -> int:
    device, precision = machine.set_up("cpu", "fp32")
    found, flags = seen(args.classifiers, args.data_dir, device, precision)
    logits, labels = found["val", VIEWS]
    temperature = min(TEMPERATURES, key=lambda t: cost(likely(logits, t), labels))
    rows = []
    for (split, views), (logits, labels) in found.items():
        as_it_is, sharper = likely(logits, 1), likely(logits, temperature)
        confidence, predicted = as_it_is.max(1)  # (N,)
        rows.append({"split": split, "views": views, "temperature": temperature,
                     "confidence": 100 * confidence.mean().item(),
                     "accuracy": 100 * (predicted == labels).double().mean().item(),
                     "error": calibration_error(as_it_is, labels),
                     "error_at_temperature": calibration_error(sharper, labels)})
    if args.out:
        files.write_json(args.out, {"rows": rows, "flags": flags, **machine.describe(device, precision)})
    print(table(rows))
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
