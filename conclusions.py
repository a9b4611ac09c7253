"""The report's conclusions, each as claims about differences of recipes, and what their intervals say of them.

`experiments.py table --readme` writes them into results/README.md. A difference is ours over shared seeds
(comparisons.py's `gap`); nothing is told from one run, or before all declared seeds are there.
"""

import math
from typing import NamedTuple

from comparisons import (Difference, Runs, Value, accuracy_on, error_on, gap, level, markdown, signed,
                         val_accuracy)
from recipes import BEST

POINTS, VALIDATION = "points of test accuracy", "points of validation accuracy"
ERROR = "thousandths of squared error"


class Claim(NamedTuple):
    """One thing that a conclusion says: that a difference lies above one number and below another."""

    text: str
    unit: str
    difference: Difference | None
    above: float = -math.inf
    below: float = math.inf

    def verdict(self) -> str:
        if self.difference is None:
            return "not measured yet"
        _, low, high, seeds, declared, _ = self.difference
        if seeds < declared:
            return f"not measured yet ({seeds} of {declared} seeds)"
        if math.isnan(low):
            return "cannot be told from one run"
        if self.above < low and high < self.below:
            return "holds"
        return "does not hold" if high <= self.above or low >= self.below else "cannot be told"


def deciding(claims: list[Claim]) -> Claim:
    """The first of the claims with the worst verdict: a conclusion holds where all that it says does."""
    from_worst = ("does not hold", "not measured yet", "cannot be told", "holds")
    return min(claims, key=lambda claim: next(i for i, word in enumerate(from_worst)
                                              if claim.verdict().startswith(word)))


def after(epoch: int) -> Value:
    return lambda run: run["classifier_costs"][epoch - 1]


def fall_from_40_to_80(stage: str) -> Value:
    """How much the cost falls from epoch 40 to 80, in percent of its fall from epoch 1 to 40."""
    def value(run: dict) -> float:
        costs = run[f"{stage}_costs"]
        return 100 * (costs[39] - costs[79]) / (costs[0] - costs[39])
    return value


def batch_norm(runs: Runs, step: Difference | None) -> list[Claim]:
    faster = "with it the classifier's cost after 5 epochs is below that without it after 30"
    return [
        Claim("a step takes as long without it, within 5 % (the final model's stages)", "% of a step", step, -5, 5),
        Claim(f"{faster}, both at 0.001", "nats", gap(runs, "adam", "no-batch-norm", after(5), after(30)), below=0),
        Claim(f"{faster}, each at its best rate", "nats",
              gap(runs, BEST["adam"], BEST["no-batch-norm"], after(5), after(30)), below=0),
        Claim("without it accuracy is higher after 90 epochs than after 30, at 0.001", VALIDATION,
              gap(runs, "no-batch-norm-90", "no-batch-norm", val_accuracy), above=0)]


def optimizers(runs: Runs) -> list[Claim]:
    claims = []
    for other, name in (("adam", "Adam"), ("sgd", "SGD"), ("rmsprop", "RMSprop")):
        claims += [Claim(f"Adagrad is above {name}, both at 0.001", POINTS, gap(runs, "adagrad", other), above=0),
                   Claim(f"Adagrad is above {name}, each at its best rate", POINTS,
                         gap(runs, BEST["adagrad"], BEST[other]), above=0)]
    for other, name in (("rmsprop", "RMSprop"), ("sgd", "SGD")):
        claims.append(Claim(f"{name} is better at another rate than 0.001", POINTS,
                            gap(runs, BEST[other], other), above=0))
    return claims + [Claim("SGD at 0.001 fits the training photos: over 99 %", "points of training accuracy over 99",
                           level(runs, "sgd", lambda run: accuracy_on("train")(run) - 99), above=0)]


def regularisation(runs: Runs) -> list[Claim]:
    return [Claim(f"{name} brings less than 1 point", POINTS, gap(runs, row, "adagrad"), below=1) for name, row in (
        ("dropout 0.25", "dropout-0.25"), ("dropout 0.5", "dropout-0.5"), ("dropout 0.75", "dropout-0.75"),
        ("L2 0.007", "l2-0.007"), ("L2 0.01", "l2-0.01"))]


def epochs(runs: Runs) -> list[Claim]:
    return [Claim(f"from epoch 40 to 80 the {stage}'s cost falls by less than a tenth of its fall until then",
                  "% of the fall until epoch 40",
                  level(runs, "epochs-80", fall_from_40_to_80(stage)), below=10)
            for stage in ("autoencoder", "classifier")]


def autoencoders(runs: Runs) -> list[Claim]:
    return [Claim("with Adagrad its error on test photos is larger, both at 0.001", ERROR,
                  gap(runs, "adagrad-autoencoder", "pretrained", error_on("test")), above=0),
            Claim("the classifier is more accurate from Adam's encoder than from Adagrad's", POINTS,
                  gap(runs, "pretrained", "adagrad-autoencoder"), above=0)]


def unpooling(runs: Runs) -> list[Claim]:
    return [Claim("its decoder reconstructs test photos better than nearest upsampling's", ERROR,
                  gap(runs, "pretrained", "unpool-nearest", error_on("test")), below=0),
            Claim("the classifier is more accurate from its encoder than from nearest upsampling's", POINTS,
                  gap(runs, "pretrained", "unpool-nearest"), above=0),
            Claim("the classifier is more accurate from its encoder than from one whose decoder knew the places", POINTS,
                  gap(runs, "pretrained", "unpool-indices"), above=0)]


def conclusions(runs: Runs, step: Difference | None) -> str:
    """A bold row a conclusion, with the claim that decides it, and below it a row a claim.

    step: what a training step takes more without batch norm, in percent (benchmark.py).
    """
    found = {
        "1. A step takes alike with and without batch norm, but with it the cost falls far faster; without it "
        "more epochs would go on raising accuracy": batch_norm(runs, step),
        "2. Adagrad is the best optimizer; RMSprop's steps have the wrong size; SGD's are too small: it fits the "
        "training photos and lacks on the test's": optimizers(runs),
        "3. Dropout and L2 bring at most about 1 %": regularisation(runs),
        "4. Beyond 40 epochs the cost hardly changes": epochs(runs),
        "5. With Adagrad the autoencoder's pictures are less complete than with Adam; hence Adam": autoencoders(runs),
        "6. InverseMaxPool, which keeps the feature alone, is what an inverse of max pooling should be":
            unpooling(runs),
    }
    rows = []
    for conclusion, claims in found.items():
        worst = deciding(claims)
        rows.append([f"**{conclusion}**", signed(worst.difference), worst.unit, f"**{worst.verdict()}**"])
        rows += [[claim.text, signed(claim.difference), claim.unit, claim.verdict()] for claim in claims]
    return markdown(["what the report concludes, and what has to be true for it",
                     "measured difference [95 %]", "in", "verdict"], rows)
