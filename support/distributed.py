"""What differs where torchrun starts several processes of one script."""

import os


def local_rank() -> int:
    """The number of this process among those of its machine, as torchrun counts; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))
