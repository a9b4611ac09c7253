"""What the interval of a difference says of a claim, and several claims of a conclusion."""

import math
from typing import NamedTuple

from study.intervals import Difference


class Claim(NamedTuple):
    """One thing that a conclusion says: that a difference lies above one number and below another."""

    text: str
    unit: str
    difference: Difference | None
    above: float = -math.inf
    below: float = math.inf
    reading: str = ""  # where a conclusion may be read in several ways, the one that the claim belongs to

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


def rank(verdict: str) -> int:
    """0 for the worst verdict."""
    order = ("does not hold", "cannot be told", "not measured yet", "holds")
    return next(i for i, words in enumerate(order) if verdict.startswith(words))


def worst(claims: list[Claim]) -> str:
    """The worst verdict on the claims that are measured."""
    verdicts = [claim.verdict() for claim in claims]
    measured = [verdict for verdict in verdicts if not verdict.startswith("not measured yet")]
    if not measured:
        return "not measured yet"
    found = min(measured, key=rank).removesuffix(" from so few")
    return found if len(measured) == len(verdicts) or found == "does not hold" else f"{found} so far"


def by_reading(claims: list[Claim]) -> list[str]:
    """The verdict in each reading, or one if they agree. A claim of no reading counts in all of them."""
    readings = dict.fromkeys(claim.reading for claim in claims if claim.reading) or [""]
    found = {reading: worst([claim for claim in claims if claim.reading in ("", reading)])
             for reading in readings}
    if len(set(found.values())) == 1:
        return [found.popitem()[1]]
    return [f"{verdict} {reading}" for reading, verdict in found.items()]
