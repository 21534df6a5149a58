"""Drives jobwarden from outside: real processes, real databases, real files, and nothing imported from the product.

`Warden` is one installation in a folder of its own; `Postgres` a real server; `Receiver` a webhook endpoint; `Clock` a wall clock that tests may
move for one process. Tests that use only these would hold for any other implementation of the same command line.
"""

from tests.harness.clocks import Clock, find_libfaketime
from tests.harness.manifests import LONG_AGO, bare, instant, job, once, pool, shell, webhook
from tests.harness.postgres import Postgres
from tests.harness.receiver import Receiver
from tests.harness.waiting import wait_for
from tests.harness.warden import Result, Warden

__all__ = [
    "LONG_AGO",
    "Clock",
    "Postgres",
    "Receiver",
    "Result",
    "Warden",
    "bare",
    "find_libfaketime",
    "instant",
    "job",
    "once",
    "pool",
    "shell",
    "wait_for",
    "webhook",
]
