"""The two recipes, `--recipe strong` and `--recipe report`: what each sets, as flags. A flag by hand wins.

`report` is the report's final model (sections 2 and 3); validation photos settled what it leaves open.
`strong` began as an earlier trial's settings; validation photos chose the classifier's rate and crop, with
the pooled head from random weights (results/README.md).
"""

import argparse
import sys

from support import resume
from support.errors import counted

REPORT = dict(recipe="report", epochs=40, batch_size=128, learning_rate=0.001, weight_decay=0.0,
              schedule="constant", augment=False, smallest_crop=0.2)  # both stages
STRONG = dict(recipe="strong", epochs=None, batch_size=64, optimizer="adamw", schedule="cosine", augment=True)
RECIPES = {  # report's stand for what a run of an earlier version did, where its flags lack one
    "report": {
        "autoencoder": REPORT | dict(optimizer="adam"),
        "classifier": REPORT | dict(
            optimizer="adagrad", average=0.0, label_smoothing=0.0, head="report", dropout=0.25,
            dropout_after="all", autoencoder=None, class_weights="none", keep="last", with_val=False)},
    "strong": {
        "autoencoder": STRONG | dict(
            learning_rate=0.002, weight_decay=0.05, smallest_crop=0.2),
        "classifier": STRONG | dict(
            learning_rate=0.0005, weight_decay=0.2, smallest_crop=0.35, average=0.998, label_smoothing=0.1,
            head="report", dropout=0.5, dropout_after="linear", autoencoder=None)}}
POOLED = dict(weight_decay=0.1, dropout=0.3)  # of strong, with --head pooled
STEPS = {"autoencoder": 960, "classifier": 2400}  # the length of strong, so that few photos are enough, too
LEAST_EPOCHS, MOST_EPOCHS = 10, 2000
FEW_STEPS = 1000  # with fewer, batch norm's running statistics lag behind strong's weights


def parse(parser: argparse.ArgumentParser, stage: str, argv: list[str] | None) -> argparse.Namespace:
    """Parse by the defaults of a resumed run, which goes on as it began, else of the recipe that is typed,
    else of strong; --help, too."""
    parser.set_defaults(**dict.fromkeys(RECIPES["strong"][stage]))  # None: not typed
    words = sys.argv[1:] if argv is None else argv
    typed, _ = parser.parse_known_args([word for word in words if word not in ("-h", "--help")])
    if begun := resume.as_begun(typed):
        defaults = RECIPES["report"][stage] | begun
    else:
        defaults = RECIPES[typed.recipe or "strong"][stage]
        if defaults["recipe"] == "strong" and stage == "classifier" and typed.head == "pooled":
            defaults = defaults | POOLED
        if defaults["optimizer"] == "adamw" and typed.optimizer not in (None, "adamw"):
            defaults = defaults | {"weight_decay": 0.0}  # adamw's, as L2, would outweigh the gradient
        if typed.smallest_crop and not (defaults["augment"] if typed.augment is None else typed.augment):
            parser.error("--smallest-crop has no effect without --augment")
        if stage == "classifier" and typed.dropout_after and typed.head == "pooled":
            parser.error("--dropout-after has no effect with --head pooled, whose one dropout is its last")
    parser.set_defaults(**defaults)
    return parser.parse_args(argv)


def epochs(args: argparse.Namespace, stage: str, steps: int, resumed: dict | None) -> int:
    """--epochs, else a resumed run's, else as many of so many steps as the recipe needs: a line says why."""
    if args.epochs or resumed:
        return args.epochs or resumed["flags"]["epochs"]
    chosen = min(max(round(STEPS[stage] / steps), LEAST_EPOCHS), MOST_EPOCHS)
    print(f"{chosen} epochs of {counted(steps, 'step')}: the recipe wants {STEPS[stage]} steps, in "
          f"{LEAST_EPOCHS} to {MOST_EPOCHS} epochs (--epochs sets another number)")
    return chosen
