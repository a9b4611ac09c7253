"""Guards the figures: whole and readable for one class, no confusion, long and foreign names; their order."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from support import figures

PHOTO = np.zeros((100, 100, 3), np.uint8)


def test_the_order_brings_together_what_is_taken_for_each_other():
    matrix = np.diag([10] * 6)
    for i, j in ((0, 3), (3, 5), (1, 4)):
        matrix[i, j] = matrix[j, i] = 8
    order = figures.bring_together(matrix).tolist()
    assert sorted(order) == list(range(6))
    place = [order.index(i) for i in range(6)]
    assert abs(place[0] - place[3]) == abs(place[3] - place[5]) == abs(place[1] - place[4]) == 1


def test_the_most_confused_pairs_are_counted_both_ways_and_given_in_the_commoner_one():
    matrix = np.array([[9, 1, 0], [5, 9, 2], [0, 3, 9]])
    assert figures.most_confused(matrix, 10) == [(1, 0), (2, 1)]
    assert figures.most_confused(matrix, 1) == [(1, 0)] and figures.most_confused(np.diag([3, 3]), 10) == []


@pytest.mark.parametrize("count", (1, 2, 12, 102, 300))
def test_any_number_of_classes_makes_a_page_as_wide_as_github_shows(count, tmp_path, recwarn):
    names = [f"flower number {i} " for i in range(count)]
    names[3::7] = [name + "with a name that is too long for any page " for name in names[3::7]]
    matrix = np.random.default_rng(0).integers(0, 3, (count, count)) + np.diag([20] * count)
    figures.confusion(tmp_path / "confusion.png", matrix, names)
    figures.confused(tmp_path / "confused.png", matrix, names,
                     torch.zeros(count, 3, 9, 9, dtype=torch.uint8), np.arange(count), np.arange(count)[::-1])
    figures.predictions(tmp_path / "predictions.png", [("0.jpg", PHOTO, [(name, 0.2) for name in names[:5]])])
    for path in tmp_path.iterdir():
        assert Image.open(path).width == 850, path
    assert not [warning for warning in recwarn if "layout" in str(warning.message)]


def test_a_name_that_is_no_utf_8_is_drawn_all_the_same(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    figures.confusion(tmp_path / "confusion.png", np.eye(2), [name, "rose"])
    figures.predictions(tmp_path / "sheet.png", [(name, PHOTO, [(name, 0.9)])])
    assert len(list(tmp_path.iterdir())) == 2


def test_letters_without_a_shape_are_said_in_one_line(tmp_path, capsys):
    figures.confusion(tmp_path / "confusion.png", np.eye(2), ["\U000124d0", "rose"])
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("costs", ([2.0], [2.0, 1.0, 0.5], [0.0, 0.0]))
def test_curves_of_any_length_are_drawn(costs, tmp_path, recwarn):
    rows = [
        {"epoch": i, "cost": cost, "train_accuracy": 50.0, "val_accuracy": 40.0 if i == len(costs) else None}
        for i, cost in enumerate(costs, 1)
    ]
    figures.curves(tmp_path / "curve.png", rows, "cost")
    figures.curves(
        tmp_path / "curve.png", [{"epoch": row["epoch"], "cost": row["cost"]} for row in rows], "cost"
    )
    assert Image.open(tmp_path / "curve.png").width == 700 and not list(recwarn)
