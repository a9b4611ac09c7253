"""Every plot. Each function writes one PNG, atomically."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import checkpoint

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # Okabe & Ito: told apart by colour-blind readers


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _save(figure, path: Path) -> None:
    with checkpoint.atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def reconstructions(path: Path, x: Tensor, x_hat: Tensor, title: str) -> None:
    """x and x_hat (B, 3, H, W) in [0, 1]: the photos above their reconstructions."""
    figure = _figure(1.4 * len(x), 3.3)
    axes = figure.subplots(2, len(x), squeeze=False)
    for row, (name, images) in enumerate((("photo", x), ("reconstruction", x_hat))):
        for column, image in enumerate(images.float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()):  # (B, H, W, 3)
            axes[row, column].imshow(image)
            axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    figure.suptitle(title)
    _save(figure, path)


def curve(path: Path, rows: list[dict], cost: str) -> None:
    """Cost an epoch, and below it the validation accuracy in the epochs that measured it. rows: the log's."""
    measured = [row for row in rows if row.get("val_accuracy") is not None]
    figure = _figure(7, 6 if measured else 4)
    axes = figure.subplots(2 if measured else 1, 1, sharex=True, squeeze=False)[:, 0]
    axes[0].plot([row["epoch"] for row in rows], [row["cost"] for row in rows], color=BLUE)
    axes[0].set(ylabel=cost, yscale="log")
    if measured:
        axes[1].plot([row["epoch"] for row in measured], [row["val_accuracy"] for row in measured], "o-", color=ORANGE)
        axes[1].set(ylabel="validation accuracy (%)", ylim=(0, None))
    axes[-1].set_xlabel("epoch")
    for axis in axes:
        axis.grid(alpha=0.3, which="both")
    _save(figure, path)


def confusion(path: Path, labels: Tensor, predictions: Tensor, classes: list[str]) -> None:
    """Share of each true class (row) that was given each name (column), in percent. labels, predictions (N,)."""
    count = len(classes)
    matrix = torch.zeros(count, count).index_put_((labels, predictions), torch.ones(len(labels)), accumulate=True)
    share = 100 * matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    side = max(5.0, 2.5 + 0.16 * count)
    figure = _figure(side + 1, side)
    axis = figure.subplots()
    image = axis.imshow(share.numpy(), cmap="viridis", vmin=0, vmax=100)
    axis.set_xticks(np.arange(count), classes, rotation=90, fontsize=7, parse_math=False)
    axis.set_yticks(np.arange(count), classes, fontsize=7, parse_math=False)
    axis.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true class (%)", shrink=0.6)
    _save(figure, path)
