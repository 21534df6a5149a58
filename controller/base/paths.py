"""Where files of one installation live: database, run logs, control socket. Everything follows from the database URL and the environment.

Command line, controller and executor take these paths from here and nowhere else. Invariant: two ways of writing one database, and two passwords
for it, give the same control socket.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from controller.base.errors import InvalidInput

_MOST_SOCKET_BYTES = 107
"""A unix socket's address holds 108 bytes with the NUL behind it. Source: unix(7)."""
_SECRET_PARAMETERS = frozenset({"password", "sslpassword", "passfile", "sslkey"})
_ACCEPTED = "write sqlite:///FILE or postgresql://USER@HOST/NAME"


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/jobwarden`, else `~/.local/state/jobwarden`. Source: XDG base directory specification."""
    named = environ.get("XDG_STATE_HOME", "")
    # The specification says that a relative path is to be ignored.
    base = Path(named) if named.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return base / "jobwarden"


def default_database(environ: Mapping[str, str]) -> str:
    """The URL of the SQLite file in the default state folder."""
    return "sqlite:///" + quote(str(default_state_dir(environ) / "jobwarden.db"))


def sqlite_file(url: str) -> Path | None:
    """The absolute path of a SQLite URL's file, None for another database. Pure apart from the working directory."""
    if not url.startswith("sqlite:///"):
        return None
    name = unquote(url[len("sqlite:///") :].partition("?")[0])
    return Path(os.path.abspath(name)) if name else None  # noqa: PTH100 - a file that need not exist, symlinks kept


def absolute_url(url: str) -> str:
    """`url` in a form that means the same in every working directory.

    Errors: InvalidInput for anything but `sqlite:///FILE` and `postgresql://…`.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return url
    path = sqlite_file(url)
    if path is None or path.name == ":memory:":
        raise InvalidInput(f"{_without_secrets(url)!r} is not a database that jobwarden can use; {_ACCEPTED}")
    return "sqlite:///" + quote(str(path))


def state_dir(url: str, environ: Mapping[str, str]) -> Path:
    """The state folder that belongs to a database unless one is named: the SQLite file's own folder, else the default."""
    path = sqlite_file(url)
    return path.parent if path is not None else default_state_dir(environ)


def run_log(log_dir: Path, namespace: str, job: str, run: str) -> Path:
    """The file that holds what a run printed. Pure."""
    return log_dir / namespace / job / f"{run}.log"


def control_socket(url: str, environ: Mapping[str, str], uid: int) -> Path:
    """The control socket of the controller that serves a database.

    Shape:  `<runtime folder>/jobwarden/<12 hex digits>.sock`, always short enough for a socket address.
    Errors: InvalidInput for a URL that no controller can serve.
    """
    name = hashlib.sha256(_identity(url).encode()).hexdigest()[:12] + ".sock"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        path = Path(runtime) / "jobwarden" / name
        if len(os.fsencode(path)) <= _MOST_SOCKET_BYTES:
            return path
    for base in (environ.get("TMPDIR") or "/tmp", "/tmp"):  # noqa: S108 - the folder below it is private and checked
        path = Path(base) / f"jobwarden-{uid}" / name
        if len(os.fsencode(path)) <= _MOST_SOCKET_BYTES:
            break
    return path


def socket_to_ask(url: str, environ: Mapping[str, str], uid: int) -> Path:
    """The control socket as whoever asks finds it: root asks the controller of the user whom a SQLite file belongs to.

    Errors: as `control_socket`. A folder that somebody else has put where that user's would be is passed over.
    """
    path = sqlite_file(url)
    owner = _owner(path) if uid == 0 and path is not None else None
    if owner:
        for theirs in ({**environ, "XDG_RUNTIME_DIR": f"/run/user/{owner}"}, {}):
            found = control_socket(url, theirs, owner)
            if _owner(found.parent) == owner and found.exists():
                return found
    return control_socket(url, environ, uid)


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def private_folder(path: Path, uid: int) -> None:
    """Make a folder that only its owner can enter, or see that an existing one is.

    Effect: `path` exists with mode 0700. Errors: InvalidInput when somebody else could have put it there.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise InvalidInput(f"{path} must be a folder of user {uid} itself, not a link or another user's; remove it")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def _identity(url: str) -> str:
    """What makes two URLs the same database: no password, explicit port, real path of the file's folder."""
    path = sqlite_file(absolute_url(url))
    if path is not None:
        return "sqlite:" + os.path.realpath(path)
    parts = urlsplit(url)
    query = sorted((key, value) for key, value in parse_qsl(parts.query) if key not in _SECRET_PARAMETERS)
    user = unquote(parts.username or "")
    host = (parts.hostname or "").lower()
    return f"postgresql:{user}@{host}:{parts.port or 5432}{unquote(parts.path)}?{urlencode(query)}"


def _without_secrets(url: str) -> str:
    before, at, after = url.rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}…@{after}" if at else url
