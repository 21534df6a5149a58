"""The way out of Pods that may reach listed hosts: where the egress proxy is, and what a run shows to it.

`podrun` asks when a Job is about to be made: a Pod behind its fence resolves no names, as DNS is a way out, so the address of the proxy is looked up here and written into the URL.
Invariant: a URL holds a pass, so it is only in the Secret of its run.
"""

import hashlib
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from controller.base import canonical
from controller.base.errors import InvalidInput
from controller.executors import egress_pass
from controller.executors.egress import NO_EXCEPTIONS, PROXIES
from controller.executors.egress_pass import Keys, Pass
from controller.executors.protocol import ExecutionRequest, PodRequest
from controller.kinds.configuration import EgressProxy
from controller.kubernetes.objects import ApiFailed

_MARK = 8


class ProxyAway(ApiFailed):
    """The proxy cannot be had now. It is waited for as an API server is that does not answer."""


class Found(msgspec.Struct, frozen=True):
    """The proxy as it is at this moment."""

    address: str
    keys: Keys

    def __repr__(self) -> str:
        return f"Found({self.address})"


class WayOut:
    """The egress proxy of the controller's settings."""

    def __init__(self, proxy: EgressProxy) -> None:
        """Errors: InvalidInput for a key that cannot be used."""
        self._proxy = proxy
        self._key_file = Path(proxy.key_file)
        egress_pass.keys(self._key_file)

    @property
    def peer(self) -> Mapping[str, object]:
        """The Pods of the proxy, as a NetworkPolicy names them."""
        return {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._proxy.namespace}},
            "podSelector": {"matchLabels": dict(self._proxy.pod_labels)},
        }

    @property
    def port(self) -> int:
        """Theirs, and that of their Service."""
        return self._proxy.port

    @property
    def mark(self) -> str:
        """Tells this proxy from others, and from itself before its settings were changed: the same for all controllers that say the same."""
        return hashlib.sha256(canonical.dumps([self.peer, self.port])).hexdigest()[:_MARK]

    def look(self) -> Found:
        """Where it is now, and what it knows passes by. Blocks on a disk and on DNS. Errors: ProxyAway."""
        try:
            keys = egress_pass.keys(self._key_file)
        except InvalidInput as error:
            raise ProxyAway(str(error)) from error
        host = self._proxy.host
        try:
            found = socket.getaddrinfo(host, self._proxy.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise ProxyAway(
                f"the egress proxy {host} (settings.pods.egressProxy.host) cannot be found: {why}"
            ) from error
        return Found(str(found[0][4][0]), keys)

    def equip(self, request: ExecutionRequest, found: Found, expires: datetime) -> ExecutionRequest:
        """The request with all that its Pod needs to reach the hosts of its box, until then. Effect: what the run is given is masked as well."""
        pod = request.pod
        assert pod is not None
        assert request.needles is not None
        hosts, until = pod.box.hosts, int(expires.timestamp())
        made = Pass(run=request.run, namespace=request.namespace, hosts=hosts, expires=until)
        shown = egress_pass.sign(made, found.keys)
        request.needles.add(shown.encode())
        address = f"[{found.address}]" if ":" in found.address else found.address
        url = f"http://{egress_pass.USER}:{shown}@{address}:{self._proxy.port}"
        return msgspec.structs.replace(request, pod=_told(pod, url))


def _told(pod: PodRequest, url: str) -> PodRequest:
    """The variables that programs look at, over any of these names that the job has declared itself. Pure."""
    ours = {*PROXIES, *NO_EXCEPTIONS}
    values = {name: value for name, value in pod.values.items() if name not in ours}
    secrets = {name: value for name, value in (pod.secrets or {}).items() if name not in ours}
    return msgspec.structs.replace(
        pod, values={**values, **NO_EXCEPTIONS}, secrets={**secrets, **dict.fromkeys(PROXIES, url)}
    )
