"""The report's conclusions: what has to be true for each (conclusions.json), and what the intervals say.

A claim is about a difference of two rows over shared seeds (of a single run as `gap` has it), one row's own
mean, or the benchmark's step: it lies above a number, below one, or both.
"""

import math
from pathlib import Path
from typing import NamedTuple

from study import intervals
from study.intervals import Difference, Runs, Value, accuracy_on, gap, level, markdown, signed
from study.speed import Steps
from support import files

POINTS = "points of test accuracy"  # a claim's unit where it names none
VERDICTS = ("does not hold", "cannot be told", "holds")  # the worst first


class Claim(NamedTuple):
    """One thing that a conclusion says: that a difference lies above one number and below another."""

    text: str
    unit: str
    difference: Difference
    above: float = -math.inf
    below: float = math.inf
    reading: str = ""  # where a conclusion may be read in several ways, the one that the claim belongs to

    def verdict(self) -> str:
        """One of VERDICTS; of too few, whose bounds are nan, it cannot be told."""
        if self.above < self.difference.low and self.difference.high < self.below:
            return "holds"
        if self.difference.high <= self.above or self.difference.low >= self.below:
            return "does not hold"
        return "cannot be told"


def worst(claims: list[Claim]) -> Claim:
    """The first of those with the worst verdict: it decides a conclusion."""
    return min(claims, key=lambda claim: VERDICTS.index(claim.verdict()))


def by_reading(claims: list[Claim]) -> str:
    """The worst verdict in each reading, or one if they agree. A claim of no reading counts in all."""
    readings = dict.fromkeys(claim.reading for claim in claims if claim.reading) or [""]
    found = {each: worst([claim for claim in claims if claim.reading in ("", each)]).verdict()
             for each in readings}
    if len(set(found.values())) == 1:
        return found.popitem()[1]
    return ", ".join(f"{verdict} {reading}" for reading, verdict in found.items())


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
    "train": accuracy_on("train"), "validation": intervals.val_accuracy, "test": accuracy_on("test"),
    "error": intervals.error_on("test"), "cost after 5": lambda run: run["classifier_costs"][4],
    "cost after 30": lambda run: run["classifier_costs"][29],
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
                difference = step[tuple(claim["step"])]
            else:
                compare = level if len(claim["rows"]) == 1 else gap
                difference = compare(runs, *claim["rows"], *values)
            claims.append(Claim(claim["text"], claim.get("unit", POINTS), difference, **bounds))
        found.append((conclusion, claims))
    return found


def answers(runs: Runs, step: Steps) -> str:
    """A line a conclusion: its verdict, and the figure that decides it."""
    lines = []
    for i, (conclusion, claims) in enumerate(judged(runs, step), 1):
        decisive, verdict = worst(claims), by_reading(claims)
        whose = f"{decisive.verdict()} {decisive.reading}" if ", " in verdict else verdict  # of the readings
        before, after = verdict.split(whose)
        lines.append(f"{i}. {conclusion['short']}: **{before}{whose}** "
                     f"({signed(decisive.difference, decisive.unit)}){f'**{after}**' if after else ''}")
    return "\n".join(lines)


def conclusions(runs: Runs, step: Steps) -> str:
    """A bold row a conclusion, and below it a row a claim."""
    rows = []
    for i, (conclusion, claims) in enumerate(judged(runs, step), 1):
        rows.append([f"**{i}. {conclusion['text']}**", "", "", f"**{by_reading(claims)}**"])
        rows += [[claim.text, signed(claim.difference), claim.unit, claim.verdict()] for claim in claims]
    return markdown(["what the report concludes, and what has to be true for it",
                     "measured difference [95 %]", "in", "verdict"], rows)
