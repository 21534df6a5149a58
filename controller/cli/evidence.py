"""`jobwarden evidence`: what is on record about runs. Show it, check it, take it away.

Invariant: `verify` believes nothing that it was told about the evidence, only what it can work out from the statements, and the keys that it was given; a FILE is
checked without a controller and without a database.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from controller.base.errors import InvalidInput, NotFound
from controller.cli import asking, nouns, printing
from controller.cli.completing import names
from controller.cli.failures import NO
from controller.cli.settings import Settings, current, note, output_option, place_options

_form = output_option("text", "json", "yaml")


@click.group(epilog="\b\nExample:\n  jobwarden evidence verify backup-7kq2mx4a --key public.pem")
@place_options
def evidence() -> None:
    """Show, verify or export what is on record about runs."""


@evidence.command(
    epilog="\b\nExample:\n  jobwarden evidence show backup-7kq2mx4a\n  jobwarden evidence show backup-7kq2mx4a -o json"
)
@click.argument("name", metavar="RUN", shell_complete=names("runs"))
@place_options
@_form
def show(name: str, output: str) -> None:
    """Show what is on record about RUN: who it was, what was decided, how it ended, and its place in the chain of its job."""
    data = asking.view(current(), "evidence", name=nouns.bare(name))
    if output in printing.DOCUMENTS:
        printing.show(data, output)
    else:
        click.echo("\n".join(_account(printing.decoded(data))))


@evidence.command(
    epilog="\b\nExample:\n  jobwarden evidence verify backup-7kq2mx4a --key public.pem\n"
    "  jobwarden evidence verify backup.intoto.jsonl --key public.pem --against last-year.intoto.jsonl"
)
@click.argument("what", metavar="RUN|FILE", shell_complete=names("runs"))
@click.option(
    "--key",
    "key_files",
    multiple=True,
    metavar="PUBLIC.pem",
    type=click.Path(path_type=Path),
    help="Public key that signatures must be of; repeat it where keys were changed. Without: signatures are not checked.",
)
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An earlier export: the chain must go on from there.",
)
@place_options
@_form
def verify(what: str, key_files: Sequence[Path], against: Path | None, output: str) -> int:
    """Check the evidence of RUN with the whole chain of its job, or that in a FILE of `evidence export`, offline. Exits with 1 if anything is wrong."""
    # Cryptography and records, which help need not wait for.
    from controller.evidence import bundle  # noqa: PLC0415
    from controller.evidence.verify import verify as examine  # noqa: PLC0415

    keys = [_key(path) for path in key_files]
    earlier = list(bundle.lines(_read(against))) if against is not None else []
    run: str | None = None
    if _is_file(what):
        verified = examine(bundle.lines(_read(Path(what))), keys, earlier)
        noted: list[str] = []
    else:
        run = nouns.bare(what)
        chain = _Chain(current(), run)
        verified = examine(chain.found(), keys, earlier)
        noted = chain.differences()
    good = verified.good and not noted
    if output in printing.DOCUMENTS:
        printing.show(json.dumps(_report(verified, noted, good=good, signatures=bool(keys))).encode(), output)
    else:
        click.echo("\n".join(_words(verified, noted, run, signatures=bool(keys))))
    return 0 if good else NO


@evidence.command(epilog="\b\nExample:\n  jobwarden evidence export --job backup -o backup.intoto.jsonl")
@click.option(
    "--job", required=True, metavar="NAME", shell_complete=names("jobs"), help="The job, which may be no more."
)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where to write it, as a whole or not at all (default: -, the standard output).",
)
@place_options
def export(job: str, target: Path | None) -> None:
    """Write the evidence of a job as an in-toto bundle: one DSSE envelope a line, which `evidence verify FILE` and other tools read."""
    from controller.evidence import bundle  # noqa: PLC0415 - as above

    envelopes = _Pages(current(), job).envelopes()
    if target is None or str(target) == "-":
        for one in envelopes:
            sys.stdout.write(bundle.line(one))
        return
    part = target.with_name(f".{target.name}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as file:
            for one in envelopes:
                file.write(bundle.line(one))
                count += 1
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    note(f"{target}: {count} envelopes")


class _Pages:
    """The chain of one job, asked for page by page."""

    def __init__(self, settings: Settings, job: str) -> None:
        self._settings, self._job = settings, job
        self.head: Any = None

    def items(self) -> Iterator[Any]:
        """Checkpoints, as items without a number, then statements in order."""
        after: str | None = None
        while True:
            page = asking.ask(self._settings, "evidence", job=self._job, after=after)
            if after is None:
                yield from ({"envelope": one} for one in page["checkpoints"])
            self.head = page["head"]
            yield from page["items"]
            after = page["metadata"]["continue"]
            if after is None:
                return

    def envelopes(self) -> Iterator[Any]:
        """The envelopes alone."""
        return (one["envelope"] for one in self.items())


class _Chain:
    """The chain that a run is in, and what its keeper says of it."""

    def __init__(self, settings: Settings, run: str | None) -> None:
        """Errors: NotFound when there is nothing on record about the run."""
        about = asking.ask(settings, "evidence", name=run)
        settings.namespace, settings.all_namespaces = about["metadata"]["namespace"], False
        self._run, self._sequence = run, about["spec"]["sequence"]
        self._pages = _Pages(settings, about["spec"]["job"])
        self._differences: list[str] = []
        self._last: tuple[int, str] | None = None

    def found(self) -> Iterator[Any]:
        """What is to be verified. Errors: NotFound when the run went while its chain was read."""
        from controller.evidence import bundle, statement  # noqa: PLC0415 - as above

        seen = False
        for item in self._pages.items():
            found = bundle.found(f"sequence {item.get('sequence', 'of a checkpoint')}", json.dumps(item["envelope"]))
            if "sequence" in item and found.envelope is not None:
                digest = statement.digest(found.envelope.payload)
                self._last = (item["sequence"], digest)
                seen = seen or item["run"] == self._run
                if digest != item["digest"]:
                    words = f"sequence {item['sequence']} (run {item['run']}): it is not what was recorded; its digest was {item['digest']}"
                    self._differences.append(words)
            yield found
        if not seen:
            raise NotFound(f"the evidence of {self._run} was forgotten while it was read")

    def differences(self) -> list[str]:
        """Where rows of the database contradict each other, after everything was found."""
        head = self._pages.head
        if self._last is not None and self._last != (head["sequence"], head["digest"]):
            words = f"the chain ends at sequence {self._last[0]}, and its head is at {head['sequence']}: its end was cut off or changed"
            return [*self._differences, words]
        return self._differences


def _is_file(what: str) -> bool:
    """Whether a file is meant, and no run: it looks like a path, or there is one."""
    return ("/" in what and not what.startswith("run/")) or what.endswith((".jsonl", ".json")) or Path(what).is_file()


def _read(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def _key(path: Path) -> Any:
    from controller.evidence.keys import public_key  # noqa: PLC0415 - as above

    try:
        return public_key(path.read_bytes())
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def _report(verified: Any, noted: Sequence[str], *, good: bool, signatures: bool) -> Any:
    import msgspec  # noqa: PLC0415 - as above

    return {"good": good, "signaturesChecked": signatures, "differences": list(noted), **msgspec.to_builtins(verified)}


def _words(verified: Any, noted: Sequence[str], run: str | None, *, signatures: bool) -> list[str]:
    """The verdict in sentences. Pure."""
    lines = []
    for one in verified.chains:
        lines.append(_summary(one, signatures=signatures))
        lines += [f"  {_place(problem)}" for problem in one.problems]
    lines += [f"  {_place(problem)}" for problem in verified.problems]
    lines += [f"  {difference}" for difference in noted]
    if not verified.chains:
        lines.append("There is no evidence in it.")
    elif verified.good and not noted:
        lines.append(
            "Nothing of it has been changed." if run is None else f"What is on record about {run} has not been changed."
        )
        if not signatures:
            lines.append("Whose it is was not checked: --key PUBLIC.pem checks signatures.")
    else:
        lines.append("It does not hold.")
    return lines


def _summary(chain: Any, *, signatures: bool) -> str:
    which = f"{chain.namespace}/{chain.job}"
    if not chain.statements:
        return f"{which}: no statements, checkpoints only"
    span = f"sequence {chain.first}" if chain.first == chain.last else f"sequences {chain.first} to {chain.last}"
    signed = f", {chain.signed} signed" if signatures else ""
    by = f" by {', '.join(chain.signers)}" if chain.signers else ""
    return f"{which}: {chain.statements} statements, {span}{signed}{by}; the last has the digest sha256:{chain.digest}"


def _place(problem: Any) -> str:
    where = f"sequence {problem.sequence}" if problem.sequence is not None else ""
    run = f" (run {problem.run})" if problem.run is not None else ""
    return f"{where}{run}: {problem.message}" if where else problem.message


def _account(about: Any) -> list[str]:
    """What is on record, for people. Pure."""
    said = about["statement"]["predicate"]
    run, result, times = said["run"], said["result"], said["times"]
    reason = f" ({result['reason']})" if "reason" in result else ""
    lines = [
        f"Run: {run['namespace']}/{run['name']}, attempt {run['attempt']} of {run['job']}, {result['state']}{reason}",
        f"Times: {', '.join(f'{name} {at}' for name, at in times.items())}",
        f"Spec: {said['spec']['digest']}" + (f", {_source(said['spec'])}" if "source" in said["spec"] else ""),
    ]
    if who := said.get("identity"):
        lines.append(f"Identity: {who['kind']} {who['principal']}, {who['level']}")
    lines += [f"Decided: {one['gate']}: {one['decision']} ({one['reason']})" for one in said["decisions"]]
    if asked := said.get("approval"):
        lines += [
            f"{'Approved' if one['approved'] else 'Rejected'}: by {one['by']} at {one['at']}"
            for one in asked["decisions"]
        ]
    status, spec = about["status"], about["spec"]
    lines.append(f"Chain: sequence {spec['sequence']} of {run['namespace']}/{spec['job']}, sha256:{status['digest']}")
    if status["signed"]:
        (signature,) = about["envelope"]["signatures"]
        lines.append(f"Signed: at {status['signedAt']} by {signature['keyid']} ({spec['signer']})")
    else:
        lines.append(
            f"Signed: not yet; {spec['signer']} is to sign it"
            if spec["signer"]
            else "Signed: no; its contract names no key"
        )
    return lines


def _source(spec: Any) -> str:
    return f"from {spec['source']}" + (f" at {spec['revision']}" if "revision" in spec else "")
