"""Every plot, each written as a PNG; where_it_goes_wrong writes two, and a table."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from support import files
from support.errors import legible

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe & Ito: told apart by colour-blind readers


@contextlib.contextmanager
def _page(path: Path, height: float, rows: int = 1, columns: int = 1, width: float = 8.5, **layout):
    """Yield a figure of so many inches and its axes (rows, columns), to draw on; then save it as a PNG."""
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    yield figure, figure.subplots(rows, columns, squeeze=False, **layout)
    with files.atomic(path) as temporary, warnings.catch_warnings(record=True) as caught:
        figure.savefig(temporary, format="png")
    if any("missing from font" in str(warning.message) for warning in caught):
        print(f"{path}: letters that the figure's font lacks are drawn as boxes")


def _short(name: str, most: int = 28) -> str:
    """As much of a class's or file's name as fits."""
    name = legible(name)
    return name if len(name) <= most else name[: most - 1] + "…"


def _photo(axis, image: np.ndarray, title: str, where: str = "center") -> None:
    """image (H, W, 3) under its title, without ticks and frame."""
    axis.imshow(image)
    axis.set_title(title, fontsize=8, loc=where, parse_math=False)
    axis.axis("off")


def reconstructions(path: Path, x: Tensor, x_hat: Tensor, title: str) -> None:
    """x and x_hat (B, 3, H, W) in [0, 1]: the photos above their reconstructions."""
    with _page(path, 3.3, 2, width=1.4 * len(x)) as (figure, axes):
        for axis, name, images in zip(axes.flat, ("image", "reconstruction"), (x, x_hat)):
            row = F.pad(images.float().clamp(0, 1), (2, 2), value=1.0)  # white in between
            axis.imshow(row.permute(2, 0, 3, 1).flatten(1, 2).cpu().numpy())  # (B, 3, H, W) -> (H, B * W, 3)
            axis.set(xticks=[], yticks=[], frame_on=False, ylabel=name)
        figure.suptitle(title)


def curves(path: Path, rows: list[dict], cost: str) -> None:
    """Cost an epoch and, where there is one, accuracy below it, training and validation. rows: the log's."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    def draw(axis, field: str, **style) -> None:
        measured = [row for row in rows if row[field] is not None]
        axis.plot([row["epoch"] for row in measured], [row[field] for row in measured], **style)

    has_accuracy = "train_accuracy" in rows[0]
    with _page(path, 6 if has_accuracy else 4, 1 + has_accuracy, width=7, sharex=True) as (figure, axes):
        top, bottom = axes[0, 0], axes[-1, 0]
        training = {"color": BLUE, "marker": "." if len(rows) == 1 else None}
        draw(top, "cost", **training)
        top.set_ylabel(cost)
        if min(row["cost"] for row in rows) > 0:
            top.set_yscale("log")
            top.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}",
                          minor_formatter=NullFormatter())
        if has_accuracy:
            draw(bottom, "train_accuracy", label="training, during the epoch", **training)
            draw(bottom, "val_accuracy", label="validation", color=ORANGE, marker="o", linestyle="--")
            bottom.set(ylabel="accuracy (%)", ylim=(0, 102))
            figure.legend(loc="outside upper right", ncols=2)
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in axes.flat:
            axis.grid(alpha=0.3, which="both")


def lines(path: Path, named: dict[str, tuple[list[float], list[list[float]]]], x: str, y: str) -> None:
    """Of each name its places and a series a seed: a line through the means, a band from least to most."""
    with _page(path, 4.2) as (_, [[axis]]):
        for name, (places, series) in named.items():
            values = np.array(series)  # (seeds, places)
            (line,) = axis.plot(places, values.mean(0), marker=".", label=name)
            axis.fill_between(places, values.min(0), values.max(0), alpha=0.2, color=line.get_color(), lw=0)
        axis.set(xlabel=x, ylabel=y, xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right")


def bars(path: Path, named: dict[str, float], x: str) -> None:
    """A bar a name, the first on top; x labels the axis."""
    with _page(path, 0.8 + 0.26 * len(named)) as (_, [[axis]]):
        axis.barh(range(len(named)), named.values(), color=BLUE)
        axis.set_yticks(range(len(named)), named, parse_math=False)
        axis.set(xlabel=x, ylim=(len(named) - 0.4, -0.6))
        axis.grid(axis="x", alpha=0.3)


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
    tree = linkage(distance, "average")
    # the best order of its leaves takes a minute for 2000 classes, eight times that for each doubling
    return leaves_list(optimal_leaf_ordering(tree, distance) if len(matrix) < 1000 else tree)


def confusion(path: Path, matrix: np.ndarray, classes: list[str]) -> None:
    """Percent of each true class (row) that was given each name (column). matrix (K, K): counts."""
    from matplotlib.colors import PowerNorm

    order, count = bring_together(matrix), len(classes)
    share = (100 * matrix / matrix.sum(1, keepdims=True).clip(1))[order][:, order]
    with _page(path, max(5.5, 1.2 + 0.105 * min(count, 5000))) as (figure, [[axis]]):  # 10 pixels a name
        scale = PowerNorm(0.5, 0, 100)  # a square root: confusions are a few percent each
        image = axis.imshow(share, cmap="viridis", norm=scale, aspect="auto", interpolation="nearest")
        names, font_size = [_short(classes[i]) for i in order], 7 if count > 30 else 10
        axis.set_yticks(range(count), names, fontsize=font_size, parse_math=False)
        below = names if count <= 30 else []
        axis.set_xticks(range(len(below)), below, fontsize=font_size, rotation=90, parse_math=False)
        if count <= 12:
            for (i, j), percent in np.ndenumerate(share):
                axis.text(j, i, f"{percent:.0f}", ha="center", va="center",
                          color="white" if percent < 40 else "black")
        axis.set(xlabel="predicted, in the order of the rows", ylabel="true")
        figure.colorbar(image, label="share of the true class (%)", shrink=0.5)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (K, K) of images of a true class (row) that were given a name (column), both (N,)."""
    pairs = labels.astype(int) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def most_confused(matrix: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Pairs of classes most often taken for each other, (true, given) as is more frequent. matrix (K, K)."""
    both = np.triu(matrix + matrix.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[:count]
    pairs = [divmod(int(i), len(matrix)) for i in order if both.flat[i]]
    return [(i, j) if matrix[i, j] >= matrix[j, i] else (j, i) for i, j in pairs]


def confused(path: Path, matrix: np.ndarray, classes: list[str], images: Tensor, labels: np.ndarray,
             predicted: np.ndarray) -> None:
    """The ten pairs most often taken for each other, two a row. images (N, 3, H, W), labels (N,)."""

    def photo(true: int, given: int) -> np.ndarray:
        """The first image (H, W, 3) of a class that was given a name, else of the class, else white."""
        of_class = np.flatnonzero(labels == true)
        for first in (*of_class[predicted[of_class] == given], *of_class):
            return images[first].permute(1, 2, 0).numpy()  # (3, H, W) -> (H, W, 3)
        return np.full((*images.shape[2:], 3), 255, np.uint8)

    pairs, counts = most_confused(matrix, 10), matrix.sum(1)
    rows = max(1, -(-len(pairs) // 2))
    with _page(path, 0.3 + 2.05 * rows, rows, 4) as (figure, axes):
        if not pairs:
            figure.suptitle("no image was given a wrong name")
        for (i, j), (left, right) in zip(pairs, axes.reshape(-1, 2)):
            taken, other_way = f"{matrix[i, j]} of {counts[i]}", f"{matrix[j, i]} of {counts[j]}"
            _photo(left, photo(i, j), f"{_short(classes[i])},\n{taken} taken for", "left")
            _photo(right, photo(j, j), f"{_short(classes[j])},\n{other_way} the other way", "left")
        for axis in axes.flat[2 * len(pairs):]:
            axis.axis("off")


def where_it_goes_wrong(out: Path, split: str, flowers, predicted: np.ndarray) -> None:
    """per_class.csv, confusion.png, confused.png of a data.FlowerSet and the class given each image (N,)."""
    labels, classes = flowers.labels.numpy(), flowers.classes
    matrix = confusion_matrix(labels, predicted, len(classes))
    rows = [["class", "class number", f"{split} images", "correct", "accuracy (%)"]]
    for i, (name, n, right) in enumerate(zip(classes, matrix.sum(1), matrix.diagonal())):
        rows.append([name, i, n, right, f"{100 * right / n:.2f}" if n else ""])
    files.write_csv(out / "per_class.csv", rows)
    confusion(out / "confusion.png", matrix, classes)
    confused(out / "confused.png", matrix, classes, flowers.images, labels, predicted)


def predictions(path: Path, rows: list[tuple[str, np.ndarray, list[tuple[str, float]]]]) -> None:
    """A row a photo: (file name, its picture (H, W, 3), (name, probability) of the likeliest classes)."""
    with _page(path, 1.75 * len(rows), len(rows), 2, width_ratios=(1, 2.2)) as (_, axes):
        for (name, image, likely), (photo, bars) in zip(rows, axes):
            _photo(photo, image, _short(name, 24))
            places, colors = range(len(likely)), [ORANGE] + [BLUE] * (len(likely) - 1)
            bars.barh(places, [100 * probability for _, probability in likely], color=colors)
            bars.set_yticks(places, [_short(each) for each, _ in likely], parse_math=False)
            bars.set(xlim=(0, 100), ylim=bars.get_ylim()[::-1])  # the likeliest on top
            bars.tick_params(labelsize=8)
            bars.set_title("probability (%)", fontsize=8)
