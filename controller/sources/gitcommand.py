"""Running git: arguments only, bounded in time, deaf to everything that could make it do more than fetch and show.

`git` composes these. Invariant: no URL or name that somebody gave can be read as an option, no prompt is ever waited for, and no password appears
in a message.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

_SAFE = (
    "-c", "protocol.ext.allow=never",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "gc.autoDetach=false",
    "-c", "maintenance.autoDetach=false",
    "-c", "advice.detachedHead=false",
)  # fmt: skip
_OURS = frozenset(
    (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_EXTERNAL_DIFF",
        "GIT_TRACE",
        "GIT_TRACE_CURL",
    )
)
_LONGEST_MESSAGE = 500
_STALE_LOCK = re.compile(r"\.lock'?: File exists", re.IGNORECASE)
_BROKEN = re.compile(
    r"not a git repository|corrupt|bad object|loose object|unable to read (?:sha1|tree)", re.IGNORECASE
)
_SHALLOW_REFUSED = re.compile(r"shallow|dumb http", re.IGNORECASE)


class GitFailed(Exception):
    """git said no, took too long, or is not there; the message is fit for people."""


class Git:
    """One bare repository of our own, used as a cache."""

    def __init__(self, place: Path, timeout: timedelta, *, secrets: Sequence[str] = ()) -> None:
        self._place = place
        self._timeout = timeout.total_seconds()
        self._secrets = [secret for secret in secrets if secret]

    async def prepare(self) -> None:
        """Make the cache if it is not there; a broken one is made again. Errors: GitFailed."""
        if await asyncio.to_thread((self._place / "HEAD").exists):
            return
        try:
            await asyncio.to_thread(self._place.mkdir, parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise GitFailed(f"{self._place} cannot be made: {error.strerror}") from error
        # An empty template: no hooks of the system's.
        await self._run("init", "--quiet", "--bare", "--template=", "--", str(self._place))

    async def fetch(self, url: str, *refspecs: str, deep: bool = False) -> None:
        """Bring `refspecs` from `url`, without history unless `deep`. Errors: GitFailed."""
        try:
            await self._fetch(url, refspecs, deep=deep)
        except GitFailed as error:
            if not await asyncio.to_thread(self._repair, str(error)):
                raise
            await self.prepare()
            await self._fetch(url, refspecs, deep=deep)

    async def _fetch(self, url: str, refspecs: Sequence[str], *, deep: bool) -> None:
        arguments = ("fetch", "--quiet", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        end = ("--", url, *refspecs)
        if not deep:
            try:
                await self.run(*arguments, "--depth=1", *end)
            except GitFailed as error:
                if not _SHALLOW_REFUSED.search(str(error)):
                    raise
            else:
                return
        await self.run(*arguments, *end)

    async def has_commit(self, commit: str) -> bool:
        """Whether the cache holds that commit."""
        try:
            await self.run("cat-file", "-e", f"{commit}^{{commit}}")
        except GitFailed:
            return False
        return True

    async def contents(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The contents of blobs by their ids. Errors: GitFailed."""
        wanted = sorted(set(digests))
        if not wanted:
            return {}
        answer = await self.run("cat-file", "--batch", given="".join(f"{digest}\n" for digest in wanted).encode())
        found: dict[str, bytes] = {}
        offset = 0
        for digest in wanted:
            end = answer.index(b"\n", offset)
            fields = answer[offset:end].split()
            if len(fields) != 3:
                raise GitFailed(f"object {digest} is missing from the cache {self._place}; remove that folder")
            size = int(fields[2])
            found[digest] = answer[end + 1 : end + 1 + size]
            offset = end + 1 + size + 1
        return found

    async def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """Run git in the cache and give what it printed. Errors: GitFailed."""
        return await self._run(f"--git-dir={self._place}", *arguments, given=given)

    async def _run(self, *arguments: str, given: bytes = b"") -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *_SAFE,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(os.environ),
                start_new_session=True,
            )
        except FileNotFoundError:
            raise GitFailed("the command git is not installed") from None
        except OSError as error:
            raise GitFailed(f"git cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._timeout):
                out, err = await process.communicate(given)
        except TimeoutError:
            raise GitFailed(f"git did not answer within {self._timeout:g} s") from None
        finally:
            # Also helpers that it started, such as ssh, and also when we are cancelled.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode != 0:
            raise GitFailed(self._message(err.decode(errors="replace"), process.returncode or 1))
        return out

    def _repair(self, said: str) -> bool:
        """Undo what a git that was killed may have left in the cache, which nobody else uses. True: try again."""
        if _STALE_LOCK.search(said):
            for lock in self._place.rglob("*.lock"):
                lock.unlink(missing_ok=True)
            return True
        if _BROKEN.search(said):
            shutil.rmtree(self._place, ignore_errors=True)
            return True
        return False

    def _message(self, said: str, code: int) -> str:
        for secret in self._secrets:
            said = said.replace(secret, "…")
        said = re.sub(r"://[^/@\s]*@", "://…@", said)
        lines = [line.removeprefix("fatal: ").removeprefix("error: ").strip() for line in said.splitlines()]
        text = "; ".join(line for line in lines if line)
        return text[:_LONGEST_MESSAGE] or f"git ended with code {code}"


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The controller's environment, for the user's credential helpers and agents, without what would redirect or stop git."""
    env = {name: value for name, value in inherited.items() if name not in _OURS}
    env["GIT_TERMINAL_PROMPT"] = "0"
    env["GIT_OPTIONAL_LOCKS"] = "0"
    env["LC_ALL"] = "C.UTF-8"
    env.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    env.setdefault("GIT_ASKPASS", "true")  # asked without an answer, git fails instead of waiting
    env.setdefault("SSH_ASKPASS", "true")
    return env


def without_secrets(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL for people, and what must not be shown of it. Pure."""
    try:
        parts = urlsplit(url)
        secrets = (parts.password or "",)
    except ValueError:
        return url, ()
    if not secrets[0] and ("@" not in parts.netloc or parts.scheme in ("ssh", "")):
        return url, ()
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    # With a token as the user (https://TOKEN@host) the user is the secret.
    hidden = (secrets[0], unquote(secrets[0])) if secrets[0] else (user, unquote(user))
    shown = f"{user}:…@{host}" if secrets[0] else f"…@{host}"
    return urlunsplit((parts.scheme, shown, parts.path, "", "")), hidden
