"""What an interval says of a claim about a difference, and several claims of a conclusion."""

import math
from typing import NamedTuple

from comparisons import Difference


class Claim(NamedTuple):
    """One thing that a conclusion says: that a difference lies above one number and below another."""

    text: str
    unit: str
    difference: Difference | None
    above: float = -math.inf
    below: float = math.inf
    measure: str = ""  # where a conclusion may be read in several ways: the way that this claim takes

    def verdict(self) -> str:
        if self.difference is None:
            return "not measured yet"
        _, low, high, seeds, declared, _ = self.difference
        if seeds < declared:
            return f"not measured yet ({seeds} of {declared} seeds)"
        if math.isnan(low):
            return "cannot be told from so few"
        if self.above < low and high < self.below:
            return "holds"
        return "does not hold" if high <= self.above or low >= self.below else "cannot be told"


def deciding(claims: list[Claim]) -> Claim:
    """The first of the claims with the worst verdict: a conclusion holds where all that it says does."""
    from_worst = ("does not hold", "cannot be told", "holds", "not measured yet")  # the last decides nothing
    return min(claims, key=lambda claim: next(i for i, word in enumerate(from_worst)
                                              if claim.verdict().startswith(word)))


def standing(claims: list[Claim], not_varied: str = "") -> str:
    """How a conclusion stands: the verdict of the claim that decides it, and whether of all that it says.

    Where it may be read in several ways, one after the other: no reading decides for another.
    """
    measures = dict.fromkeys(claim.measure for claim in claims)
    if len(measures) > 1:
        return ", ".join(f"{standing([claim for claim in claims if claim.measure == measure])} by {measure}"
                         for measure in measures)
    waiting = sum(claim.verdict().startswith("not measured yet") for claim in claims)
    if waiting == len(claims):
        return "not measured yet"
    verdict = deciding(claims).verdict()
    if waiting and verdict != "does not hold":
        return f"{verdict} so far"
    return f"{verdict} as far as measured" if verdict == "holds" and not_varied else verdict
