"""Carries TCP connections from one network namespace into another: a socket stays in the namespace in which it was made.

`python -m tests.harness.tunnel LISTEN CONNECT`, each `HOST:PORT` or the path of a unix socket, with `@NAMESPACE` behind it where it is not the one of the caller:
`127.0.0.1:40001 10.244.0.1:6443@jw-1` opens a node's API server to this machine. `Node` starts these; nothing is changed in the machine's network.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWNET = 0x40000000


class End(NamedTuple):
    """One end: an address, and the namespace that it is in ("": the caller's)."""

    address: str
    namespace: str

    @property
    def place(self) -> tuple[str, int]:
        """Host and port. IP addresses only: names would be looked up by threads."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)


def end(text: str) -> End:
    """`HOST:PORT[@NAMESPACE]` or `/PATH`."""
    address, _, namespace = text.partition("@")
    return End(address, namespace)


def enter(namespace: str) -> None:
    """This thread goes into a named network namespace, as `ip netns add` makes them. Source: setns(2)."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"network namespace {namespace}")
    finally:
        os.close(descriptor)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def serve(listener: socket.socket, target: End) -> None:
    """Join every connection that comes with one to `target`."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there = (
                asyncio.open_unix_connection(target.address)
                if Path(target.address).is_absolute()
                else asyncio.open_connection(*target.place)
            )
            their_reader, their_writer = await there
            with contextlib.closing(their_writer):
                await asyncio.gather(_carry(reader, their_writer), _carry(their_reader, writer))

    server = await asyncio.start_server(join, sock=listener)
    await server.serve_forever()


def main(listen: str, connect: str) -> None:
    """Listen in the one namespace, then connect from within the other."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    source, target = end(listen), end(connect)
    if source.namespace:
        enter(source.namespace)
    listener = socket.create_server(source.place)
    if target.namespace:
        enter(target.namespace)
    elif source.namespace:
        ctypes.CDLL(None).setns(here, _CLONE_NEWNET)
    asyncio.run(serve(listener, target))


if __name__ == "__main__":
    main(*sys.argv[1:])
