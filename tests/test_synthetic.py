"""Guards the built-in flowers: the same pictures anywhere, 102 species that differ, splits apart."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import OURS

from flowers import synthetic

ROOT = Path(__file__).parent.parent
PICTURES = [(0, "train", 0), (47, "val", 9), (101, "test", 59)]
SPOTS = ((10, 10), (30, 70), (50, 50), (70, 90), (90, 30))  # row, column
RECORDED = [  # pixels at SPOTS
    [[68, 90, 37], [144, 57, 165], [255, 228, 32], [78, 35, 105], [49, 74, 25]],
    [[10, 17, 8], [12, 15, 4], [8, 11, 11], [20, 23, 9], [23, 30, 19]],
    [[72, 95, 42], [105, 93, 125], [155, 60, 224], [60, 77, 29], [57, 76, 28]]]


def test_a_picture_is_a_function_of_its_arguments_in_any_process():
    assert all(np.array_equal(synthetic.draw(*picture), synthetic.draw(*picture)) for picture in PICTURES)
    code = (
        "import sys; from flowers import synthetic; "
        f"[sys.stdout.buffer.write(synthetic.draw(*p).tobytes()) for p in {PICTURES[::-1]}]"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout
    assert elsewhere == b"".join(synthetic.draw(*picture).tobytes() for picture in PICTURES[::-1])


def test_the_102_species_differ_in_parameters_pictures_and_names():
    from torchvision.datasets import Flowers102

    kinds = [synthetic.species(k) for k in range(102)]
    assert len(set(kinds)) == synthetic.CLASSES == 102 and kinds == [synthetic.species(k) for k in range(102)]
    names = synthetic.class_names()
    assert len(set(names)) == 102 and not set(names) & set(Flowers102.classes)
    assert all(len(name.split(" ")) == 2 for name in names)
    means = np.stack([np.mean([synthetic.draw(k, "train", i, 40) for i in range(2)], 0) for k in range(102)])
    gaps = [np.abs(means[k] - means[:k]).mean((1, 2, 3)).min() for k in range(1, 102)]
    assert min(gaps) > 5


def test_splits_share_no_picture_and_differ_in_each():
    assert synthetic.PER_CLASS == {"train": 10, "val": 10, "test": 60}
    drawn = [synthetic.draw(50, split, i, 40).tobytes() for split in synthetic.PER_CLASS for i in range(10)]
    assert len(set(drawn)) == 30


def test_twice_the_size_is_the_same_picture_finer():
    for picture in PICTURES:
        small, large = (
            synthetic.draw(*picture).astype(float),
            synthetic.draw(*picture, size=200).astype(float),
        )
        averaged = large.reshape(100, 2, 100, 2, 3).mean((1, 3))
        assert np.abs(averaged - small).mean() < 6


def test_pictures_use_the_range_without_being_lost_at_either_end():
    with np.errstate(all="raise", under="ignore"):
        pictures = np.stack([synthetic.draw(k, "train", k % 10) for k in range(0, 102, 3)])
    assert pictures.dtype == np.uint8 and pictures.shape[1:] == (100, 100, 3)
    assert pictures.min() == 0 and pictures.max() == 255
    assert 70 < pictures.mean() < 140 and pictures.std((1, 2, 3)).min() > 15
    assert (pictures == 255).mean() < 0.1 and (pictures == 0).mean() < 0.15


def test_a_split_is_drawn_class_after_class_with_names_at_some_sizes_from_any_picture_on():
    photos = synthetic.scan("synthetic", "", "val")[1]()
    assert photos.labels == [k for k in range(102) for _ in range(10)]
    assert photos.names[21] == synthetic.class_names()[2].replace(" ", "-") + "/val-01"
    assert len(set(photos.names)) == 1020
    drawn = [*synthetic.draw_split("val", 102, 2, [8, 24], start=100)]
    assert len({each.digest for each in drawn}) == 104
    for i in (100, 105, 203):
        for size, image in zip((8, 24), drawn[i - 100].squares):
            assert np.array_equal(image, synthetic.draw(i // 2, "val", i % 2, size))


@pytest.mark.parametrize("how", ("a script without a guard", "piped into python", "in a thread"))
def test_flowers_are_drawn_from_anywhere(how, tmp_path):
    draw = "print(sum(each.squares[0].shape[0] for each in synthetic.draw_split('val', 102, 1, [8])))"
    code = f"from flowers import synthetic\n{draw}\n"
    if how == "in a thread":
        code = f"import threading\nthread = threading.Thread(target=lambda: {draw})\n" \
               f"from flowers import synthetic\nthread.start()\nthread.join()\n"
    script = tmp_path / "mine.py"
    script.write_text(code)
    command, piped = ("-", code) if how == "piped into python" else (script, None)
    done = subprocess.run([sys.executable, command], input=piped, cwd=tmp_path, env=OURS, capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout) == (0, "816\n"), done.stderr


def test_pixels_are_the_recorded_ones_to_within_a_grey_level_on_any_processor():
    for picture, recorded in zip(PICTURES, RECORDED):
        image = synthetic.draw(*picture).astype(int)
        pixels = np.array([image[spot] for spot in SPOTS])
        assert np.abs(pixels - recorded).max() <= 1, pixels.tolist()
