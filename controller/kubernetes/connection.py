"""Where the API server is, and who we are there: found where kubectl finds it, except that KUBECONFIG names one file and no proxy is used.

In a Pod it is the service account; elsewhere `KUBECONFIG` or `~/.kube/config`, with `--context` to choose among its contexts. One `Connection` serves both
clients: lightkube's for what we ask and write, kopf's for what we watch.
"""

import asyncio
import json
import logging
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import kopf
from lightkube import AsyncClient
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, KubeConfig, SingleConfig
from lightkube.config.models import User, UserExec
from lightkube.core.exceptions import ConfigError

from controller.base.errors import InvalidInput, SourceUnavailable

_EXEC_SECONDS = 30
_ANSWER_SECONDS = 30.0
_KEPT = 16
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Connection:
    """One API server and one identity."""

    def __init__(self, config: SingleConfig) -> None:
        self._config = config

    @property
    def server(self) -> str:
        """Its URL."""
        return self._config.cluster.server

    @property
    def namespace(self) -> str:
        """The namespace of the context, or that of the Pod."""
        return self._config.namespace

    def client(self) -> AsyncClient:
        """A client for asking and writing. Errors: InvalidInput for a certificate or key that cannot be read."""
        # It logs every request.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        try:
            # Proxies and certificates of the environment are for other servers than this one.
            return AsyncClient(config=self._config, trust_env=False)
        except (OSError, ValueError, ConfigError) as error:
            raise InvalidInput(f"the connection to {self.server} cannot be made: {error}") from error

    def http(self) -> httpx2.AsyncClient:
        """A client for what is streamed, and for objects of kinds that are not ours: as many connections as there are streams. Errors: InvalidInput."""
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        parameters = client_adapter.ConnectionParams(timeout=httpx2.Timeout(_ANSWER_SECONDS), trust_env=False)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT)
        try:
            return httpx2.AsyncClient(**parameters.httpx_params(self._config), limits=limits)
        except (OSError, ValueError, ConfigError) as error:
            raise InvalidInput(f"the connection to {self.server} cannot be made: {error}") from error

    def credentials(self) -> kopf.ConnectionInfo:
        """What kopf needs to watch; asked again whenever the server refuses what was given. Blocks. Errors: SourceUnavailable."""
        cluster, user = self._config.cluster, self._config.user or User()
        token, expiration = self._token(user)
        return kopf.ConnectionInfo(
            server=cluster.server,
            ca_path=self._path(cluster.certificate_auth),
            ca_data=None if cluster.certificate_auth else cluster.certificate_auth_data,
            insecure=cluster.insecure,
            username=user.username,
            password=user.password,
            token=token,
            certificate_path=self._path(user.client_cert),
            certificate_data=None if user.client_cert else user.client_cert_data,
            private_key_path=self._path(user.client_key),
            private_key_data=None if user.client_key else user.client_key_data,
            default_namespace=self.namespace,
            expiration=expiration,
        )

    def _path(self, name: str | None) -> str | None:
        return str(self._config.abs_file(name)) if name else None

    def _token(self, user: User) -> tuple[str | None, datetime | None]:
        if user.token_file:
            try:
                return Path(self._config.abs_file(user.token_file)).read_text(encoding="utf-8").strip(), None
            except OSError as error:
                raise SourceUnavailable(f"the token for {self.server} cannot be read: {error}") from error
        if user.token is None and user.exec is not None:
            return _token_of(user.exec)
        return user.token, None


def connect(context: str | None = None) -> Connection:
    """The connection that kubectl would use. Errors: InvalidInput saying what is missing and where it was looked for."""
    try:
        config = KubeConfig.from_service_account() if context is None and _in_pod() else _from_file()
        chosen = config.get(context)
    except (ConfigError, OSError, KeyError, ValueError) as error:
        where = os.environ.get("KUBECONFIG", DEFAULT_KUBECONFIG)
        raise InvalidInput(
            f"no Kubernetes API server can be found: {error} (looked at {where}; set KUBECONFIG, or name a --context)"
        ) from error
    if chosen is None:
        raise InvalidInput(f"the kubeconfig has no context {context!r}")
    # lightkube wants somebody to be; nobody in particular is somebody without credentials.
    return Connection(chosen._replace(user=chosen.user or User()))


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


def _from_file() -> KubeConfig:
    return KubeConfig.from_file(os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG)


def _token_of(plugin: UserExec) -> tuple[str | None, datetime | None]:
    """The token that a credential plug-in gives, and when it ends. Source: KEP-541. Errors: SourceUnavailable."""
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


async def credentials_of(connection: Connection) -> kopf.ConnectionInfo:
    """`Connection.credentials` for an event loop."""
    return await asyncio.to_thread(connection.credentials)
