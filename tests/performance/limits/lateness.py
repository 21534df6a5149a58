"""Limit of B2: a loop that sleeps on a timerfd and spawns, with nothing else to do.

`lateness.py COUNT SECONDS SEED FOLDER` waits for COUNT random instants in SECONDS; at each it spawns bash, which writes its
`$EPOCHREALTIME` into a file. Dispatcher lateness: from the instant to the call of posix_spawn. Child lateness: to what the shell wrote.
"""

import ctypes
import json
import os
import random
import struct
import sys
import time
from pathlib import Path

TFD_TIMER_ABSTIME = 1


def main(count: int, seconds: float, seed: int, folder: Path) -> None:
    """Print both latenesses in milliseconds as JSON."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(time.CLOCK_REALTIME, 0)
    if timer < 0:
        raise SystemExit("no timerfd on this machine")
    chance = random.Random(seed)
    first = time.time() + 0.3
    instants = sorted(first + chance.random() * seconds for _ in range(count))
    dispatcher = []
    for number, instant in enumerate(instants):
        wait_until(libc, timer, instant)
        dispatcher.append((time.time() - instant) * 1000)
        spawn(folder / f"{number}.txt")
    for _ in instants:
        os.wait()
    child = [(float((folder / f"{n}.txt").read_text()) - instant) * 1000 for n, instant in enumerate(instants)]
    print(json.dumps({"value": quantile(child, 0.5), **spread("dispatcher", dispatcher), **spread("child", child)}))


def wait_until(libc: ctypes.CDLL, timer: int, instant: float) -> None:
    if instant <= time.time():
        return
    whole = int(instant)
    libc.timerfd_settime(timer, TFD_TIMER_ABSTIME, struct.pack("qqqq", 0, 0, whole, int((instant - whole) * 1e9)), None)
    os.read(timer, 8)


def spawn(target: Path) -> None:
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(target), os.O_CREAT | os.O_WRONLY, 0o644)]
    os.posix_spawn("/bin/bash", ["bash", "-c", "echo $EPOCHREALTIME"], dict(os.environ), file_actions=actions)


def spread(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_p50": quantile(values, 0.5), f"{name}_p99": quantile(values, 0.99), f"{name}_max": max(values)}


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
