"""The pass of a run: what it shows to the egress proxy of a cluster, which knows nothing of runs, and believes the controller's signature.

`kubernetes.egress` signs one for each Pod that may reach the hosts of its contract; `api.egress_proxy` reads it out of a request.

    v1.BASE64URL(canonical JSON: expires, hosts, namespace, run).BASE64URL(HMAC-SHA256)

Invariants: what is in a pass is believed only after its signature; a pass has one spelling, so that no character of it can be changed; a pass ends.
Source: RFC 2104 (HMAC), RFC 4648 section 5 (base64url), RFC 7617 and RFC 9110 section 11.7 (how clients of a proxy show it).
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from controller.base import canonical
from controller.base.errors import InvalidInput

USER = "jobwarden"
"""The name that goes with a pass: clients of proxies know names and passwords."""
SHORTEST = 32  # characters of a key
_VERSION = "v1"
_PURPOSE = b"jobwarden egress pass\n"  # a signature of the same key over anything else is none of these
_FIELD = b"proxy-authorization"

Keys = Sequence[bytes]
"""The first signs; all of them are believed, so that a key can be replaced while runs go on."""


class Pass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run may reach what, and until when."""

    run: str
    namespace: str
    hosts: tuple[str, ...]
    expires: int  # seconds since 1970


class NoPass(msgspec.Struct, frozen=True):
    """Why nobody is let through. `shown`: there was one, and it is not good."""

    words: str
    shown: bool = True


_decoder = msgspec.json.Decoder(Pass)
_MISSING = NoPass("show the pass of your run: it is in HTTPS_PROXY, before the @", shown=False)
_FORGED = NoPass("this is no pass of a run of this controller")


def keys(path: Path) -> Keys:
    """The keys of a file, one a line. It is read each time: a Secret that is mounted changes under us. Errors: InvalidInput with what is wrong."""
    try:
        found = path.read_bytes().split()
    except OSError as error:
        raise InvalidInput(f"the key {path} of the egress proxy cannot be read: {error.strerror or error}") from error
    if not found or min(map(len, found)) < SHORTEST:
        raise InvalidInput(f"the key {path} of the egress proxy needs at least {SHORTEST} characters in each line")
    return found


def sign(made: Pass, keys: Keys) -> str:
    """The pass as its run shows it: letters that need no escape in a URL. Pure."""
    signed = f"{_VERSION}.{_text(canonical.dumps(msgspec.to_builtins(made)))}"
    return f"{signed}.{_signature(signed, keys[0])}"


def shown(head: bytes) -> str | NoPass:
    """The pass in the head of a request, as it was sent. Pure."""
    fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    values = [value.strip() for name, _, value in fields if name.strip().lower() == _FIELD]
    if not values:
        return _MISSING
    scheme, _, given = values[0].partition(b" ")
    try:
        name, _, password = base64.b64decode(given.strip(), validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return _FORGED
    return password if (len(values), scheme.lower(), name) == (1, b"basic", USER) else _FORGED


def read(text: str, keys: Keys, now: datetime) -> Pass | NoPass:
    """The pass, if one of the keys has signed it and it has not ended. Pure."""
    signed, _, signature = text.rpartition(".")
    version, _, content = signed.partition(".")
    if not text.isascii() or version != _VERSION:
        return _FORGED
    # All of them are compared, so that the time it takes says nothing of which one fits.
    fits = [hmac.compare_digest(_signature(signed, key), signature) for key in keys]
    if not any(fits):
        return _FORGED
    try:
        found = _decoder.decode(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    except (binascii.Error, msgspec.DecodeError):
        return _FORGED
    if now.timestamp() >= found.expires:
        ended = datetime.fromtimestamp(found.expires, UTC)
        return NoPass(f"the pass of the run {found.run} has ended at {ended:%Y-%m-%dT%H:%M:%SZ}, as the run had to")
    return found


def _signature(signed: str, key: bytes) -> str:
    return _text(hmac.digest(key, _PURPOSE + signed.encode("ascii"), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
