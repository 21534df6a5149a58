"""What `get` and `describe` can be asked about, under every name that people use for it."""

import click

from controller.cli.lazy import unknown

NOUNS = {
    "jobs": ("job", "sjob", "sjobs", "scheduledjob", "scheduledjobs"),
    "runs": ("run",),
    "queue": ("dispatch", "dispatches", "queued"),
    "approvals": ("approval", "appr"),
    "pools": (
        "pool",
        "rpool",
        "crpool",
        "resourcepool",
        "resourcepools",
        "clusterresourcepool",
        "clusterresourcepools",
    ),
    "targets": (
        "target",
        "ntarget",
        "cntarget",
        "notificationtarget",
        "notificationtargets",
        "clusternotificationtarget",
        "clusternotificationtargets",
    ),
    "identities": ("identity", "idprof", "identityprofile", "identityprofiles"),
    "credentialpolicies": ("credpol", "credentialpolicy"),
    "contracts": (
        "contract",
        "trustc",
        "ctrustc",
        "trustcontract",
        "trustcontracts",
        "clustertrustcontract",
        "clustertrustcontracts",
    ),
    "policies": (
        "policy",
        "authzpol",
        "cauthzpol",
        "authorizationpolicy",
        "authorizationpolicies",
        "clusterauthorizationpolicy",
        "clusterauthorizationpolicies",
    ),
    "providers": (
        "provider",
        "credprov",
        "ccredprov",
        "credentialprovider",
        "credentialproviders",
        "clustercredentialprovider",
        "clustercredentialproviders",
    ),
    "sources": ("source",),
}
SINGULAR = {
    "jobs": "job",
    "runs": "run",
    "queue": "dispatch",
    "approvals": "approval",
    "pools": "pool",
    "targets": "target",
    "identities": "identity",
    "credentialpolicies": "credentialpolicy",
    "contracts": "contract",
    "policies": "policy",
    "providers": "provider",
    "sources": "source",
}
_BY_ALIAS = {alias: noun for noun, aliases in NOUNS.items() for alias in (noun, *aliases)}


def noun_of(word: str, ctx: click.Context) -> str:
    """The noun that `word` means. Errors: click.UsageError with the nearest one."""
    found = _BY_ALIAS.get(word.lower())
    if found is None:
        raise unknown("kind of thing", word, list(NOUNS), ctx)
    return found


def known(word: str) -> bool:
    """Whether `word` means a noun. Pure."""
    return word.lower() in _BY_ALIAS


def bare(name: str | None) -> str | None:
    """A name without the `job/` that `-o name` prints before it. Pure."""
    return None if name is None else name.rpartition("/")[2]
