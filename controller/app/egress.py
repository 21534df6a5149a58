"""One egress proxy's life, from its options to the last connection: a process beside the controller, which it knows by a key and nothing else.

No database, no cluster, no settings file. Invariant: a proxy that cannot tell a pass from another text does not start.
"""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

from controller.api.egress_proxy import EgressProxy
from controller.base import logs
from controller.base.clock import SystemClock

_PATIENCE = timedelta(seconds=20)
"""How long what goes through may go on after TERM; Kubernetes gives a Pod 30 s."""


def run(host: str, port: int, key_file: Path, log_format: logs.LogFormat) -> int:
    """Serve until somebody says stop; the exit code. Errors: InvalidInput for a key or an address that cannot be used."""
    logs.setup(log_format)
    asyncio.run(_serve(EgressProxy(host, port, key_file, SystemClock())))
    return 0


async def _serve(proxy: EgressProxy) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await proxy.start()
    await stopped.wait()
    await proxy.stop(_PATIENCE)
