"""A Kubernetes of the suite's own: API server with an audit log, controllers, scheduler, and a node whose Pods run and succeed by themselves.

The benchmarks C1 … C5 take one each and start our controllers in it. Our side asks as the user `controller`, people and limits as others. Invariant: what is counted is
what the API server says that it was asked, for all sides alike.
"""

import dataclasses
import itertools
import json
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.cluster.conftest import RIGHTS, watch
from tests.harness.controlplane import tools
from tests.harness.simulated import NODE, Simulated
from tests.performance.audit import POLICY, AuditLog, Request
from tests.performance.harness import NotAvailable
from tests.performance.product import Controller, Installation, installation
from tests.performance.suite import Suite

OURS = "controller"
_AT_ONCE = 16
_numbers = itertools.count(1)


class Audited(Simulated):
    """A simulated cluster whose API server writes down every request, and whose node answers for logs."""

    _logs: ThreadingHTTPServer | None = None

    def _begin(self) -> None:
        (self.folder / "audit-policy.yaml").write_text(yaml.safe_dump(POLICY), encoding="utf-8")
        super()._begin()
        self._logs = _serve_logs(self.folder / "certificates")
        port = self._logs.server_address[1]
        address = [{"type": "InternalIP", "address": "127.0.0.1"}]
        status = {"addresses": address, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
        body = json.dumps({"status": status})
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", body).ok()

    def _end(self) -> None:
        if self._logs is not None:
            self._logs.shutdown()
            self._logs.server_close()
        super()._end()

    def _api_arguments(self, ports: dict[str, int]) -> tuple[str, ...]:
        return (
            *super()._api_arguments(ports),
            f"--audit-policy-file={self.folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
            "--audit-log-maxsize=100000",
        )


class _Logs(BaseHTTPRequestHandler):
    """What a kubelet answers to those who want a log that it has not: one that gave it would have to know when the container ends."""

    def do_GET(self) -> None:
        """There is none, whoever asks."""
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _serve_logs(certificates: Path) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Logs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "apiserver.crt", certificates / "apiserver.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Cluster:
    """Starts on first use; `close` ends it."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._stack = ExitStack()
        self._plane: Audited | None = None
        self._audit: AuditLog | None = None

    @property
    def plane(self) -> Audited:
        """The control plane, with our kinds and rights. Errors: NotAvailable where Kubernetes cannot be had."""
        if self._plane is None:
            with self._suite.progress.during("a cluster is made"):
                programs = tools("all")
                if programs is None:
                    raise NotAvailable("Kubernetes could not be built; `make cluster-tools` shows why")
                folder = self._suite.workspace.folder("cluster")
                shutil.rmtree(folder)
                self._plane = self._stack.enter_context(Audited(folder, programs, *RIGHTS, kwok=True))
                self._audit = AuditLog(folder / "audit.log")
        return self._plane

    @property
    def audit(self) -> AuditLog:
        """What its API server was asked."""
        assert self.plane
        assert self._audit is not None
        return self._audit

    @property
    def kubeconfig(self) -> Path:
        """Of somebody who may do everything."""
        return Path(self.plane.environment()["KUBECONFIG"])

    def namespace(self, word: str) -> str:
        """A new namespace."""
        name = f"{word}-{next(_numbers)}"
        self.plane.kubectl("create", "namespace", name).ok()
        return name

    def create(self, namespace: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """As `kubectl create`, many at once; all of one kind."""
        group, plural = documents[0]["apiVersion"], f"{documents[0]['kind'].lower()}s"
        path = f"/apis/{group}/namespaces/{namespace}/{plural}"
        with self._http() as http, ThreadPoolExecutor(_AT_ONCE) as pool:
            for answer in pool.map(lambda one: http.post(path, json=one), documents):
                answer.raise_for_status()

    def suspend(self, kind: str, namespace: str) -> None:
        """Let nothing of this kind fire any more."""
        names = self.plane.kubectl("get", kind, "-n", namespace, "-o", "name").ok().out.split()
        body = json.dumps({"spec": {"suspend": True}})
        self.plane.kubectl("patch", *names, "-n", namespace, "--type=merge", "-p", body, deadline=300).ok()

    def asked(
        self,
        *,
        verbs: Iterable[str] = (),
        resource: str = "",
        namespace: str = "",
        since: float = 0.0,
        until: float = float("inf"),
    ) -> list[Request]:
        """Requests that did what they should; what is not named is not looked at."""
        wanted = set(verbs)
        return [
            one
            for one in self.audit.requests(since, until)
            if one.done
            and (not wanted or one.verb in wanted)
            and resource in ("", one.resource)
            and namespace in ("", one.namespace)
        ]

    def statuses(self, namespace: str, since: float = 0.0, until: float = float("inf")) -> list[Request]:
        """The writes of statuses of jobs."""
        return self.asked(
            verbs=("patch", "update"), resource="scheduledjobs/status", namespace=namespace, since=since, until=until
        )

    @contextmanager
    def controller(self, namespace: str, *arguments: str, executor: str = "Local") -> Iterator[Controller]:
        """One of ours that watches this namespace, on a database of its own."""
        with installation(self._suite, "cluster") as where:
            inside = self.inside(where, namespace)
            with Controller(inside, *watch(namespace, executor=executor), *arguments) as controller:
                yield controller

    def inside(self, where: Installation, namespace: str) -> Installation:
        """The same installation, for this cluster and namespace."""
        more = {**self.plane.environment(OURS), "JOBWARDEN_NAMESPACE": namespace}
        return dataclasses.replace(where, more=more)

    def close(self) -> None:
        """End it."""
        self._stack.close()
        self._plane = self._audit = None

    def _http(self) -> httpx2.Client:
        config = yaml.safe_load(self.kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        headers = {"Authorization": f"Bearer {user['token']}"}
        return httpx2.Client(base_url=cluster["server"], verify=trust, headers=headers, trust_env=False, timeout=60.0)


def until(holds: Callable[[], bool], what: str, seconds: float, controller: Controller | None = None) -> None:
    """Look for at most a twentieth of the time: nothing is timed by when it was seen. Errors: TimeoutError, or RuntimeError when the controller has ended meanwhile."""
    deadline = time.monotonic() + seconds
    while True:
        begun = time.perf_counter()
        if holds():
            return
        if controller is not None and not controller.alive:
            raise RuntimeError(f"the controller ended: {controller.tail()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}; {controller.tail() if controller else ''}")
        time.sleep(max(0.2, 20 * (time.perf_counter() - begun)))
