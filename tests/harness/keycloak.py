"""A real authorization server with RFC 8693: Keycloak on loopback, with a realm of ours, in memory.

The distribution comes from Maven, once, into the cache folder that the cluster's programs are in. Needs Java from 17 on and Maven (or Keycloak in the cache).
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.waiting import wait_for

VERSION = "26.4.2"
HOW_TO_GET_IT = (
    f"Keycloak {VERSION} could not be had: it needs java (17 or newer), and mvn to download it once (160 MB)"
)
_DOWNLOAD_SECONDS = 900.0
_READY_SECONDS = 600.0
_ADMIN = "bootstrap-admin"


@functools.cache
def distribution() -> Path | None:
    """The unpacked distribution; downloads it when it is not there yet, which takes a minute. None where it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobwarden"
    place = cache / f"keycloak-{VERSION}"
    if shutil.which("java") is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "keycloak.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists() and not _download(place):
            return None
    return place


def _download(place: Path) -> bool:
    if shutil.which("mvn") is None:
        return False
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
        # A repository of its own: the archive would stay in the user's for ever.
        where = (f"-DoutputDirectory={folder}/out", f"-Dmaven.repo.local={folder}/m2")
        try:
            done = subprocess.run(
                ["mvn", "-B", "-q", "dependency:copy", artifact, *where],
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=_DOWNLOAD_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return False
        archives = list(Path(folder).glob("out/*.zip"))
        if done.returncode != 0 or not archives:
            return False
        shutil.unpack_archive(archives[0], f"{folder}/unpacked")
        (unpacked,) = Path(folder, "unpacked").iterdir()
        # unpack_archive forgets who may be run.
        (unpacked / "bin/kc.sh").chmod(0o755)
        if not _build(unpacked):
            return False
        unpacked.rename(place)
    return True


def _build(place: Path) -> bool:
    """What it would else do at each start, for as long as the start itself."""
    done = subprocess.run(
        [place / "bin/kc.sh", "build", "--db=dev-mem"],
        env=_environment(place),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=_DOWNLOAD_SECONDS,
    )
    return done.returncode == 0


def _environment(home: Path) -> dict[str, str]:
    # It lives for some seconds: compiling thoroughly does not pay.
    quick = "-XX:TieredStopAtLevel=1 -XX:ActiveProcessorCount=2"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
        "JAVA_OPTS_APPEND": quick,
    }


class Keycloak:
    """One server with one realm. `folder` is made, and removed at the end."""

    def __init__(self, folder: Path, realm: dict[str, Any]) -> None:
        found = distribution()
        assert found is not None, HOW_TO_GET_IT
        self._folder, self._realm, self._from = folder, realm, found
        with socket.socket() as free, socket.socket() as other:
            free.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self._port, self._management = int(free.getsockname()[1]), int(other.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        """URL of the realm."""
        return f"http://127.0.0.1:{self._port}/realms/{self._realm['realm']}"

    @property
    def token_url(self) -> str:
        """Its token endpoint."""
        return f"{self.issuer}/protocol/openid-connect/token"

    def token(self, client: str, secret: str, **form: str) -> dict[str, Any]:
        """What the client credentials grant gives. Source: RFC 6749, section 4.4."""
        sent = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, **form}
        return self.post("/protocol/openid-connect/token", sent)

    def introspect(self, token: str, client: str, secret: str) -> dict[str, Any]:
        """What the server says of a token. Source: RFC 7662."""
        return self.post(
            "/protocol/openid-connect/token/introspect", {"token": token, "client_id": client, "client_secret": secret}
        )

    def post(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        """Errors: AssertionError with what the server says."""
        asked = urllib.request.Request(self.issuer + path, urllib.parse.urlencode(form).encode())
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one stays published, as for tokens that are out."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": _ADMIN, "password": _ADMIN}
        root = f"http://127.0.0.1:{self._port}"
        sent = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{root}/realms/master/protocol/openid-connect/token", sent, timeout=30) as answer:
            token = json.load(answer)["access_token"]
        key = {
            "name": "newer",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["1000"], "enabled": ["true"], "active": ["true"], "keySize": ["2048"]},
        }
        asked = urllib.request.Request(
            f"{root}/admin/realms/{self._realm['realm']}/components",
            json.dumps(key).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 201

    def __enter__(self) -> Self:
        # Its data and what it imports lie beside its programs, which it does not change.
        shutil.copytree(self._from, self._folder, copy_function=_linked)
        place = self._folder / "data/import"
        place.mkdir(parents=True)
        (place / "realm.json").write_text(json.dumps(self._realm), encoding="utf-8")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._folder / "bin/kc.sh",
                    "start",
                    "--optimized",
                    "--cache=local",
                    "--import-realm",
                    "--http-enabled=true",
                    "--hostname-strict=false",
                    "--http-host=127.0.0.1",
                    f"--http-port={self._port}",
                    f"--http-management-port={self._management}",
                ],
                env=_environment(self._folder)
                | {"KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": _ADMIN},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for(self._is_ready, "Keycloak to be ready", deadline=_READY_SECONDS, context=self._end_of_log)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._end_of_log()
        try:
            with urllib.request.urlopen(f"{self.issuer}/.well-known/openid-configuration", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _end_of_log(self) -> str:
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-30:])


def _linked(source: str, target: str) -> str:
    """A second name where the file system has that, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
