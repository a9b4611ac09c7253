"""What an interval says of a claim about a difference, and several claims of a conclusion."""

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


def worst(claims: list[Claim], not_varied: str = "") -> str:
    """The worst verdict on the claims that are measured, and whether they are all that is said."""
    verdicts = [claim.verdict() for claim in claims]
    waiting = sum(verdict.startswith("not measured yet") for verdict in verdicts)
    if waiting == len(claims):
        return "not measured yet"
    found = next(word for word in ("does not hold", "cannot be told", "holds")
                 if any(verdict.startswith(word) for verdict in verdicts))
    if waiting and found != "does not hold":
        return f"{found} so far"
    return f"{found} as far as measured" if found == "holds" and not_varied else found


def standing(claims: list[Claim], not_varied: str = "") -> str:
    """How a conclusion stands: it holds where all that it says does.

    Where it may be read in several ways: how it stands in each, with the claims that are of none.
    """
    readings = dict.fromkeys(claim.reading for claim in claims if claim.reading) or [""]
    stands = {reading: worst([claim for claim in claims if claim.reading in ("", reading)], not_varied)
              for reading in readings}
    if len(set(stands.values())) == 1:
        return stands.popitem()[1]
    return ", ".join(f"{verdict} {reading}" for reading, verdict in stands.items())
