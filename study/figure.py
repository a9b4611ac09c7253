"""results/minutes.png: validation accuracy against minutes of training, the recipes in one picture."""

import statistics
from pathlib import Path

from study.intervals import Runs
from support import figures

SHOWN = {"strong": "report's head", "strong-pooled": "pooled head",
         "strong-pooled-scratch": "pooled head, random start", "final": "report's recipe"}


def minutes(path: Path, runs: Runs) -> None:
    """Draw each row's mean over its seeds that ran on one core, stage one's minutes included.

    Validation comes at even spaces over stage two, with one view.
    """
    lines = {}
    for name, title in SHOWN.items():
        if of := [run for run in runs[name] if run["threads"] == 1]:
            percent = [statistics.mean(at) for at in zip(*(run["val_accuracies"] for run in of))]
            stage_one, stage_two = (statistics.mean(run.get(f"{stage}_seconds", 0) for run in of) / 60
                                    for stage in ("autoencoder", "classifier"))
            at = [stage_one + stage_two * (i + 1) / len(percent) for i in range(len(percent))]
            lines[title] = [stage_one, *at], [1.0, *percent]
    figures.lines(path, lines, "minutes on one core", "validation accuracy (%)")
