"""The report's conclusions, each as claims about differences of recipes, and what their intervals say.

`python -m study.tables --readme` writes a line on each into README.md, every claim into results/README.md. A
difference is ours over shared seeds (intervals.py's `gap`), within each run (`level`) or over a benchmark's
rounds (`Steps`). A verdict waits until all declared seeds are there.
"""

from study.claims import Claim, by_reading, rank
from study.intervals import Runs, Value, accuracy_on, error_on, gap, level, markdown, signed, val_accuracy
from study.rows import BEST, BEST_RATES, report
from study.speed import Steps

AT_0001, AT_BEST = "at 0.001", "at the best rates"  # readings of what the report measured at one rate
POINTS, VALIDATION = "points of test accuracy", "points of validation accuracy"
ERROR = "thousandths of squared error"
SHORT_UNITS = {POINTS: "points", VALIDATION: "points", "% longer with batch norm": "% a step"}


def after(epoch: int) -> Value:
    return lambda run: run["classifier_costs"][epoch - 1]


def gained(first: int, last: int) -> Value:
    """How much the validation accuracy, which is measured every 5 epochs, rises from one epoch to another."""
    return lambda run: run["val_accuracies"][last // 5 - 1] - run["val_accuracies"][first // 5 - 1]


def changed(stage: str, first: int, last: int, of_its_fall: bool) -> Value:
    """The change of cost between two epochs, in percent of it at the first, or of its fall up to there."""
    def value(run: dict) -> float:
        costs = run[f"{stage}_costs"]
        whole = costs[0] - costs[first - 1] if of_its_fall else costs[first - 1]
        return 100 * (costs[last - 1] - costs[first - 1]) / whole
    return value


def batch_norm(runs: Runs, step: Steps) -> list[Claim]:
    claims = [Claim(f"the {stage}'s step in {precision} takes as long with batch norm as without, within 5 %",
                    "% longer with batch norm", step.get((stage, precision)), -5, 5)
              for stage in ("autoencoder", "classifier") for precision in ("bf16", "fp32")]
    at_rates = ((AT_0001, "both at 0.001", "at 0.001", "adam", "no-batch-norm"),
                (AT_BEST, "each at its best rate", "at its best rate", BEST["adam"], BEST["no-batch-norm"]))
    for reading, rates, _, ours, without in at_rates:
        claims.append(Claim("the classifier's cost after 5 epochs with batch norm is below that after 30 "
                            f"without, {rates}", "nats", gap(runs, ours, without, after(5), after(30)),
                            below=0, reading=reading))
    for reading, _, rate, _, without in at_rates:
        claims.append(Claim(f"without batch norm validation accuracy rises from epoch 15 to 30, {rate}",
                            VALIDATION, level(runs, without, gained(15, 30)), above=0, reading=reading))
    return claims


def more_accurate(runs: Runs, text: str, row: str, base: str, reading: str = "") -> Claim:
    """The claim that a row's test accuracy is above another's."""
    return Claim(text, POINTS, gap(runs, row, base), above=0, reading=reading)


def optimizers(runs: Runs) -> list[Claim]:
    claims = []
    for other, name in (("adam", "Adam"), ("sgd", "SGD"), ("rmsprop", "RMSprop")):
        claims += [more_accurate(runs, f"Adagrad is above {name}, both at 0.001", "adagrad", other, AT_0001),
                   more_accurate(runs, f"Adagrad is above {name}, each at its best rate", BEST["adagrad"],
                                 BEST[other], AT_BEST)]
    for other, name in (("rmsprop", "RMSprop"), ("sgd", "SGD")):
        text = f"{name} is better at {BEST_RATES[other]} than at 0.001"
        claims.append(more_accurate(runs, text, BEST[other], other))
    return [*claims, Claim("SGD at 0.001 fits the training photos: over 99 %", "% of them",
                           level(runs, "sgd", accuracy_on("train")), above=99)]


def regularisation(runs: Runs) -> list[Claim]:
    rows = {"dropout-0.25": "dropout 0.25", "l2-0.007": "L2 0.007", "l2-0.01": "L2 0.01",
            "l2-0.01-fp32": "L2 0.01 in fp32", "dropout-0.5": "dropout 0.5",
            "dropout-0.5-linear": "dropout 0.5 after the linear layers alone", "dropout-0.75": "dropout 0.75"}
    return [Claim(f"{name} gains less than 1 point", POINTS, gap(runs, row, "adagrad"), below=1)
            for row, name in rows.items()]


def epochs(runs: Runs) -> list[Claim]:
    costs = [Claim(f"from epoch 40 to 80 the {stage}'s cost changes by less than a tenth of {what}", "%",
                   level(runs, "epochs-80", changed(stage, 40, 80, of_its_fall)), -10, 10, reading)
             for what, of_its_fall, reading in (("its fall until then", True, "beside its fall"),
                                                ("its value at 40", False, "beside its value"))
             for stage in ("autoencoder", "classifier")]
    accuracy = "from epoch 40 to 80 the classifier's validation accuracy changes by less than 1 point"
    return [*costs, Claim(accuracy, VALIDATION, level(runs, "epochs-80", gained(40, 80)), -1, 1,
                          "for the accuracy")]


def autoencoders(runs: Runs) -> list[Claim]:
    return [Claim("with Adagrad the autoencoder's error on test photos is larger, both at 0.001", ERROR,
                  gap(runs, "adagrad-autoencoder", "pretrained", error_on("test")), above=0),
            more_accurate(runs, "the classifier is more accurate from Adam's encoder than from Adagrad's",
                          "pretrained", "adagrad-autoencoder")]


def unpooling(runs: Runs) -> list[Claim]:
    better = "the classifier is more accurate from its encoder than from"
    return [Claim("its decoder reconstructs test photos better than nearest upsampling's", ERROR,
                  gap(runs, "pretrained", "unpool-nearest", error_on("test")), below=0),
            more_accurate(runs, f"{better} nearest upsampling's", "pretrained", "unpool-nearest"),
            more_accurate(runs, f"{better} one with the max pools' own indices", "pretrained",
                          "unpool-indices")]


def pretraining(runs: Runs) -> list[Claim]:
    better = "the final model is more accurate from the trained encoder than from random weights"
    frozen = "with the encoder frozen, the classifier is more accurate on a trained one than on a random one"
    return [Claim(f"{better}, on validation photos", VALIDATION,
                  gap(runs, "pretrained", "final-fp32", val_accuracy), above=0),
            more_accurate(runs, f"{better}, on test photos", "pretrained", "final"),
            more_accurate(runs, frozen, "frozen", "frozen-random")]


def judged(runs: Runs, step: Steps) -> list[tuple[dict, list[Claim]]]:
    """Each conclusion in words ("short", "text") and what has to be true for it; step is the benchmark's."""
    claims = (batch_norm(runs, step), optimizers(runs), regularisation(runs), epochs(runs),
              autoencoders(runs), unpooling(runs), pretraining(runs))
    return list(zip(report("conclusions"), claims, strict=True))


def answers(runs: Runs, step: Steps) -> str:
    """A line a conclusion: its verdict (of several readings the best and worst), and the worst's figure."""
    lines = []
    for i, (conclusion, claims) in enumerate(judged(runs, step), 1):
        decisive = min(claims, key=lambda claim: rank(claim.verdict()))
        figure = signed(decisive.difference, SHORT_UNITS.get(decisive.unit, decisive.unit))
        verdicts = by_reading(claims)
        if len(verdicts) > 1:
            verdicts = [max(verdicts, key=rank), min(verdicts, key=rank)]
        lines.append(f"{i}. {conclusion['short']}: **{', '.join(verdicts)}** ({figure or 'no run yet'}). "
                     f"[all](results/README.md#conclusions)")
    return "\n".join(lines)


def conclusions(runs: Runs, step: Steps) -> str:
    """A bold row a conclusion, and below it a row a claim."""
    rows = []
    for i, (conclusion, claims) in enumerate(judged(runs, step), 1):
        rows.append([f"**{i}. {conclusion['text']}**", "", "", f"**{', '.join(by_reading(claims))}**"])
        rows += [[claim.text, signed(claim.difference), claim.unit, claim.verdict()] for claim in claims]
    return markdown(["what the report concludes, and what has to be true for it",
                     "measured difference [95 %]", "in", "verdict"], rows)
