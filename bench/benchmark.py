"""Speed and memory of a training step: ours, the report's code, and ours with one speed-up off, in one run.

    python -m bench.benchmark    # about 10 minutes on two cores
    python -m bench.benchmark --switches "batch norm" --rounds 8 --results results/without-bf16

Writes results/benchmark.json. Seconds are medians over rounds in which a side and ours take turns, each in a
process of its own (bench/steps.py).
"""

import argparse
import statistics
from pathlib import Path

import torch

import augment
from bench.steps import REPORTS_CODE, SWITCHES, ours, process, seconds
from support import errors, files, machine
from support.flags import number


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto", help="as of the training scripts (%(default)s)")
    parser.add_argument("--batch-size", type=number(int, 2, 2**31), default=128, help="(%(default)s)")
    parser.add_argument("--rounds", type=number(int, 1), default=4, help="(%(default)s)")
    switches = {switch for stage in SWITCHES.values() for switch in stage}
    parser.add_argument("--switches", nargs="+", choices=sorted(switches), default=switches, metavar="SWITCH",
                        help=f"of our step, to be turned off one by one: {', '.join(sorted(switches))} (all)")
    parser.add_argument("--results", type=Path, default="results", help="of benchmark.json (%(default)s)")
    return parser.parse_args(argv)


def limits(rounds: int, device: torch.device) -> dict[str, float]:
    """The machine's own: matrix product in FLOP/s, memory copy in bytes/s, read and written."""
    found = {}
    has_bf16 = machine.choose_precision("auto", device) == "bf16"
    for dtype in ("float32", "bfloat16") if has_bf16 else ("float32",):
        a, b = torch.randn(2, 4096, 4096, device=device).to(getattr(torch, dtype))
        best = min(seconds(lambda: a @ b, device) for _ in range(rounds + 1))
        found[f"matrix product, {dtype}"] = 2 * 4096**3 / best
    a, b = torch.zeros(2, 2**28, dtype=torch.uint8, device=device)
    best = min(seconds(lambda: b.copy_(a), device) for _ in range(rounds + 1))
    return found | {"memory copy": 2 * a.numel() / best}


def steps(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Our step in turns with each other side: the report's code, and ours with one switch off."""
    rows = []
    for stage in SWITCHES:
        all_on = ours(stage, device)
        sides = {"the report's code": REPORTS_CODE,
                 "the report's code, our allocator": REPORTS_CODE | {"allocator"}}
        sides |= {f"ours without {switch}": all_on - {switch}
                  for switch in SWITCHES[stage] if switch in all_on & set(args.switches)}
        with process(stage, all_on, device, args.batch_size) as our_step:
            for name, switches in sides.items():
                with process(stage, switches, device, args.batch_size) as step:
                    # a first round, not counted, warms up
                    turns = [(step("seconds"), our_step("seconds")) for _ in range(args.rounds + 1)][1:]
                    facts, our_facts = step("facts"), our_step("facts")
                theirs, ours_in_turn = zip(*turns)
                row = {"stage": stage, "side": name, "seconds": statistics.median(theirs),
                       "to ours": statistics.median(a / b for a, b in turns), "turns": turns,
                       **facts, "flops": our_facts["flops"]}  # Every side is rated by the arithmetic of ours.
                rows.append(row)
                if name == "the report's code":
                    rows.append({**row, "side": "ours", "seconds": statistics.median(ours_in_turn),
                                 "to ours": 1.0, **our_facts})
    return rows


def augmentation(args: argparse.Namespace, device: torch.device) -> dict:
    """Seconds that changing 64 pictures takes, in turns with a step of the report's network on as many."""
    images = torch.randint(256, (64, 3, augment.SQUARE, augment.SQUARE), dtype=torch.uint8).to(device)
    (draws,) = augment.draw([torch.arange(64)], torch.Generator().manual_seed(0), device)
    with process("classifier", ours("classifier", device), device, 64) as step:
        turns = [(seconds(lambda: augment.cutmix(augment.augment(images, draws), draws), device),
                  step("seconds")) for _ in range(args.rounds + 1)][1:]
    changed, stepped = map(statistics.median, zip(*turns))
    return {"seconds": changed, "step": stepped, "share": statistics.median(a / b for a, b in turns)}


def main(args: argparse.Namespace) -> int:
    device = machine.choose_device(args.device)
    args.results.mkdir(parents=True, exist_ok=True)
    about = machine.describe(device, machine.choose_precision("auto", device))
    about |= {"limits": limits(args.rounds, device), "batch_size": args.batch_size, "rounds": args.rounds}
    rows, changed = steps(args, device), augmentation(args, device)
    files.write_json(args.results / "benchmark.json", {"steps": about | {"rows": rows},
                                                       "augmentation": about | changed})
    print(*rows, changed, sep="\n")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args())
