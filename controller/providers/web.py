"""One HTTP request to a backend of credentials, and its answer as bounded JSON.

`token_exchange`, `vault` and `decision_point` ask. Invariant: secrets leave over TLS or stay on this host; no redirect is followed, no cookie kept, no proxy of the environment
used; no error names more than the field that has the address.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from controller.base import urls
from controller.base.errors import InvalidInput
from controller.providers.protocol import Unavailable

Shape = TypeVar("Shape")

_MOST = 256 * 1024  # bytes of an answer
_PASSING = frozenset({408, 412, 425, 429, 472, 473})  # 412, 472, 473: a standby of Vault that is behind


class Reply(msgspec.Struct, frozen=True):
    """Status and body of an answer."""

    status: int
    body: bytes
    retry_after: timedelta | None = None

    def __repr__(self) -> str:
        return f"Reply({self.status}, ***)"

    @property
    def good(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later."""
        return self.status in _PASSING or self.status >= 500

    def read(self, decoder: msgspec.json.Decoder[Shape]) -> Shape | None:
        """The body as what the decoder reads; None where it is something else."""
        try:
            return decoder.decode(self.body)
        except msgspec.MsgspecError:
            return None


def check(field: str, url: str) -> str:
    """An address that secrets may be sent to. Errors: InvalidInput."""
    objection = urls.objection(url)
    if objection is not None:
        raise InvalidInput(f"{field}: {objection}")
    return url


async def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] = {},
    form: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    authority: str | None = None,
) -> Reply | Unavailable:
    """One request; `form` or `body` (JSON) goes with it. `authority` is PEM that certificates have to come from; None: what the system trusts.

    The caller bounds the time. Units: an answer over 256 KiB is an outage.
    """
    try:
        trust: ssl.SSLContext | bool = True if authority is None else ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError):
        return Unavailable("what caFrom points at is no certificate in PEM")
    sent = {"User-Agent": "jobwarden", "Accept": "application/json", **headers}
    data = None if body is None else msgspec.json.encode(body)
    if data is not None:
        sent["Content-Type"] = "application/json"
    try:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method,
                URL(url, encoded=True),
                headers=sent,
                data=form if data is None else data,
                ssl=trust,
                allow_redirects=False,
            ) as answer,
        ):
            return await _read(answer)
    # Causes are not chained: exceptions of the client name what was sent.
    except aiohttp.ClientConnectorCertificateError:
        return Unavailable("its certificate is not trusted: name its authority with caFrom")
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
        return Unavailable(f"it cannot be reached: {_reason(error)}")
    except ValueError:
        return Unavailable("a value that it needs cannot be sent: has it a line break?")


async def _read(answer: aiohttp.ClientResponse) -> Reply | Unavailable:
    found = bytearray()
    async for data in answer.content.iter_chunked(1 << 14):
        found += data
        if len(found) > _MOST:
            return Unavailable(f"its answer has more than {_MOST} bytes")
    wait = answer.headers.get("Retry-After", "")
    seconds = timedelta(seconds=int(wait[:6])) if wait.isascii() and wait.isdigit() else None
    return Reply(answer.status, bytes(found), seconds)


def _reason(error: BaseException) -> str:
    """Words of the system or the name of the error: never what the client wrote."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "TLS does not work with it"
    if isinstance(error, aiohttp.ServerDisconnectedError | asyncio.IncompleteReadError):
        return "it closed the connection without an answer"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else type(error).__name__
