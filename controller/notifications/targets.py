"""Resolving a NotificationTarget when a message is sent: references become secrets, in memory only.

The sender gives the target's spec as stored (references, never secrets) and takes a `Target`. Whatever is wrong fails closed: nothing is
read that the settings do not allow, and no message is sent with half of its secrets.

Invariant: no error of this module contains what a reference points at.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

import msgspec

from controller.base import references
from controller.base.errors import DeliveryFailed
from controller.base.references import Allowed, SecretKeyRef, SecretSource, Unreadable
from controller.notifications.errors import DeliveryRefused

_NO_CLUSTER = Unreadable(
    "this controller is in no cluster, so it reads no Secret; use envRef or fileRef", permanent=True
)


class HeaderSource(msgspec.Struct, frozen=True, rename="camel"):
    """A header and where its value is read."""

    name: str
    value_from: SecretSource


class WebhookSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Exactly one of url and url_from is set."""

    url: str | None = None
    url_from: SecretSource | None = None
    headers_from: tuple[HeaderSource, ...] = ()
    signing_key_from: SecretSource | None = None


class TargetSpec(msgspec.Struct, frozen=True):
    """The spec of a NotificationTarget; exactly one is set."""

    apprise_url_from: SecretSource | None = msgspec.field(default=None, name="appriseURLFrom")
    webhook: WebhookSpec | None = None
    allowed_namespaces: tuple[str, ...] = msgspec.field(default=(), name="allowedNamespaces")


class AppriseTarget(msgspec.Struct, frozen=True):
    """An apprise URL; all of it is secret."""

    url: str

    def __repr__(self) -> str:
        return "AppriseTarget(***)"


class WebhookTarget(msgspec.Struct, frozen=True):
    """Where to post, with which headers, signed with which keys (newest first; none: unsigned)."""

    url: str
    headers: Mapping[str, str] = {}
    keys: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "WebhookTarget(***)"


Target = AppriseTarget | WebhookTarget


class Resolved(msgspec.Struct, frozen=True):
    """A target with its secrets, and every text that has to be masked while it is in use."""

    target: Target
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return "Resolved(***)"


_decoder = msgspec.json.Decoder(TargetSpec)


def keys_of(spec: bytes) -> set[SecretKeyRef]:
    """The keys of Secrets that the target needs; none for a spec that cannot be read. Pure."""
    try:
        declared = _decoder.decode(spec)
    except msgspec.MsgspecError:
        return set()
    webhook = declared.webhook or WebhookSpec()
    sources = [declared.apprise_url_from, webhook.url_from, webhook.signing_key_from]
    sources += [header.value_from for header in webhook.headers_from]
    return {one.secret_key_ref for one in sources if one is not None and one.secret_key_ref is not None}


def resolve(
    spec: bytes,
    allowed: Allowed,
    environment: Mapping[str, str],
    kept: Mapping[SecretKeyRef, str | Unreadable] = MappingProxyType({}),
) -> Resolved:
    """Read what the target's references point at. Blocks on files: call it on a worker thread. `kept` is what `keys_of` asked for.

    Errors: DeliveryRefused when the settings do not allow it or the spec is damaged; DeliveryFailed (backoff) when the variable or file
    is missing, empty or unreadable, since that can be mended without touching the target.
    """
    try:
        declared = _decoder.decode(spec)
    except msgspec.MsgspecError:
        raise DeliveryRefused("the stored spec of the target cannot be read; apply its manifest again") from None
    read = _Reader(allowed, environment, kept)
    if declared.apprise_url_from is not None:
        url = read("spec.appriseURLFrom", declared.apprise_url_from)
        return Resolved(AppriseTarget(url), (url, *_parts(url)))
    if declared.webhook is not None:
        return _webhook(declared.webhook, read)
    raise DeliveryRefused("the target declares neither appriseURLFrom nor webhook")


def permits(spec: bytes, namespace: str) -> bool:
    """Whether a cluster target lets jobs of `namespace` use it; a spec that cannot be read lets nobody. Pure."""
    try:
        allowed = _decoder.decode(spec).allowed_namespaces
    except msgspec.MsgspecError:
        return False
    return "*" in allowed or namespace in allowed


def _webhook(webhook: WebhookSpec, read: "_Reader") -> Resolved:
    secrets: list[str] = []
    if webhook.url_from is not None:
        url = read("spec.webhook.urlFrom", webhook.url_from)
        secrets += [url, *_parts(url)]
    elif webhook.url is not None:
        url = webhook.url
    else:
        raise DeliveryRefused("spec.webhook declares neither url nor urlFrom")
    headers = {}
    for index, header in enumerate(webhook.headers_from):
        value = read(f"spec.webhook.headersFrom[{index}]", header.value_from)
        if any(character in value for character in "\r\n\0"):
            raise DeliveryRefused(f"the value of the header {header.name} has a line break, which no header may have")
        headers[header.name] = value
        # `Authorization: Bearer TOKEN`: the token alone is a secret, too.
        secrets += [value, *value.split()]
    keys: tuple[str, ...] = ()
    if webhook.signing_key_from is not None:
        text = read("spec.webhook.signingKeyFrom", webhook.signing_key_from)
        keys = tuple(line.strip() for line in text.splitlines() if line.strip())
        secrets += [text, *keys, *(key.removeprefix("whsec_") for key in keys)]
    return Resolved(WebhookTarget(url, headers, keys), tuple(secrets))


class _Reader:
    """Reads one reference; `field` is where it stands in the manifest, for messages."""

    def __init__(
        self, allowed: Allowed, environment: Mapping[str, str], kept: Mapping[SecretKeyRef, str | Unreadable]
    ) -> None:
        self._allowed = allowed
        self._environment = environment
        self._kept = kept

    def __call__(self, field: str, source: SecretSource) -> str:
        if source.env_ref is not None:
            place = f"{field}.envRef"
            value = references.variable(source.env_ref.name, self._allowed, self._environment)
        elif source.file_ref is not None:
            place = f"{field}.fileRef"
            value = references.file(Path(source.file_ref.path), self._allowed)
        elif source.secret_key_ref is not None:
            place = f"{field}.secretKeyRef"
            value = self._kept.get(source.secret_key_ref, _NO_CLUSTER)
        else:
            raise DeliveryRefused(f"{field} names neither envRef nor fileRef nor secretKeyRef")
        if isinstance(value, Unreadable):
            error = DeliveryRefused if value.permanent else DeliveryFailed
            raise error(f"{place}: {value.message}")
        if not value.strip():
            raise DeliveryFailed(f"{field} points at something that is empty")
        return value


def _parts(url: str) -> Iterator[str]:
    """The parts of a secret URL that libraries show alone: user, password, path segments, query values. Pure."""
    try:
        split = urlsplit(url)
        found = [
            split.netloc.rpartition("@")[0],
            split.username,
            split.password,
            split.path,
            split.query,
            split.fragment,
        ]
    except ValueError:
        return
    found += split.path.split("/")
    found += [value for pair in split.query.split("&") for value in pair.partition("=")[2:]]
    if split.scheme not in {"http", "https"}:
        # Most apprise services keep a token where a host would be.
        found.append(split.netloc.rpartition("@")[2])
    if split.password:
        yield split.password
    for part in found:
        # Short words are names of things; masking them would leave no message to read.
        if part and len(part) >= 8:
            yield part
            if unquote(part) != part:
                yield unquote(part)
