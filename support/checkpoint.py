"""Checkpoints, dicts of plain types and tensors: atomic saving, safe loading, refusing what does not fit."""

import contextlib
import json
import math
import pickle
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from support import files, parts
from support.errors import DISK_FULL, UserError

MISFITS = (RuntimeError, TypeError, ValueError, KeyError, AttributeError)  # how load_state_dict fails
STATE = {"Adam": {"step", "exp_avg", "exp_avg_sq"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"},
         "Adagrad": {"step", "sum"},  # optimizers', of each weight
         "RMSprop": {"step", "square_avg"}, "SGD": set()}
RUN = {"flags": dict, "environment": dict, "photos": str, "epoch": int, "optimizer": dict}
FORMAT = 2  # of the files that `save` writes; 1 had no number
GONE = {  # flags of earlier versions; the value that stayed
    "crop": "centre", "unpooling": "inverse", "init": "default", "target": "photo"}
NETWORK = {"config": dict, "encoder": dict, "classifier": dict}
NAMES = ("classes", "names", "digests", "brightened")  # lists of str
FIELDS = {  # what a checkpoint of each kind must hold
    "autoencoder": {"config": dict, "model": dict, "dataset": str},
    "classifier": NETWORK | {"classes": list, "dataset": str, "flags": dict},
    "autoencoder run": RUN | {"model": dict},
    "classifier run": RUN | NETWORK,
    "photos": {"labels": torch.Tensor, "digest": str, "checksums": list} | dict.fromkeys(NAMES, list),
}


def save(path: Path | str, content: dict) -> None:
    """Write a checkpoint atomically. UserError (status 1) where that fails, or a value is not finite."""
    for tensor in _tensors(content):  # the loss before a step that ruins the weights is still a number
        if tensor.is_floating_point() and tensor.numel() and not all(map(math.isfinite, tensor.aminmax())):
            raise UserError(f"{path} stays as it was: values are not finite; try a lower --learning-rate", 1)
    with files.atomic(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                torch.save({"format": FORMAT, **content}, file)
        except (OSError, RuntimeError) as error:  # torch reports some failed writes as its own
            if isinstance(error, OSError) and error.errno not in DISK_FULL:
                raise
            size = sum(tensor.nbytes for tensor in _tensors(content))
            then = ", then --resume" if Path(path).name == "last.pt" and Path(path).exists() else ""
            raise UserError(f"cannot write {path} (~{size:,} bytes): {error}; make room{then}", 1) from error


def _tensors(content) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)


def load(path: Path | str, kind: str) -> dict:
    """Read a checkpoint, a file or a folder of its parts, onto the CPU; UserError if missing, damaged (by its
    CRC) or of another kind."""
    if (Path(path).suffix[1:].isdigit() or not Path(path).exists()) and parts.is_in(Path(path).parent):
        raise UserError(f"{path} is a part of a checkpoint; name the folder, {Path(path).parent}")
    file = parts.read(path) if parts.is_in(path) else path
    try:
        with zipfile.ZipFile(file) as archive:  # torch.load alone accepts a flipped byte
            # compressed, it might unfold to any size; of what is marked a folder torch returns stale memory
            if any(part.compress_type or part.external_attr for part in archive.infolist()):  # stored is 0
                raise zipfile.BadZipFile("it is compressed or holds folders, which no checkpoint does")
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong CRC of {damaged}")
        if file is not path:
            file.seek(0)  # zipfile left it at the end
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        advice = {"classifier": "; run train_classifier.py first, or name another file or weights",
                  "autoencoder": "; run train_autoencoder.py first, name another file, or in stage two start "
                                 "from random weights with --autoencoder none"}.get(kind, "")
        raise UserError(f"there is no {kind} {path}{advice}") from error
    except OSError as error:
        own, there = Path(path, f"{kind}.pt"), sorted(Path(path).glob("*.pt"))
        inside = f"; name the file in it, as {own if own in there else there[0]}" if there else ""
        raise UserError(f"cannot read {path}: {error.strerror or error}{inside}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is refused: it holds more than tensors and plain types") from error
    except Exception as error:  # a damaged file makes zipfile and torch fail in many ways
        raise UserError(f"{path} is not a checkpoint, or a damaged one: {error}") from error
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        product = f"; want the run's {kind}.pt" if found == f"{kind} run" else ""
        raise UserError(f"{path} holds no {kind}, but {found or 'something else'}{product}")
    _to_current_format(content, path)
    lacking = [name for name, type_ in FIELDS[kind].items() if not isinstance(content.get(name), type_)]
    if lacking:
        raise UserError(f"{path}, of the kind '{kind}', lacks {', '.join(lacking)}: of another version?")
    for name in FIELDS[kind].keys() & NAMES:
        if not all(isinstance(each, str) for each in content[name]):
            raise UserError(f"{path}: its {name} are not all names")
    if "classes" in FIELDS[kind]:  # earlier versions left é as the file system has it: one letter or two
        content["classes"] = [unicodedata.normalize("NFC", name) for name in content["classes"]]
    try:
        json.dumps(content.get("flags"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: its flags are no plain values: {error}") from error
    made, now = rounding(content.get("environment"))["torch"], str(torch.__version__)
    if made not in (None, now) and not kind.endswith("run"):
        print(f"{path} was made with torch {made}, this is {now}: it may round differently")
    return content


def peek(path: Path) -> dict:
    """A checkpoint's kind, flags and job, not its tensors; {} where it is absent, damaged or foreign."""
    with contextlib.suppress(Exception):
        file, mmap = (parts.read(path), False) if parts.is_in(path) else (path, True)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
        return {name: content[name] for name in ("kind", "flags", "job") if name in content}
    return {}


def _to_current_format(content: dict, path: Path | str) -> None:
    """Take out of a checkpoint what went since; UserError where it needs what this version does not have."""
    if (number := content.pop("format", 1)) not in (1, FORMAT):
        raise UserError(f"{path} is of format {number}, newer than this code reads ({FORMAT}): update it")
    for fields in (content, content.get("config"), content.get("flags")):
        if isinstance(fields, dict):
            fields.pop("from_scratch", None)  # --autoencoder says as much
            for name, stayed in GONE.items():
                if (value := fields.pop(name, stayed)) != stayed:
                    raise UserError(f"{path} was made with {name} {value}, which went; only {stayed} stayed")


def load_state(target: nn.Module | torch.optim.Optimizer, state: dict, path: Path | str) -> None:
    """Copy a state dict into a module, strictly, or an optimizer; UserError where it does not fit."""
    load_into = _load_optimizer if isinstance(target, torch.optim.Optimizer) else nn.Module.load_state_dict
    try:
        load_into(target, state)
    except MISFITS as error:
        raise UserError(f"{path} does not fit {type(target).__name__}: {error}") from error


def load_what_fits(target: nn.Module, source: nn.Module, is_last_new: bool) -> str:
    """Copy source's layers into target's of the same name and shapes; in words, which were and were not."""
    layers = {name: layer for name, layer in target.named_children() if layer.state_dict()}
    # where is_last_new, the outputs of the last linear layer mean something else
    last = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)][-1]
    fit = []
    for name, layer in layers.items():
        state = getattr(source, name, nn.Identity()).state_dict()
        shapes = [{key: value.shape for key, value in each.items()} for each in (state, layer.state_dict())]
        if shapes[0] == shapes[1] and not (is_last_new and name == last):
            layer.load_state_dict(state)
            fit.append(name)
    new = [name for name in layers if name not in fit]
    return f"{', '.join(fit) or 'no layer'}; new: {', '.join(new) or 'none'}"


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Its weights' state; rates stay as they are, from the flags. One of MISFITS where it does not fit."""
    groups = zip(optimizer.param_groups, state["param_groups"], strict=True)
    merged = [own | {"params": saved["params"]} for own, saved in groups]
    optimizer.load_state_dict(state | {"param_groups": merged})
    # PyTorch checks no names and no shapes; fused, a step would write past a tensor's end
    want, weights = STATE[type(optimizer).__name__], sum(len(own["params"]) for own in optimizer.param_groups)
    begun = bool(optimizer.state) or "sum" in want  # (Adagrad has its sums before the first step)
    if begun and len(optimizer.state) != weights:
        raise ValueError("it has the state of some weights and not of others")
    for weight, kept in optimizer.state.items():
        found = {name: (tuple(value.shape), value.dtype) for name, value in kept.items()}
        of_weight = (tuple(weight.shape), weight.dtype)
        fits = {name: ((), torch.float32) if name == "step" else of_weight for name in want}
        if found != fits:
            raise ValueError(f"a weight's state is {found}, not {fits}")


def rebuild(kind: type[nn.Module], config: dict, state: dict, path: Path | str) -> nn.Module:
    """A module from its configuration and state dict; UserError where they do not fit."""
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
            module = kind(**config)
        module.load_state_dict(state, assign=True)  # the state's own tensors as the weights
    except MISFITS as error:
        raise UserError(f"{path} does not fit {kind.__name__}: {error}") from error
    return module.float()


def rounding(environment) -> dict:
    """What decides how a machine rounds, of machine.describe's fields; None where a file lacks one."""
    environment = environment if isinstance(environment, dict) else {}
    versions = environment.get("versions")
    torch_version = versions.get("torch") if isinstance(versions, dict) else None
    return {"torch": torch_version, **{name: environment.get(name) for name in ("processor", "threads")},
            "processes": environment.get("processes", 1)}
