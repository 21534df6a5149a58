"""Everything that the gates look at, gathered in one transaction and frozen, and what they answer."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from controller.domain.abilities import Abilities
from controller.domain.governors import Governed
from controller.domain.job import JobSpec
from controller.domain.records import Approval, Dispatch
from controller.domain.trust import Grant, Rule
from controller.gates.enquiries import Enquiry, Finding


class Parent(msgspec.Struct, frozen=True):
    """A run that triggered this one. `grant` None: nothing governed it; `known` False: its row is gone."""

    run: str
    job: str
    grant: Grant | None = None
    known: bool = True


class Origin(msgspec.Struct, frozen=True):
    """Where the job's document comes from; `signer` is who signed the revision that it stands in, checked."""

    source: str
    revision: str | None = None
    signer: str | None = None


class TrustFacts(msgspec.Struct, frozen=True):
    """One dispatch that is about to open, and what governs it. `effective_digest` is the job's own."""

    now: datetime
    dispatch: Dispatch
    governed: Governed
    effective_digest: str
    labels: Mapping[str, str] = {}
    target: str = ""
    executor: str = ""
    time_zone: str = "UTC"
    parents: tuple[Parent, ...] = ()
    origin: Origin = Origin("")
    escalation: Approval | None = None
    spec: JobSpec | None = None
    abilities: Abilities | None = None  # None: it is asked where nobody knows what the host can do
    found: Mapping[str, Finding] = {}  # by the key of the enquiry
    providers: Mapping[str, str] = {}  # digests of all there are, by the words that name them
    spent: Mapping[str, str] = {}  # by `Proven.once` of those in `found`: the use that the proof was spent on

    def finding(self, enquiry: Enquiry) -> Finding | None:
        """What was found out; None: nobody was asked yet. Pure."""
        return self.found.get(enquiry.key)


class Spend(msgspec.Struct, frozen=True):
    """A proof that is good for one use, by `Proven.once`; at `until` it is none any more, for any policy."""

    once: str
    use: str
    until: datetime


class Granted(msgspec.Struct, frozen=True):
    """Open the run under this grant, if none of the proofs has been spent on another use meanwhile."""

    grant: Grant
    spends: tuple[Spend, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """Record the run as Denied, under the grant that shows why."""

    grant: Grant
    reason: str
    message: str


class Escalated(msgspec.Struct, frozen=True):
    """Ask people, as this rule of this policy says; `digest` is what they decide about."""

    digest: str
    policy: str
    rule: Rule
    message: str


class Withheld(msgspec.Struct, frozen=True):
    """Not now: what governs the job is not wholly known."""

    reason: str
    message: str


class Unanswered(msgspec.Struct, frozen=True):
    """Not now: somebody outside has to be asked first."""

    enquiries: tuple[Enquiry, ...]

    @property
    def message(self) -> str:
        """For people. Pure."""
        return "; ".join(one.words for one in self.enquiries)


Answer = Granted | Refused | Escalated | Withheld | Unanswered
