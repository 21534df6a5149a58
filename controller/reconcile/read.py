"""One file to documents and errors: parsed, resolved, and checked as far as a document can be on its own.

`pipeline` calls it for files that changed. Invariant: pure; a bad document costs only itself.
"""

import hashlib
import sys
from collections.abc import Collection, Iterator, Mapping

import msgspec

from controller.domain import resolve
from controller.domain.job import JobSpec, WatchdogTarget
from controller.domain.trust import JobTrust
from controller.kinds import digests
from controller.kinds.parse import parse_file
from controller.kinds.records import ManifestError, Reason, Resource
from controller.reconcile import annotations, check
from controller.reconcile.places import place
from controller.reconcile.records import (
    JOB,
    POLICIES,
    POOLS,
    TARGETS,
    Broken,
    Claim,
    Document,
    Entry,
    Facts,
    Key,
    Problem,
)
from controller.sources.snapshot import MAX_FILE

_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class Rules(msgspec.Struct, frozen=True):
    """How the documents of one source are read."""

    source: str
    namespace: str | None = None
    allowed_kinds: frozenset[str] | None = None
    defaults: resolve.Defaults = resolve.Defaults()


class ReadFile(msgspec.Struct, frozen=True):
    """What one file holds. `claims` are all readable identities, valid or not; `documents` are the valid ones.

    `complete` False: it may hold resources that could not be told, so nothing may be pruned.
    """

    path: str
    digest: str
    claims: tuple[tuple[Key, Claim], ...] = ()
    documents: tuple[Document, ...] = ()
    errors: tuple[ManifestError, ...] = ()
    complete: bool = True


def read(path: str, digest: str, data: bytes, rules: Rules) -> ReadFile:
    """The file's documents. Pure; never raises for what a file contains."""
    parsed = parse_file(path, data, namespace=rules.namespace, allowed_kinds=rules.allowed_kinds)
    errors = list(parsed.errors)
    documents: list[Document] = []
    for resource in parsed.resources:
        document = _document(resource, data, rules)
        found = _problems(resource, document, rules)
        if found:
            errors += [error_of(document, problem) for problem in found]
        else:
            documents.append(document)
    claims: list[tuple[Key, Claim]] = [(document.entry.key, document.entry) for document in documents]
    claims += _broken(errors)
    errors.sort(key=lambda error: (error.line, error.column))
    return ReadFile(path, digest, tuple(claims), tuple(documents), tuple(errors), parsed.complete)


def refused(file: ReadFile, problems: Mapping[Key, Problem]) -> ReadFile:
    """The file without those of its documents that somebody else has found wrong. Pure."""
    wrong = [document for document in file.documents if document.entry.key in problems]
    if not wrong:
        return file
    errors = [error_of(document, problems[document.entry.key]) for document in wrong]
    keys = {document.entry.key for document in wrong}
    return msgspec.structs.replace(
        file,
        documents=tuple(document for document in file.documents if document.entry.key not in keys),
        claims=(*(claim for claim in file.claims if claim[0] not in keys), *_broken(errors)),
        errors=(*file.errors, *errors),
    )


def too_large(path: str, digest: str, size: int) -> ReadFile:
    """A file that is beyond the bound and was not even read."""
    error = ManifestError(
        file=path,
        line=1,
        column=1,
        reason=Reason.TooLarge,
        message=f"the file has {size / 1024 / 1024:.1f} MiB, and a file of manifests may have {MAX_FILE // 1024 // 1024}",
        hint="Split it into several files",
    )
    return ReadFile(path, digest, errors=(error,), complete=False)


def error_of(document: Document, problem: Problem) -> ManifestError:
    """A problem as an error that points into the file. Pure."""
    entry = document.entry
    line, column, pointer = place(document.data, entry.line, problem.pointer)
    return ManifestError(
        file=entry.path or "",
        line=line,
        column=column,
        reason=problem.reason,
        message=problem.message,
        hint=problem.hint,
        pointer=pointer,
        kind=entry.key.kind,
        namespace=entry.key.namespace or None,
        name=entry.key.name,
    )


def _problems(resource: Resource, document: Document, rules: Rules) -> list[Problem]:
    if document.spec is None:
        return list(check.policy(resource.document["spec"])) if resource.kind in POLICIES else []
    return list(
        check.alone(
            document.spec,
            document.entry.key.namespace,
            rules.defaults,
            single_cron="cron" in resource.document["spec"].get("schedule", ()),
        )
    )


def _document(resource: Resource, data: bytes, rules: Rules) -> Document:
    kind, namespace = sys.intern(resource.kind), sys.intern(resource.namespace or "")
    key = Key(kind, namespace, resource.name)
    body = _encode(resource.document)
    if kind != JOB:
        facts = _facts(resource, None)
        entry = Entry(key, rules.source, resource.spec_digest, facts, resource.path, resource.line)
        return Document(entry, body, resource.labels, data)
    spec = resolve.job_spec(resource.document["spec"], rules.defaults)
    spec = resolve.with_fields(spec, resource.labels, resource.annotations)
    entry = Entry(key, rules.source, resource.spec_digest, _facts(resource, spec), resource.path, resource.line)
    fire, effective = digests.both_digests(resource.document)
    return Document(entry, body, resource.labels, data, spec, fire, effective)


def _facts(resource: Resource, spec: JobSpec | None) -> Facts:
    said = resource.annotations
    declared = resource.document["spec"]
    return Facts(
        meta=_meta(resource.labels, said),
        parents=tuple(parent.job for parent in spec.trigger.after) if spec and spec.trigger else (),
        outputs=tuple(dict.fromkeys(p.parent_output[0] for p in spec.parameters if p.parent_output)) if spec else (),
        watched=spec.target.job if spec and isinstance(spec.target, WatchdogTarget) else None,
        pools=tuple((pool.kind, pool.name, pool.slots) for pool in spec.concurrency.pools) if spec else (),
        targets=tuple(dict.fromkeys((n.target_kind, n.target) for n in spec.notifications)) if spec else (),
        trust=tuple(_trust(spec.trust)) if spec else (),
        slots=declared["slots"] if resource.kind in POOLS else 0,
        namespaces=tuple(declared.get("allowedNamespaces", ())) if resource.kind in POOLS + TARGETS else (),
        kept=said.get(annotations.PRUNE) == "disabled",
        hold=said.get(annotations.HOLD),
        requests=annotations.requests_of(said) if said else (),
    )


def _trust(said: JobTrust) -> Iterator[tuple[str, str, str]]:
    """The documents of trust that a job names, and where it does."""
    if said.identity_ref is not None:
        yield "IdentityProfile", said.identity_ref, "/spec/identityRef/name"
    if said.identity is not None and said.identity.provider is not None:
        yield said.identity.provider.kind, said.identity.provider.name, "/spec/identity/providerRef/name"
    if said.credentials_ref is not None:
        yield "CredentialPolicy", said.credentials_ref, "/spec/credentialPolicyRef/name"
    for index, one in enumerate(said.credentials.deliver if said.credentials is not None else ()):
        if one.provider is not None:
            yield one.provider.kind, one.provider.name, f"/spec/credentialPolicy/deliver/{index}/providerRef/name"
    if said.contract_ref is not None:
        yield said.contract_ref.kind, said.contract_ref.name, "/spec/trustContractRef/name"
    if said.authorization_ref is not None:
        yield said.authorization_ref.kind, said.authorization_ref.name, "/spec/authorizationPolicyRef/name"


def _meta(labels: Mapping[str, str], said: Mapping[str, str]) -> str:
    if not labels and not said:
        return "-"
    return hashlib.sha256(_canonical([labels, said])).hexdigest()[:16]


def _broken(errors: Collection[ManifestError]) -> Iterator[tuple[Key, Claim]]:
    """One claim for each identity that an error could name."""
    seen: set[Key] = set()
    for error in errors:
        if error.kind is None or error.name is None:
            continue
        key = Key(error.kind, error.namespace or "", error.name)
        if key not in seen:
            seen.add(key)
            yield key, Broken(error.file, error.line)
