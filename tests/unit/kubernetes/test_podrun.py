"""One run as a Pod, with an API server that misbehaves: what is made is ended, and nobody else's Job or Pod is taken for it."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from controller.base.clock import SystemClock
from controller.base.masked_stream import Needles
from controller.domain.job import ExecTarget, ExecutorKind, JobSpec
from controller.domain.job import History as Limits
from controller.executors import egress_pass
from controller.executors.protocol import ExecutionRequest, ExecutionResult, PodBox, PodRequest
from controller.executors.runlog import LogWriter
from controller.kinds.configuration import EgressProxy
from controller.kubernetes import fence, podrun, podspec
from controller.kubernetes.egress import WayOut
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.podhistory import History
from controller.kubernetes.podrun import Facilities, PodExecution

BEGAN = "2026-01-01T00:00:00Z"
LOST = ApiFailed("no answer")


class Server:
    """An API server: `fails` maps what is asked to errors, given one after the other. `obeys`: it does what it gives no answer to."""

    def __init__(self, *, obeys: bool = False) -> None:
        self.jobs: dict[str, Any] = {}
        self.fails: dict[str, list[ApiFailed]] = {}
        self.deleted: list[str] = []
        self.pods_there: list[Any] = []
        self.policies: list[Any] = []
        self.secrets: list[Any] = []
        self._obeys = obeys

    async def create_job(self, manifest: Any) -> Any:
        """Make it."""
        name = manifest["metadata"]["name"]
        failing = bool(self.fails.get("create_job"))
        if name in self.jobs:
            raise ApiFailed("it is there", 409)
        if not failing or self._obeys:
            self.jobs[name] = manifest | {"metadata": manifest["metadata"] | {"uid": f"uid-{len(self.deleted)}"}}
        self._fail("create_job")
        return self.jobs[name]

    async def job(self, namespace: str, name: str) -> Any:
        """One Job."""
        self._fail("job")
        return self.jobs.get(name)

    async def pods(self, namespace: str, selector: str) -> list[Any]:
        """Pods."""
        self._fail("pods")
        return self.pods_there

    async def create_secret(self, manifest: Any) -> None:
        """Make it."""
        self._fail("create_secret")
        self.secrets.append(manifest)

    async def resume(self, namespace: str, name: str) -> None:
        """Let it go."""
        self._fail("resume")

    async def delete_job(self, namespace: str, name: str, uid: str | None = None) -> None:
        """Remove it, if it is this one."""
        self._fail("delete_job")
        if name in self.jobs and uid in (None, self.jobs[name]["metadata"]["uid"]):
            del self.jobs[name]
            self.deleted.append(name)

    async def network_policies(self, namespace: str) -> list[Any]:
        """All of the namespace."""
        self._fail("network_policies")
        return list(self.policies)

    async def create_network_policy(self, manifest: Any) -> None:
        """Make it."""
        self.policies.append(manifest)

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Remove it."""

    async def troubles(self, namespace: str, job: str) -> list[str]:
        """Nothing."""
        return []

    async def log(self, *_args: Any, **_more: Any) -> Any:
        """Nothing was printed."""
        for piece in ():
            yield piece

    def _fail(self, what: str) -> None:
        if waiting := self.fails.get(what):
            raise waiting.pop(0)


class Story:
    """One run and what becomes of it."""

    def __init__(
        self,
        server: Server,
        *,
        secrets: dict[str, str] | None = None,
        adopted: bool = False,
        box: PodBox = PodBox(),  # noqa: B008 - frozen
        way_out: WayOut | None = None,
        **more: Any,
    ) -> None:
        workloads: Any = server
        self.server = server
        self.result: asyncio.Future[ExecutionResult] = asyncio.get_running_loop().create_future()
        logs = LogWriter(asyncio.get_running_loop())
        shared = Facilities(workloads, SystemClock(), logs, lambda *_: None, History(workloads), self._listed, way_out)
        spec = JobSpec(ExecTarget(("true",)), executor=ExecutorKind.Kubernetes, image="i", **more)
        pod = PodRequest(spec=spec, values={"JOBWARDEN_OUTPUT": "/dev/termination-log"}, secrets=secrets or {}, box=box)
        request = ExecutionRequest(
            run="a-1",
            namespace="n",
            job="a",
            argv=(),
            env={},
            timeout=timedelta(minutes=1),
            pod=pod,
            needles=Needles({}) if box.hosts else None,
        )
        self.run = PodExecution(shared, request, self.result.set_result, lambda _run: None, adopted=adopted)

    async def _listed(self) -> None: ...

    def pod(self, uid: str | None, name: str = "a-1-x", code: int = 0) -> dict[str, Any]:
        """A Pod with the labels of this run that has ended, of the Job with this uid."""
        owners = [{"kind": "Job", "name": "a-1", "uid": uid, "controller": True}] if uid else []
        metadata = {"name": name, "namespace": "n", "labels": {podspec.RUN_LABEL: "a-1"}, "ownerReferences": owners}
        metadata["resourceVersion"] = str(code + 1)
        state = {"terminated": {"exitCode": code, "startedAt": BEGAN, "finishedAt": BEGAN, "message": f"from={name}"}}
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"name": "run", "state": state}]}
        return {"metadata": metadata, "status": status}

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def ended(self) -> ExecutionResult:
        """Its result."""
        async with asyncio.timeout(20):
            return await self.result


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "SETTLED", timedelta(seconds=0.05))
    for name, value in (("_FIRST_PAUSE_S", 0.01), ("_GONE_AFTER_S", 0.3), ("_FORBIDDEN_S", 0.05)):
        monkeypatch.setattr(podrun, name, value)


async def test_a_pod_that_only_says_it_is_the_runs_ends_nothing() -> None:
    """Labels are anybody's who may make a Pod; it is the Job's Pod that counts, also if it was seen before the Job's answer came."""
    story = Story(Server())
    story.run.pod_seen(story.pod(None, "forged-early"))
    story.run.pod_seen(story.pod("uid-0", "real", 3))
    assert (await story.ended()).exit_code == 3
    story = Story(Server())
    await story.until(lambda: story.run.outlives)
    story.run.pod_seen(story.pod(None, "forged"))
    story.run.pod_seen(story.pod("another", "forged-too"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not story.result.done()
    story.run.pod_seen(story.pod("uid-0", "real"))
    assert (await story.ended()).outputs == {"from": "real"}


async def test_an_adopted_run_takes_no_forged_pod() -> None:
    """Neither from a list."""
    server = Server()
    server.jobs["a-1"] = {"metadata": {"name": "a-1", "uid": "mine"}, "spec": {}}
    story = Story(server, adopted=True)
    server.pods_there = [story.pod("another", "forged"), story.pod("mine", "real")]
    assert (await story.ended()).outputs == {"from": "real"}


async def test_a_job_that_waits_in_its_place_is_not_taken_for_it() -> None:
    """The name of a run can be guessed; its labels can be written. What was not made for this run is left alone, and the run says so."""
    server = Server()
    server.jobs["a-1"] = {"metadata": {"name": "a-1", "uid": "x", "labels": {podspec.RUN_LABEL: "a-1"}}, "spec": {}}
    result = await Story(server).ended()
    assert "was not made for this run" in (result.start_error or "")
    assert not server.deleted


@pytest.mark.parametrize("there", [None, {"metadata": {"name": "a-1", "uid": "x"}, "spec": {"suspend": True}}])
async def test_a_run_that_is_given_up_takes_its_name_with_it(there: Any) -> None:
    """Its Job was never made, or not let go: what its starter has asked for, and comes late, makes no Pod, whatever is given up or taken up meanwhile."""
    server = Server()
    server.jobs |= {"a-1": there} if there else {}
    given_up = await Story(server, adopted=True).ended()
    assert given_up.interrupted == "Interrupted"
    [left] = server.jobs.values()
    assert (left["spec"]["parallelism"], left["spec"]["suspend"]) == (0, False)
    assert "given up" in left["metadata"]["annotations"][podspec.TOMBSTONE]
    late = await Story(server).ended()
    assert "was not made for this run" in (late.start_error or "")
    assert (await Story(server, adopted=True).ended()).interrupted == "Interrupted"
    assert list(server.jobs.values()) == [left]


async def test_a_name_that_was_taken_is_not_given_back_with_old_jobs() -> None:
    """`history` is about Jobs that have run; a job that fails every second would give the name back at once."""
    server = Server()
    await Story(server, adopted=True).ended()
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    tombstone = server.jobs["a-1"]
    ran: Any = {
        "metadata": {"name": "a-0", "namespace": "n", "uid": "y", "labels": {podspec.JOB_LABEL: "a"}},
        "spec": {},
    }
    server.jobs["a-0"] = ran
    workloads: Any = server
    history = History(workloads)
    for job in (tombstone, ran):
        history.seen(job | failed)
    history.ended("n", "a", "a-2", Limits(failed=1), good=False)
    await asyncio.gather(*history._deleting)
    assert server.jobs == {"a-1": tombstone}


async def test_a_job_that_comes_before_its_name_is_taken_is_taken_up() -> None:
    """It had been under way; nothing is given up then."""
    server = Server()
    asked = server.job

    async def too_early(namespace: str, name: str) -> Any:
        if await asked(namespace, name) is None:
            server.jobs["a-1"] = {"metadata": {"name": "a-1", "uid": "mine"}, "spec": {}}
            return None
        return server.jobs[name]

    server.job = too_early  # type: ignore[method-assign]
    story = Story(server, adopted=True)
    server.pods_there = [story.pod("mine", "real", 3)]
    assert (await story.ended()).exit_code == 3


async def test_a_name_that_may_not_be_taken_keeps_no_run_open() -> None:
    """A namespace that ends, or a quota: what cannot be made now is hardly made later, and the run has to end."""
    server = Server()
    server.fails["create_job"] = [ApiFailed("exceeded quota", 403)] * 100
    assert (await Story(server, adopted=True).ended()).interrupted == "Interrupted"
    assert server.jobs == {}


async def test_a_job_whose_making_was_not_answered_is_ours() -> None:
    """The next try finds it."""
    server = Server(obeys=True)
    server.fails["create_job"] = [LOST]
    story = Story(server)
    await story.until(lambda: story.run.outlives)
    story.run.pod_seen(story.pod("uid-0"))
    assert (await story.ended()).exit_code == 0


@pytest.mark.parametrize("what", ["create_secret", "resume"])
async def test_a_job_that_cannot_be_let_go_is_removed(what: str) -> None:
    """It would stay suspended for ever, as neither of its deadlines counts then."""
    server = Server()
    server.fails[what] = [ApiFailed("no", 422)]
    result = await Story(server, secrets={"A": "b"}).ended()
    assert result.start_error == "its Job could not be made: no"
    assert server.deleted == ["a-1"]


async def test_a_stop_does_not_wait_for_an_api_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that could not be made yet ends at once, and what may have been made of it is looked for."""
    monkeypatch.setattr(podrun, "_FIRST_PAUSE_S", 500.0)
    server = Server(obeys=True)
    server.fails["create_job"] = [LOST]
    story = Story(server)
    await story.until(lambda: server.jobs)
    assert not story.run.outlives
    story.run.stop("alice")
    result = await story.ended()
    assert (result.cancelled, result.stop_reason, server.deleted) == (True, "alice", ["a-1"])


async def test_a_run_is_not_cancelled_before_its_job_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its Pod would go on beside the one of a retry, once the API server is back."""
    monkeypatch.setattr(podrun, "_LONGEST_PAUSE_S", 0.02)
    server = Server()
    story = Story(server)
    await story.until(lambda: story.run.outlives)
    server.fails["delete_job"] = [LOST] * 60
    story.run.stop("alice")
    assert (await story.ended()).cancelled
    assert server.deleted == ["a-1"]


async def test_a_node_whose_clock_is_ahead_gives_no_run_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was taken up again and seems to begin tomorrow has its timeout, and not a day more."""
    monkeypatch.setattr(podrun, "_VANISHED_S", 0.01)
    server = Server()
    server.jobs["a-1"] = {"metadata": {"name": "a-1", "uid": "mine"}, "spec": {}}
    story = Story(server, adopted=True)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    running = story.pod("mine")
    running["status"] = {
        "phase": "Running",
        "containerStatuses": [{"name": "run", "state": {"running": {"startedAt": tomorrow}}}],
    }
    server.pods_there = [running]
    waited: list[float] = []
    wait = story.run._wait

    async def spy(deadline: float) -> None:
        waited.append(deadline - asyncio.get_running_loop().time())
        await wait(deadline)

    monkeypatch.setattr(story.run, "_wait", spy)
    await story.until(lambda: waited)
    story.run.stop("done")
    story.run.pod_gone()
    await story.ended()
    assert waited[0] <= timedelta(hours=1).total_seconds()


async def test_a_start_that_nobody_told_of_is_a_start() -> None:
    """An API server that was away for longer than `startTimeout` is asked once more before a Pod is given up that has run all the while."""
    server = Server()
    server.fails["pods"] = [LOST]
    story = Story(server, start_timeout=timedelta(seconds=0.05))
    server.pods_there = [story.pod("uid-0", "real", 4)]
    assert (await story.ended()).exit_code == 4
    assert not server.deleted


async def test_an_end_that_nobody_told_of_is_no_timeout() -> None:
    """The same when the time is up."""
    server = Server()
    story = Story(server, timeout=timedelta(seconds=0.05))
    await story.until(lambda: story.run.outlives)
    running = story.pod("uid-0", "real")
    running["status"]["phase"] = "Running"
    server.pods_there = [story.pod("uid-0", "real", 4)]
    story.run.pod_seen(running)
    result = await story.ended()
    assert (result.exit_code, result.timed_out) == (4, False)


async def test_a_failed_job_whose_pod_was_not_seen_yet_is_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch of Jobs may be ahead of the one of Pods by any time."""
    monkeypatch.setattr(podrun, "_VANISHED_S", 0.02)
    server = Server()
    story = Story(server)
    await story.until(lambda: story.run.outlives)
    server.pods_there = [story.pod("uid-0", "real", 4)]
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    story.run.job_seen(server.jobs["a-1"] | {"status": failed})
    assert (await story.ended()).exit_code == 4


async def test_a_failed_job_whose_pod_is_gone_was_lost_and_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted with its node while nobody looked: `onInterruption` says what follows, as of any run that was lost."""
    monkeypatch.setattr(podrun, "_VANISHED_S", 0.02)
    server = Server()
    story = Story(server)
    await story.until(lambda: story.run.outlives)
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    story.run.job_seen(server.jobs["a-1"] | {"status": failed})
    result = await story.ended()
    assert (result.interrupted, result.start_error) == ("Evicted", None)


async def test_an_api_server_that_does_not_know_us_for_now_fails_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of a controller whose Pod was deleted by force is worth nothing any more; what it says of its runs then is no judgement."""
    monkeypatch.setattr(podrun, "_FIRST_PAUSE_S", 0.01)
    server = Server()
    server.fails["create_job"] = [ApiFailed("the API server answered 401: Unauthorized", 401)] * 3
    story = Story(server)
    await story.until(lambda: story.run.outlives)
    story.run.pod_seen(story.pod("uid-0"))
    assert (await story.ended()).exit_code == 0


HOLE = {"metadata": {"name": "dns"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}}


async def test_a_pod_without_a_network_is_made_behind_its_fence() -> None:
    """The policy is there before the Job is; an API server that hesitates is asked again."""
    server = Server()
    server.fails["network_policies"] = [LOST]
    story = Story(server, box=PodBox(shut=True))
    await story.until(lambda: server.policies)
    assert server.jobs == {}
    await story.until(lambda: server.jobs)
    assert server.policies == [fence.policy(fence.SHUT, "n")]
    story.run.pod_seen(story.pod("uid-0"))
    assert (await story.ended()).note is None


async def test_a_fence_with_a_hole_keeps_the_pod_from_being_made() -> None:
    """Where somebody insists; where nobody does, the run says what does not hold."""
    server = Server()
    server.policies = [HOLE]
    result = await Story(server, box=PodBox(shut=True)).ended()
    assert "NetworkPolicies add up: dns" in (result.start_error or "")
    assert server.jobs == {}
    server = Server()
    server.policies = [HOLE]
    story = Story(server, box=PodBox(shut=True, insists=False, note="not enforced: paths"))
    await story.until(lambda: server.jobs)
    story.run.pod_seen(story.pod("uid-0"))
    result = await story.ended()
    assert result.exit_code == 0
    assert (result.note or "").startswith("not enforced: paths; not enforced: its Pod would have a network")


async def test_without_the_right_to_a_fence_there_is_no_pod() -> None:
    """The run says which one."""
    server = Server()
    server.fails["network_policies"] = [ApiFailed("networkpolicies is forbidden", 403)] * 1000
    result = await Story(server, box=PodBox(shut=True)).ended()
    assert "networkpolicies is forbidden; give the controller the verbs list and create" in (result.start_error or "")
    assert server.jobs == {}


async def test_a_run_can_be_stopped_while_its_fence_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made any more."""
    monkeypatch.setattr(fence, "SETTLED", timedelta(hours=1))
    story = Story(Server(), box=PodBox(shut=True))
    await story.until(lambda: story.server.policies)
    story.run.stop("somebody")
    assert (await story.ended()).cancelled
    assert story.server.jobs == {}


KEY = b"a-key-that-is-long-enough-for-everybody"
HOSTS = PodBox(hosts=("example.com", "*.example.org:443"))


@pytest.fixture
def way_out(tmp_path: Path) -> WayOut:
    """The egress proxy of the controller, at an address."""
    (tmp_path / "key").write_bytes(KEY)
    return WayOut(
        EgressProxy(
            host="192.0.2.7", namespace="jobwarden", pod_labels={"app": "proxy"}, key_file=str(tmp_path / "key")
        )
    )


async def test_a_pod_with_hosts_is_told_of_the_proxy_by_its_secret_alone(way_out: WayOut) -> None:
    """The fence is there before it; its pass names its run, its hosts and its end, and is masked in what the run prints."""
    server = Server()
    began = datetime.now(UTC)
    story = Story(server, box=HOSTS, way_out=way_out)
    await story.until(lambda: story.run.outlives)
    around = fence.proxied(way_out)
    assert server.policies == [fence.policy(around, "n")]
    [made], [secret] = server.jobs.values(), server.secrets
    assert made["spec"]["suspend"] is True
    assert made["spec"]["template"]["metadata"]["labels"][podspec.NETWORK_LABEL] == around.label
    [url] = {value for name, value in secret["stringData"].items() if name.lower().endswith("_proxy")}
    assert len(secret["stringData"]) == 6
    parts = urlsplit(url)
    assert (parts.scheme, parts.username, parts.hostname, parts.port) == ("http", "jobwarden", "192.0.2.7", 3128)
    assert parts.password is not None
    assert parts.password not in repr(made)
    found = egress_pass.read(parts.password, [KEY], began)
    assert isinstance(found, egress_pass.Pass)
    assert (found.run, found.namespace, found.hosts) == ("a-1", "n", HOSTS.hosts)
    life = timedelta(seconds=made["spec"]["activeDeadlineSeconds"])
    assert began + life <= datetime.fromtimestamp(found.expires + 1, UTC) <= datetime.now(UTC) + life * 2

    async def printed(*_arguments: Any, **_more: Any) -> Any:
        yield f"{BEGAN} HTTPS_PROXY={url}\n".encode()

    server.log = printed  # type: ignore[method-assign]
    story.run.pod_seen(story.pod("uid-0"))
    result = await story.ended()
    assert (result.stdout, result.note) == (b"HTTPS_PROXY=http://jobwarden:***@192.0.2.7:3128\n", None)


async def test_a_proxy_that_is_found_in_time_is_waited_for(way_out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an API server is: a name that is not there yet may be there soon."""
    asked: list[object] = []
    real = socket.getaddrinfo

    def flaky(*arguments: Any, **more: Any) -> Any:
        asked.append(arguments)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(*arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    story = Story(Server(), box=HOSTS, way_out=way_out)
    await story.until(lambda: story.run.outlives)
    assert len(asked) == 3
    story.run.stop("test")
    story.run.job_gone()
    await story.ended()


async def test_a_proxy_that_cannot_be_found_is_no_start(way_out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one whose key cannot be read any more: the run says what, and no Pod was made."""

    def unknown(*_arguments: Any, **_more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    server, little = Server(), timedelta(seconds=0.05)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", unknown)
        result = await Story(server, box=HOSTS, way_out=way_out, start_timeout=little).ended()
    assert result.start_error == (
        "its Job could not be made: the egress proxy 192.0.2.7 (settings.pods.egressProxy.host) cannot be found: Name or service not known"
    )
    way_out._key_file.unlink()
    result = await Story(server, box=HOSTS, way_out=way_out, start_timeout=little).ended()
    assert "of the egress proxy cannot be read: No such file or directory" in (result.start_error or "")
    result = await Story(server, box=HOSTS).ended()
    assert "set settings.pods.egressProxy" in (result.start_error or "")
    assert server.jobs == {}


async def test_a_hole_in_the_fence_round_the_proxy_keeps_the_pod_from_being_made(way_out: WayOut) -> None:
    """DNS for all is a way out, too."""
    server = Server()
    server.policies = [HOLE]
    result = await Story(server, box=HOSTS, way_out=way_out).ended()
    assert "NetworkPolicies add up: dns" in (result.start_error or "")
    assert (server.jobs, server.secrets) == ({}, [])
