"""How a script ends: one line and an exit status for what the user can put right; interrupts."""

import argparse
import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# as CPU, CUDA with its libraries, and MPS say it, each in its words and most as a plain RuntimeError
MEMORY_FULL = re.compile("allocate memory|out of memory|not enough memory|ALLOC_FAILED|Invalid buffer size")


class UserError(Exception):
    """Something the user can put right, shown as one line without a traceback before the script exits."""

    def __init__(self, message: str, exit_status: int = 2):  # 1 for what went wrong underway
        super().__init__(printable(" ".join(message.splitlines())))
        self.exit_status = exit_status


class Parser(argparse.ArgumentParser):
    """A parser under whose help the text stays as it is; a flag that is wrong is an error like any other."""

    def __init__(self, text: str):
        super().__init__(description=text, formatter_class=argparse.RawTextHelpFormatter)
        self.register("type", Path, path_of)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help lists the flags)")


def path_of(text: str) -> Path:
    """An argparse type: a path, whose name is not empty, as of a variable that is not set."""
    if not text:  # Path would make it the folder that we are in
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def printable(name) -> str:
    """A name as it fits on a line: what cannot be printed of it is escaped, a newline as \\n."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in legible(str(name)))


def legible(text: str) -> str:
    """Text with each byte that is no UTF-8, as 0xe9, as //e9, which no path holds."""
    return re.sub("[\ud800-\udfff]", lambda byte: f"//{ord(byte[0]) % 0xdc00:x}", text)


def counted(count: int, noun: str) -> str:
    """A number and a noun, in the plural for all numbers but one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def few(names: list[str]) -> str:
    """The first five of some names, to be printed."""
    return ", ".join(map(printable, names[:5])) + (", ..." if len(names) > 5 else "")


def explain(error: Exception, args: argparse.Namespace) -> tuple[str, int] | None:
    """The line and the exit status for what the user can put right; None for anything else, a bug of ours."""
    if isinstance(error, UserError):
        return str(error), error.exit_status
    may_be_memory = isinstance(error, (RuntimeError, OSError))
    if isinstance(error, MemoryError) or (may_be_memory and MEMORY_FULL.search(str(error))):
        advice = "; lower --batch-size" if hasattr(args, "batch_size") else ""
        return f"not enough memory ({str(error)[:200]}){advice}", 1
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"cannot write {error.filename or 'the output'}: {error.strerror}; make room", 1
    if isinstance(error, OSError) and error.filename:  # as a folder that may not be searched
        return f"{error.filename}: {error.strerror}", 2
    return None


def run(main: Callable[[argparse.Namespace], int], parse_args: Callable[[], argparse.Namespace]) -> None:
    """Run a script's main and exit: with its status, or with one line for what the user can put right."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (it stays open to the end)
        if hasattr(getattr(sys, name), "reconfigure"):  # a notebook's has none
            getattr(sys, name).reconfigure(errors="backslashreplace")  # for names that the encoding lacks
    args = None
    try:
        args = parse_args()
        status = main(args)
        sys.stdout.flush()
        sys.exit(status)
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    except BrokenPipeError:  # the reader of our output is gone, as in `| head`
        message, status = "", 1
        if hasattr(args, "resume"):
            message = "nobody reads the output any more, so the run ended; --resume continues it"
    except Exception as error:
        if (explained := explain(error, args)) is None:
            raise
        message, status = explained
    if message:
        print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # nobody reads on, or the disk is full: the interpreter would say so once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """A first SIGINT or SIGTERM lets the block go on, the list has its number; a second ends the process."""
    caught = []

    def remember(signum, frame):
        caught.append(signum)
        for each in former:
            signal.signal(each, signal.SIG_DFL)
        with contextlib.suppress(OSError, AttributeError):  # print may be at work, and is not re-entrant
            os.write(sys.stdout.fileno(),
                     b"\ninterrupted: finishing this epoch and saving it (again to leave at once)\n")

    # the caller's affair: signals outside the main thread, and those it ignores, as for `&` in a script
    is_main = threading.current_thread() is threading.main_thread()
    former = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)
              if is_main and signal.getsignal(each) != signal.SIG_IGN}
    for each in former:
        signal.signal(each, remember)
    try:
        yield caught
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
