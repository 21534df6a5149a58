"""A real Kubernetes API: etcd and kube-apiserver on loopback, from `tests/cluster/tools`, with our CRDs installed.

Workers of one test run share one: the folder is the same, and the last one to leave stops it. A test that stops the server, or needs other CRDs, makes
its own. People are tokens: `admin` may do everything, everybody else what RBAC gives them.
"""

import base64
import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.harness.ports import free_port, is_free
from tests.harness.waiting import wait_for
from tests.harness.warden import ROOT, Result

SERVICES = "10.0.0.0/24"
"""Where Services have their addresses."""
PEOPLE = ("admin", "alice", "bob", "carol", "controller")
_READY_SECONDS = 90.0
_BUILD_SECONDS = 1000.0


@functools.cache
def tools(which: str = "api") -> Path | None:
    """The folder with the programs; builds them when they are not there yet, which takes minutes. None where they cannot be built."""
    command = [ROOT / "tests/cluster/tools", which]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=False, text=True, stdin=subprocess.DEVNULL, timeout=_BUILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 else None


class ControlPlane:
    """One API server. `folder` keeps its data, keys and logs."""

    def __init__(
        self, folder: Path, bin_folder: Path, *documents: Any, definitions: bool = True, flags: Sequence[str] = ()
    ) -> None:
        """`documents` are applied at the start, before anybody else may use it; `definitions`: so are ours. `flags` are more of the API server's."""
        self.folder = folder
        self._documents, self._definitions, self._flags = documents, definitions, tuple(flags)
        self._bin = bin_folder
        self._known = folder / "ports.json"

    # For one test alone

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        self._begin_or_end()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    # For all workers

    @contextlib.contextmanager
    def shared(self) -> Iterator[Self]:
        """Use the server that the first worker starts."""
        me = self.folder / "users" / str(os.getpid())
        with self._alone():
            # Whoever used it last may have removed the folder while we waited.
            me.parent.mkdir(parents=True, exist_ok=True)
            # First of all: what has no user is taken for something that was left behind.
            me.touch()
            if not self._known.exists():
                self._begin_or_end()
        try:
            yield self
        finally:
            with self._alone():
                me.unlink()
                if not any(_lives(int(user.name)) for user in me.parent.iterdir()):
                    self._end()
                    shutil.rmtree(self.folder, ignore_errors=True)

    def _begin_or_end(self) -> None:
        """All of it, or nothing: an interrupted start leaves no process behind."""
        try:
            self._begin()
        except BaseException:
            self._end()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # Asking

    def kubectl(
        self, *arguments: str, as_user: str = "admin", stdin: str | None = None, deadline: float = 60
    ) -> Result:
        """One kubectl command, as one of `PEOPLE`."""
        done = subprocess.run(
            [self._bin / "kubectl", *arguments],
            env=self.environment(as_user) | {"PATH": os.defpath, "HOME": str(self.folder), "GOGC": "off"},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline,
        )
        return Result(("kubectl", *arguments), done.returncode, done.stdout, done.stderr)

    def helm(self, *arguments: str, deadline: float = 300) -> Result:
        """One helm command as admin. Errors: AssertionError where helm cannot be had."""
        programs = tools("helm")
        assert programs is not None, "helm could not be installed; `tests/cluster/tools helm` shows why"
        done = subprocess.run(
            [programs / "helm", *arguments],
            env=self.environment() | {"PATH": os.defpath, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline,
        )
        return Result(("helm", *arguments), done.returncode, done.stdout, done.stderr)

    def apply(self, *documents: Any, namespace: str | None = None) -> Result:
        """`kubectl apply` of documents; a string is given as it is."""
        text = "---\n".join(
            one if isinstance(one, str) else yaml.safe_dump(one, sort_keys=False, allow_unicode=True)
            for one in documents
        )
        return self.kubectl("apply", "-f", "-", *(("-n", namespace) if namespace else ()), stdin=text)

    def get(self, kind: str, name: str, namespace: str = "default") -> Any:
        """One object; None when there is none."""
        result = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(result.ok().out) if result.out.strip() else None

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of one's own."""
        name = f"t-{uuid.uuid4().hex[:10]}"
        self.kubectl("create", "namespace", name).ok()
        yield name
        # Nobody finalises namespaces here: what is in them goes by hand.
        for kind in ("scheduledjobs", "resourcepools", "notificationtargets", "approvals", "runrequests"):
            self.kubectl("delete", kind, "--all", "-n", name, "--wait=false")

    def environment(self, user: str = "admin") -> dict[str, str]:
        """What a process needs to reach the server as this person."""
        return {"KUBECONFIG": str(self.folder / f"{user}.kubeconfig")}

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self._ports()['api']}"

    # Faults

    def stop_api(self, number: int = signal.SIGKILL) -> None:
        """End the API server, as a machine would; what is stored stays."""
        pid = self._ports()["api_pid"]
        os.kill(pid, number)
        wait_for(lambda: not _lives(pid), "the API server to end")

    def start_api(self) -> None:
        """Start it again, at the same address."""
        ports = self._ports()
        wait_for(lambda: is_free(ports["api"]), "the port to be free")
        ports["api_pid"] = self._start_api(ports)
        self._known.write_text(json.dumps(ports), encoding="utf-8")
        self._wait_ready()

    def compact(self) -> None:
        """Have etcd forget every version but the newest, as it is told to every five minutes anyway."""
        everything = base64.b64encode(b"\0").decode()
        now = self._ask_etcd("range", {"key": everything, "range_end": everything, "count_only": True})
        self._ask_etcd("compaction", {"revision": now["header"]["revision"], "physical": True})

    def _ask_etcd(self, what: str, asked: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._ports()['etcd']}/v3/kv/{what}", json.dumps(asked).encode()
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    # Life

    def _begin(self) -> None:
        ports = self._allot()
        key = self.folder / "service-account.key"
        if not key.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", key], check=True
            )
        tokens = [f"{one}-token,{one},{one}" + (",system:masters" if one == "admin" else "") for one in PEOPLE]
        (self.folder / "tokens.csv").write_text("\n".join(tokens) + "\n", encoding="utf-8")
        ports["etcd_pid"] = self._start_etcd(ports)
        ports["api_pid"] = self._start_api(ports)
        self._known.write_text(json.dumps(ports), encoding="utf-8")
        for person in PEOPLE:
            self._write_kubeconfig(person)
        self._wait_ready()
        if self._definitions:
            self.install_definitions()
        if self._documents:
            self.apply(*self._documents).ok()

    def _allot(self) -> dict[str, int]:
        return {"etcd": free_port(), "peer": free_port(), "api": free_port()}

    def install_definitions(self) -> None:
        """What a user does first."""
        self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds")).ok()
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s").ok()
        wait_for(self._knows_our_kinds, "our kinds to be among those that kubectl finds", deadline=_READY_SECONDS)

    def _end(self) -> None:
        if not self._known.exists():
            return
        ports = self._ports()
        for name in ("api_pid", "etcd_pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(ports[name], signal.SIGKILL)
        self._known.unlink()

    def _start_etcd(self, ports: dict[str, int]) -> int:
        client, peer = f"http://127.0.0.1:{ports['etcd']}", f"http://127.0.0.1:{ports['peer']}"
        return self._start(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )

    def _start_api(self, ports: dict[str, int]) -> int:
        return self._start("kube-apiserver", *self._api_arguments(ports))

    def _api_arguments(self, ports: dict[str, int]) -> tuple[str, ...]:
        key = self.folder / "service-account.key"
        return (
            f"--etcd-servers=http://127.0.0.1:{ports['etcd']}",
            "--bind-address=127.0.0.1",
            f"--secure-port={ports['api']}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICES}",
            "--endpoint-reconciler-type=none",
            "--shutdown-delay-duration=0s",
            *self._flags,
        )

    def _start(self, program: str, *arguments: str) -> int:
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [self._bin / program, *arguments],
                # The collector of garbage of each server that starts is a second of the processor.
                env={"PATH": os.defpath, "HOME": str(self.folder), "GOGC": "400"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).pid

    def _wait_ready(self) -> None:
        wait_for(self._is_ready, "the API server to be ready", deadline=_READY_SECONDS, context=self._end_of_log)

    def _is_ready(self) -> bool:
        return self.kubectl("get", "--raw", "/readyz").code == 0

    def _knows_our_kinds(self) -> bool:
        # kubectl remembers for hours what it did not find.
        shutil.rmtree(self.folder / ".kube", ignore_errors=True)
        return self.kubectl("explain", "sjob").code == 0

    def _end_of_log(self) -> str:
        return "\n".join((self.folder / "kube-apiserver.log").read_text(errors="replace").splitlines()[-20:])

    def _write_kubeconfig(self, person: str) -> None:
        cluster = {"server": self.server, "certificate-authority": str(self.folder / "certificates/apiserver.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": person, "user": {"token": f"{person}-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": person, "namespace": "default"}}],
        }
        (self.folder / f"{person}.kubeconfig").write_text(yaml.safe_dump(config), encoding="utf-8")

    def _ports(self) -> dict[str, int]:
        return dict(json.loads(self._known.read_text(encoding="utf-8")))


def _lives(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
