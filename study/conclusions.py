"""The report's conclusions: what has to be true for each (conclusions.json), and what the intervals say.

`python -m study.tables --readme` writes a line on each into README.md, every claim into results/README.md. A
claim is about a difference of two rows over shared seeds, about one row's own mean, or about the benchmark's
step: it lies above a number, below one, or both. A verdict waits until all declared seeds are there.
"""

from pathlib import Path

from study.claims import Claim, by_reading, rank
from study.intervals import Runs, Value, accuracy_on, error_on, gap, level, markdown, signed, val_accuracy
from study.speed import Steps
from support import files

POINTS = "points of test accuracy"  # a claim's unit where it names none
SHORT_UNITS = {POINTS: "points", "points of validation accuracy": "points",
               "% longer with batch norm": "% a step"}


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


MEASURES = {
    "train": accuracy_on("train"), "validation": val_accuracy, "test": accuracy_on("test"),
    "error": error_on("test"), "cost after 5": after(5), "cost after 30": after(30),
    "validation, 15 to 30": gained(15, 30), "validation, 40 to 80": gained(40, 80),
    **{f"{stage}'s cost, 40 to 80, of its {whole}": changed(stage, 40, 80, whole == "fall")
       for stage in ("autoencoder", "classifier") for whole in ("fall", "value")}}


def judged(runs: Runs, step: Steps) -> list[tuple[dict, list[Claim]]]:
    """Each conclusion in words ("short", "text") and its claims; step is the benchmark's."""
    found = []
    for conclusion in files.read_json(Path(__file__).with_name("conclusions.json")):
        claims = []
        for claim in conclusion["claims"]:
            bounds = {key: claim[key] for key in ("above", "below", "reading") if key in claim}
            values = [MEASURES[name] for name in claim.get("values", ["test"])]
            if "step" in claim:
                difference = step.get(tuple(claim["step"]))
            elif len(claim["rows"]) == 1:
                difference = level(runs, *claim["rows"], *values)
            else:
                difference = gap(runs, *claim["rows"], *values)
            claims.append(Claim(claim["text"], claim.get("unit", POINTS), difference, **bounds))
        found.append((conclusion, claims))
    return found


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
