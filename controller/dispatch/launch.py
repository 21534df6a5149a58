"""Step 10, the way in and the way out: an open run becomes a request for an executor, and the executor's result an ending.

Nothing is stored here; values of references are looked up at this moment and go only into the process. Invariant: what prevents a start is words,
never an exception: the run is open and has to end.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import structs

from controller.base import paths
from controller.base.masked_stream import Needles
from controller.base.references import Allowed, Unreadable
from controller.domain import pods
from controller.domain.abilities import Abilities, confines, reach, shuts
from controller.domain.job import EnvVar, ExecTarget, ExecutorKind, JobSpec, PodTarget, ShellTarget, WatchdogTarget
from controller.domain.records import Ending, Output, Run
from controller.domain.resolve import Defaults
from controller.domain.trust import Contract, Enforcement, NetworkMode, Profile
from controller.executors import box, credentials, environment, values
from controller.executors.credentials import Arranged, Given, Refused, Token
from controller.executors.private_files import NoPlace, PrivateFiles
from controller.executors.protocol import ExecutionRequest, ExecutionResult, PodBox, PodRequest
from controller.gates.box import gaps

_POD_OUTPUT = "/dev/termination-log"
"""Where Kubernetes looks for a container's last words; they come with its status, 4 KiB at most."""


_POD_CREDENTIALS = "/var/run/secrets/jobwarden.dev/credentials"
"""Where the files of a Pod's credentials are, beside those of Kubernetes itself."""


class Launcher:
    """Knows what every run of this controller gets: the inherited environment, what references may name, where logs and outputs go."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        allowed: Allowed,
        settings: Defaults = Defaults(),  # noqa: B008 - frozen
        log_dir: Path,
        output_dir: Path,
        log_limit: int = 64 * 1024 * 1024,
        private: PrivateFiles | None = None,
        abilities: Callable[[], Abilities] = Abilities,
    ) -> None:
        """`output_dir` exists and is private; `log_limit` is bytes a run; without `private` no run gets files. `abilities` of this host are asked for
        when a contract asks for a box.
        """
        self._environ = environ
        self._base = environment.inherited(environ)
        self._allowed = allowed
        self._settings = settings
        self._log_dir = log_dir
        self._output_dir = output_dir
        self._log_limit = log_limit
        self._private = private
        self._abilities = abilities

    def prepare(
        self, run: Run, spec: JobSpec, given: Sequence[Given] = (), tokens: Sequence[Token] = ()
    ) -> ExecutionRequest | str:
        """The request, or why the run cannot be started. Reads the files that variables refer to, and looks at the paths of a box: see `blocks`.

        Shape:  what is `given` goes over the variables that the job declares itself; files are made by the executor, just before the start. Only Pods get `tokens`.
        """
        refusal = pods.refusal(spec, run.namespace, self._settings)
        if refusal is not None:
            return refusal
        found = values.NOTHING
        if spec.env:
            resolved = values.resolve(_ours(spec.env), _fields(run), self._allowed, self._environ)
            if isinstance(resolved, Unreadable):
                return resolved.message
            found = resolved
        arranged = self._arrange(run, spec, given, tokens)
        if isinstance(arranged, Refused):
            return arranged.message
        return self._in_its_box(run, spec, self._request(run, spec, found, arranged))

    def trial(self, run: Run, spec: JobSpec) -> str | None:
        """Why a run like that could not be started here now, as far as can be seen without asking for its credentials; None: nothing is known. As `prepare`, it may wait for a disk."""
        if isinstance(spec.target, WatchdogTarget) and spec.target.job is not None:
            return None  # nothing is started
        ours = tuple(one for one in spec.env if one.credential_ref is None)
        prepared = self.prepare(run, structs.replace(spec, env=ours))
        return prepared if isinstance(prepared, str) else None

    def prepare_adoption(self, run: Run, spec: JobSpec) -> ExecutionRequest:
        """The request of a run that somebody else has started as a Pod: nothing is looked up again."""
        return self._request(run, spec, values.NOTHING, None)

    def _arrange(self, run: Run, spec: JobSpec, given: Sequence[Given], tokens: Sequence[Token]) -> Arranged | Refused:
        """What is given, by where it goes; with files also the variable that names their folder."""
        taken = _taken(spec.env, given)
        if isinstance(taken, Refused):
            return taken
        arranged = credentials.arrange(taken, tokens) if taken or tokens else credentials.NOTHING
        if isinstance(arranged, Refused) or spec.executor is ExecutorKind.Kubernetes or not arranged.files:
            return arranged
        if self._private is None:
            return Refused("this controller makes no folder for credentials: deliver them as variables")
        folder = self._private.path(run.name)
        if isinstance(folder, NoPlace):
            return Refused(folder.message)
        return structs.replace(arranged, env={**arranged.env, credentials.DIRECTORY_VARIABLE: str(folder)})

    def _in_its_box(self, run: Run, spec: JobSpec, request: ExecutionRequest) -> ExecutionRequest | str:
        """With the box of the run's contract, or why it cannot be had after all."""
        if run.grant is None or not confines(run.grant.contract.box):
            return request
        contract = run.grant.contract
        if request.pod is not None:
            pod_box = self._pod_box(contract, spec)
            if isinstance(pod_box, str):
                return pod_box
            # What it shows to the egress proxy is made with its Job, and has to be masked as well.
            needles = request.needles or (Needles({}) if pod_box.hosts else None)
            return structs.replace(request, needles=needles, pod=structs.replace(request.pod, box=pod_box))
        output = str(request.output_path) if request.output_path is not None else None
        private = request.env.get(credentials.DIRECTORY_VARIABLE) if request.files else None
        place = box.Place(request.env, request.cwd, output, folders=(private,) if private is not None else ())
        made = box.request(contract.box, place, self._abilities())
        return made if isinstance(made, str) else structs.replace(request, box=made)

    def _pod_box(self, contract: Contract, spec: JobSpec) -> PodBox | str:
        """What the gates have said, once more: another replica with other settings may have opened the run."""
        vouched, proxied = self._settings.network_policies, self._settings.egress_proxy
        lacking = gaps(contract, spec, Abilities(network_policies=vouched, egress_proxy=proxied))
        insists = contract.box.enforcement is Enforcement.Block
        if lacking and insists:
            return "; ".join(lacking)
        return PodBox(
            confined=contract.box.profile is not Profile.Nothing,
            shut=shuts(contract.box) and vouched,
            hosts=contract.box.hosts if vouched and proxied and reach(contract.box) is NetworkMode.Restricted else (),
            check_image=self._settings.fence_check_image if insists else None,
            insists=insists,
            note="; ".join(f"not enforced: {one}" for one in lacking) or None,
        )

    def _request(self, run: Run, spec: JobSpec, found: values.Resolved, arranged: Arranged | None) -> ExecutionRequest:
        """`arranged` None: for a Pod that is there already."""
        given = arranged or credentials.NOTHING
        secrets = (*map(os.fsencode, found.secrets), *given.secrets)
        declared = {**found.values, **given.env}
        in_pod = spec.executor is ExecutorKind.Kubernetes
        output_path = _POD_OUTPUT if in_pod else f"{self._output_dir}/{run.name}"
        facts = environment.RunFacts(
            run=run.name,
            job=run.job,
            namespace=run.namespace,
            root_run=run.root,
            attempt=run.attempt,
            time_zone=spec.schedule.time_zone if spec.schedule is not None else "UTC",
            scheduled_for=run.scheduled_for,
            previous_scheduled_for=run.previous,
            triggered_by=run.parents,
            output_path=output_path,
            parameters=run.parameters,
        )
        return ExecutionRequest(
            run=run.name,
            namespace=run.namespace,
            job=run.job,
            argv=_argv(spec),
            env={} if in_pod else environment.build(self._base, declared, facts),
            timeout=spec.timeout,
            grace=spec.termination_grace_period,
            cwd=spec.working_dir,
            keep_bytes=spec.output_keep,
            log_path=paths.run_log(self._log_dir, run.namespace, run.job, run.name),
            log_limit=self._log_limit,
            output_path=None if in_pod else output_path,
            files={} if in_pod else given.files,
            # What is in a file may yet be replaced by something that has to be masked.
            needles=Needles.of(secrets) or (Needles({}) if given.files else None) if secrets else None,
            pod=_pod(spec, declared, facts, arranged) if in_pod else None,
        )


def _pod(
    spec: JobSpec, declared: Mapping[str, str], facts: environment.RunFacts, arranged: Arranged | None
) -> PodRequest:
    """What the Pod is told: what the controller looked up for it goes where nobody else can read it."""
    secret = {one.name for one in spec.env if one.file_ref is not None or one.env_ref is not None}
    secret |= arranged.env.keys() if arranged is not None else set()
    seen = {name: value for name, value in declared.items() if name not in secret}
    if arranged is None:
        return PodRequest(spec=spec, values=environment.build({}, seen, facts), secrets=None)
    if arranged.files or arranged.tokens:
        seen[credentials.DIRECTORY_VARIABLE] = _POD_CREDENTIALS
    return PodRequest(
        spec=spec,
        values=environment.build({}, seen, facts),
        secrets={name: value for name, value in declared.items() if name in secret},
        files=arranged.files,
        tokens=arranged.tokens,
    )


def _ours(variables: Iterable[EnvVar]) -> list[EnvVar]:
    """Those that the controller looks up; keys of Secrets and ConfigMaps are for Kubernetes, credentials come by themselves."""
    return [
        one
        for one in variables
        if one.secret_key_ref is None and one.config_map_key_ref is None and one.credential_ref is None
    ]


def _taken(variables: Iterable[EnvVar], given: Sequence[Given]) -> list[Given] | Refused:
    """All that is given, and once more what variables take of it. Pure."""
    by_name = {one.name: one for one in given}
    found = list(given)
    for variable in variables:
        if variable.credential_ref is None:
            continue
        one = by_name.get(variable.credential_ref)
        if one is None:
            return Refused(
                f"variable {variable.name} of spec.env takes the credential {variable.credential_ref!r}, which nobody delivers"
            )
        found.append(Given(one.name, one.value, env=variable.name))
    return found


def blocks(run: Run, spec: JobSpec) -> bool:
    """Whether preparing this run waits for a disk. Pure."""
    boxed = run.grant is not None and confines(run.grant.contract.box)
    return boxed or any(variable.file_ref is not None for variable in spec.env)


def ending_of(result: ExecutionResult) -> Ending:
    """What `finalise` decides from. Pure."""
    return Ending(
        run=result.run,
        started_at=result.started_at,
        finished_at=result.finished_at,
        exit_code=result.exit_code,
        signal=result.signal,
        timed_out=result.timed_out,
        cancelled_by=(result.stop_reason or "somebody") if result.cancelled else None,
        start_error=result.start_error,
        failure=result.failure,
        interrupted=result.interrupted,
        outputs=result.outputs,
        outputs_error=result.outputs_error,
        output=Output(result.stdout, result.stderr, result.stdout_bytes + result.stderr_bytes, result.truncated),
        note=_note(result),
    )


def _note(result: ExecutionResult) -> str | None:
    """What a person should know beside the end itself."""
    notes = [result.note] if result.note else []
    if result.leftovers:
        notes.append(f"{result.leftovers} processes that it left behind were ended")
    if result.survivors:
        notes.append(f"{result.survivors} processes of it could not be ended")
    if result.log_error is not None:
        notes.append(result.log_error)
    return "; ".join(notes) or None


def _argv(spec: JobSpec) -> tuple[str, ...]:
    match spec.target:
        case ShellTarget(script, shell):
            return (shell, "-c", script)
        case ExecTarget(command, args):
            return command + args
        case PodTarget():
            return ()
        case watchdog:
            return (watchdog.shell, "-c", watchdog.check or "")


def _fields(run: Run) -> dict[str, str]:
    """What `fieldRef` may name; labels and annotations were filled in when the job was read."""
    return {"metadata.name": run.job, "metadata.namespace": run.namespace, "metadata.uid": run.job_uid}
