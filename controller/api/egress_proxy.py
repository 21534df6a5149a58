"""The egress proxy of a cluster: Pods whose contract lists hosts reach those through it, and have no other way out.

`app.egress` runs it, as a process of its own without rights to anything. A NetworkPolicy lets such a Pod talk to nobody else (`kubernetes.fence`), and the pass that it shows says
where it may go (`executors.egress_pass`). Nothing is kept and nobody is asked: every replica believes what the controller has signed.
Invariants: without a valid pass nothing is looked up and nothing connected; a connection lasts no longer than the pass that it was made with; a pass is in no line of the log.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path

from controller.base.clock import Clock
from controller.base.errors import InvalidInput
from controller.base.logs import event
from controller.executors import egress_pass
from controller.executors.egress import Account, Answer, Guest, Proxy
from controller.executors.egress_pass import NoPass, Pass

_log = logging.getLogger(__name__)

_MOST = 512  # connections at once: half a megabyte each where one end does not listen
_MOST_OF_ONE = 128  # of one address: of a run that has not shown its pass yet, perhaps
_LONGEST_HEAD = (
    64 * 1024
)  # bytes: a pass with the most hosts that a contract may list, in base64 twice, has half of that
_QUIET_S = 10.0  # between two lines of the log about passes that are not good
_PROBE = b"GET /healthz HTTP/1."


class EgressProxy:
    """Serves from `start` to `stop`. Everything is for the event loop's thread."""

    def __init__(self, host: str, port: int, key_file: Path, clock: Clock) -> None:
        """`host` "" is every interface. The file holds what passes are signed with; it may be replaced while they are served."""
        self._host, self._port, self._key_file, self._clock = host, port, key_file, clock
        self._proxy = Proxy(self.admit, most=_MOST, most_of_one=_MOST_OF_ONE, longest_head=_LONGEST_HEAD)
        self._accounts: dict[Pass, Account] = {}
        self._told_at: float | None = None
        self._untold = 0

    @property
    def port(self) -> int:
        """The port that is served: the one given, or the one that the system chose for 0."""
        return self._proxy.port

    async def start(self) -> None:
        """Listen. Errors: InvalidInput for a key that cannot be used, or an address that cannot be had."""
        egress_pass.keys(self._key_file)
        try:
            await self._proxy.open(host=self._host or None, port=self._port)
        except OSError as error:
            where = f"--listen {self._host}:{self._port}"
            raise InvalidInput(f"{where}: cannot listen there: {error.strerror or error}") from error
        event(_log, "letting runs out", address=f"{self._host or '*'}:{self.port}")

    async def stop(self, patience: timedelta) -> None:
        """Take nothing new; what goes through has some time to end."""
        self._proxy.refuse_more()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                await self._proxy.empty()
        self._proxy.close()
        await self._proxy.empty()

    def admit(self, head: bytes) -> Guest | Answer:
        """Who asks, by the pass in the head of a request."""
        try:
            keys = egress_pass.keys(self._key_file)
        except InvalidInput as error:
            event(_log, "the key cannot be used, so nobody is let out", logging.ERROR, problem=str(error))
            return Answer("503 Service Unavailable", "the proxy has no key to know passes by; look into its log")
        if head.startswith(_PROBE):
            return Answer("200 OK", "ready")
        now = self._clock.now()
        text = egress_pass.shown(head)
        found = text if isinstance(text, NoPass) else egress_pass.read(text, keys, now)
        if isinstance(found, NoPass):
            return self._refuse(found)
        return Guest(self._account(found, now.timestamp()), found.hosts, found.expires - now.timestamp())

    def _account(self, shown: Pass, now: float) -> Account:
        """What is remembered of a run; those whose time is over are forgotten."""
        if shown not in self._accounts:
            for over in [one for one in self._accounts if one.expires <= now]:
                del self._accounts[over]
            self._accounts[shown] = Account(f"{shown.namespace}/{shown.run}")
        return self._accounts[shown]

    def _refuse(self, why: NoPass) -> Answer:
        if not why.shown:
            # Many clients ask like that first, to hear how they are to say who they are.
            challenge = 'Proxy-Authenticate: Basic realm="jobwarden"'
            return Answer("407 Proxy Authentication Required", why.words, (challenge,))
        self._untold += 1
        time = self._clock.monotonic()
        if self._told_at is None or time - self._told_at >= _QUIET_S:
            event(_log, "passes were refused", logging.WARNING, times=self._untold, why=why.words)
            self._told_at, self._untold = time, 0
        return Answer("403 Forbidden", why.words)
