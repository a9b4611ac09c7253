"""What a resume may change, and what it may not."""

import argparse
import os
from pathlib import Path

from support import checkpoint, distributed
from support.errors import UserError

# a resume may change these flags: the result stays the same (a data set's photos are compared instead)
FREE_FLAGS = {"out", "epochs", "save_every", "resume", "overwrite", "data_dir", "cache_dir", "dataset"}
PLACE = ("device", "precision")  # and these, with a line: the bits then differ
OF_THIS_START = {"out", "resume", "overwrite", *PLACE}  # where not typed, all others are as the run began


def as_begun(typed: argparse.Namespace) -> dict:
    """The flags of the run that is resumed, but those of this start; {} where there is none to resume."""
    flags = checkpoint.peek(typed.out / "last.pt").get("flags") if typed.resume else None
    if not isinstance(flags, dict):  # resuming says what is wrong
        return {}
    known = vars(typed).keys() - OF_THIS_START  # an earlier version had other flags, too
    return {name: flags[name] for name in known & flags.keys()}


def job() -> str | None:
    """What stands for one start of torchrun: a folder that it makes anew for each. None without torchrun."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")  # that folder/attempt_0/0/error.json
    return str(Path(path).parents[2]) if path else None


def started_again(last: Path) -> bool:
    """Whether last.pt is of this very start of torchrun, which starts all processes again where one fails."""
    again = distributed.gathered([job() is not None and checkpoint.peek(last).get("job") == job()])
    if any(again) and not again[0]:
        raise UserError(f"torchrun started this run again, and now counts first a host that lacks {last}; "
                        f"--resume continues the run where that host is the first")
    if again[0]:
        print(f"torchrun started this run again, so it goes on from {last}")
    return again[0]


def check_resume(resumed: dict, flags: dict, environment: dict, digest: str, path: Path) -> None:
    """UserError where a flag or the photos would change the result of the run that is resumed."""
    for name in sorted(flags, key=lambda name: name not in ("recipe", "head")):  # these explain the others
        value = flags[name]
        then = resumed["flags"].get(name, value)  # a flag newer than the run is passed over
        same_file = name == "autoencoder" and os.path.abspath(str(then)) == os.path.abspath(str(value))
        if name not in FREE_FLAGS.union(PLACE) and then != value and not same_file:
            flag = name.replace("_", "-")
            now, then = ("none" if each is None else each for each in (value, then))
            raise UserError(f"--resume: --{flag} is {now}, but {path} was made with {then}")
    planned, done = resumed["flags"]["epochs"], resumed["epoch"]
    if flags["schedule"] != "constant" and flags["epochs"] not in (planned, done):
        hand_over = f"; {done}, the epochs done, hands over what is there" if done else ""
        raise UserError(f"--resume: --epochs is {flags['epochs']}, but the schedule of {path} ends with "
                        f"epoch {planned}{hand_over}")
    if flags["epochs"] < done:
        raise UserError(f"--resume: --epochs is {flags['epochs']}, but {path} is at {done}")
    if digest != resumed["photos"]:
        raise UserError(f"--resume: the photos or labels are not those that {path} was made with; begin a "
                        f"run in another --out with them (in stage two --autoencoder takes a classifier.pt)")
    product = path.with_name(resumed["kind"].replace(" run", ".pt"))
    if product.exists() and flags["epochs"] > done > 0:
        print(f"{product} stays as it was until this run ends")
    made, here = ({name: of["flags"].get(name) for name in PLACE} | checkpoint.rounding(of["environment"])
                  for of in (resumed, {"flags": flags, "environment": environment}))
    for name in [name for name in here if made[name] != here[name]]:
        then = f"{path} was made with {name} {made[name]}"
        print(f"not the same bits as without a break: {then}, this is {here[name]}")
