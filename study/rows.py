"""What is measured over seeds: each row of rows.json is one recipe, as the flags that a user would type.

The rows `search-...` chose the settings that the report leaves open, and used validation photos alone, as
`rate-...` did for each optimizer's learning rate. A row that is tested measures the test photos once a seed.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import files


@dataclass(frozen=True)
class Row:
    """What is run: a recipe, and the flags of each stage that differ from it.

    autoencoder: None starts the encoder from random weights; "" trains stage one first, by the recipe alone.
    tested: whether the test photos are measured. earlier_version: the row's flags are gone, so that it can
    no longer be run; its finished runs stay as data. why: what it is for, where the title does not say it.
    """

    title: str
    classifier: str = ""
    autoencoder: str | None = None
    tested: bool = True
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    earlier_version: bool = False
    recipe: str = "report"  # of both stages
    why: str = ""

    @property
    def label(self) -> str:
        """The title as the tables show it."""
        return f"{self.title} (made by an earlier version)" if self.earlier_version else self.title


DECLARED = files.read_json(Path(__file__).with_name("rows.json"))
ROWS = {name: Row(**fields | {"seeds": tuple(fields.get("seeds", Row.seeds))})
        for name, fields in DECLARED["rows"].items()}
# each optimizer's learning rates beside 0.001; the one that validation chose, and the row that tests it
RATES = {name: of["tried"] for name, of in DECLARED["rates"].items()}
BEST = {name: name if of["best"] == "0.001" else f"best-{name}" for name, of in DECLARED["rates"].items()}


@cache
def report(split: str = "test") -> dict[str, list[float]]:
    """The report's accuracies (%) by row, of its section 5 and its final model."""
    return files.read_json(Path(__file__).parent.parent / "results/report.json")[split]
