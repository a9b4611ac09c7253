"""The report's conclusions, each as differences of two recipes, and whether their intervals say what it says.

`experiments.py table` writes them into results/README.md. A difference is ours over shared seeds (comparisons.py's `gap`);
what one run alone decides is marked as that.
"""

import math

from comparisons import Difference, Runs, Value, accuracy_on, error_on, gap, markdown, signed, val_accuracy
from recipes import BEST, ROWS


def after(epoch: int) -> Value:
    return lambda run: run["classifier_costs"][epoch - 1]


def fall_beyond(epoch: int, stage: str) -> Value:
    """How far the cost fell after the epoch, in percent of how far it fell before."""
    def value(run: dict) -> float:
        first, at, last = (run[f"{stage}_costs"][i] for i in (0, epoch - 1, -1))
        return 100 * (at - last) / (first - at)
    return value


def verdict(difference: Difference, above: float = -math.inf, below: float = math.inf) -> str:
    """Whether the interval says that the difference is in the range that is claimed."""
    if difference is None:
        return "not measured yet"
    mean, low, high = difference
    if math.isnan(low):
        return "holds in one run" if above < mean < below else "does not hold in one run"
    return "holds" if above < low and high < below else "does not hold" if high < above or low > below else "cannot be told"


def conclusions(runs: Runs, seconds_without: float | None) -> str:
    """A row a claim. seconds_without: a step without batch norm in percent of one with it, both stages (benchmark.py)."""
    points, thousandths = "points of test accuracy", "thousandths of squared error"
    short = {name: ROWS[name].title.split(" (")[0].removeprefix("Adagrad, ").removeprefix("from an autoencoder with ") for name in ROWS}
    claims = [("1. With and without batch norm a step takes alike: within 5 %", "% of the time with it",
               seconds_without and (seconds_without - 100, math.nan, math.nan), {"above": -5, "below": 5}),
              ("1. With it the cost falls far faster: after 5 epochs it is lower", "nats",
               gap(runs, "adam", "no-batch-norm", after(5)), {"below": 0}),
              ("1. Without it more epochs raise accuracy: 90 above 30", "points of validation accuracy",
               gap(runs, "no-batch-norm-90", "no-batch-norm", val_accuracy), {"above": 0})]
    for other in ("adam", "sgd", "rmsprop"):
        claims += [(f"2. Adagrad is above {short[other]}, both at 0.001", points, gap(runs, "adagrad", other), {"above": 0}),
                   (f"2. Adagrad is above {short[other]}, each at the best of four rates", points,
                    gap(runs, BEST["adagrad"], BEST[other]) if {"adagrad", other} <= BEST.keys() else None, {"above": 0})]
    claims += [(f"3. {short[name].capitalize()} brings at most 1 point to Adagrad", points, gap(runs, name, "adagrad"), {"below": 1})
               for name in ("dropout-0.25", "dropout-0.5", "dropout-0.75", "l2-0.007", "l2-0.01")]
    claims += [(f"4. From epoch 40 to 80 the {stage}'s cost falls by less than 5 % of its fall before", "%",
                gap(runs, "epochs-80", "epochs-80", fall_beyond(40, stage), lambda run: 0), {"below": 5})
               for stage in ("autoencoder", "classifier")]
    claims += [("5. An autoencoder trained with Adagrad reconstructs test images worse than with Adam", thousandths,
                gap(runs, "adagrad-autoencoder", "pretrained", error_on("test")), {"above": 0})]
    for other in ("unpool-nearest", "unpool-indices"):
        claims += [(f"6. InverseMaxPool reconstructs test images better than {short[other]}", thousandths,
                    gap(runs, "pretrained", other, error_on("test")), {"below": 0}),
                   (f"6. The encoder trained with it classifies better than with {short[other]}", points,
                    gap(runs, "pretrained", other), {"above": 0})]
    return markdown(["what the report concludes, as a difference", "in", "measured [95 %]", "verdict"],
                    [[claim, unit, signed(difference), verdict(difference, **claimed)] for claim, unit, difference, claimed in claims])
