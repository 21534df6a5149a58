"""The provider `exec`: a program of the controller's host that prints a credential in the shape of Kubernetes' credential plug-ins.

    exec:
      command: /usr/local/bin/issue-token
      args: [--for, payments]
      env: [{name: REGION, value: eu}, {name: API_KEY, valueFrom: {envRef: {name: ISSUER_KEY}}}]

It runs in the root folder, with the variables of `env` and these, and no others, not even PATH; nobody answers its questions:

    KUBERNETES_EXEC_INFO        an ExecCredential that says that nobody does
    JOBWARDEN_LIFETIME          for how many seconds the credential is needed at most
    JOBWARDEN_SCOPES            which scopes are asked for, with spaces between them; not there: nothing is said about scopes
    JOBWARDEN_PRINCIPAL         of whom, where it is the provider of an identity
    JOBWARDEN_ATTESTATION       what has to be attested about that one, where something has
    JOBWARDEN_SUBJECT_TOKEN     the token that less is to be made of, where less is asked for

What it prints on standard output is an ExecCredential; of standard error nothing is told. Credentials are `token`, and `tls.crt` and `tls.key` where it gives a
certificate. That shape has no place for the rest, so it is in annotations, which other readers ignore: `jobwarden.dev/scopes`, `jobwarden.dev/principal`,
`jobwarden.dev/trust-level`, `jobwarden.dev/attestation` (several with spaces between them) of what is given, or `jobwarden.dev/refused` in place of a status: why it is not. A program that says nothing of scopes is believed to know none: then
who asks for some is refused, and nothing is narrowed. Source: client.authentication.k8s.io/v1, ExecCredential.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import msgspec

from controller.base.errors import InvalidInput
from controller.base.references import LARGEST, SecretSource
from controller.base.structs import described
from controller.domain.trust import TrustLevel
from controller.providers import config as configuration
from controller.providers import programs
from controller.providers.config import Config
from controller.providers.programs import Ended, NotStarted
from controller.providers.protocol import Answer, Refused, Request, Secret, Session, Unavailable
from controller.providers.surroundings import Surroundings
from controller.providers.words import listed

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_MOST = 2 * LARGEST
_OURS = "JOBWARDEN_"
_SAID = "jobwarden.dev/"


class Variable(Config, frozen=True):
    """One variable of the program."""

    name: str
    value: str | None = None
    value_from: SecretSource | None = None


@described
class ExecConfig(Config, frozen=True):
    """The program."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class _Metadata(msgspec.Struct, frozen=True):
    annotations: Mapping[str, str] = {}


class _Printed(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: _Status | None = None
    metadata: _Metadata = _Metadata()

    def says(self, name: str) -> str | None:
        """One of our annotations."""
        return self.metadata.annotations.get(_SAID + name)


_printed = msgspec.json.Decoder(_Printed)


class ExecCredential:
    """`exec`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        surroundings.demand_host("exec")
        self._config = configuration.read("exec", config, ExecConfig)
        if not PurePosixPath(self._config.command).is_absolute():
            raise InvalidInput("spec.exec.command: give the full path of the program; it is looked for nowhere")
        for index, variable in enumerate(self._config.env):
            _check(f"spec.exec.env[{index}]", variable, surroundings)
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        return await self._asked(request, _told(request))

    async def downscope(self, request: Request, session: Session) -> Answer:
        """Source: `Downscoping.downscope`. The program sees the token that there is."""
        token = session.credentials.get("token")
        if token is None:
            return Refused("the session that is to be narrowed has no token")
        return await self._asked(request, {**_told(request), "JOBWARDEN_SUBJECT_TOKEN": token.reveal()})

    async def _asked(self, request: Request, told: Mapping[str, str]) -> Answer:
        environment = await self._environment()
        if not isinstance(environment, dict):
            return environment
        command = (self._config.command, *self._config.args)
        ended = await programs.run(command, {**environment, **told}, most=_MOST)
        answer = self._judged(ended)
        if isinstance(answer, Session) and request.scopes and answer.scopes is None:
            return Refused(
                f"{self._config.command} does not say which of the scopes {listed(request.scopes)} its credential has: let it obey JOBWARDEN_SCOPES and print the "
                f"annotation {_SAID}scopes, or remove the scopes"
            )
        return _narrowed(request, answer)

    async def _environment(self) -> dict[str, str] | Refused | Unavailable:
        """What the program sees, whatever it is asked for."""
        info = {"apiVersion": _VERSIONS[0], "kind": "ExecCredential", "spec": {"interactive": False}}
        found = {"KUBERNETES_EXEC_INFO": json.dumps(info)}
        for variable in self._config.env:
            if variable.value_from is None:
                found[variable.name] = variable.value or ""
                continue
            value = await self._surroundings.read(variable.value_from)
            if not isinstance(value, Secret):
                return value
            found[variable.name] = value.reveal()
        return found

    def _judged(self, ended: Ended | NotStarted) -> Answer:
        command = self._config.command
        if isinstance(ended, NotStarted):
            return Refused(ended.message)
        if ended.cut:
            return Refused(f"{command} prints more than {_MOST} bytes, which is no ExecCredential")
        if ended.code != 0:
            how = f"exit code {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
            # Nothing of what it complained about is quoted: it may name the very credential, which nobody else knows yet.
            return Unavailable(f"{command} ended with {how}; run it by hand to see what it says")
        return _read(command, ended.stdout)


def _told(request: Request) -> dict[str, str]:
    """What a program is told of a request. Pure."""
    told = {"JOBWARDEN_LIFETIME": str(max(1, int(request.lifetime.total_seconds())))}
    if request.scopes:
        told["JOBWARDEN_SCOPES"] = " ".join(request.scopes)
    if request.identity is not None:
        told["JOBWARDEN_PRINCIPAL"] = request.identity.subject.principal
        if request.identity.attestation is not None:
            told["JOBWARDEN_ATTESTATION"] = request.identity.attestation
    return told


def _check(field: str, variable: Variable, surroundings: Surroundings) -> None:
    if not variable.name or "=" in variable.name or "\0" in variable.name:
        raise InvalidInput(f"{field}.name: {variable.name!r} is no name of a variable")
    if variable.name.startswith(_OURS):
        raise InvalidInput(f"{field}.name: names that begin with {_OURS} are ours, choose another")
    if (variable.value is None) == (variable.value_from is None):
        raise InvalidInput(f"{field}: set either value or valueFrom")
    if variable.value_from is not None:
        surroundings.check(f"{field}.valueFrom", variable.value_from)


def _read(command: str, printed: bytes) -> Answer:
    """What the output means. Nothing of it is quoted: it may be a credential. Pure."""
    try:
        found = _printed.decode(printed)
    except msgspec.MsgspecError:
        return Refused(f"{command} prints no ExecCredential: JSON with apiVersion, kind and status is expected")
    if found.kind != "ExecCredential" or found.api_version not in _VERSIONS:
        return Refused(f"{command} prints no ExecCredential of {_VERSIONS[0]}: correct its apiVersion and kind")
    refused = found.says("refused")
    if refused is not None:
        return Refused(refused)
    status = found.status
    if status is None or not (status.token or status.client_certificate_data):
        return Refused(f"{command} prints an ExecCredential without status.token and without a client certificate")
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        return Refused(f"{command} prints a client certificate without its key, or a key without a certificate")
    known = {"token": status.token, "tls.crt": status.client_certificate_data, "tls.key": status.client_key_data}
    level, scopes, attested = found.says("trust-level"), found.says("scopes"), found.says("attestation")
    if level is not None and level not in set(TrustLevel):
        return Refused(f"{command} prints an annotation {_SAID}trust-level that is none of {', '.join(TrustLevel)}")
    return Session(
        credentials={key: Secret(value) for key, value in known.items() if value},
        principal=found.says("principal"),
        level=TrustLevel(level) if level is not None else None,
        scopes=tuple(scopes.split()) if scopes is not None else None,
        attestations=tuple(attested.split()) if attested is not None else None,
        expires_at=status.expiration_timestamp,
    )


def _narrowed(request: Request, answer: Answer) -> Answer:
    """Only the credentials that are wanted. Pure."""
    if not isinstance(answer, Session) or not request.keys:
        return answer
    if missing := set(request.keys) - set(answer.credentials):
        return Refused(f"it gave no credential {listed(missing)}, only {listed(answer.credentials)}")
    return msgspec.structs.replace(answer, credentials={key: answer.credentials[key] for key in request.keys})
