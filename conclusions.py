"""The report's six conclusions, each as differences of two recipes, and whether these say what it says.

`experiments.py table` writes them into results/README.md. A difference is ours over shared seeds
(comparisons.py's `gap`); what one run alone decides is marked as that.
"""

import math
from typing import NamedTuple

from comparisons import Difference, Runs, Value, error_on, gap, markdown, signed, val_accuracy
from recipes import BEST, ROWS

POINTS, VALIDATION = "points of test accuracy", "points of validation accuracy"
ERROR = "thousandths of squared error"


class Claim(NamedTuple):
    """One thing that a conclusion says: that a difference lies above one number and below another."""

    text: str
    unit: str
    difference: Difference
    above: float = -math.inf
    below: float = math.inf

    def verdict(self) -> str:
        if self.difference is None:
            return "not measured yet"
        mean, low, high = self.difference
        if math.isnan(low):
            return "holds in one run" if self.above < mean < self.below else "does not hold in one run"
        if self.above < low and high < self.below:
            return "holds"
        return "does not hold" if high < self.above or low > self.below else "cannot be told"


def whole(verdicts: list[str]) -> str:
    """A conclusion's verdict is the worst on what it says: one thing that does not hold is enough."""
    from_worst = ("does not hold", "does not hold in one run", "not measured yet", "cannot be told",
                  "holds in one run", "holds")
    return next(verdict for verdict in from_worst if verdict in verdicts)


def after(epoch: int) -> Value:
    return lambda run: run["classifier_costs"][epoch - 1]


def fall_beyond(epoch: int, stage: str) -> Value:
    """How far the cost fell after the epoch, in percent of how far it fell before."""
    def value(run: dict) -> float:
        first, at, last = (run[f"{stage}_costs"][i] for i in (0, epoch - 1, -1))
        return 100 * (at - last) / (first - at)
    return value


def claims(runs: Runs, seconds_without: float | None) -> dict[str, list[Claim]]:
    """What each conclusion says. seconds_without: see `conclusions`."""
    short = {name: ROWS[name].title.split(" (")[0].removeprefix("Adagrad, ") for name in ROWS}

    def at_best(name: str, base: str) -> Difference:
        return gap(runs, BEST[name], BEST[base]) if {name, base} <= BEST.keys() else None

    optimizers, unpoolings = [], []
    for other in ("adam", "sgd", "rmsprop"):
        optimizers += [Claim(f"Adagrad is above {short[other]}, both at 0.001", POINTS,
                             gap(runs, "adagrad", other), above=0),
                       Claim(f"Adagrad is above {short[other]}, each at the best of four rates", POINTS,
                             at_best("adagrad", other), above=0)]
    for other, title in (("unpool-nearest", "nearest upsampling"),
                         ("unpool-indices", "the max pools' own indices")):
        unpoolings += [Claim(f"its decoder reconstructs test photos better than with {title}", ERROR,
                             gap(runs, "pretrained", other, error_on("test")), below=0),
                       Claim(f"the encoder trained with it classifies better than with {title}", POINTS,
                             gap(runs, "pretrained", other), above=0)]
    return {
        "1. A step takes alike with and without batch norm, but with it the cost falls far faster; without "
        "it more epochs would go on raising accuracy": [
            Claim("without it a step takes within 5 % as long", "% of the time with it",
                  seconds_without and (seconds_without - 100, math.nan, math.nan), above=-5, below=5),
            Claim("with it the cost is lower after 5 epochs", "nats",
                  gap(runs, "adam", "no-batch-norm", after(5)), below=0),
            Claim("without it 90 epochs are above 30", VALIDATION,
                  gap(runs, "no-batch-norm-90", "no-batch-norm", val_accuracy), above=0)],
        "2. Adagrad is the best optimizer; RMSprop's steps are wrong; SGD's are too small, so that it fits "
        "the training photos and lacks on the test's": [
            *optimizers,
            *(Claim(f"{short[name]} at the best of four rates is above itself at 0.001", POINTS,
                    gap(runs, BEST[name], name) if name in BEST else None, above=0)
              for name in ("rmsprop", "sgd"))],
        "3. Dropout and L2 bring at most 1 %": [
            Claim(f"{short[name]} brings less than 1 point", POINTS, gap(runs, name, "adagrad"), below=1)
            for name in ("dropout-0.25", "dropout-0.5", "dropout-0.75", "l2-0.007", "l2-0.01")],
        "4. Beyond 40 epochs the cost hardly changes": [
            Claim(f"until epoch 80 the {stage}'s falls by less than 5 % of its fall before", "%",
                  gap(runs, "epochs-80", "epochs-80", fall_beyond(40, stage), lambda run: 0), below=5)
            for stage in ("autoencoder", "classifier")],
        "5. With Adagrad the autoencoder's pictures are less complete than with Adam": [
            Claim("its error on test photos is larger", ERROR,
                  gap(runs, "adagrad-autoencoder", "pretrained", error_on("test")), above=0)],
        "6. InverseMaxPool, which keeps the feature alone, is what an inverse of max pooling should be":
            unpoolings,
    }


def conclusions(runs: Runs, seconds_without: float | None) -> str:
    """A bold row a conclusion, and below it one for each thing that it says.

    seconds_without: a step without batch norm in percent of one with it, both stages (benchmark.py).
    """
    rows = []
    for conclusion, said in claims(runs, seconds_without).items():
        verdicts = [claim.verdict() for claim in said]
        rows.append([f"**{conclusion}**", "", "", f"**{whole(verdicts)}**"])
        rows += [[claim.text, signed(claim.difference), claim.unit, verdict]
                 for claim, verdict in zip(said, verdicts)]
    return markdown(["what the report concludes, and what has to be true for it",
                     "measured difference [95 %]", "in", "verdict"], rows)
