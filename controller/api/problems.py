"""Errors as answers: the tree of exceptions to HTTP codes and `{error: {reason, message, hint}}`.

A middleware of the control server. Invariant: nothing that goes wrong inside reaches the other end as a page of HTML or a traceback.
"""

import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from controller.base import errors
from controller.base.errors import JobwardenError, hint_of

_log = logging.getLogger(__name__)
_CODES: dict[type[JobwardenError], int] = {
    errors.InvalidInput: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.SourceUnavailable: 503,
    errors.StoreUnavailable: 503,
    errors.StoreHeld: 503,
    errors.ControllerUnreachable: 503,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what the handler raises."""
    try:
        return await handler(request)
    except JobwardenError as error:
        return problem(_CODES.get(type(error), 500), type(error).__name__, str(error), hint_of(error))
    except web.HTTPException as error:
        return problem(error.status, "Http" + error.reason.replace(" ", ""), f"{request.path}: {error.reason}")
    except Exception:  # noqa: BLE001 - whatever it is, the other end gets an answer
        _log.exception("a request failed: %s %s", request.method, request.path)
        message = "the controller failed at this request; its log says where"
        return problem(500, "Internal", message)


def problem(code: int, reason: str, message: str, hint: str = "") -> web.Response:
    """An answer that is an error. Pure."""
    body = msgspec.json.encode({"error": {"reason": reason, "message": message, "hint": hint}})
    return web.Response(status=code, body=body, content_type="application/json")
