"""Posting one signed message to a webhook, and judging the answer.

The sender gives the resolved target and the body; nothing comes back but a raised refusal. Signatures are those of Standard Webhooks, so
receivers can use its libraries: HMAC-SHA256 over `id.timestamp.body`, base64, one `v1,…` per key, the key being what follows `whsec_`
decoded from base64, or else the text itself.

Invariant: the signed bytes are the sent bytes, and a message that is sent again has the same `webhook-id`.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp

from controller.base.errors import DeliveryFailed
from controller.notifications.errors import DeliveryPostponed, DeliveryRefused
from controller.notifications.render import CLOUDEVENTS_TYPE
from controller.notifications.targets import WebhookTarget

_TOLD = 200  # characters of a refusal's body that are told
_TRANSIENT = frozenset({408, 425, 429})  # of 4xx: those that ask for another attempt


async def post(
    session: aiohttp.ClientSession,
    target: WebhookTarget,
    body: bytes,
    *,
    message_id: str,
    now: datetime,
    timeout: timedelta,  # noqa: ASYNC109 - also bounds the connection pool's own waiting
) -> None:
    """Send the message once; 2xx is success.

    Errors: DeliveryFailed for no answer, 408, 425, 429 and 5xx; DeliveryPostponed when such an answer has Retry-After; DeliveryRefused for
    every other answer, redirects included (whoever follows one would post secrets to a place that nobody declared). Causes are not
    chained: exceptions of the client name the URL. What the receiver answers is part of the message and has to be masked.
    """
    try:
        async with session.post(
            target.url,
            data=body,
            headers=_headers(target, body, message_id, now),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout.total_seconds()),
        ) as answer:
            if 200 <= answer.status < 300:
                return
            told = (await answer.content.read(4 * _TOLD)).decode("utf-8", "replace")
            raise _judged(answer.status, answer.headers.get("Retry-After"), told, now)
    except TimeoutError:
        raise DeliveryFailed(f"the webhook did not answer within {timeout.total_seconds():g} s") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise DeliveryRefused("the webhook's URL is not a valid http or https URL") from None
    except aiohttp.ClientConnectorCertificateError:
        raise DeliveryFailed("the webhook's certificate is not trusted") from None
    except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise DeliveryFailed(f"the webhook cannot be reached: {_reason(error)}") from None
    except ValueError:
        # The client checks URL and headers as it goes, and names them.
        raise DeliveryRefused("the webhook's URL or one of its headers cannot be sent") from None


def signatures(keys: tuple[str, ...], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature a key, separated by spaces. Pure.

    Errors: DeliveryRefused for a key that begins with `whsec_` and does not go on in base64.
    Source: Standard Webhooks, "Symmetric signatures".
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(_key(key), signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _headers(target: WebhookTarget, body: bytes, message_id: str, now: datetime) -> dict[str, str]:
    timestamp = int(now.timestamp())
    ours = {
        "Content-Type": CLOUDEVENTS_TYPE,
        "User-Agent": "jobwarden",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
    }
    if target.keys:
        ours["webhook-signature"] = signatures(target.keys, message_id, timestamp, body)
    taken = {name.lower() for name in ours}
    return {name: value for name, value in target.headers.items() if name.lower() not in taken} | ours


def _key(text: str) -> bytes:
    if not text.startswith("whsec_"):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise DeliveryRefused("the signing key begins with whsec_ but does not go on in base64") from None


def _judged(status: int, retry_after: str | None, told: str, now: datetime) -> DeliveryFailed:
    said = " ".join("".join(c if c.isprintable() else " " for c in told).split())[:_TOLD]
    message = f"the webhook answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        return DeliveryRefused(f"the webhook answered {status}; redirects are not followed, declare the final URL")
    if status < 500 and status not in _TRANSIENT:
        return DeliveryRefused(message)
    wait = _retry_after(retry_after, now)
    return DeliveryFailed(message) if wait is None else DeliveryPostponed(message, wait)


def _retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Seconds or an HTTP date (RFC 9110, section 10.2.3); None for anything else. Pure."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return timedelta(seconds=min(int(value.strip()[:9]), 10**6))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(timedelta(0), at.replace(tzinfo=at.tzinfo or UTC) - now)


def _reason(error: BaseException) -> str:
    """Words of the system or the name of the error: never what the client wrote, which names host and URL."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "TLS does not work with it"
    if isinstance(error, aiohttp.ServerDisconnectedError | asyncio.IncompleteReadError):
        return "it closed the connection without an answer"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else type(error).__name__
