"""Where the classifier goes wrong on test photos, over a row's seeds: pairs of species, sizes of classes."""

from pathlib import Path

import numpy as np

from study import intervals
from study.intervals import Runs, interval_of_mean, markdown, path_of
from support import figures

ROW = "strong-pooled"
PAIRS, GROUPS = 16, 4


def predictions(results: Path, runs: Runs) -> tuple[list[str], list[np.ndarray]]:
    """The species, and each seed's counts (K, K): photos of a true species (row) that got a name (column)."""
    matrices = []
    for run in runs[ROW]:
        kept = np.load(path_of(results, ROW, run["seed"]).with_suffix(".npz"))
        matrices.append(figures.confusion_matrix(kept["labels"], kept["predicted"], len(kept["classes"])))
    return kept["classes"].tolist(), matrices


def pairs(results: Path, runs: Runs) -> dict[str, float]:
    """Two species and how many of their photos get the other's name (%), of the pairs where most do."""
    classes, matrices = predictions(results, runs)
    counts = matrices[0].sum(1)  # (K,), of photos; in each seed the same
    taken = sum(matrices) / len(matrices)  # (K, K), the mean over seeds
    both = 100 * np.triu((taken + taken.T) / (counts + counts[:, None]), 1)  # (K, K)
    order = np.argsort(-both, axis=None, kind="stable")[:PAIRS]
    return {f"{classes[i]} / {classes[j]}": float(both[i, j])
            for i, j in zip(*np.unravel_index(order, both.shape)) if both[i, j]}


def class_sizes(results: Path, runs: Runs) -> str:
    """Accuracy, the mean over seeds, of species with few and with many test photos: each has ten to train on;
    intervals over species, and Welch's of the difference."""
    from scipy.stats import ttest_ind

    _, matrices = predictions(results, runs)
    counts, accuracies = matrices[0].sum(1), 100 * sum(matrices).diagonal() / sum(matrices).sum(1)  # (K,)
    groups = np.array_split(np.argsort(counts, kind="stable"), GROUPS)
    rows = [[f"{counts[group].min()} to {counts[group].max()}", len(group),
             interval_of_mean(accuracies[group].tolist()),
             f"{accuracies[group].min():.0f} to {accuracies[group].max():.0f}"] for group in groups]
    few, many = accuracies[groups[0]], accuracies[groups[-1]]
    fall = intervals.Difference(many.mean() - few.mean(),
                                *ttest_ind(many, few, equal_var=False).confidence_interval(0.95))
    pair, share = next(iter(pairs(results, runs).items()))
    return markdown(["test photos of a species", "species", "mean of their accuracies (%) [95 %]",
                     "worst to best species (%)"], rows) + (
        f"\n\nFrom the first row to the last the mean changes by {intervals.signed(fall)} points. Most often "
        f"confused are {pair}: {share:.0f} % of their photos get the other's name.")
