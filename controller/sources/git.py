"""A folder of a Git repository at a branch, tag or commit.

The system's git keeps a bare cache; files are read from its objects, nothing is checked out, no hook and no configuration of the remote runs.
Credentials are git's own business: credential helpers, SSH agent, the user's configuration. Invariant: a fetch that fails leaves the last good
revision where it was, and a force-push is followed.
"""

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec

from controller.base.errors import InvalidInput, SourceUnavailable
from controller.sources.gitcommand import Git, GitFailed, without_secrets
from controller.sources.snapshot import MAX_FILE, Hint, Snapshot, difference, is_manifest

_TARGET = "refs/jobwarden/target"
_LINK = "120000"
_MOST_HOPS = 8


class GitRevision(msgspec.Struct, frozen=True):
    """What to follow; at most one is set, none means the branch that the remote names as its own (HEAD)."""

    branch: str | None = None
    tag: str | None = None
    commit: str | None = None

    def __str__(self) -> str:
        for kind in ("branch", "tag", "commit"):
            if value := getattr(self, kind):
                return f"{kind} {value}"
        return "the default branch"


class _Blob(msgspec.Struct, frozen=True):
    mode: str
    digest: str
    size: int


class GitSource:
    """One repository. Satisfies `snapshot.Source`."""

    kind = "Git"

    def __init__(
        self,
        name: str,
        url: str,
        cache: Path,
        *,
        revision: GitRevision = GitRevision(),  # noqa: B008 - immutable
        path: str = "",
        interval: timedelta = timedelta(minutes=1),
        timeout: timedelta = timedelta(minutes=1),
        verify_commit: bool = False,
        namespace: str | None = None,
        allowed_kinds: frozenset[str] | None = None,
    ) -> None:
        """`cache` is a folder for all Git sources of this controller; `path` a folder inside the repository.

        Errors: InvalidInput for a URL or path that git must not be given.
        """
        if url.startswith("-") or "::" in url.split("/", 1)[0]:
            raise InvalidInput(f"{url!r} is not a repository URL; write https://…, ssh://…, HOST:PATH or a folder")
        self.name = name
        self.namespace = namespace
        self.allowed_kinds = allowed_kinds
        self._url = url
        self._revision = revision
        self._path = _inside(path)
        self._interval = interval.total_seconds()
        self._verify = verify_commit
        place = cache / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.git"
        self._git = Git(place, timeout, secrets=without_secrets(url)[1])
        self.location = f"{without_secrets(url)[0]}, {revision}" + (f", folder {self._path}" if self._path else "")
        self._lock = asyncio.Lock()
        self._signer: tuple[str, str | None] = ("", None)  # of which commit

    async def fetch(self, known: Mapping[str, str], hint: Hint | None = None) -> Snapshot:  # noqa: ARG002 - always whole
        """As `snapshot.Source.fetch`; `revision` is the commit, `signer` whom git names for a good signature of a key that the controller's user trusts."""
        async with self._lock:
            try:
                await self._git.prepare()
                commit = await self._pull()
                if self._verify:
                    await self._check_signature(commit)
                blobs = await self._list(commit)
                snapshot = await self._snapshot(commit, await self._manifests(blobs, commit), known)
                return msgspec.structs.replace(snapshot, signer=await self._signed_by(commit))
            except GitFailed as error:
                raise SourceUnavailable(f"{self.location}: {error}; the last good revision stays in force") from error

    async def changes(self) -> AsyncIterator[Hint]:
        """As `snapshot.Source.changes`: now, and then at every interval."""
        while True:
            yield Hint()
            await asyncio.sleep(self._interval)

    async def _pull(self) -> str:
        """Bring the wanted commit into the cache and give its id."""
        wanted = self._revision
        if wanted.commit is not None:
            if not await self._git.has_commit(wanted.commit):
                await self._pull_commit(wanted.commit)
            return wanted.commit
        remote = "HEAD"
        if wanted.branch is not None:
            remote = f"refs/heads/{wanted.branch}"
        elif wanted.tag is not None:
            remote = f"refs/tags/{wanted.tag}"
        await self._git.fetch(self._url, f"+{remote}:{_TARGET}")
        return (
            (await self._git.run("rev-parse", "--verify", "--end-of-options", f"{_TARGET}^{{commit}}")).decode().strip()
        )

    async def _pull_commit(self, commit: str) -> None:
        try:
            await self._git.fetch(self._url, f"+{commit}:{_TARGET}")
        except GitFailed:
            # Not every server gives away commits by their id: take all branches and tags, which must contain it.
            await self._git.fetch(
                self._url, "+refs/heads/*:refs/jobwarden/heads/*", "+refs/tags/*:refs/jobwarden/tags/*", deep=True
            )
            if not await self._git.has_commit(commit):
                raise GitFailed(f"no branch or tag contains commit {commit}") from None

    async def _check_signature(self, commit: str) -> None:
        try:
            await self._git.run("verify-commit", commit)
        except GitFailed as error:
            raise GitFailed(
                f"git verify-commit does not accept the signature of commit {commit[:12]} ({error}); "
                "sign it with a key that the controller's user trusts"
            ) from error

    async def _signed_by(self, commit: str) -> str | None:
        """Asked of git once a commit. Source: git-log, `%G?` is G for a good signature of a trusted key, and for nothing less."""
        if self._signer[0] != commit:
            said = await self._git.run("log", "-1", "--format=%G?%x00%GS", "--end-of-options", commit)
            verdict, _, signer = said.decode("utf-8", "replace").strip("\n").partition("\0")
            self._signer = (commit, signer if verdict == "G" and signer else None)
        return self._signer[1]

    async def _list(self, commit: str) -> dict[str, _Blob]:
        """All files of the commit: links may lead from the folder to others."""
        blobs: dict[str, _Blob] = {}
        listing = await self._git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        for line in listing.split(b"\0"):
            if not line:
                continue
            head, _, raw = line.partition(b"\t")
            mode, kind, digest, size = head.decode().split()
            if kind != "blob":
                continue
            try:
                path = raw.decode()
            except UnicodeDecodeError:
                if is_manifest(raw.decode(errors="replace")):
                    raise GitFailed(f"the name of {raw!r} is not UTF-8; rename it") from None
                continue
            blobs[path] = _Blob(mode, digest, int(size))
        return blobs

    def _selected(self, blobs: Mapping[str, _Blob], commit: str) -> dict[str, _Blob]:
        """The manifests in the folder, by path relative to it. Links are still links."""
        prefix = f"{self._path}/" if self._path else ""
        inside = {path.removeprefix(prefix): blob for path, blob in blobs.items() if path.startswith(prefix)}
        if prefix and not inside:
            raise GitFailed(f"there is no folder {self._path} in commit {commit[:12]}")
        return {
            path: blob
            for path, blob in inside.items()
            if is_manifest(posixpath.basename(path)) and not any(part.startswith(".") for part in path.split("/"))
        }

    async def _snapshot(self, commit: str, blobs: Mapping[str, _Blob], known: Mapping[str, str]) -> Snapshot:
        files = {path: blob.digest for path, blob in blobs.items()}
        changed, removed = difference(known, files)
        oversized = {path: blobs[path].size for path in changed if blobs[path].size > MAX_FILE}
        wanted = [path for path in changed if path not in oversized]
        contents = await self._git.contents([files[path] for path in wanted])
        return Snapshot(
            revision=commit,
            files=files,
            changed={path: contents[files[path]] for path in wanted},
            removed=removed,
            oversized=oversized,
        )

    async def _manifests(self, everything: Mapping[str, _Blob], commit: str) -> dict[str, _Blob]:
        """The manifests in the folder, links replaced by the files they name, each file once."""
        selected = self._selected(everything, commit)
        links = {path: blob for path, blob in selected.items() if blob.mode == _LINK}
        files = {path: blob for path, blob in selected.items() if blob.mode != _LINK}
        if not links:
            return files
        prefix = f"{self._path}/" if self._path else ""
        taken = {prefix + path for path in files}
        for path in sorted(links):
            target = await self._target(prefix + path, everything)
            if target not in taken:
                taken.add(target)
                files[path] = everything[target]
        return files

    async def _target(self, path: str, everything: Mapping[str, _Blob]) -> str:
        start = path
        for _ in range(_MOST_HOPS):
            blob = everything.get(path)
            if blob is None:
                break
            if blob.mode != _LINK:
                return path
            text = (await self._git.contents([blob.digest]))[blob.digest].decode(errors="replace")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
        raise GitFailed(f"the link {start} leads to no file of the repository")


def _inside(path: str) -> str:
    """The folder as git names it, "" for the whole repository. Errors: InvalidInput when it leads outside."""
    normal = posixpath.normpath(path.strip("/")) if path.strip("/") else "."
    if normal.split("/")[0] == "..":
        raise InvalidInput(f"{path!r} leads outside the repository; name a folder inside it")
    return "" if normal == "." else normal
