"""Guards the declared runs and their tables: flags that parse, names for files, no test image where a row only chooses, statistics by hand."""

import shlex
import statistics

import pytest

import experiments
import tables
import train_autoencoder
import train_classifier
from recipes import ROWS


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_what_a_user_can_type(name):
    row = ROWS[name]
    start = ["--autoencoder", "autoencoder.pt"] if row.autoencoder is not None else []
    train_classifier.parse_args([*start, *shlex.split(row.classifier)])
    train_autoencoder.parse_args(shlex.split(row.autoencoder or ""))
    assert all(character.isalnum() or character in "-." for character in name)
    assert not (row.report and name.startswith(("search-", "rate-"))) and (row.seeds == (0, 1, 2, 3, 4) or not row.report or name == "synthetic")


def test_what_is_left_is_what_has_no_file(tmp_path):
    args = experiments.parse_args(["run", "--only", "final", "sgd", "--seeds", "0", "1", "--results", str(tmp_path)])
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/final-1.json").touch()
    assert experiments.left(args) == [("final", 0), ("sgd", 0), ("sgd", 1)]


def test_precisions_are_compared_seed_by_seed():
    """Against Student's formula for the mean of paired differences, 4 of them: t(0.975, 3) = 3.182446."""
    bf16, fp32 = [44.0, 45.0, 47.0, 43.0], [44.5, 45.5, 46.0, 45.0]
    runs = {name: [{"seed": i, "val_accuracy": value} for i, value in enumerate(values)] for name, values in (("final", bf16), ("final-fp32", fp32))}
    gaps = [b - a for a, b in zip(bf16, fp32)]
    mean, half = statistics.mean(gaps), 3.182446 * statistics.stdev(gaps) / 2
    assert f"{mean:+.2f} [{mean - half:.2f}, {mean + half:.2f}], p = " in tables.precision(runs)
