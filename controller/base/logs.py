"""Structured logging on the standard library: quiet, aligned text for people, one JSON object a line for machines.

`setup` is called once by the command; every module logs through `event(logger, "run finished", job=…, run=…)` on its own
`logging.getLogger(__name__)`. Text that leaves here is masked (masking.py) and has no control characters, so that neither a secret nor an
escape sequence that a job printed reaches a terminal.

Invariant: a record is one line, except for a traceback in text.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

import msgspec

from controller.base.masking import SECRETS, Masker


class LogFormat(StrEnum):
    """How records are written. Auto: Text on a terminal, JSON otherwise."""

    Auto = "auto"
    Text = "text"
    Json = "json"


_TOLD_ONLY_WARNINGS = ("asyncio", "aiohttp.access", "alembic", "kopf", "watchfiles")
_NEVER_DETAILED = (
    "apprise",
    "requests",
    "urllib3",
)  # their details are URLs of notification services, which are secrets
_RESERVED = frozenset({"time", "level", "logger", "message", "exception"})
_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_TRACEBACK_CONTROLS = {code: text for code, text in _CONTROLS.items() if code != ord("\n")}


def event(
    logger: logging.Logger,
    message: str,
    /,
    level: int = logging.INFO,
    *,
    error: BaseException | None = None,
    **fields: object,
) -> None:
    """Log that something happened, with what people and programs look for beside it.

    `message` is a constant phrase in lower case; what varies goes into `fields`. None values are left out. `error` adds its traceback.
    Costs a dictionary lookup when the level is off.
    """
    if logger.isEnabledFor(level):
        logger.log(level, "%s", message, exc_info=error, extra={"fields": fields}, stacklevel=2)


def setup(
    format: LogFormat = LogFormat.Auto,  # noqa: A002 - the name of the option
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    masker: Masker = SECRETS,
) -> logging.Handler:
    """Send everything that is logged to `stream` (default: standard error), replacing what was set up before; give the handler.

    Libraries are heard from WARNING on, or at `level` where that is DEBUG. Colours appear on a terminal only, and not when NO_COLOR asks
    (https://no-color.org) - the caller passes `stream`, this asks it. Errors: ValueError for a level that does not exist.
    """
    out = sys.stderr if stream is None else stream
    on_terminal = out.isatty()
    as_text = format == LogFormat.Text or (format == LogFormat.Auto and on_terminal)
    handler = logging.StreamHandler(out)
    handler.setFormatter(TextFormatter(masker, terminal=on_terminal) if as_text else JsonFormatter(masker))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    least = max(root.level, logging.WARNING)
    for name in _TOLD_ONLY_WARNINGS:
        logging.getLogger(name).setLevel(least if root.level > logging.DEBUG else root.level)
    for name in _NEVER_DETAILED:
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(capture=True)
    return handler


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, the event's fields, exception."""

    def __init__(self, masker: Masker = SECRETS) -> None:
        super().__init__()
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._masker.mask(record.getMessage()),
        }
        for name, value in _fields(record).items():
            if value is not None:
                line[f"{name}_" if name in _RESERVED else name] = _masked(value, self._masker)
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self._masker.mask(self.formatException(record.exc_info))
        return _one_line_json(line)


class TextFormatter(logging.Formatter):
    """`time  message  field=value …` with the level named from WARNING on; short local time on a terminal, RFC 3339 elsewhere."""

    def __init__(self, masker: Masker = SECRETS, *, terminal: bool = False) -> None:
        super().__init__()
        self._masker = masker
        self._terminal = terminal

    def format(self, record: logging.LogRecord) -> str:
        mask = self._masker.mask
        message = mask(record.getMessage()).translate(_CONTROLS)
        fields = " ".join(
            f"{name}={_quoted(mask(_plain(value)))}" for name, value in _fields(record).items() if value is not None
        )
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {message}"
        if fields:
            message = f"{message:<24}"
        trace = ""
        if record.exc_info and record.exc_info[0]:
            trace = "\n" + mask(self.formatException(record.exc_info)).translate(_TRACEBACK_CONTROLS)
        return f"{self._dress(record, message, fields)}{trace}"

    def _dress(self, record: logging.LogRecord, message: str, fields: str) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        if not self._terminal:
            time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return f"{time}  {message}  {fields}".rstrip()
        time = f"{_DIM}{at.astimezone():%H:%M:%S}{_PLAIN}"
        colour = _COLOURS.get(record.levelno)
        told = f"{colour}{message}{_PLAIN}" if colour else message
        return f"{time}  {told}  {_DIM}{fields}{_PLAIN}" if fields else f"{time}  {told}"


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields


def _masked(value: object, masker: Masker) -> object:
    """The value as JSON takes it, every text in it masked. Before encoding: masking JSON text could cut an escape in two."""
    if isinstance(value, str):
        return masker.mask(value)
    if value is None or isinstance(value, bool | int | float | datetime):
        return value
    if isinstance(value, Mapping):
        return {str(name): _masked(inner, masker) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner, masker) for inner in value]
    return masker.mask(str(value))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _quoted(text: str) -> str:
    if text and not any(character in text for character in ' "=\\') and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').translate(_CONTROLS)
    return f'"{escaped}"'


def _one_line_json(line: Mapping[str, Any]) -> str:
    """JSON without any character that some reader takes for the end of a line. Never raises: what cannot be encoded is written as text."""
    try:
        text = msgspec.json.encode(line, enc_hook=str).decode()
    except (TypeError, ValueError, UnicodeError, msgspec.MsgspecError):
        safe = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in line.items()}
        text = msgspec.json.encode(safe).decode()
    for character in "\x7f\x85\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text
