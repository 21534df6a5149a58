"""`make cluster` and `make cluster-down`: a cluster of one node on this machine, with jobwarden installed from the chart, to look at and to throw away.

Said twice, `up` brings what is there up to date with the sources. With POLICIES in the environment NetworkPolicies are enforced, Pods resolve names, and the chart is told so. Invariant: what `up` leaves is in one folder, one network namespace, and processes that `down` finds.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.harness.controlplane import tools
from tests.harness.node import Node, image, missing, policies_missing, stop
from tests.harness.warden import ROOT

VERSION = yaml.safe_load((ROOT / "charts/jobwarden/Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
FOLDER = Path(tempfile.gettempdir()) / "jobwarden-cluster"
_INSTALL_SECONDS = 180


def up() -> int:
    """Build what is missing, start what does not run, install the chart, and say how to go on."""
    if why := missing():
        return _refuse(why)
    _say("programs of Kubernetes (built from their sources the first time, some minutes)")
    programs = tools("all")
    if programs is None:
        return _refuse("Kubernetes could not be built; what went wrong is above")
    _say("image of the controller")
    archive = image()
    if archive is None:
        return _refuse("the image could not be built; what went wrong is above")
    policies = None
    if os.environ.get("POLICIES"):
        if why := policies_missing():
            return _refuse(why)
        _say("kube-router and CoreDNS")
        policies = tools("policies")
        if policies is None:
            return _refuse("kube-router or CoreDNS could not be built; what went wrong is above")
    node = Node(FOLDER, programs, policies=policies, say=_say)
    if not node.is_running():
        stop(FOLDER)
        node.start()
        # The second one is for whoever installs the chart once more by hand.
        for name in ("jobwarden", "spare"):
            node.volume(name)
    if policies is not None and not node.enforces:
        return _refuse("the cluster that runs enforces no NetworkPolicies; end it first (`make cluster-down`)")
    words = ("pods.networkPoliciesEnforced=true", "pods.egressProxy.enabled=true") if node.enforces else ()
    tag = archive.name.removeprefix("jobwarden-").removesuffix(".oci.tar")
    node.load(archive, f"jobwarden:{tag}", f"jobwarden:{VERSION}")
    _say("helm upgrade --install jobwarden charts/jobwarden --namespace jobwarden --create-namespace")
    done = node.helm(
        *("upgrade", "--install", "jobwarden", str(ROOT / "charts/jobwarden")),
        *("--namespace", "jobwarden", "--create-namespace"),
        *(part for one in (f"image.tag={tag}", *words) for part in ("--set", one)),
        *("--wait", "--timeout", f"{_INSTALL_SECONDS}s"),
        deadline=_INSTALL_SECONDS + 60,
    )
    if done.code != 0:
        print(done.text, node.kubectl("-n", "jobwarden", "describe", "pods").text, sep="\n")
        return _refuse("the chart could not be installed; what the cluster says is above (`make cluster-down` ends it)")
    print(done.out.partition("NOTES:\n")[2].rstrip())
    print(_how_to_go_on(programs))
    return 0


def down() -> int:
    """End it, and remove everything that was made for it."""
    if not FOLDER.exists():
        print("there is no cluster")
        return 0
    if os.geteuid() != 0:
        return _refuse("a cluster is ended by root")
    stop(FOLDER)
    print("the cluster is gone")
    return 0


def _how_to_go_on(programs: Path) -> str:
    return f"""
The cluster is this shell's with

  export KUBECONFIG={FOLDER / "admin.kubeconfig"} PATH={programs}:$PATH

Images are not fetched: load your own with
  ctr --address {FOLDER / "containerd.sock"} --namespace k8s.io images import ARCHIVE
To install it yourself, as in any cluster (the image is there):
  helm uninstall jobwarden -n jobwarden && helm install jobwarden charts/jobwarden
`make cluster` again brings the controller up to date with the sources; `make cluster-down` ends it."""


_BEGAN = time.monotonic()


def _say(step: str) -> None:
    print(f"{time.monotonic() - _BEGAN:5.0f} s  {step}", flush=True)


def _refuse(why: str) -> int:
    print(f"no cluster: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit({"up": up, "down": down}[sys.argv[1]]())
