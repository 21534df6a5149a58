"""Ports for servers of tests.

Invariant: none that the kernel gives to clients. A server that is stopped and started again would find its port taken by somebody's connection, even by one that was made
to that very port while nobody listened there. Source: ip(7), `ip_local_port_range`.
"""

import random
import socket

_BELOW_CLIENTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of the loopback where nobody listens."""
    while True:
        port = random.choice(_BELOW_CLIENTS)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
