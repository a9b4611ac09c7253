"""Where the classifier goes wrong on test photos, over a row's seeds: pairs of species, sizes of classes."""

from pathlib import Path

import numpy as np

from study.intervals import Runs, interval_of_mean, markdown, path_of

ROW = "strong-pooled"
PAIRS, GROUPS = 16, 4


def predictions(results: Path, runs: Runs) -> tuple[list[str], list[np.ndarray]]:
    """The species, and each seed's counts (K, K): photos of a true species (row) that got a name (column)."""
    matrices = []
    for run in runs[ROW]:
        kept = np.load(path_of(results, ROW, run["seed"]).with_suffix(".npz"))
        matrices.append(np.zeros((len(kept["classes"]), len(kept["classes"])), int))
        np.add.at(matrices[-1], (kept["labels"], kept["predicted"]), 1)
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
    """Accuracy of species with few and with many test photos, each with ten to train on."""
    _, matrices = predictions(results, runs)
    counts = matrices[0].sum(1)  # (K,)
    rows, means = [], []
    for group in np.array_split(np.argsort(counts, kind="stable"), GROUPS):
        of_class = [100 * matrix.diagonal()[group] / counts[group] for matrix in matrices]  # (species,) each
        means.append([float(each.mean()) for each in of_class])
        rows.append([f"{counts[group].min()} to {counts[group].max()}", len(group),
                     interval_of_mean(means[-1]),
                     f"{np.mean(of_class, 0).min():.0f} to {np.mean(of_class, 0).max():.0f}"])
    fall = interval_of_mean([last - first for first, last in zip(means[0], means[-1])])
    pair, share = next(iter(pairs(results, runs).items()))
    return markdown(["test photos of a species", "species", "mean of their accuracies (%) [95 %]",
                     "worst to best species (%)"], rows) + (
        f"\n\nFrom the first row to the last the mean changes by {fall} points. Most often confused are "
        f"{pair}: {share:.0f} % of their photos get the other's name.")
