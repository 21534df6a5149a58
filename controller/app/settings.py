"""What a controller is told, from arguments and configuration file, as one record; arguments win.

Errors in the configuration are words with file, line and hint, and stop the start: a controller with half its settings is none.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from controller.app.options import KubernetesOptions, RunOptions, configured, source_names
from controller.base.errors import InvalidInput
from controller.base.references import Allowed
from controller.domain.job import ExecutorKind
from controller.domain.resolve import Defaults, PodsAllow
from controller.kinds import configuration
from controller.kinds.configuration import Configuration, EgressProxy, KubernetesSource
from controller.sources.directory import Directory
from controller.sources.git import GitRevision, GitSource
from controller.sources.snapshot import Source


class Plan(msgspec.Struct, frozen=True):
    """What is to be built: the options with what the configuration adds, what jobs may reach, and the sources in order."""

    options: RunOptions
    metrics_addr: str | None
    history: tuple[str, int, Path] | None
    starts: int
    running: int
    log_limit: int
    evidence_kept: timedelta
    allowed: Allowed
    defaults: Defaults
    kubernetes: KubernetesOptions  # for the source in a cluster, and for Pods
    egress_proxy: EgressProxy | None  # for Pods; its key by the full path
    sources: tuple[Source, ...]
    folders: tuple[Path, ...]


def read(options: RunOptions) -> Plan:
    """The settings. Errors: InvalidInput listing everything that is wrong with the configuration, or naming two sources alike."""
    config = _configuration(options.config) if options.config is not None else Configuration()
    base = options.config.parent if options.config is not None else Path.cwd()
    options = configured(options, _values(config, base), os.environ)
    sources = (*_given(options), *_configured(config, base, options.state_dir))
    _check_names(sources)
    kubernetes = options.kubernetes or _cluster_of(config)
    return Plan(
        options=options,
        metrics_addr="{}:{}".format(*options.metrics_addr) if options.metrics_addr is not None else config.metrics_addr,
        history=_history(options),
        starts=config.limits.starts,
        running=options.max_running or config.limits.running,
        log_limit=config.settings.run_log.limit,
        evidence_kept=config.settings.evidence.max_age,
        allowed=Allowed(config.settings.allow_env, tuple(base / folder for folder in config.settings.allow_files)),
        defaults=_defaults(options, config, kubernetes),
        kubernetes=kubernetes or KubernetesOptions(context=options.context),
        egress_proxy=_egress_proxy(config, base),
        sources=sources,
        folders=tuple(Path(source.location) for source in sources if isinstance(source, Directory)),
    )


def _egress_proxy(config: Configuration, base: Path) -> EgressProxy | None:
    proxy = config.settings.pods.egress_proxy
    return msgspec.structs.replace(proxy, key_file=str(base / proxy.key_file)) if proxy is not None else None


def _cluster_of(config: Configuration) -> KubernetesOptions | None:
    found = [source.kubernetes for source in config.sources if source.kubernetes is not None]
    if len(found) > 1:
        raise InvalidInput("two sources are in a cluster; one controller serves one, with all of its namespaces")
    return _options_of(found[0]) if found else None


def _options_of(source: KubernetesSource) -> KubernetesOptions:
    return KubernetesOptions(context=source.context, namespaces=source.namespaces, lease=source.lease)


def _defaults(options: RunOptions, config: Configuration, kubernetes: KubernetesOptions | None) -> Defaults:
    """What every job gets. Errors: InvalidInput where nobody says that people of a cluster may run programs here."""
    executors = options.executors or config.settings.executors
    if kubernetes is not None and not executors:
        raise InvalidInput(
            "a source in a cluster needs settings.executors (or --executor): Kubernetes runs jobs as Pods; Local lets everybody who may create a ScheduledJob "
            "run programs as this user, on this host"
        )
    target, allow = config.settings.default_notification_target, config.settings.pods.allow
    return Defaults(
        **({"notification_target": target.name, "notification_target_kind": target.kind} if target is not None else {}),
        executors=tuple(ExecutorKind(name) for name in executors) or (ExecutorKind.Local,),
        image=options.image or config.settings.image,
        pod_namespaces=kubernetes.namespaces if kubernetes is not None else (),
        network_policies=config.settings.pods.network_policies_enforced,
        fence_check_image=config.settings.pods.fence_check_image,
        egress_proxy=config.settings.pods.egress_proxy is not None,
        pods=PodsAllow(
            privileged=allow.privileged,
            host_namespaces=allow.host_namespaces,
            host_paths=allow.host_paths,
            service_accounts=tuple(sorted(allow.service_accounts)),
        ),
    )


def _values(config: Configuration, base: Path) -> dict[str, Any]:
    """What the file says about fields of RunOptions; its relative paths count from its own folder."""
    folders = {name: getattr(config, name) for name in ("state_dir", "log_dir", "status_dir", "history_token_file")}
    return {
        "database": config.db,
        "heartbeat_url": config.heartbeat_url,
        "history_addr": _address(config.history_addr) if config.history_addr is not None else None,
        **{name: base / folder for name, folder in folders.items() if folder is not None},
    }


def _history(options: RunOptions) -> tuple[str, int, Path] | None:
    """Host, port and token. Errors: InvalidInput when it would be open to everybody."""
    if options.history_addr is None:
        return None
    if options.history_token_file is None:
        raise InvalidInput("--history-addr needs --history-token-file: whoever reaches the port could read every log")
    return *options.history_addr, options.history_token_file


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _configuration(path: Path) -> Configuration:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the configuration {path} cannot be read: {error.strerror}") from error
    parsed = configuration.parse_configuration(str(path), data)
    if parsed.configuration is None:
        raise InvalidInput("the configuration is not valid:\n" + "\n".join(f"  {error}" for error in parsed.errors))
    return parsed.configuration


def _given(options: RunOptions) -> list[Source]:
    """The sources of the arguments, named after their folder or repository."""
    names = iter(source_names(options.paths, options.git.url if options.git is not None else None))
    found: list[Source] = [Directory(next(names), str(folder), namespace=options.namespace) for folder in options.paths]
    if options.git is not None:
        git = options.git
        found.append(
            GitSource(
                next(names),
                git.url,
                options.state_dir / "git",
                revision=GitRevision(git.branch, git.tag, git.commit),
                path=git.path,
                interval=git.interval,
                namespace=options.namespace,
            )
        )
    if options.kubernetes is not None:
        found.append(_cluster("kubernetes", options.kubernetes))
    return found


def _cluster(name: str, options: KubernetesOptions) -> Source:
    # Half a second of clients that nobody else owes.
    from controller.app import cluster  # noqa: PLC0415

    return cluster.source_of(name, options)


def _configured(config: Configuration, base: Path, state_dir: Path) -> list[Source]:
    found: list[Source] = []
    for source in config.sources:
        if source.directory is not None:
            found.append(
                Directory(
                    source.name,
                    str(base / source.directory.path),
                    namespace=source.namespace,
                    allowed_kinds=source.allowed_kinds,
                    rescan_interval=source.directory.rescan_interval,
                )
            )
        elif source.git is not None:
            git = source.git
            found.append(
                GitSource(
                    source.name,
                    git.url,
                    state_dir / "git",
                    revision=GitRevision(git.branch, git.tag, git.commit),
                    path=git.path,
                    interval=git.interval,
                    timeout=git.timeout,
                    verify_commit=git.verify_commit,
                    namespace=source.namespace,
                    allowed_kinds=source.allowed_kinds,
                )
            )
        elif source.kubernetes is not None:
            found.append(_cluster(source.name, _options_of(source.kubernetes)))
    return found


def _check_names(sources: tuple[Source, ...]) -> None:
    names = [source.name for source in sources]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InvalidInput(f"two sources are called {doubled[0]!r}; give each a name of its own in the configuration")
