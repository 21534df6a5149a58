"""`jobwarden egress-proxy`: the way out of Pods whose contract lists the hosts that they may reach. The chart runs it.

Invariant: it asks no database and no cluster, so it takes none of the options that name one.
"""

from pathlib import Path

import click

from controller.base.logs import LogFormat
from controller.cli.types import address


@click.command(
    "egress-proxy",
    epilog="\b\nExample:\n  jobwarden egress-proxy --listen :3128 --key-file /etc/jobwarden-egress/key",
)
@click.option(
    "--listen",
    type=address,
    metavar="HOST:PORT",
    default=":3128",
    show_default=True,
    help="Where to take connections; GET /healthz there says whether it can.",
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    required=True,
    help="What the controller signs passes with (settings.pods.egressProxy.keyFile): 32 characters or more. Of several lines the first signs, and all are believed.",
)
@click.option(
    "--log-format",
    type=click.Choice([str(LogFormat.Text), str(LogFormat.Json)]),
    help="How to report (default: text on a terminal, else json).",
)
def egress_proxy(listen: tuple[str, int], key_file: Path, log_format: str | None) -> int:
    """Let Pods out to the hosts of their contract, and nowhere else.

    A Pod shows the pass that the controller has made for its run. TERM takes nothing new, and waits up to 20 s for what goes through.
    """
    # Help does not wait for the server.
    from controller.app import egress  # noqa: PLC0415

    return egress.run(*listen, key_file, LogFormat(log_format) if log_format else LogFormat.Auto)
