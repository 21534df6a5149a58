"""The API server as a controller talks to it; `kubeconfig` finds it where kubectl does, except that no proxy is used.

One `Connection` serves both clients: lightkube's for what we ask and write, kopf's for what we watch.
"""

import asyncio
import logging
from datetime import datetime
from pathlib import Path

import httpx2
import kopf
from lightkube import AsyncClient
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from controller.base.errors import InvalidInput, SourceUnavailable
from controller.kubernetes import kubeconfig

_ANSWER_SECONDS = 30.0
_KEPT = 16


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
            return kubeconfig.token_of(user.exec)
        return user.token, None


def connect(context: str | None = None) -> Connection:
    """The connection that kubectl would use. Errors: InvalidInput saying what is missing and where it was looked for."""
    return Connection(kubeconfig.find(context))


async def credentials_of(connection: Connection) -> kopf.ConnectionInfo:
    """`Connection.credentials` for an event loop."""
    return await asyncio.to_thread(connection.credentials)
