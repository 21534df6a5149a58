"""What of an answer is believed: a provider may give less than was asked for, never more, and never somebody else.

`calling` asks before it gives a session to anybody. Invariant: pure; a session that comes out has no scope that was not asked for, no level above the
profile's, no end that has passed, and a lease that can be written down; and what is given in the name of an identity attests what that one wants attested.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from controller.base.references import LARGEST
from controller.domain.trust import Identity, TrustLevel
from controller.providers.protocol import Refused, Secret, Session
from controller.providers.words import listed

MOST_CREDENTIALS = 64
_LONGEST_LEASE = 1024  # characters
_MOST_ATTESTATIONS, _LONGEST_ATTESTATION = 64, 256


def accept(identity: Identity | None, asked: tuple[str, ...], session: Session, now: datetime) -> Session | Refused:
    """The session with the level that it is worth, or why it is not believed.

    Shape:  `identity` None where the provider is not that of the identity: then anybody is right, and no level is said.
            `asked` (): nothing was said about scopes, so whatever was granted is.
            The level is the lower of the profile's and the provider's, or the profile's where the provider says none.
    """
    refusal = _malformed(session) or _wide(asked, session) or _ended(session, now)
    if refusal is not None:
        return Refused(refusal)
    # What was looked at is what is given on, whatever kind of mapping it came in.
    session = msgspec.structs.replace(session, credentials=dict(session.credentials))
    if identity is None:
        return msgspec.structs.replace(session, level=None)
    expected = identity.subject.principal
    if session.principal is not None and session.principal != expected:
        return Refused(
            f"the provider answered for {session.principal!r}, not for {expected!r}: correct spec.subject.principal, or what the provider is asked with"
        )
    if (lacking := _unattested(identity, session)) is not None:
        return Refused(lacking)
    return msgspec.structs.replace(session, level=_lower(identity.level, session.level))


def accept_narrower(
    identity: Identity, wide: Session, asked: tuple[str, ...], session: Session, now: datetime
) -> Session | Refused:
    """The same for a session that was made of `wide` (accepted before) for `asked`: in nothing more than that one.

    The principal is that of `wide` or that of `identity`; another one of the same standing would be nobody that anyone has declared.
    Source: spec-scheduler 7, cases S100 and S101.
    """
    refusal = narrowing_refused(wide, asked) or _malformed(session) or _wide(asked, session) or _ended(session, now)
    if refusal is not None:
        return Refused(refusal)
    known = {wide.principal or identity.subject.principal, identity.subject.principal}
    if session.principal is not None and session.principal not in known:
        return Refused(f"the provider answered for {session.principal!r}, not for {listed(known)}")
    if (lacking := _unattested(identity, session)) is not None:
        return Refused(lacking)
    ceiling = _lower(identity.level, wide.level)
    if session.level is not None and session.level.rank > ceiling.rank:
        return Refused(
            f"the provider answered with the level {session.level}, above {ceiling} of what it was made from"
        )
    return msgspec.structs.replace(session, credentials=dict(session.credentials), level=_lower(ceiling, session.level))


def narrowing_refused(wide: Session, asked: tuple[str, ...]) -> str | None:
    """Why `wide` cannot be made narrower like that, before anybody is asked; None where it may be tried. Pure."""
    if not asked:
        return "nothing says which scopes are left: name them in childScopes, or in the scopes of the identity"
    if wide.scopes is None:
        return "the provider said nothing of the scopes that there are, so none of them can be told to be narrower"
    if beyond := set(asked) - set(wide.scopes):
        return f"the scopes {listed(beyond)} are not among those that there are: {listed(wide.scopes)}"
    return None


def credential(session: Session, key: str | None) -> Secret | Refused:
    """The credential of a key; with None the only one that there is. Pure."""
    known = session.credentials
    if key is None:
        if len(known) == 1:
            return next(iter(known.values()))
        return Refused(f"the provider gave {listed(known)}: name one of its credentials as key")
    if key not in known:
        return Refused(f"the provider gave no credential {key!r}, but {listed(known)}")
    return known[key]


def _lower(granted: TrustLevel, said: TrustLevel | None) -> TrustLevel:
    return granted if said is None else min(granted, said, key=lambda level: level.rank)


def _wide(asked: tuple[str, ...], session: Session) -> str | None:
    if not asked:
        return None
    if session.scopes is None:
        return f"the provider was asked for the scopes {listed(asked)} and does not say which its answer has"
    beyond = set(session.scopes) - set(asked)
    return f"the provider granted {listed(beyond)}, which nobody asked for" if beyond else None


def _unattested(identity: Identity, session: Session) -> str | None:
    wanted, said = identity.attestation, session.attestations
    if wanted is None or wanted in (said or ()):
        return None
    attests = "says nothing of attestations" if said is None else f"attests {listed(said)}"
    return f"the provider does not attest {wanted!r}, which spec.attestation wants: it {attests}"


def _ended(session: Session, now: datetime) -> str | None:
    if session.expires_at is None or session.expires_at > now:
        return None
    return f"the provider's answer had ended at {session.expires_at.isoformat()} already: compare the clocks"


def _malformed(session: Session) -> str | None:
    """What no honest provider sends; nothing of the answer is quoted. Plug-ins are not type-checked, so everything is."""
    if not _is_secrets(session.credentials):
        return f"the provider's credentials are not at most {MOST_CREDENTIALS} Secrets by name"
    if any(len(secret.reveal()) > LARGEST for secret in session.credentials.values()):
        return f"one of the provider's credentials has more than {LARGEST} characters"
    if not _is_texts(session.scopes):
        return "the provider's scopes are not words"
    if not _is_attestations(session.attestations):
        return f"the provider's attestations are not at most {_MOST_ATTESTATIONS} words of at most {_LONGEST_ATTESTATION} characters"
    if not _is(session.principal, str):
        return "the provider's principal is no text"
    if not _is(session.level, TrustLevel):
        return "the provider's level is none of ours"
    if not _is_instant(session.expires_at):
        return "the provider's answer ends at no instant with a time zone"
    return _bad_lease(session)


def _bad_lease(session: Session) -> str | None:
    lease = session.lease
    if lease is None:
        return None
    if not _is(lease, str) or not 0 < len(lease) <= _LONGEST_LEASE:
        return f"the provider's lease is no text of at most {_LONGEST_LEASE} characters"
    secrets = [*session.credentials.values(), *([session.kept] if session.kept is not None else [])]
    if any(text in lease for text in (secret.reveal() for secret in secrets) if text):
        return "the provider's lease holds a credential, and leases are written down"
    return None


def _is(thing: object, kind: type) -> bool:
    return thing is None or isinstance(thing, kind)


def _is_secrets(thing: object) -> bool:
    return (
        isinstance(thing, Mapping)
        and len(thing) <= MOST_CREDENTIALS
        and all(isinstance(key, str) and isinstance(value, Secret) for key, value in thing.items())
    )


def _is_texts(thing: object) -> bool:
    return thing is None or (isinstance(thing, tuple) and all(isinstance(one, str) for one in thing))


def _is_attestations(thing: object) -> bool:
    return thing is None or (
        isinstance(thing, tuple)
        and len(thing) <= _MOST_ATTESTATIONS
        and all(isinstance(one, str) and len(one) <= _LONGEST_ATTESTATION for one in thing)
    )


def _is_instant(thing: object) -> bool:
    return thing is None or (isinstance(thing, datetime) and thing.tzinfo is not None)
