"""Which API server, and who we are there: the files of KUBECONFIG merged as kubectl merges them, or the service account of a Pod.

The controller's connection and the verbs' `Api` begin here. Invariant: a path in a file counts from that file's folder, whichever other files there are.
Source: kubectl, "Organizing Cluster Access Using kubeconfig Files"; credential plug-ins: KEP-541.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, KubeConfig, SingleConfig
from lightkube.config.models import User, UserExec
from lightkube.core.exceptions import ConfigError

from controller.base.errors import InvalidInput, SourceUnavailable

_EXEC_SECONDS = 30
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_NAMED = {
    "clusters": ("cluster", ("certificate-authority",)),
    "users": ("user", ("client-certificate", "client-key", "tokenFile")),
    "contexts": ("context", ()),
}


def find(context: str | None = None) -> SingleConfig:
    """The server and user that kubectl would use. Errors: InvalidInput saying what is missing and where it was looked for."""
    try:
        config = KubeConfig.from_service_account() if context is None and _in_pod() else merged(files())
        chosen = config.get(context)
    except (ConfigError, OSError, KeyError, ValueError) as error:
        where = os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
        raise InvalidInput(
            f"no Kubernetes API server can be found: {error} (looked at {where}; set KUBECONFIG, or name a --context)"
        ) from error
    if chosen is None:
        raise InvalidInput(f"the kubeconfig has no context {context!r}")
    # lightkube wants somebody to be; nobody in particular is somebody without credentials.
    return chosen._replace(user=chosen.user or User())


def files() -> list[Path]:
    """The files that KUBECONFIG names, joined by `:`, else kubectl's own. Of several, those that do not exist are passed over."""
    named = [Path(one).expanduser() for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    if len(named) < 2:
        return named or [Path(DEFAULT_KUBECONFIG).expanduser()]
    return [one for one in named if one.exists()]


def merged(paths: list[Path]) -> KubeConfig:
    """One configuration of several files: what an earlier one says stands. Errors: ConfigError, OSError, KeyError, ValueError."""
    found: dict[str, Any] = {"current-context": None, **{kind: {} for kind in _NAMED}}
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"there is no file {path}")
        config = _read(path)
        found["current-context"] = found["current-context"] or config.get("current-context") or None
        for kind, name, entry in _entries(config, path):
            found[kind].setdefault(name, entry)
    return KubeConfig.from_dict({**found, **{kind: list(found[kind].values()) for kind in _NAMED}})


def token_of(plugin: UserExec) -> tuple[str | None, datetime | None]:
    """The token that a credential plug-in gives, and when it ends. Errors: SourceUnavailable."""
    if plugin.apiVersion not in _EXEC_VERSIONS:
        raise SourceUnavailable(f"credential plug-ins of version {plugin.apiVersion} are not known here")
    environment = os.environ | {variable.name: variable.value for variable in plugin.env or ()}
    info = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
    try:
        done = subprocess.run(
            [plugin.command, *(plugin.args or ())],
            env=environment | {"KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_EXEC_SECONDS,
        )
        status: dict[str, Any] = json.loads(done.stdout)["status"]
        ends = status.get("expirationTimestamp")
        return status.get("token"), datetime.fromisoformat(ends) if ends else None
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        # What a plug-in prints may be a credential.
        raise SourceUnavailable(
            f"the credential plug-in {plugin.command} gave no token: {type(error).__name__}"
        ) from None


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is empty, or no kubeconfig")
    return config


def _entries(config: Mapping[str, Any], path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Clusters, users and contexts by name, their paths made independent of the file."""
    for kind, (field, paths) in _NAMED.items():
        for entry in config.get(kind) or []:
            value = {
                key: str(path.absolute().parent / one) if key in paths and one else one
                for key, one in (entry.get(field) or {}).items()
            }
            if isinstance(plugin := value.get("exec"), dict) and "/" in plugin.get("command", ""):
                value["exec"] = {**plugin, "command": str(path.absolute().parent / plugin["command"])}
            yield kind, entry["name"], {"name": entry["name"], field: value}
