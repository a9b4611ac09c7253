"""Every plot. Each function writes one PNG, atomically."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from support import files

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe & Ito: told apart by colour-blind readers


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _save(figure, path: Path, description: str | None = None) -> None:
    with files.atomic(path) as temporary, warnings.catch_warnings(record=True) as caught:
        figure.savefig(temporary, format="png", metadata={"Description": description})
    if any("missing from font" in str(warning.message) for warning in caught):
        print(f"{path}: letters that the figure's font lacks are drawn as boxes")


def _short(name: str, most: int = 28) -> str:
    """As much of a class's or file's name as fits; a byte that is no UTF-8 is drawn as a question mark."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return name if len(name) <= most else name[: most - 1] + "…"


def reconstructions(path: Path, x: Tensor, x_hat: Tensor, title: str) -> None:
    """x and x_hat (B, 3, H, W) in [0, 1]: the photos above their reconstructions."""
    figure = _figure(1.4 * len(x), 3.3)
    axes = figure.subplots(2, len(x), squeeze=False)
    for row, (name, images) in enumerate((("image", x), ("reconstruction", x_hat))):
        images = images.float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()  # (B, 3, H, W) -> (B, H, W, 3)
        for column, image in enumerate(images):
            axes[row, column].imshow(image)
            axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    figure.suptitle(title)
    _save(figure, path)


def curves(path: Path, rows: list[dict], cost: str) -> None:
    """Cost an epoch and, where there is one, accuracy below it, training and validation. rows: the log's."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    has_accuracy = "train_accuracy" in rows[0]
    figure = _figure(7, 6 if has_accuracy else 4)
    axes = figure.subplots(1 + has_accuracy, 1, sharex=True, squeeze=False)[:, 0]
    epochs, costs = [row["epoch"] for row in rows], [row["cost"] for row in rows]
    marker = "." if len(rows) == 1 else None
    axes[0].plot(epochs, costs, color=BLUE, marker=marker)
    axes[0].set(ylabel=cost, yscale="log" if min(costs) > 0 else "linear")
    if min(costs) > 0:
        axes[0].yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}",
                          minor_formatter=NullFormatter())
    if has_accuracy:
        validated = [row for row in rows if row["val_accuracy"] is not None]
        axes[1].plot(epochs, [row["train_accuracy"] for row in rows], color=BLUE, marker=marker,
                     label="training, during the epoch")
        axes[1].plot([row["epoch"] for row in validated], [row["val_accuracy"] for row in validated],
                     "o--", color=ORANGE, label="validation")
        axes[1].set(ylabel="accuracy (%)", ylim=(0, 102))
        figure.legend(loc="outside upper right", ncols=2)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.grid(alpha=0.3, which="both")
    _save(figure, path)


def bring_together(matrix: np.ndarray) -> np.ndarray:
    """An order of the classes in which those taken for each other stand together. matrix (K, K): counts."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    share = matrix / matrix.sum(1, keepdims=True).clip(1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    distance = squareform(distance)  # (K, K) -> (K (K - 1) / 2,)
    return leaves_list(optimal_leaf_ordering(linkage(distance, "average"), distance))


def confusion(path: Path, matrix: np.ndarray, classes: list[str]) -> None:
    """Percent of each true class (row) that was given each name (column). matrix (K, K): counts."""
    from matplotlib.colors import PowerNorm

    order, count = bring_together(matrix), len(classes)
    share = 100 * matrix / matrix.sum(1, keepdims=True).clip(1)
    figure = _figure(8.5, max(5.5, 1.2 + 0.105 * count))  # 10 pixels a name
    axis = figure.subplots()
    scale = PowerNorm(0.5, 0, 100)  # a square root: confusions are a few percent each
    image = axis.imshow(share[order][:, order], cmap="viridis", norm=scale, aspect="auto",
                        interpolation="nearest")
    names = [_short(classes[i]) for i in order]
    size = 7 if count > 30 else 10
    axis.set_yticks(np.arange(count), names, fontsize=size, parse_math=False)
    axis.set_xticks([])
    if count <= 30:
        axis.set_xticks(np.arange(count), names, fontsize=size, rotation=90, parse_math=False)
    if count <= 12:
        for (i, j), percent in np.ndenumerate(share[order][:, order]):
            axis.text(j, i, f"{percent:.0f}", ha="center", va="center",
                      color="white" if percent < 40 else "black")
    axis.set(xlabel="predicted, in the order of the rows", ylabel="true")
    figure.colorbar(image, label="share of the true class (%)", shrink=0.5)
    _save(figure, path)


class Confused(NamedTuple):
    """Two classes, how often one is taken for the other, a photo (H, W, 3) of each, the first misnamed."""
    true: str
    given: str
    how_often: str
    the_other_way: str
    misnamed: np.ndarray
    example: np.ndarray  # of the class whose name was given


def confused(path: Path, pairs: list[Confused]) -> None:
    """Pairs of classes, two a row."""
    rows = max(1, -(-len(pairs) // 2))
    figure = _figure(8.5, 0.3 + 2.05 * rows)
    axes = figure.subplots(rows, 4, squeeze=False)
    if not pairs:
        figure.suptitle("no image was given a wrong name")
    for axis in axes.flat:
        axis.axis("off")
    for i, pair in enumerate(pairs):
        left, right = axes[i // 2, 2 * (i % 2) : 2 * (i % 2) + 2]
        for axis, image, title in (
                (left, pair.misnamed, f"{_short(pair.true)},\n{pair.how_often} taken for"),
                (right, pair.example, f"{_short(pair.given)},\n{pair.the_other_way} the other way")):
            axis.imshow(image)
            axis.set_title(title, fontsize=8, loc="left", parse_math=False)
    _save(figure, path)


def predictions(path: Path, rows: list[tuple[str, list[np.ndarray], list[tuple[str, float]]]]) -> None:
    """A row a photo: (file name, its pictures (H, W, 3), (name, probability) of the likeliest classes)."""
    pictures = len(rows[0][1])
    figure = _figure(8.5, 1.75 * len(rows))
    axes = figure.subplots(len(rows), pictures + 1, squeeze=False, width_ratios=[1] * pictures + [2.2])
    for (name, images, likely), row in zip(rows, axes):
        for axis, image, title in zip(row, images, (name, "reconstruction")):
            axis.imshow(image)
            axis.set_title(_short(title, 24), fontsize=8, parse_math=False)
            axis.axis("off")
        names = [_short(each) for each, _ in likely]
        values = [100 * probability for _, probability in likely]
        row[-1].barh(range(len(likely)), values, color=[ORANGE, *[BLUE] * (len(likely) - 1)])
        row[-1].set_yticks(range(len(likely)), names, fontsize=8, parse_math=False)
        row[-1].invert_yaxis()
        row[-1].set(xlim=(0, 100))
        row[-1].tick_params(axis="x", labelsize=8)
        row[-1].set_title("probability (%)", fontsize=8)
    _save(figure, path)


def results(path: Path, rows: list[tuple[str, list[float], tuple[float, ...]]]) -> None:
    """A line a recipe: (title, our test accuracies in percent, the report's), a point a run.

    The rows are the picture's description, too: a test sees by them that it is not older than the results.
    """
    figure = _figure(8.5, 1.2 + 0.36 * len(rows))
    axis = figure.subplots()
    for i, (_, ours, theirs) in enumerate(rows):
        axis.plot(theirs, [i + 0.15] * len(theirs), "D", color=ORANGE, markersize=5, fillstyle="none",
                  label="" if i else "the report")
        axis.plot(ours, [i - 0.15] * len(ours), "o", color=BLUE, markersize=5,
                  label="" if i else "ours, a point a seed")
    axis.set_yticks(range(len(rows)), [title for title, *_ in rows], parse_math=False)
    axis.set(xlabel="test accuracy (%)", xlim=(0, None), ylim=(len(rows) - 0.4, -0.6))
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=2)
    _save(figure, path, repr(rows))
