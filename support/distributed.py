"""One script in several processes, started by torchrun; alone, each function does without the others."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from support import errors

TIMEOUT = timedelta(minutes=10)  # how long a process waits for the others' part of a step
PATIENCE = timedelta(hours=2)  # the same while another decodes photos
ANSWER = 10  # seconds to wait for torchrun's store once a process has failed
LOST = re.compile("gloo|nccl|connection|timed out", re.IGNORECASE)  # as PyTorch says that a process is gone


def local_rank() -> int:
    """The number of this process among those of its machine, as torchrun counts; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def rank() -> int:
    """The number of this process among those that work together; 0 prints and writes for all."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def run(main: Callable, parse_args: Callable) -> None:
    """errors.run, of a script that works alone or, where torchrun started it, with the other processes."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        errors.run(main, parse_args)
    else:
        errors.run(lambda _: _work_together(main, parse_args), lambda: None)


def _work_together(main: Callable, parse_args: Callable) -> int:
    store, number, processes = next(dist.rendezvous("env://", timeout=TIMEOUT))
    failures = store.add("failures", 0)  # of earlier starts, which left their keys: each start has its own
    own = dist.PrefixStore(str(failures), store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"  # for what lies on either
    try:
        dist.init_process_group(backend, store=own, rank=number, world_size=processes, timeout=TIMEOUT)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if number else sys.stdout):
            status = main(from_first(parse_args))  # its folder has the recipe of a run that is resumed
        dist.destroy_process_group()
        return status
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if not _is_first_to_fail(store, failures):
            sys.exit(1)  # the first has said why, and its end made the others fail
        if isinstance(error, RuntimeError) and LOST.search(str(error)):
            raise errors.UserError(f"another process ended, was silent for {TIMEOUT} or is out of reach; "
                                   f"--resume goes on ({str(error)[:200]})", 1)
        raise


def _is_first_to_fail(store: dist.Store, failures: int) -> bool:
    """Whether this process failed first, by the store, which counts them and had so many before. No answer
    in ANSWER seconds is a yes: this host is cut off, and no other prints here."""
    answers = []
    threading.excepthook = lambda failure: None  # the store may be gone, and we end anyway
    asking = threading.Thread(target=lambda: answers.append(store.add("failures", 1)), daemon=True)
    asking.start()
    asking.join(ANSWER)
    return answers in ([], [failures + 1])


def from_first(function: Callable, *args):
    """What a function returns, its tensors on the CPU, called by the first process and sent to the others."""
    result = function(*args) if rank() == 0 else None
    if count() > 1:
        shapes = [_with_tensors(result, lambda tensor: tensor.to("meta"))]
        dist.broadcast_object_list(shapes)
        result = _with_tensors(result if rank() == 0 else shapes[0], _from_first)
    return result


def _with_tensors(value, change: Callable[[Tensor], Tensor]):
    """A value with each tensor in it, in dicts and lists, changed."""
    if isinstance(value, dict):
        return {name: _with_tensors(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_tensors(each, change) for each in value]
    return change(value) if isinstance(value, Tensor) else value


def _from_first(tensor: Tensor) -> Tensor:
    """A tensor as the first process has it, sent by itself: all of them pickled would take several times
    their memory. The other processes know its shape and type alone, as those of a meta tensor."""
    copy = torch.empty_like(tensor, device="cpu") if tensor.is_meta else tensor.clone()  # neither has gaps
    dist.broadcast(copy.as_strided((copy.numel(),), (1,)).view(torch.uint8), 0)
    return copy if tensor.is_meta else tensor


def in_turn(function: Callable, *args):
    """What a function returns; a machine's first process calls it before the others, which find its cache."""
    result = function(*args) if local_rank() == 0 else None
    if count() > 1:
        # of its own each time: one that lives on has aborted a process whose peer was killed
        dist.barrier(dist.new_group(timeout=PATIENCE, backend="gloo"))
    return result if local_rank() == 0 else function(*args)


def part(whole: Tensor | list) -> Tensor | list:
    """This process's part of a tensor's rows or of a list; they lie in order, and differ by one at most."""
    return whole[len(whole) * rank() // count() : len(whole) * (rank() + 1) // count()]


def agree(own, what: str) -> None:
    """UserError where the processes do not all have the same."""
    if any(other != own for other in gathered([own])):
        raise errors.UserError(f"{what} of the processes differ, so they would not do the same")


def gathered(own: list) -> list:
    """The lists of all processes as one, in order."""
    parts = [own] * count()
    if count() > 1:
        dist.all_gather_object(parts, own)
    return [each for part in parts for each in part]


def total(own: Tensor) -> Tensor:
    """The sum over all processes."""
    if count() > 1:
        own = own.clone()
        dist.all_reduce(own)
    return own


def joined(own: Tensor, size: int) -> Tensor:
    """The tensor of so many rows, of which each process has its `part`."""
    if count() > 1:
        whole = own.new_zeros(size, *own.shape[1:])
        part(whole).copy_(own)
        own = total(whole)
    return own
