"""Guards the recipes: what each sets, that `report` is a plain loop to the bit, schedule, average, length."""

import copy
import functools
import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import HEADS, assert_one_line, draw_folder, run_script

import augment
import data
import evaluate
import recipes
import train_autoencoder
import train_classifier
import training
from models import AutoEncoder, Classifier, PooledClassifier
from support import machine, run_folder, run_log

HERE = ["--dataset", "photos", "--cache-dir", "cache", "--device", "cpu", "--precision", "fp32"]
STAGE_ONE = ["--autoencoder", "runs/autoencoder/autoencoder.pt"]
STAGES = {"autoencoder": train_autoencoder, "classifier": train_classifier}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with photos/ of three classes, and both stages' runs by the strong recipe, two epochs each."""
    root = tmp_path_factory.mktemp("drawn")
    draw_folder(root / "photos")
    for stage, flags in (("autoencoder", []), ("classifier", ["--head", "pooled", *STAGE_ONE])):
        done = run_script(root, f"train_{stage}", *HERE, "--epochs", "2", "--batch-size", "5", *flags)
        assert done.returncode == 0, done.stderr
    return root


def log_of(run):
    return run_log.read_log(run / "log.jsonl")


def test_a_flag_by_hand_wins_and_the_head_has_settings_of_its_own():
    strong, report = (train_classifier.parse_args(["--recipe", name]) for name in ("strong", "report"))
    assert train_classifier.parse_args([]) == strong
    assert (report.optimizer, report.epochs, report.batch_size) == ("adagrad", 40, 128)
    assert (strong.optimizer, strong.schedule, strong.augment) == ("adamw", "cosine", True)
    pooled = train_classifier.parse_args(["--head", "pooled"])
    assert vars(pooled) == vars(strong) | {"head": "pooled"} | recipes.POOLED
    by_hand = train_classifier.parse_args(["--head", "pooled", "--dropout", "0.7", "--no-augment"])
    assert (by_hand.dropout, by_hand.augment) == (0.7, False)
    assert train_classifier.parse_args(["--recipe", "report", "--head", "pooled"]).dropout == report.dropout
    assert train_autoencoder.parse_args(["--recipe", "report"]).learning_rate == 0.001


def test_the_rate_rises_over_a_twentieth_of_the_steps_and_falls_to_zero_as_a_cosine():
    optimizer = training.make_optimizer("sgd", [{"params": [torch.zeros(1)]}], 2.0, 0.0)

    def rates(schedule, steps):
        for step in range(steps):
            training.set_learning_rate(optimizer, schedule, step, steps)
            yield optimizer.param_groups[0]["lr"]

    found = list(rates("cosine", 200))
    assert found[:10] == pytest.approx([(i + 1) / 5 for i in range(10)]) and max(found) == 2
    assert found[10] == 2 and found[105] == pytest.approx(1) and 0 < found[-1] < 1e-3
    assert sorted(found[10:], reverse=True) == found[10:]
    assert list(rates("cosine", 1)) == [2] and set(rates("constant", 9)) == {2}


def test_the_average_is_exponential_and_forgets_the_start():
    model, values = torch.nn.BatchNorm1d(1), [3.0, -1.0, 4.0, 1.0, 5.0]
    averaged, expected = copy.deepcopy(model), 0.0
    for step, value in enumerate(values):
        model.running_mean.fill_(value)
        model.num_batches_tracked += 1
        training.update_average(averaged, model, step, 0.3)
        kept = min(0.3, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    assert averaged.running_mean.item() == pytest.approx(expected) and averaged.num_batches_tracked == 5


@pytest.mark.parametrize("photos,epochs", (
    (2, 2000), (32, 2000), (65, 2000), (1020, 150), (1025, 150), (2040, 75), (50_000, 10)))
def test_the_length_is_in_steps_within_limits_and_a_line_says_it(photos, epochs, capsys):
    steps = len(data.batches(photos, 64))
    assert recipes.epochs(train_classifier.parse_args([]), "classifier", steps, None) == epochs
    assert f"{epochs} epochs of {steps} step" in capsys.readouterr().out
    by_hand = train_classifier.parse_args(["--epochs", "3"])
    assert recipes.epochs(by_hand, "classifier", steps, None) == 3 and capsys.readouterr().out == ""


def test_weight_decay_of_adamw_is_for_matrices_and_kernels_alone():
    model = AutoEncoder()
    optimizer = training.make_optimizer("adamw", [{"params": list(model.parameters())}], 0.1, 0.2)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        name: 0.2 if p.dim() > 1 else 0.0 for name, p in model.named_parameters()}


def plain_run(stage, images, labels, epochs, batch_size):
    """The report's recipe as a loop of its own: the weights after the epochs."""
    torch.manual_seed(0)
    machine.seeded_shuffle(0, 0)
    network = AutoEncoder()
    if stage == "autoencoder":
        optimizer = torch.optim.Adam(network.parameters(), lr=0.001, fused=True)
    else:
        network = torch.nn.ModuleDict({"encoder": network.encoder, "classifier": Classifier(3, dropout=0.25)})
        optimizer = torch.optim.Adagrad([{"params": list(network[part].parameters())}
                                         for part in ("classifier", "encoder")], lr=0.001, fused=True)
    network.to(memory_format=torch.channels_last)
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(images), generator=machine.seeded_shuffle(0, epoch))
        for batch in order.split(batch_size):
            x = images[batch].to(torch.float32, memory_format=torch.channels_last) / 255
            if stage == "autoencoder":
                loss = F.mse_loss(network(x)[1], x)
            else:
                loss = F.cross_entropy(network["classifier"](network["encoder"](x)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize("stage,epochs", (("autoencoder", 2), ("classifier", 1)))  # (seconds an epoch)
def test_the_reports_recipe_is_a_plain_loop_to_the_bit(stage, epochs, drawn, tmp_path):
    done = run_script(drawn, f"train_{stage}", *HERE, "--recipe", "report", "--epochs", epochs,
                      "--batch-size", "6", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    flowers = data.load(str(drawn / "photos"), "train", cache_dir=str(drawn / "cache"))
    expected = plain_run(stage, flowers.images, flowers.labels, epochs, 6)
    saved = torch.load(tmp_path / f"{stage}.pt", weights_only=True)
    found = saved["model"] if stage == "autoencoder" else {
        f"{part}.{name}": value for part in ("encoder", "classifier") for name, value in saved[part].items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("kind", ("none", "balanced"))
def test_strong_mixes_pictures_and_their_labels_as_its_loss_says(kind, drawn, tmp_path):
    """One step of the pooled head against cross-entropies written out, of each picture's smoothed label and
    its partner's, which count by their classes, of 6, 2 and 4 photos."""
    shutil.copytree(drawn / "photos", tmp_path / "photos")
    for i in range(2):
        (tmp_path / f"photos/train/rose/{i}.jpg").rename(tmp_path / f"photos/train/daisy/of-rose{i}.jpg")
    flags = ["--head", "pooled", "--epochs", "1", "--batch-size", "12", "--class-weights", kind]
    assert run_script(tmp_path, "train_classifier", *HERE, *flags, "--out", "run").returncode == 0
    flowers = data.load(str(tmp_path / "photos"), "train", cache_dir=str(tmp_path / "cache"),
                        size=augment.SQUARE)
    assert torch.bincount(flowers.labels).tolist() == [6, 2, 4]
    machine.seeded_shuffle(0, 0)
    encoder, head = AutoEncoder().encoder, PooledClassifier(3, dropout=0.3)
    shuffle = machine.seeded_shuffle(0, 1)
    (batch,) = data.batches(12, 12, shuffle)
    (draws,) = augment.draw([batch], shuffle, smallest=0.35)
    x, share = augment.cutmix(augment.augment(flowers.images[batch], draws), draws)
    assert 0 < (share < 1).sum() < 12
    logarithms, y = head(encoder(x)).log_softmax(1), flowers.labels[batch]
    weights = 12 / 3 / torch.tensor([6.0, 2, 4]) if kind == "balanced" else torch.ones(3)

    def weighted(labels):
        return -weights[labels] * ((0.9 * F.one_hot(labels, 3) + 0.1 / 3) * logarithms).sum(1)

    loss = (share * weighted(y) + (1 - share) * weighted(y[draws.partner])).mean()
    assert log_of(tmp_path / "run")[1][0]["cost"] == pytest.approx(loss.item(), rel=1e-5)


def test_stage_one_learns_the_photo_as_it_was_changed(drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(drawn)
    flags = [*HERE, "--epochs", "1", "--batch-size", "12", "--out", str(tmp_path)]
    assert train_autoencoder.main(train_autoencoder.parse_args(flags)) == 0
    flowers = data.load(str(drawn / "photos"), "train", cache_dir=str(drawn / "cache"), size=augment.SQUARE)
    machine.seeded_shuffle(0, 0)
    model, shuffle = AutoEncoder(), machine.seeded_shuffle(0, 1)
    (batch,) = data.batches(12, 12, shuffle)
    (draws,) = augment.draw([batch], shuffle, smallest=0.2)
    x = augment.augment(flowers.images[batch], draws)
    assert log_of(tmp_path)[1][0]["cost"] == pytest.approx(F.mse_loss(model(x)[1], x).item(), rel=1e-5)


def test_the_log_says_every_flag_of_the_recipe_as_it_was(drawn):
    flags = log_of(drawn / "runs/classifier")[0]["flags"]
    typed = [*HERE, "--head", "pooled", *STAGE_ONE, "--epochs", "2", "--batch-size", "5"]
    want = vars(train_classifier.parse_args(typed))
    assert flags.keys() == want.keys() and flags["recipe"] == "strong" and flags["dropout"] == 0.3
    assert flags["autoencoder"] == "runs/autoencoder/autoencoder.pt"


def test_the_averaged_weights_are_what_is_handed_over(drawn):
    run = drawn / "runs/classifier"
    last, product = (torch.load(run / name, weights_only=True) for name in ("last.pt", "classifier.pt"))
    for part in ("encoder", "classifier"):
        for name, value in product[part].items():
            if "running" not in name and "tracked" not in name:  # measured anew: the run has few steps
                assert torch.equal(value, last[f"averaged_{part}"][name])
        assert any(not torch.equal(value, last[part][name]) for name, value in product[part].items())


@pytest.mark.parametrize("stage", STAGES)
def test_a_resume_takes_the_runs_recipe_and_refuses_another_or_another_length(stage, drawn, tmp_path):
    script, head = f"train_{stage}", HEADS[stage]
    start = [*head, "--autoencoder", "none"] if head else []
    for recipe, other in (("strong", "report"), ("report", "strong")):
        out = ["--out", tmp_path / recipe, *start]
        flags = [*HERE, "--batch-size", "6", *out]
        assert run_script(drawn, script, *flags, "--recipe", recipe, "--epochs", "1").returncode == 0
        done = run_script(drawn, script, *flags, "--recipe", other, "--epochs", "1", "--resume")
        assert_one_line(done, 2, f"--recipe is {other}", f"made with {recipe}")
        done = run_script(drawn, script, *flags, "--epochs", "1", "--resume")
        assert done.returncode == 0 and "resuming" in done.stdout
        done = run_script(drawn, script, *flags, "--epochs", "2", "--resume")
        if recipe == "strong":
            assert_one_line(done, 2, "--epochs is 2", "ends with epoch 1", "hands over")
        else:
            assert done.returncode == 0, done.stderr


def test_the_number_of_epochs_done_hands_over_what_is_there(drawn, tmp_path):
    flags = [*HERE, "--batch-size", "6", "--out", tmp_path, "--head", "pooled", "--autoencoder", "none"]
    assert run_script(drawn, "train_classifier", *flags, "--epochs", "1").returncode == 0
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    last["flags"]["epochs"] = 9  # a run of nine epochs, stopped after the first
    torch.save(last, tmp_path / "last.pt")
    (tmp_path / "classifier.pt").unlink()
    done = run_script(drawn, "train_classifier", *flags, "--epochs", "1", "--resume")
    assert done.returncode == 0 and (tmp_path / "classifier.pt").exists(), done.stderr
    assert run_script(drawn, "evaluate", "--classifier", tmp_path / "classifier.pt", "--cache-dir", "cache",
                      "--dataset", "photos").returncode == 0


def test_without_stage_one_a_line_names_both_ways_on(drawn, tmp_path):
    (tmp_path / "photos").symlink_to(drawn / "photos")
    done = run_script(tmp_path, "train_classifier", *HERE, *STAGE_ONE)
    assert_one_line(done, 2, "there is no autoencoder runs/autoencoder/autoencoder.pt",
                    "train_autoencoder.py", "--autoencoder none")


def test_batch_norm_is_measured_anew_where_a_run_has_few_steps(drawn, tmp_path):
    """The running mean is then that of the training photos under the final weights, within a little."""
    flags = [*HERE, "--batch-size", "12", "--head", "pooled", "--autoencoder", "none", "--epochs", "5"]
    assert run_script(drawn, "train_classifier", *flags, "--out", tmp_path).returncode == 0
    saved = torch.load(tmp_path / "classifier.pt", weights_only=True)
    flowers = data.load(str(drawn / "photos"), "train", cache_dir=str(drawn / "cache"), size=augment.SQUARE)
    weight, bias = saved["encoder"]["conv1.weight"], saved["encoder"]["conv1.bias"]
    mean = F.conv2d(augment.plain(flowers.images), weight, bias, padding=1).mean((0, 2, 3))
    assert torch.allclose(saved["encoder"]["bn1.running_mean"], mean, atol=1e-4)


@pytest.mark.parametrize("epochs", (999, 1000))
def test_batch_norm_is_measured_anew_below_a_thousand_steps_of_which_65_photos_have_one_an_epoch(epochs):
    network = torch.nn.Sequential()
    network.encoder, network.classifier = AutoEncoder().encoder, PooledClassifier(3)
    args = SimpleNamespace(recipe="strong", epochs=epochs, batch_size=64, seed=0, freeze_encoder=False)
    images = torch.randint(256, (65, 3, 100, 100), dtype=torch.uint8)
    assert (training.settled(network, images, args, "fp32") is network) == (epochs == 1000)


def test_the_decay_of_adamw_is_no_other_optimizers():
    def decay(*flags):
        return train_classifier.parse_args(["--optimizer", *flags]).weight_decay

    assert (decay("adamw"), decay("adam"), decay("adam", "--weight-decay", "0.01")) == (0.2, 0, 0.01)


def test_evaluation_tells_one_view_and_several(drawn):
    flags = ["--classifier", "runs/classifier/classifier.pt", "--cache-dir", "cache", "--dataset", "photos"]
    told = {views: run_script(drawn, "evaluate", *flags, "--views", views).stdout for views in ("1", "14")}
    assert "Over" not in told["1"] and "Over fourteen views of each photo: val " in told["14"]
    assert [line for line in told["14"].splitlines() if line.startswith("Accuracy")] == [
        line for line in told["1"].splitlines() if line.startswith("Accuracy")]
    assert run_script(drawn, "evaluate", *flags).returncode == 0
    splits = json.loads((drawn / "runs/classifier/evaluation.json").read_text())["splits"]
    assert splits["test"]["views"] == 6 and 0 <= splits["test"]["views_accuracy"] <= 100
    assert "views" not in splits["train"] and "accuracy" in splits["val"]


@pytest.mark.parametrize("epochs,every", ((1, 1), (40, 5), (120, 5), (800, 16), (1920, 38)))
def test_a_long_run_validates_and_draws_some_fifty_times(epochs, every):
    run = SimpleNamespace(flags={"epochs": epochs})
    due = [epoch for epoch in range(1, epochs + 1) if run_folder.Run.is_due(run, epoch)]
    assert due == sorted({*range(every, epochs + 1, every), epochs}) and len(due) <= 51


def test_a_resume_knows_its_recipe_whatever_became_of_the_log(drawn, tmp_path):
    flags = [*HERE, "--batch-size", "6", "--epochs", "1", "--out", tmp_path]
    assert run_script(drawn, "train_autoencoder", *flags, "--recipe", "report").returncode == 0
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"epoch": 2, "co')  # killed while it wrote a row
    done = run_script(drawn, "train_autoencoder", *flags, "--resume")
    assert done.returncode == 0, done.stderr
    (tmp_path / "log.jsonl").write_text("[]\n")
    assert_one_line(run_script(drawn, "train_autoencoder", *flags, "--resume"), 2, "log.jsonl", "damaged")


def test_a_resume_names_first_what_explains_the_rest_and_what_is_lacking(drawn, tmp_path):
    shutil.copytree(drawn / "runs/classifier", tmp_path / "run")
    flags = [*HERE, "--epochs", "2", "--batch-size", "5", "--out", tmp_path / "run", "--resume"]
    other = [*flags, "--autoencoder", "none", "--head", "report"]
    assert_one_line(run_script(drawn, "train_classifier", *other), 2, "--head is report", "made with pooled")
    done = run_script(drawn, "train_classifier", *flags, "--autoencoder", "none")
    assert_one_line(done, 2, "--autoencoder is none", "made with runs/autoencoder/autoencoder.pt")
    last = torch.load(tmp_path / "run/last.pt", weights_only=True)
    del last["averaged_encoder"]
    torch.save(last, tmp_path / "run/last.pt")
    assert_one_line(run_script(drawn, "train_classifier", *flags), 2, "lacks averaged_encoder")


POOLED = ["--recipe", "report", "--head", "pooled", "--autoencoder", "none", "--dropout", "0"]


def test_balanced_class_weights_let_a_rare_class_count_as_much_as_a_common_one(drawn, tmp_path):
    """The first step's loss is that of weights and smoothed labels written out, image by image: each class
    counts the same, and a common one's images name no rare one. A line counts the classes of few photos."""
    shutil.copytree(drawn / "photos", tmp_path / "photos")
    for i in range(2, 4):
        (tmp_path / f"photos/train/rose/{i}.jpg").unlink()
    for i in range(6):
        shutil.copy(tmp_path / "photos/train/tulip/0.jpg", tmp_path / f"photos/train/tulip/copy{i}.jpg")
    flags = [*HERE, *POOLED, "--batch-size", "16", "--epochs", "1"]
    plain = run_script(tmp_path, "train_classifier", *flags, "--out", "plain")
    done = run_script(tmp_path, "train_classifier", *flags, "--class-weights", "balanced", "--out", "run",
                      "--label-smoothing", "0.3")
    assert done.returncode == 0, done.stderr
    told = "tulip has 10 photos, another class 2: --class-weights balanced lets each count the same\n"
    assert told in plain.stdout and "--class-weights" not in done.stdout
    assert "2 of 3 classes: there are under 5 training photos, such as 4 of daisy" in done.stdout
    flowers = data.load(str(tmp_path / "photos"), "train", cache_dir=str(tmp_path / "cache"))
    assert torch.bincount(flowers.labels).tolist() == [4, 2, 10]
    machine.seeded_shuffle(0, 0)
    encoder, head = AutoEncoder().encoder, PooledClassifier(3)
    wanted = 0.7 * F.one_hot(flowers.labels, 3) + 0.3 / 3
    each = -(wanted * head(encoder(augment.plain(flowers.images))).log_softmax(1)).sum(1)
    expected = torch.stack([each[flowers.labels == k].mean() for k in range(3)]).mean()
    assert log_of(tmp_path / "run")[1][0]["cost"] == pytest.approx(expected.item(), rel=1e-4)


def test_the_best_epoch_is_handed_over_where_asked_for(drawn, tmp_path):
    flags = [*HERE, *POOLED, "--batch-size", "6", "--epochs", "6", "--keep", "best", "--out", tmp_path]
    done = run_script(drawn, "train_classifier", *flags)
    assert done.returncode == 0, done.stderr
    accuracies = {row["epoch"]: row["val_accuracy"] for row in log_of(tmp_path)[1]}
    best = 5 if accuracies[5] > accuracies[6] else 6  # those that were measured
    assert f"wrote {tmp_path}/classifier.pt, of epoch {best}, after" in done.stdout
    last, product = (torch.load(tmp_path / name, weights_only=True) for name in ("last.pt", "classifier.pt"))
    assert product["epoch"] == best
    for part in ("encoder", "classifier"):
        assert all(torch.equal(value, last[f"best_{part}"][name]) for name, value in product[part].items())
    evaluated = run_script(drawn, "evaluate", "--classifier", tmp_path / "classifier.pt",
                           "--cache-dir", "cache", "--views", "1", "--precision", "fp32")
    assert evaluated.returncode == 0, evaluated.stderr
    splits = json.loads((tmp_path / "evaluation.json").read_text())["splits"]
    assert splits["val"]["accuracy"] == pytest.approx(accuracies[best])
    done = run_script(drawn, "train_classifier", *flags, "--keep", "last", "--resume")
    assert_one_line(done, 2, "--keep is last", "made with best")
    begun, here = last["flags"], ["--device", "cpu", "--precision", "fp32"]
    done = run_script(drawn, "train_classifier", "--out", tmp_path, "--resume", "--epochs", "7", *here)
    assert done.returncode == 0, done.stderr  # all that is not typed is as the run began
    flags = torch.load(tmp_path / "last.pt", weights_only=True)["flags"]
    assert flags == begun | {"epochs": 7, "resume": True}
    done = run_script(drawn, "train_classifier", "--out", tmp_path, "--resume", "--freeze-encoder", *here)
    assert_one_line(done, 2, "--freeze-encoder is True", "made with False")


def test_of_a_run_that_no_epoch_was_validated_of_the_last_is_handed_over_with_a_line(drawn, tmp_path):
    flags = [*HERE, *POOLED, "--batch-size", "6", "--keep", "best", "--out", tmp_path]
    assert run_script(drawn, "train_classifier", *flags, "--epochs", "1").returncode == 0
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    last["flags"]["epochs"] = 9  # a run of nine epochs, stopped after the first
    torch.save(last, tmp_path / "last.pt")
    log = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(re.sub('"val_accuracy": [0-9.]+', '"val_accuracy": null', log))
    done = run_script(drawn, "train_classifier", *flags, "--epochs", "1", "--resume")
    assert "classifier.pt, of epoch 1, the last, since none was validated, after" in done.stdout


def test_with_val_all_photos_train_and_evaluation_says_so(drawn, tmp_path):
    flags = [*HERE, *POOLED, "--batch-size", "6", "--epochs", "5", "--with-val", "--out", tmp_path]
    done = run_script(drawn, "train_classifier", *flags, "--keep", "best")
    assert_one_line(done, 2, "--keep best does not go with --with-val")
    done = run_script(drawn, "train_classifier", *flags)
    assert done.returncode == 0, done.stderr
    assert "training on 18 photos" in done.stdout and "validation accuracy" not in done.stdout
    load = functools.partial(data.load, str(drawn / "photos"), cache_dir=str(drawn / "cache"))
    sets = load("train"), load("val")
    joined = data.join(*sets)
    assert torch.equal(joined.images[12:], sets[1].images) and joined.names[12:] == sets[1].names
    product = torch.load(tmp_path / "classifier.pt", weights_only=True)
    assert product["digests"] == joined.digests == sets[0].digests + sets[1].digests
    evaluated = run_script(drawn, "evaluate", "--classifier", tmp_path / "classifier.pt",
                           "--cache-dir", "cache", "--views", "1")
    assert f"val: {tmp_path}/classifier.pt was trained on 6 of 6 photos here" in evaluated.stdout
    done = run_script(drawn, "train_classifier", *flags, "--no-with-val", "--resume")
    assert_one_line(done, 2, "--with-val is False", "made with True")
    tuned = ["--autoencoder", tmp_path / "classifier.pt", "--epochs", "1", "--out", tmp_path / "tuned"]
    done = run_script(drawn, "train_classifier", *HERE, *POOLED, *tuned)
    assert f"val: {tmp_path}/classifier.pt was trained on 6 of 6 photos here\n" in done.stdout


@pytest.mark.parametrize("change,fit,new", (
    (None, "conv1, conv2, linear, bn1, bn2", "none"), ("classes", "conv1, conv2, bn1, bn2", "linear"),
    ("a class more", "conv1, conv2, bn1, bn2", "linear")))
def test_a_trained_classifier_is_a_start_for_other_classes(change, fit, new, drawn, tmp_path):
    flags = [*HERE, *POOLED, "--batch-size", "6", "--epochs", "1", "--out", tmp_path / "run"]
    shutil.copytree(drawn / "photos", tmp_path / "photos")
    for split in data.SPLITS:
        if change == "classes":
            (tmp_path / "photos" / split / "rose").rename(tmp_path / "photos" / split / "orchid")
        elif change == "a class more":
            shutil.copytree(tmp_path / "photos" / split / "rose", tmp_path / "photos" / split / "orchid")
    start = drawn / "runs/classifier/classifier.pt"
    flags += ["--autoencoder", start, "--learning-rate", "1e-30", "--optimizer", "sgd"]  # it stands still
    done = run_script(tmp_path, "train_classifier", *flags)
    assert done.returncode == 0, done.stderr
    assert f"encoder and classifier ({fit}; new: {new}) from {start}, trained by the recipe" in done.stdout
    before, after = (torch.load(path, weights_only=True) for path in (start, tmp_path / "run/classifier.pt"))
    assert torch.equal(before["encoder"]["conv5.weight"], after["encoder"]["conv5.weight"])
    assert torch.equal(before["classifier"]["conv2.weight"], after["classifier"]["conv2.weight"])
    kept = before["classifier"]["linear.weight"].shape == after["classifier"]["linear.weight"].shape and \
        torch.equal(before["classifier"]["linear.weight"], after["classifier"]["linear.weight"])
    assert kept == (change is None) and len(after["classes"]) == len(after["classifier"]["linear.bias"])
    done = run_script(tmp_path, "train_classifier", *flags, "--epochs", "2", "--resume")
    assert done.returncode == 0, done.stderr


def test_a_classifier_remembers_the_photos_of_the_one_that_it_began_from_also_when_resumed(drawn, tmp_path):
    photos = draw_folder(tmp_path / "photos")
    for path in photos.glob("train/*/0.jpg"):
        path.unlink()
    start = drawn / "runs/classifier/classifier.pt"
    flags = [*HERE, *POOLED, "--batch-size", "6", "--autoencoder", start, "--out", tmp_path / "run"]
    for more in (["--epochs", "1", "--schedule", "constant"], ["--epochs", "2", "--resume"]):
        done = run_script(tmp_path, "train_classifier", *flags, *more)
        assert done.returncode == 0, done.stderr
        before, after = ({*torch.load(path, weights_only=True)["digests"]}
                         for path in (start, tmp_path / "run/classifier.pt"))
        assert after == before and len(after) == 12  # nine of them alone are trained on now


def test_of_a_classifier_with_the_other_head_a_start_takes_what_fits(drawn):
    args = train_classifier.parse_args(["--autoencoder", str(drawn / "runs/classifier/classifier.pt")])
    start = evaluate.load_encoder(args.autoencoder)
    network, *_ = train_classifier.starting_network(args, ["daisy", "rose", "tulip"], start, None)
    saved = torch.load(drawn / "runs/classifier/classifier.pt", weights_only=True)["classifier"]
    found = network.classifier.state_dict()
    assert {name for name, value in saved.items() if name in found and torch.equal(value, found[name])} == {
        name for name in saved if not name.startswith("linear")}
