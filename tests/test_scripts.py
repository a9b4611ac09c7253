"""Guards the three scripts end to end: the files written, the lines printed, a resume, refusals."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import HEADS, ROOT, assert_one_line, draw_folder, run_script

import augment
import data
import evaluate
import train_autoencoder
import train_classifier
from models import Classifier
from support import checkpoint, machine
from support.errors import UserError
from tests import reference
from tests.kills import differences

FILES = {
    "autoencoder": {"last.pt", "autoencoder.pt", "log.jsonl", "curve.png", "reconstruction_005.png",
                    "reconstruction_006.png"},
    "classifier": {"last.pt", "classifier.pt", "log.jsonl", "curve.png"},
    "evaluation": {"evaluation.json", "per_class.csv", "predictions.csv", "confusion.png", "confused.png"},
}
COMMON = ["--dataset", "photos", "--cache-dir", "cache", "--device", "cpu"]
AUTOENCODER = ["--recipe", "report", "--epochs", "6", "--batch-size", "5"]
ABSENT = "cuda" if torch.backends.mps.is_available() else "mps"  # no machine has both
CLASSIFIER = ["--recipe", "report", "--autoencoder", "runs/autoencoder/autoencoder.pt", "--epochs", "2",
              "--batch-size", "6", "--head", "pooled"]  # the report's fills gigabytes


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """All three scripts on 12 training photos, as a user runs them; their folder and what they printed."""
    root = tmp_path_factory.mktemp("pipeline")
    draw_folder(root / "photos")
    printed = {}
    evaluation = ["--autoencoder", "runs/autoencoder/autoencoder.pt", "--out", "evaluation"]
    for script, flags in (("train_autoencoder", AUTOENCODER), ("train_classifier", CLASSIFIER),
                          ("evaluate", evaluation)):
        done = subprocess.run([sys.executable, ROOT / f"{script}.py", *COMMON, *flags], cwd=root,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no progress bar where there is no terminal
        printed[script] = done.stdout.splitlines()
    return root, printed


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(script, *flags) -> int:
    """A script's main, in this process."""
    return script.main(script.parse_args(list(map(str, flags))))


def test_exactly_the_files_of_the_design_are_written(pipeline):
    root, _ = pipeline
    found = {
        folder: {path.name for path in (root / path).iterdir()}
        for folder, path in (
            ("autoencoder", "runs/autoencoder"),
            ("classifier", "runs/classifier"),
            ("evaluation", "evaluation"),
        )
    }
    assert found == FILES


def test_the_lines_are_the_reports_and_one_says_on_what_and_how_long_a_run_trains(pipeline):
    _, printed = pipeline
    where = r"on cpu \(.+, \d+ threads?\) in (fp32|bf16)"
    assert re.fullmatch(rf"evaluating runs/classifier/classifier.pt {where}", printed["evaluate"][0])
    for stage, epochs in (("autoencoder", 6), ("classifier", 2)):
        begun = [line for line in printed[f"train_{stage}"] if line.startswith("training")]
        assert len(begun) == 1
        assert re.fullmatch(rf"training on 12 photos for {epochs} epochs, {where}", begun[0])
        after = [line for line in printed[f"train_{stage}"] if "more epoch" in line]
        assert len(after) == 1
        assert re.fullmatch(rf"{epochs - 1} more epochs? will take about \d+ s", after[0])
    epochs = [line for line in printed["train_autoencoder"] if line.startswith("Epoch")]
    assert len(epochs) == 6 and all(re.fullmatch(rf"Epoch : {e} / 6, cost : \d+\.\d{{4}}", line)
                                    for e, line in enumerate(epochs, 1))
    epochs = [line for line in printed["train_classifier"] if line.startswith("Epoch")]
    assert len(epochs) == 2
    assert re.fullmatch(r"Epoch : 1 / 2, cost : \d+\.\d{4}", epochs[0])
    # the last, and each fifth
    assert re.fullmatch(r"Epoch : 2 / 2, cost : \d+\.\d{4}, validation accuracy : \d+\.\d\d %", epochs[1])
    accuracies = [line for line in printed["evaluate"] if line.startswith("Accuracy")]
    assert re.fullmatch(r"Accuracy of the network on train images: \d+\.\d+ %", accuracies[0])
    assert re.fullmatch(r"Accuracy of the network on test images: \d+\.\d+ %", accuracies[1])


def test_logs_begin_with_what_a_repetition_needs_and_have_a_row_an_epoch(pipeline):
    root, _ = pipeline
    for stage, epochs, splits in (
        ("autoencoder", 6, {"train": 12}),
        ("classifier", 2, {"train": 12, "val": 6}),
    ):
        header, *log = rows(root / f"runs/{stage}/log.jsonl")
        assert (header["splits"] == splits and header["flags"]["seed"] == 0
                and header["flags"]["precision"] in ("fp32", "bf16"))
        assert {
            "commit",
            "versions",
            "device",
            "processor",
            "precision",
            "threads",
            "dataset",
        } <= header.keys()
        assert [row["epoch"] for row in log] == list(range(1, epochs + 1))
        assert all(row["cost"] > 0 and row["seconds"] > 0 for row in log)


def test_a_product_says_its_epoch_and_the_photos_that_it_learned_from(pipeline):
    root, printed = pipeline
    for stage, epochs in (("autoencoder", 6), ("classifier", 2)):
        product = torch.load(root / f"runs/{stage}/{stage}.pt", weights_only=True)
        assert product["epoch"] == epochs
        assert re.fullmatch(rf"wrote runs/{stage}/{stage}.pt after \d+\.\d s",
                            printed[f"train_{stage}"][-1])
    photos = data.load(str(root / "photos"), "train", cache_dir=str(root / "cache"))
    assert product["digests"] == photos.digests and len(set(product["digests"])) == 12


def test_evaluation_counts_each_image_once_and_agrees_with_its_tables(pipeline):
    root, printed = pipeline
    result = json.loads((root / "evaluation/evaluation.json").read_text())
    with open(root / "evaluation/predictions.csv", newline="", encoding="utf-8-sig") as file:
        predictions = list(csv.DictReader(file))
    assert len({row["file"] for row in predictions}) == len(predictions) == 12 + 6 + 9
    for split, count in (("train", 12), ("val", 6), ("test", 9)):
        right = sum(row["class"] == row["predicted"] for row in predictions if row["split"] == split)
        summary = result["splits"][split]
        assert (summary["images"], summary["correct"]) == (count, right) and summary[
            "accuracy"
        ] == 100 * right / count
        assert summary["accuracy_interval"][0] <= summary["accuracy"] <= summary["accuracy_interval"][1]
    assert (
        f"Accuracy of the network on test images: {result['splits']['test']['accuracy']} %"
        in printed["evaluate"]
    )
    with open(root / "evaluation/per_class.csv", newline="", encoding="utf-8-sig") as file:
        per_class = list(csv.DictReader(file))
    assert [row["class"] for row in per_class] == ["daisy", "rose", "tulip"]
    assert sum(int(row["correct"]) for row in per_class) == result["splits"]["test"]["correct"]


def test_without_test_the_validation_images_make_the_tables(pipeline, tmp_path, capsys):
    root, _ = pipeline
    shutil.copytree(root / "photos", tmp_path / "photos", ignore=shutil.ignore_patterns("test"))
    run(evaluate, "--classifier", root / "runs/classifier/classifier.pt", "--dataset", tmp_path / "photos",
        "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache", "--device", "cpu")
    printed = capsys.readouterr().out
    assert (
        "no test photos, so tables and figures are of val images" in printed
        and "on test images" not in printed
        and "on validation images" in printed
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES["evaluation"]
    header = (tmp_path / "out/per_class.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert header == "class,class number,val images,correct,accuracy (%)"


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    photos = draw_folder(tmp_path / "photos")
    for split in data.SPLITS:
        for name in ("daisy", "rose"):
            shutil.rmtree(photos / split / name)
    with pytest.raises(UserError, match="there is only tulip; want two classes or more"):
        run(train_classifier, "--dataset", photos, "--cache-dir", tmp_path, "--out", tmp_path / "run")


def test_reconstruction_error_is_the_mean_over_all_values(pipeline):
    root, _ = pipeline
    result = json.loads((root / "evaluation/evaluation.json").read_text())
    theirs = reference.AutoEncoder().eval()
    theirs.load_state_dict(torch.load(root / "runs/autoencoder/autoencoder.pt", weights_only=True)["model"])
    x = data.load(str(root / "photos"), "test", cache_dir=str(root / "cache")).images / 255
    with torch.no_grad():
        expected = (theirs(x)[1] - x).square().mean().item()
    assert result["splits"]["test"]["reconstruction_error"] == pytest.approx(
        expected, rel=0.02
    )  # bf16 against fp32


def test_the_reports_code_loads_the_checkpoint_and_gives_the_same_logits(pipeline, tmp_path):
    root, _ = pipeline
    trained = torch.load(root / "runs/classifier/classifier.pt", weights_only=True)
    torch.manual_seed(0)
    saved = trained | {"head": "report", "classifier": Classifier(num_classes=3).state_dict()}
    checkpoint.save(tmp_path / "classifier.pt", saved)
    content = torch.load(tmp_path / "classifier.pt", weights_only=True)
    theirs = reference.Encoder().eval(), reference.Classifier(num_classes=3).eval()
    for model, part in zip(theirs, ("encoder", "classifier")):
        model.load_state_dict(content[part], strict=True)
    images = data.load(str(root / "photos"), "test", cache_dir=str(root / "cache")).images
    network, _ = evaluate.load_classifier(tmp_path / "classifier.pt", torch.device("cpu"))
    ours = evaluate.classify(network, images, "fp32")
    with torch.no_grad():
        logits = theirs[1](theirs[0](images / 255))
        torch.testing.assert_close(ours, logits.softmax(1), rtol=1e-4, atol=1e-4)


def test_a_run_of_the_other_stage_is_never_replaced(pipeline):
    root, _ = pipeline
    for script, folder in (("train_autoencoder", "classifier"), ("train_classifier", "autoencoder")):
        (root / "unfinished" / folder).mkdir(parents=True)
        shutil.copy(root / "runs" / folder / "last.pt", root / "unfinished" / folder)
        for parent in ("runs", "unfinished"):
            before = sorted((root / parent / folder).iterdir())
            done = run_script(
                root, script, "--dataset", "photos", "--out", f"{parent}/{folder}", "--overwrite"
            )
            assert_one_line(done, 2, f"{parent}/{folder} holds a run of train_{folder}.py", "--out")
            assert sorted((root / parent / folder).iterdir()) == before


def test_a_run_is_not_replaced_unasked(pipeline):
    root, _ = pipeline
    for script, folder in (("train_autoencoder", "autoencoder"), ("train_classifier", "classifier")):
        assert_one_line(
            run_script(root, script, "--dataset", "photos"),
            2,
            f"runs/{folder} holds a run already",
            "--resume",
            "--overwrite",
        )


@pytest.mark.parametrize("stage,first,flags", (
    (train_autoencoder, 4, AUTOENCODER),
    (train_classifier, 1, CLASSIFIER)))
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(stage, first, flags, pipeline, tmp_path,
                                                            monkeypatch):
    """Stopped after `first` epochs, then continued."""
    monkeypatch.chdir(pipeline[0])
    run(stage, *COMMON, *flags, "--out", tmp_path / "whole")
    flags = [*COMMON, *flags, "--out", tmp_path / "stopped"]
    run(stage, *flags, "--epochs", first)
    with open(tmp_path / "stopped/log.jsonl", "a") as log:
        # as if killed between an epoch's row and its checkpoint
        log.write('{"epoch": ' + f"{first + 1}" + ', "cost": 9.9}\n{"epo')
    with pytest.raises(UserError, match="--seed is 1, but .* was made with 0"):
        run(stage, *flags, "--resume", "--seed", "1")
    run(stage, *flags, "--resume")
    unlike = ("seconds", "val_accuracy")  # measured where the first run ended
    assert differences(tmp_path / "whole", tmp_path / "stopped", unlike) == []
    last, theirs = (rows(tmp_path / run / "log.jsonl")[-1] for run in ("stopped", "whole"))
    assert last.get("val_accuracy") == theirs.get("val_accuracy")


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU; on a CPU each run repeats its bits, as tested above"
)
@pytest.mark.parametrize("stage", ("autoencoder", "classifier"))
def test_a_deterministic_run_on_a_gpu_repeats_its_bits(stage, pipeline, tmp_path):
    root, _ = pipeline
    for out in ("once", "again"):
        flags = [*COMMON, "--device", "cuda", "--epochs", "2", "--batch-size", "6", "--deterministic",
                 "--out", tmp_path / out]
        done = subprocess.run([sys.executable, ROOT / f"train_{stage}.py", *flags], cwd=root,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert differences(tmp_path / "once", tmp_path / "again") == []


@pytest.mark.parametrize(
    "script,flags,words",
    (
        ("train_autoencoder", ["--dataset", "nowhere"], "nowhere"),
        ("train_autoencoder", ["--dataset", ""], "--dataset: the name is empty"),
        ("train_autoencoder", ["--out", ""], "--out: the name is empty"),
        ("train_autoencoder", ["--cache-dir", ""], "--cache-dir: the name is empty"),
        ("train_autoencoder", ["--epochs", "0"], "out of range"),
        ("train_autoencoder", ["--learning-rate", "fast"], "invalid float value"),
        ("train_autoencoder", ["--batch-size", "1"], "at least 2"),
        ("train_autoencoder", ["--batch-size", "99999999999999999999"], "at most"),
        ("train_autoencoder", ["--dataset", "photos", "--out", "x" * 300], "File name too long"),
        # before the photos, whose decoding may take long
        ("train_autoencoder", ["--dataset", "absent", "--out", "runs/classifier/last.pt/sub"],
         "last.pt is no folder, or may not be written to; name another"),
        ("train_classifier", ["--dataset", "absent", "--autoencoder", "nowhere.pt"],
         "there is no autoencoder nowhere.pt"),
        (
            "train_classifier",
            ["--dataset", "photos", "--autoencoder", "runs/classifier/last.pt"],
            "holds no classifier, but classifier run; want the run's classifier.pt",
        ),
        ("train_classifier", ["--no-batch-norm", "--autoencoder", "a.pt"], "do not go with --autoencoder"),
        ("train_autoencoder", ["--resume", "--overwrite"], "not allowed with"),
        (
            "train_classifier",
            ["--freeze-encoder", "--encoder-learning-rate", "0.1"],
            "no effect with --freeze-encoder",
        ),
        ("train_autoencoder", ["--recipe", "report", "--smallest-crop", "0.2"], "effect without --augment"),
        ("train_classifier", ["--no-augment", "--smallest-crop", "0.35"], "no effect without --augment"),
        ("train_classifier", ["--head", "pooled", "--dropout-after", "all"], "no effect with --head pooled"),
        ("train_autoencoder", ["--device", ABSENT], f"--device {ABSENT}: this machine has none"),
        ("train_classifier", ["--dropout", "1.5"], "at most 1"),
        ("evaluate", ["--classifier", "runs/autoencoder/autoencoder.pt"],
         "holds no classifier, but autoencoder"),
        (
            "evaluate",
            ["--classifier", "runs/classifier/last.pt"],
            "no classifier, but classifier run; want the run's classifier.pt",
        ),
        (
            "evaluate",
            ["--classifier", "nowhere.pt"],
            "there is no classifier nowhere.pt; run train_classifier.py first",
        ),
        (
            "evaluate",
            [*COMMON, "--out", "photos/train/rose/0.jpg"],
            "--out photos/train/rose/0.jpg: photos/train/rose/0.jpg is no folder, or may not be written to",
        ),
    ),
)
def test_bad_input_ends_with_status_2_and_one_line(script, flags, words, pipeline):
    root, _ = pipeline
    out = [] if script == "evaluate" else ["--out", "refused"]
    done = run_script(root, script, *out, *flags)
    assert_one_line(done, 2, f"{script}.py: error: ", words)


@pytest.mark.parametrize("flags", (("--learning-rate", "0"), ("--learning-rate", "inf"),
                                   ("--learning-rate", "nan"), ("--weight-decay", "-1"), ("--seed", "-1"),
                                   ("--batch-size", "1"), ("--dropout", "1.01"), ("--save-every", "0")))
def test_numbers_out_of_range_are_refused(flags):
    with pytest.raises(UserError, match=f"{flags[0]}.*is out of range: want") as refusal:
        train_classifier.parse_args(flags)
    assert refusal.value.exit_status == 2


def test_overwrite_removes_the_old_run_but_not_before_the_new_one_can_begin(pipeline, tmp_path, monkeypatch):
    root, _ = pipeline
    monkeypatch.chdir(root)
    flags = [*COMMON, "--batch-size", "5", "--out", tmp_path / "run"]
    run(train_autoencoder, *flags, "--epochs", "5")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(UserError, match="nowhere"):
        run(train_autoencoder, *flags, "--dataset", "nowhere", "--overwrite")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    (tmp_path / "run/last.pt.4711.tmp.pt").touch()  # as a killed save leaves it
    run(train_autoencoder, *flags, "--epochs", "1", "--overwrite")
    after = {path.name for path in (tmp_path / "run").iterdir()}
    assert after == {"last.pt", "autoencoder.pt", "log.jsonl", "curve.png", "reconstruction_001.png"}


@pytest.mark.parametrize("stage,flags", ((train_autoencoder, []),
                                         (train_classifier, ["--dropout", "0", *HEADS["classifier"]])))
def test_each_epoch_has_a_shuffle_of_its_own(stage, flags, folder, tmp_path):
    """The weights stand still, so the cost follows only which photos batch norm sees together."""
    flags = [*flags, "--recipe", "report", "--optimizer", "sgd", "--learning-rate", "1e-30", "--epochs", "3",
             "--batch-size", "6", "--device", "cpu"]
    run(stage, *flags, "--dataset", folder, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run")
    assert len({row["cost"] for row in rows(tmp_path / "run/log.jsonl")[1:]}) == 3


def test_a_resume_with_other_photos_is_refused(tmp_path):
    photos = draw_folder(tmp_path / "photos")
    flags = ["--recipe", "report", "--dataset", photos, "--cache-dir", tmp_path / "cache", "--out",
             tmp_path / "run"]
    run(train_autoencoder, *flags, "--epochs", "1")
    (photos / "train/rose/1.jpg").unlink()
    with pytest.raises(UserError, match="photos or labels"):
        run(train_autoencoder, *flags, "--epochs", "2", "--resume")


def test_the_encoder_starts_from_the_autoencoder_or_from_random_weights(pipeline, monkeypatch, capsys):
    root, _ = pipeline
    monkeypatch.chdir(root)
    saved = torch.load("runs/autoencoder/autoencoder.pt", weights_only=True)["model"]

    def weights(*start):
        args = train_classifier.parse_args(["--recipe", "report", "--dataset", "photos"])
        return train_classifier.starting_network(args, ["rose"], start, None)[0].encoder.state_dict()

    stage_one = evaluate.load_encoder("runs/autoencoder/autoencoder.pt")
    pretrained, fresh = weights(*stage_one), weights()
    assert all(torch.equal(weight, saved[f"encoder.{name}"]) for name, weight in pretrained.items())
    assert not torch.equal(fresh["conv1.weight"], saved["encoder.conv1.weight"])
    assert "random weights" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ("report", "strong"))
@pytest.mark.parametrize("source", ([], ["--autoencoder", "runs/autoencoder/autoencoder.pt"]))
def test_a_frozen_encoder_stays_as_it_began(source, recipe, pipeline, tmp_path, monkeypatch):
    """The trained one to the bit; a random one but for its batch norm, which is the training photos'."""
    root, _ = pipeline
    monkeypatch.chdir(root)
    flags = [
        *COMMON,
        *(source or ["--autoencoder", "none"]),
        "--recipe",
        recipe,
        *HEADS["classifier"],
        "--epochs",
        "1",
        "--freeze-encoder",
        "--precision",
        "fp32",
        "--batch-size",
        "4",
        "--out",
        tmp_path,
    ]
    run(train_classifier, *flags)
    kept = torch.load(tmp_path / "classifier.pt", weights_only=True)["encoder"]
    machine.seeded_shuffle(0, 0)
    args = train_classifier.parse_args(list(map(str, flags)))
    start = evaluate.load_encoder(args.autoencoder) if source else ()
    began = train_classifier.starting_network(args, ["rose"], start, None)[0].encoder
    for name, value in began.state_dict().items():
        assert torch.equal(kept[name], value) == bool(
            source or not name.endswith(("running_mean", "running_var", "tracked"))), name
    if not source:  # of three equal batches the mean is that of all
        with torch.no_grad():
            size = 100 if recipe == "report" else augment.SQUARE
            images = data.load("photos", "train", cache_dir="cache", size=size).images
            y = began.conv1(augment.plain(images))
        torch.testing.assert_close(kept["bn1.running_mean"], y.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", (2, 4, 9))
def test_ragged_batches_count_each_image_once(pipeline, batch_size, monkeypatch):
    """Logits and reconstruction error do not depend on how the nine test photos are cut into batches."""
    root, _ = pipeline
    network, _ = evaluate.load_classifier(root / "runs/classifier/classifier.pt", torch.device("cpu"))
    autoencoder = train_autoencoder.AutoEncoder().eval()
    images = data.load(str(root / "photos"), "test", cache_dir=str(root / "cache")).images
    whole = evaluate.classify(network, images, "fp32")
    error = evaluate.reconstruction_error(autoencoder, images, "fp32")
    monkeypatch.setattr(evaluate, "BATCH_SIZE", batch_size)
    cut = evaluate.classify(network, images, "fp32")
    assert cut.shape == (9, 3)
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-4)
    assert evaluate.reconstruction_error(autoencoder, images, "fp32") == pytest.approx(error, rel=1e-5)


def test_summary_of_the_reports_final_result():
    """2531 of 6149: the report's percentage, and Wilson's interval by its formula."""
    labels = torch.arange(6149) % 100
    result = evaluate.summarise(torch.arange(6149) < 2531, labels, torch.linspace(0, 1, 6149))
    assert result["mean_probability"] == pytest.approx(50, rel=1e-5)
    assert result["accuracy"] == pytest.approx(41.16116441697837, rel=1e-15)
    n, p, z = 6149, 2531 / 6149, 1.959963984540054
    centre, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (100 * (centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    assert result["accuracy_interval"] == pytest.approx([low, high], rel=1e-9)
    images_of = [range(c, 6149, 100) for c in range(100)]
    of_class = [sum(image < 2531 for image in images) / len(images) for images in images_of]
    assert result["per_class_accuracy"] == pytest.approx(100 * sum(of_class) / 100)


def test_the_mean_of_the_classes_counts_a_small_class_as_much_as_a_large_one():
    result = evaluate.summarise(torch.tensor([True, True, False]), torch.tensor([0, 0, 1]), torch.ones(3))
    assert result["per_class_accuracy"] == 50
    assert result["accuracy_interval"][0] < 66 < result["accuracy_interval"][1]


def test_each_of_torchruns_processes_has_a_gpu_of_its_own_and_fp32_is_not_tf32_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device("auto") == torch.device("cuda", 0)
    for rank, index in (("0", 0), ("1", 1), ("2", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert machine.choose_device("cuda") == torch.device("cuda", index)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    machine.set_up("cpu", "fp32")
    assert torch.backends.cudnn.allow_tf32 is False
