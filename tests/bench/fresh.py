"""A task in a process of its own: what it gives, the CPU seconds it took, and the peak memory of that process.

A fresh process, not a fork, so that what other benchmarks left in memory counts for neither side.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple


class Run(NamedTuple):
    """result: what the task returned; peak: largest resident set in MB of 10^6 bytes, Python and imports included."""

    result: Any
    seconds: float
    peak: float


def fresh(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> Run:
    """Runs `prepare(*arguments)`, which loads what is needed, untimed, and then the task that it returns, timed.

    `prepare` is a function of a module and its arguments can be pickled. Raises RuntimeError where the task failed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, prepare, arguments))
    process.start()
    sender.close()
    try:
        found: Run = receiver.recv()
    except EOFError as error:
        raise RuntimeError(f"{prepare} failed in its process") from error
    finally:
        process.join()
    return found


def _report(sender: Connection, prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    task = prepare(*arguments)
    start = time.process_time()
    result = task()
    seconds = time.process_time() - start
    unit = 1 if sys.platform == "darwin" else 1024
    sender.send(Run(result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6))
