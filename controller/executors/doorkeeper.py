"""A program of its own, started by `doorman`: opens listening sockets in the networks of boxes, on 127.0.0.1, and hands them over.

It speaks over its standard input, a socket: a message `PID PORT` is answered by `ok` with the socket, or by words. A network namespace is joined through the user
namespace that owns it, from which there is no way back, so each door is opened by a child. A program of its own because a user namespace is joined by no process with
threads; standard library only, and started without `site`, because it imports nothing else. Source: setns(2), ioctl_ns(2).
"""

import ctypes
import fcntl
import os
import socket
import sys

_GET_OWNER = 0xB701  # NS_GET_USERNS
_USER, _NET = 0x10000000, 0x40000000


def main() -> None:
    """Answer until the other side is gone."""
    controller = socket.socket(fileno=0)
    while message := controller.recv(64):
        pid, port = (int(word) for word in message.split())
        child = os.fork()
        if child == 0:
            _child(controller, pid, port)
        os.waitpid(child, 0)


def _child(controller: socket.socket, pid: int, port: int) -> None:
    try:
        door = _open(pid, port)
        socket.send_fds(controller, [b"ok"], [door.fileno()])
    except BaseException as error:  # noqa: BLE001 - whatever it is, the other side waits for words
        controller.send(f"{type(error).__name__}: {error}".encode()[:400])
    os._exit(0)


def _open(pid: int, port: int) -> socket.socket:
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    own = os.stat("/proc/self/ns/net")  # noqa: PTH116 - see the first paragraph
    if os.fstat(network).st_ino == own.st_ino:
        raise RuntimeError("the process has no network of its own")
    _join(fcntl.ioctl(network, _GET_OWNER), _USER)
    _join(network, _NET)
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    door.bind(("127.0.0.1", port))
    door.listen(128)
    return door


def _join(namespace: int, kind: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
    if libc.setns(namespace, kind) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, ConnectionError):
        sys.exit(0)
