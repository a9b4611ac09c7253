"""Measurements over seeds: the runs declared in recipes.py, kept as one file each.

    python -m study.run run                       # every run that is not finished, one after another
    python -m study.run run --only final          # one row; --seeds 0 1: two of its seeds
    python -m study.run table --readme            # tables.py's, between the README's markers, and the plot
    python -m study.run plot                      # results/section5.png, our runs beside the report's

Writes results/runs/<row>-<seed>.json for each finished run; --dry-run estimates what is left. Any number of
such processes may run at once, on several machines, too, that share --results and --work on a file system
with locks: each run is locked by the one that does it, and a run that was killed is resumed. On a CPU start
one process a core, `OMP_NUM_THREADS=1 python -m study.run run`, twice, or
`torchrun --nproc-per-node 2 -m study.run run`, where one process that dies ends the others; the same
command goes on. With torchrun each process takes a GPU of its own. A run that fails is named, as is a row
begun in a precision that is not this machine's (a row is of one); the others go on, and the exit status
is 1. A classifier's checkpoints lie in runs/experiments/ until its run is finished; autoencoders stay,
for other rows.
"""

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

import training
from study import intervals
from study.one_run import autoencoder_of, clear, measure, path_of, precision_of
from study.rows import ROWS
from support import errors, files, machine, run_folder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table", "plot"))
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW",
                        help="with run: rows to run (all)")
    parser.add_argument("--seeds", nargs="+", type=int,
                        help="with run: of each row's seeds, those to run (all)")
    parser.add_argument("--data-dir", default="data", help="folder that holds flowers-102/ (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"),
                        help="folder of finished runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"),
                        help="folder of checkpoints and locks, shared as --results is (%(default)s)")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--dry-run", action=switch, default=False,
                        help="with run: print the runs that are left and what they may take (%(default)s)")
    parser.add_argument("--readme", action=switch, default=False,
                        help="with table: write them into README.md and results/README.md, and plot "
                             "(%(default)s)")
    args = parser.parse_args(argv)
    if ((args.only or args.seeds or args.dry_run) and args.command != "run") or (
            args.readme and args.command != "table"):
        parser.error("--only, --seeds and --dry-run go with run, --readme with table")
    args.only = args.only or list(ROWS)
    if odd := set(args.seeds or ()) - {seed for name in args.only for seed in ROWS[name].seeds}:
        parser.error(f"--seeds: none of these rows declares {', '.join(map(str, sorted(odd)))} "
                     f"(see recipes.py)")
    if args.readme and args.results.resolve() != Path(__file__).resolve().parent.parent / "results":
        parser.error("--readme writes the project's own pages from its results/: "
                     "call it there, without --results")
    return args


def left(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Row and seed of each run that was asked for and is not finished."""
    return [(name, seed) for name in args.only for seed in ROWS[name].seeds
            if seed in (args.seeds or ROWS[name].seeds) and not path_of(args.results, name, seed).exists()]


def misfit(args: argparse.Namespace, name: str) -> str:
    """Why this machine cannot go on with a row, which is of one precision; nothing where it can."""
    import train_classifier

    ours, found = precision_of(train_classifier.parse_args(ROWS[name].classifier.split())), set()
    for seed in ROWS[name].seeds:
        log = args.work / f"{name}-{seed}/log.jsonl"  # of a run that was begun
        if log.exists() and not path_of(args.results, name, seed).exists():
            with contextlib.suppress(ValueError, KeyError):  # damaged: told when the run is resumed
                found.add(training.read_log(log)[0]["precision"])
    # after the logs, as a run may be finished meanwhile
    found |= {run["precision"] for run in intervals.finished_of(args.results, name)}
    others = found - {ours}
    return f"it was begun in {', '.join(others)}, here it would be in {ours}" if others else ""


def plan(args: argparse.Namespace) -> int:
    """Print what is left, and what it may take by runs in its precision, this processor's if any."""
    import train_autoencoder
    import train_classifier

    here, minutes, trained, sources = machine.processor(machine.choose_device("auto")), [], set(), {}

    def runs_in(results: Path) -> list[dict]:
        return [run for of in intervals.finished(results).values() for run in of]

    known = runs_in(args.results) or runs_in(Path(__file__).parent.parent / "results")

    def stage_minutes(name: str, flags: argparse.Namespace) -> float:
        precision, took = precision_of(flags), f"{name}_seconds"
        told = [run for run in known if took in run]
        for fits in (lambda run: run["precision"] == precision, lambda run: run["processor"] == here):
            told = list(filter(fits, told)) or told
        told_flags = "flags" if name == "classifier" else f"{name}_flags"
        epoch = statistics.median([run[took] / run[told_flags]["epochs"] for run in told] or [15])
        processors = " or ".join(sorted({run["processor"] for run in told})) or "no machine yet"
        sources[f"{name} in {precision} {epoch:.0f} s an epoch, as on {processors}"] = None
        return flags.epochs * epoch / 60

    for name, seed in left(args):
        row = ROWS[name]
        minutes.append(stage_minutes("classifier", train_classifier.parse_args(row.classifier.split())))
        if row.autoencoder is not None and (folder := autoencoder_of(row, seed, args)) not in trained:
            trained.add(folder)  # rows share it
            if not (folder / "autoencoder.pt").exists():
                minutes[-1] += stage_minutes("autoencoder",
                                             train_autoencoder.parse_args(row.autoencoder.split()))
        print(f"{name}, seed {seed}: {minutes[-1]:.0f} minutes")
    print(f"{len(minutes)} runs, some {sum(minutes) / 60:.1f} hours for one process ({', '.join(sources)})"
          if minutes else "no run is left")
    return 0


def run(args: argparse.Namespace) -> int:
    """Do what is left, beside any process that does the same; wait for what others began, lest they die."""
    left_out = []
    for name in dict.fromkeys(name for name, _ in left(args)):
        if why := misfit(args, name):
            print(f"== {name}: left out, {why}")
            left_out.append(name)
    args.only = [name for name in args.only if name not in left_out]
    if args.dry_run:
        return plan(args)
    (args.results / "runs").mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    for name, seed in ((name, seed) for name in args.only for seed in ROWS[name].seeds):
        left_over = any((args.work / f"{name}-{seed}").glob("*.pt"))
        # its process may have been killed before it could clear it
        if left_over and path_of(args.results, name, seed).exists():
            with files.lock(args.work / f"{name}-{seed}.lock", wait=False) as is_ours:
                if is_ours:
                    clear(args, name, seed)
    failed = []
    while runs := [run for run in left(args) if run not in failed]:
        done = 0
        for name, seed in runs:
            with files.lock(args.work / f"{name}-{seed}.lock", wait=False) as is_ours:
                if is_ours and not path_of(args.results, name, seed).exists():
                    start, done = time.perf_counter(), done + 1
                    print(f"== {name}, seed {seed}", flush=True)
                    try:
                        if why := misfit(args, name):  # another machine has been at it meanwhile
                            raise errors.UserError(why)
                        measure(name, ROWS[name], seed, args)
                    except Exception as error:  # as a loss that is not finite: the others go on
                        if (told := errors.explain(error, args)) is None:
                            raise
                        print(f"== {name}, seed {seed}: {told[0]}", file=sys.stderr, flush=True)
                        failed.append((name, seed))
                        continue
                    finally:
                        run_folder.give_up()
                    print(f"== {name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        time.sleep(0 if done else 2)
    return int(bool(failed or left_out))


def table(args: argparse.Namespace) -> int:
    from study import tables

    here = Path(__file__).parent.parent
    tables.write(args.results, [here / "README.md", here / "results/README.md"] if args.readme else [])
    return plot(args) if args.readme else 0  # the picture beside the table


def plot(args: argparse.Namespace) -> int:
    from support import figures

    figures.results(args.results / "section5.png", intervals.plotted(intervals.finished(args.results)))
    print(f"wrote {args.results / 'section5.png'}")
    return 0


def main(args: argparse.Namespace) -> int:
    return {"run": run, "table": table, "plot": plot}[args.command](args)


if __name__ == "__main__":
    errors.run(main, parse_args(sys.argv[1:]))
