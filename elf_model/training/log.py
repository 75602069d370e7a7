"""The log of a run as a CSV file: one row per logged step, no step twice; also to TensorBoard. Not Python's logging.

The rows live in the checkpoint too, and the file is written anew from them: after a resume it goes on where the
checkpoint was, and rows of lost steps are gone.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_log(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write all rows; a part of the loss that a step did not have is an empty cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_suffix(".writing")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def tensorboard_writer(folder: Path, step: int) -> Any:
    """A SummaryWriter that continues after `step`: later numbers of an interrupted run are hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("logging to TensorBoard needs its package: pip install tensorboard") from error
    return SummaryWriter(str(folder), purge_step=step + 1)
