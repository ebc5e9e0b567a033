"""How many processor cores to use."""

import os


def available_cores() -> int:
    """Cores that this process may use: OMP_NUM_THREADS where it is set, else all it may run on."""
    try:
        asked = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
    except ValueError:
        asked = 0
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return asked if asked > 0 else allowed


def thread_count(asked: int) -> int:
    """Threads to use where so many are asked for; 0 asks for `available_cores`."""
    return asked or available_cores()
