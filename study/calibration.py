"""Whether a classifier's probabilities can be trusted: expected calibration error, one view and six.

    python -m study.calibration runs/classifier/classifier.pt                       # minutes on two cores
    python -m study.calibration runs/classifier/classifier.pt --data-dir elsewhere

A temperature divides the logits. The one chosen is that of the highest likelihood on validation photos over
six views; test photos are measured with it and without. Writes results/calibration.json.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import augment
import data
import evaluate
from study.intervals import markdown
from support import errors, files, machine

TEMPERATURES = [round(0.3 + 0.05 * i, 2) for i in range(25)]  # 0.3 to 1.5
BINS = 15
VIEWS = 6


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("classifier", type=Path, help="checkpoint, whose run did not see validation photos")
    parser.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    parser.add_argument("--results", type=Path, default="results", help="of calibration.json (%(default)s)")
    return parser.parse_args(argv)


@torch.no_grad()
def logits_of(encoder: nn.Module, classifier: nn.Module, images: Tensor, views: int) -> Tensor:
    """uint8 (N, 3, S, S) -> logits (views, N, classes)."""
    found = []
    for batch in data.batches(len(images), evaluate.BATCH_SIZE):
        seen = augment.views(images[batch], views) if views > 1 else [augment.plain(images[batch])]
        found.append(torch.stack([classifier(encoder(x)) for x in seen]))  # (views, B, classes)
    return torch.cat(found, 1)


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


def table(found: dict) -> str:
    """Rows: a split and its views; columns: as it is, and with the temperature."""
    return markdown(["", "accuracy (%)", "mean probability of the first name (%)",
                     "expected calibration error (points)", f"with temperature {found['temperature']}"],
                    [[f"{row['split']}, {evaluate.VIEWS[row['views']]}", f"{row['accuracy']:.2f}",
                      f"{row['confidence']:.2f}", f"{row['error']:.2f}", f"{row['error_at_temperature']:.2f}"]
                     for row in found["rows"]])


def main(args: argparse.Namespace) -> int:
    machine.set_up("cpu", "fp32")
    encoder, classifier, content = evaluate.load_classifier(args.classifier, torch.device("cpu"))
    best, rows = None, []
    for split in ("val", "test"):
        small, large = data.load_sizes("flowers102", split, args.data_dir, ".cache", [100, augment.SQUARE])
        if split == "val" and set(small.digests) & set(content.get("digests", [])):
            raise errors.UserError(f"{args.classifier} was trained on validation photos, which choose here")
        six, one = (logits_of(encoder, classifier, each.images, views)
                    for each, views in ((large, VIEWS), (small, 1)))
        best = best or min(TEMPERATURES, key=lambda each: cost(likely(six, each), small.labels))
        for views, logits in ((1, one), (VIEWS, six)):
            as_it_is, sharper = likely(logits, 1), likely(logits, best)
            confidence, predicted = as_it_is.max(1)
            rows.append({"split": split, "views": views, "confidence": 100 * confidence.mean().item(),
                         "accuracy": 100 * (predicted == small.labels).double().mean().item(),
                         "error": calibration_error(as_it_is, small.labels),
                         "error_at_temperature": calibration_error(sharper, small.labels)})
    about = machine.describe(torch.device("cpu"), "fp32")
    files.write_json(args.results / "calibration.json", {
        "temperature": best, "flags": content["flags"], "rows": rows, **about})
    print(table(files.read_json(args.results / "calibration.json")))
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)
