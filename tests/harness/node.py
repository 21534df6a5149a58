"""A whole Kubernetes on this machine: a `ControlPlane` with controllers, a scheduler and one node on which Pods really run.

All of it lives in a network namespace of its own, so that nothing of the machine's network is touched; `tunnel` opens the API server on loopback. Cluster tests and
`make cluster` take it. Where it is asked for, NetworkPolicies are enforced (kube-router, as a firewall and nothing else) and Pods resolve names (CoreDNS). Invariant: whatever was started is written down before anything else is done, so that `_end` finds it, and takes away mounts, containers and
namespace too, however far the start came. Needs root, and Debian's containerd, runc and CNI plug-ins.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.harness.controlplane import SERVICES, ControlPlane, _lives
from tests.harness.ports import free_port
from tests.harness.waiting import wait_for
from tests.harness.warden import ROOT

ADDRESS = "10.244.0.1"
"""The node's, as Pods see it: that of the bridge that they hang on."""
BUSYBOX = "busybox:1"
"""An image that every node has: a shell and small tools, for Pods that need no more."""
_PODS = "10.244.0.0/24"
_DOMAIN = "cluster.local"
_API_PORT = 6443
_PROGRAMS = ("containerd", "ctr", "runc", "ip", "nsenter", "mount", "nft")
_FIREWALL = ("iptables", "ipset")
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_PLUGINS = Path("/usr/lib/cni")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CONTAINERS = "k8s.io"
_SANDBOX = "docker.io/library/busybox:latest"
_NODE_READY_SECONDS = 120.0


def missing() -> str | None:
    """Why no node can be run here, with what to do about it; None where it can."""
    if sys.platform != "linux":
        return "a node needs Linux; a virtual machine will do, and the chart goes into any cluster that you have"
    if os.geteuid() != 0:
        return "a node needs root; say it again as root (sudo)"
    absent = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent or not (_PLUGINS / "bridge").exists():
        packages = "containerd runc containernetworking-plugins iproute2 nftables"
        return f"{', '.join(absent) or 'the CNI plug-ins'} missing; apt-get install {packages}"
    return None


def policies_missing() -> str | None:
    """Why no node can enforce NetworkPolicies here, beyond what `missing` says; None where it can."""
    absent = [name for name in _FIREWALL if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"{', '.join(absent)} missing; apt-get install {' '.join(_FIREWALL)}"
    if not _BRIDGED.exists():
        return "the kernel shows no firewall what a bridge passes on; modprobe br_netfilter"
    return None


def image(which: str = "jobwarden") -> Path | None:
    """The OCI archive that `tests/cluster/image` builds, or has built before; None where it cannot be built."""
    command = [ROOT / "tests/cluster/image", which]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHON": sys.executable},
        timeout=900,
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else None


class Node(ControlPlane):
    """A cluster of one node. `folder` keeps its data, containers, keys and logs; a short path, as sockets lie in it."""

    def __init__(
        self,
        folder: Path,
        bin_folder: Path,
        *,
        policies: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`bin_folder`: what `tools("all")` gives; `policies`: what `tools("policies")` gives, for a node with a firewall and DNS; `say` is told of each step."""
        super().__init__(folder, bin_folder, definitions=False)
        self._policies, self._say = policies, say
        self._started = folder / "started"

    # Asking

    def load(self, archive: Path, *names: str) -> None:
        """Put an image onto the node, under these names too."""
        printed = self._ctr("images", "import", str(archive)).stdout
        [found] = [word for word in printed.split() if word.startswith("docker.io/")]
        for name in names:
            self._ctr("images", "tag", "--force", found, f"docker.io/library/{name}")

    def volume(self, name: str, *, size: str = "1Gi", owner: int = 65532) -> None:
        """A PersistentVolume that any claim may take: nobody provisions here."""
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True)
        os.chown(folder, owner, owner)
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": size},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(folder)},
                },
            }
        ).ok()

    def open(self, target: str) -> str:
        """Let Pods reach an address (HOST:PORT, or a unix socket's path) of this machine; gives the HOST:PORT that they connect to."""
        port = free_port()
        self._tunnel(f"{ADDRESS}:{port}@{self._net}", target)
        return f"{ADDRESS}:{port}"

    def name(self, host: str, address: str) -> None:
        """Let a name of the outside world lead to an address, for whoever asks the DNS of a node that has one; within a second."""
        with (self.folder / "hosts").open("a", encoding="utf-8") as known:
            known.write(f"{address} {host}\n")

    @property
    def enforces(self) -> bool:
        """Whether it was started with what enforces NetworkPolicies."""
        return self._dns_settings.exists()

    @property
    def server(self) -> str:
        """URL of the API server, from outside."""
        # The name is in its certificate, the address is not.
        return f"https://localhost:{self._ports()['door']}"

    # Life

    def start(self) -> None:
        """Start it, and leave it running when this process ends; `stop` ends it."""
        self.folder.mkdir(parents=True)
        self._begin()

    def is_running(self) -> bool:
        """Whether it was started and answers."""
        return self._known.exists() and self._is_ready()

    @property
    def _net(self) -> str:
        return self.folder.name

    def _begin(self) -> None:
        try:
            self._say("network namespace, etcd and API server")
            self._make_network()
            super()._begin()
            self._write_inside()
            if self._policies is not None:
                self._start_dns(self._policies)
            self._say("controllers and scheduler")
            self._start_controllers()
            self._say("containerd, kubelet and kube-proxy")
            self._start_containerd()
            sandbox = image("busybox")
            assert sandbox is not None, "the image of busybox could not be built"
            self.load(sandbox, BUSYBOX)
            self._start_kubelet()
            wait_for(self._is_schedulable, "the node to be ready", deadline=_NODE_READY_SECONDS, context=self._logs)
            if self._policies is not None:
                self._start_firewall(self._policies)
        except BaseException:
            self._end()
            raise

    def _allot(self) -> dict[str, int]:
        door = free_port()
        self._tunnel(f"127.0.0.1:{door}", f"127.0.0.1:{_API_PORT}@{self._net}")
        return {"etcd": 2379, "peer": 2380, "api": _API_PORT, "door": door}

    def _make_network(self) -> None:
        """No interface of the machine leads here; the bridge gives the node an address that is not loopback, which its parts insist on."""
        _run("ip", "netns", "add", self._net)
        for line in (
            "link set lo up",
            "link add cni0 type bridge",
            f"address add {ADDRESS}/24 dev cni0",
            "link set cni0 up",
            f"route add default via {ADDRESS}",
        ):
            # `ip netns exec` would mount /sys anew, without cgroups.
            self._inside("ip", *line.split())
        self._inside("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _start_dns(self, programs: Path) -> None:
        """For what Services are called, and for the names of `hosts`; whoever asks for another one is told that there is none."""
        (self.folder / "hosts").touch()
        self._dns_settings.write_text(
            f"""
.:53 {{
  errors
  hosts {self.folder / "hosts"} {{
    reload 500ms
    fallthrough
  }}
  kubernetes {_DOMAIN} . {{
    kubeconfig {self._inside_config} test
    ttl 1
  }}
}}
""",
            encoding="utf-8",
        )
        self._start("coredns", f"-conf={self._dns_settings}", program=str(programs / "coredns"))
        log = self.folder / "coredns.log"
        wait_for(lambda: "CoreDNS-" in log.read_text(encoding="utf-8"), "CoreDNS to serve", context=self._logs)

    @property
    def _dns_settings(self) -> Path:
        return self.folder / "Corefile"

    def _start_firewall(self, programs: Path) -> None:
        # All Pods hang on one bridge: what goes from one to another is not routed.
        self._inside("sh", "-c", f"echo 1 > {_BRIDGED}")
        self._start(
            "kube-router",
            f"--kubeconfig={self._inside_config}",
            "--hostname-override=node",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--enable-cni=false",
            f"--service-cluster-ip-range={SERVICES}",
            "--health-port=0",
            program=str(programs / "kube-router"),
        )
        wait_for(self._is_fenced, "kube-router to have made its chains", context=self._logs)

    def _is_fenced(self) -> bool:
        chains = ("nsenter", f"--net=/run/netns/{self._net}", "iptables", "-S", "KUBE-ROUTER-FORWARD")
        return _run(*chains, check=False).returncode == 0

    def _api_arguments(self, ports: dict[str, int]) -> tuple[str, ...]:
        return (
            *super()._api_arguments(ports),
            "--bind-address=0.0.0.0",
            f"--advertise-address={ADDRESS}",
            "--endpoint-reconciler-type=lease",
            "--kubelet-preferred-address-types=InternalIP",
        )

    def _write_inside(self) -> None:
        """The same identity as admin, by the address that is used on the node."""
        config = yaml.safe_load((self.folder / "admin.kubeconfig").read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"]["server"] = f"https://{ADDRESS}:{_API_PORT}"
        self._inside_config.write_text(yaml.safe_dump(config), encoding="utf-8")

    @property
    def _inside_config(self) -> Path:
        return self.folder / "inside.kubeconfig"

    def _start_controllers(self) -> None:
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self._inside_config}",
            f"--service-account-private-key-file={self.folder / 'service-account.key'}",
            f"--root-ca-file={self.folder / 'certificates/apiserver.crt'}",
            f"--cert-dir={self.folder / 'certificates-of-controllers'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        self._start(
            "kube-scheduler",
            f"--kubeconfig={self._inside_config}",
            f"--cert-dir={self.folder / 'certificates-of-scheduler'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )

    def _start_containerd(self) -> None:
        (self.folder / "cni").mkdir()
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps(self._pod_network()), encoding="utf-8")
        (self.folder / "containerd.toml").write_text(self._containerd_settings(), encoding="utf-8")
        self._start("containerd", f"--config={self.folder / 'containerd.toml'}", program="/usr/bin/containerd")
        wait_for(self._answers, "containerd to answer", context=self._logs)

    def _answers(self) -> bool:
        return self._ctr("version", check=False).returncode == 0

    def _pod_network(self) -> dict[str, Any]:
        ranges = [[{"subnet": _PODS, "rangeStart": "10.244.0.10"}]]
        ipam = {
            "type": "host-local",
            "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(self.folder / "ipam"),
        }
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": ipam,
        }
        return {"cniVersion": "0.4.0", "name": self._net, "plugins": [bridge]}

    def _containerd_settings(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""
version = 2
root = "{self.folder}/containers"
state = "{self.folder}/containers-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{self._socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{self.folder}/containers-opt"
[{cri}]
sandbox_image = "{_SANDBOX}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{cri}.cni]
bin_dir = "{_PLUGINS}"
conf_dir = "{self.folder}/cni"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""

    @property
    def _socket(self) -> Path:
        return self.folder / "containerd.sock"

    def _start_kubelet(self) -> None:
        (self.folder / "resolv.conf").write_text("", encoding="utf-8")
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            # The machine may be a container itself: its cgroups are taken as they are.
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            "makeIPTablesUtilChains": False,
            # A machine that is full elsewhere is no reason to evict anybody, and no image can be had again.
            "evictionHard": {},
            "imageMinimumGCAge": "240h",
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "resolvConf": str(self.folder / "resolv.conf"),
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "10s",
        }
        if self._policies is not None:
            settings |= {"clusterDNS": [ADDRESS], "clusterDomain": _DOMAIN}
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        # As the service manager of a node would: a kubelet dies of a Pod that is deleted by force in the wrong moment (1.34.2, doPodResizeAction).
        self._start(
            "kubelet",
            "-c",
            'while :; do "$@"; sleep 1; done',
            "keeper",
            str(self._bin / "kubelet"),
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={self._inside_config}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'certificates-of-kubelet'}",
            "--hostname-override=node",
            f"--node-ip={ADDRESS}",
            program="/bin/sh",
        )
        self._start(
            "kube-proxy",
            f"--kubeconfig={self._inside_config}",
            "--hostname-override=node",
            "--proxy-mode=nftables",
            f"--cluster-cidr={_PODS}",
            "--conntrack-max-per-core=0",
            "--bind-address=127.0.0.1",
        )

    def _is_schedulable(self) -> bool:
        node = self.get("node", "node")
        if node is None:
            return False
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
        account = self.get("serviceaccount", "default")
        return conditions.get("Ready") == "True" and not node["spec"].get("taints") and account is not None

    # Processes, each written down as it starts

    def _start(self, name: str, *arguments: str, program: str | None = None) -> int:
        command = ["nsenter", f"--net=/run/netns/{self._net}", program or str(self._bin / name), *arguments]
        return self._spawn(name, command)

    def _tunnel(self, listen: str, connect: str) -> None:
        self._spawn("tunnel", [sys.executable, "-m", "tests.harness.tunnel", listen, connect], PYTHONPATH=str(ROOT))

    def _spawn(self, name: str, command: Sequence[str], **environment: str) -> int:
        with (self.folder / f"{name}.log").open("ab") as log:
            pid = subprocess.Popen(
                command,
                env={"PATH": _PATH, "HOME": str(self.folder), **environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).pid
        with self._started.open("a", encoding="utf-8") as known:
            known.write(f"{name} {pid}\n")
        return pid

    def _inside(self, *command: str) -> None:
        _run("nsenter", f"--net=/run/netns/{self._net}", *command)

    def _ctr(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return _run("ctr", "--address", str(self._socket), "--namespace", _CONTAINERS, *arguments, check=check)

    def _logs(self) -> str:
        parts = []
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            parts.append("\n".join([f"--- {log.name}", *lines]))
        return "\n".join(parts)

    # The end

    def _end(self) -> None:
        started = self._pids()
        # First whoever would start things again.
        _kill(started.get("kubelet", []))
        _kill([pid for name in started if name.startswith("kube-") for pid in started[name]])
        if started.get("containerd") and self._socket.exists():
            with contextlib.suppress(subprocess.SubprocessError):
                for task in self._ctr("tasks", "list", "--quiet", check=False).stdout.split():
                    self._ctr("tasks", "remove", "--force", task, check=False)
        _kill([pid for pids in started.values() for pid in pids])
        _kill(_descendants(_in_namespace(self._net)))
        self._unmount()
        _run("ip", "netns", "delete", self._net, check=False)
        self._sweep()
        self._known.unlink(missing_ok=True)
        self._started.unlink(missing_ok=True)

    def _pids(self) -> Mapping[str, list[int]]:
        found: dict[str, list[int]] = {}
        if self._started.exists():
            for line in self._started.read_text(encoding="utf-8").splitlines():
                name, pid = line.split()
                found.setdefault(name, []).append(int(pid))
        return found

    def _unmount(self) -> None:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
        for place in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            _run("umount", "--lazy", place, check=False)

    def _sweep(self) -> None:
        """What Kubernetes leaves outside of the folders that it is given."""
        for link in Path("/var/log/containers").glob("*.log"):
            if link.is_symlink() and str(self.folder) in str(link.readlink()):
                link.unlink()
        for result in Path("/var/lib/cni/results").glob("*"):
            if str(self.folder) in result.read_text(encoding="utf-8", errors="replace"):
                result.unlink()


def leave_nothing(pattern: str, folder: Path) -> None:
    """End nodes that nobody uses any more: those of test runs that were killed."""
    for left in folder.glob(pattern):
        users = left / "users"
        if left.is_dir() and users.is_dir() and not any(_lives(int(user.name)) for user in users.iterdir()):
            stop(left)


def stop(folder: Path) -> None:
    """End the node in this folder, whoever started it, and remove the folder."""
    node = Node(folder, Path())
    node._end()
    shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": _PATH},
        timeout=120,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done


def _in_namespace(name: str) -> list[int]:
    return [int(pid) for pid in _run("ip", "netns", "pids", name, check=False).stdout.split()]


def _descendants(roots: Iterable[int]) -> list[int]:
    """These processes and everything below them: containers have namespaces of their own, their shims do not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    todo, found = list(roots), []
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def _kill(pids: Iterable[int]) -> None:
    """End processes, each with the group that it leads, and see that they have ended."""
    pids = list(pids)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            end = os.killpg if os.getpgid(pid) == pid else os.kill
            end(pid, signal.SIGKILL)
    wait_for(lambda: not any(_lives(pid) for pid in pids), "processes of the node to end")
