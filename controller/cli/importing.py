"""`jobwarden import`: work that is described elsewhere as manifests of ours.

The manifest goes to standard output, everything that is not the same afterwards to standard error. Invariant: the exit code is 0 only when nothing that
means something was left out, and the result is one that the controller accepts.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from controller.cli import asking, printing
from controller.cli.failures import NO
from controller.cli.paint import paint
from controller.cli.settings import current, output_option, place_options

if TYPE_CHECKING:
    from controller.kinds.cronjobs import Imported, Remark

_COLOURS = {"lost": "red", "differs": "yellow", "dropped": "dim"}


@click.group("import", epilog="\b\nExample:\n  jobwarden import cronjob nightly.yaml > jobs/nightly.yaml")
def import_() -> None:
    """Turn what is described elsewhere into manifests, and tell what is different."""


@import_.command(
    epilog="\b\nExample:\n  jobwarden import cronjob nightly.yaml > jobs/nightly.yaml\n"
    "  kubectl get cronjob -A -o yaml | jobwarden import cronjob -\n"
    "  jobwarden import cronjob --from-cluster nightly -n team-a"
)
@click.argument("file", metavar="[FILE]", required=False, type=click.File("rb"))
@click.option("--from-cluster", "name", metavar="NAME", help="Take the CronJob of this name from the cluster.")
@place_options
@output_option("yaml", "json")
def cronjob(file: Any, name: str | None, output: str) -> int:
    """Turn the CronJobs in FILE (- is standard input) into ScheduledJobs. Exits with 1 if something could not be carried over; what could is printed all the same."""
    if (file is None) is (name is None):
        raise click.UsageError("name either a FILE or, with --from-cluster, a CronJob", click.get_current_context())
    # The rules of documents and schedules: neither help nor a wrong argument should wait for them.
    from controller.kinds.cronjobs import Level, convert, found_in  # noqa: PLC0415
    from controller.schedule.kubernetes import timing  # noqa: PLC0415

    values = _documents(file.read()) if file is not None else [asking.cronjob(current(), str(name))]
    objects = [one for value in values for one in found_in(value)]
    found = [convert(value, timing) for value, ours in objects if ours]
    for value, ours in objects:
        if not ours:
            sys.stderr.write(f"{_called(value)} is no CronJob of batch/v1, and left out\n")
    if not found:
        raise click.ClickException("there is no CronJob of batch/v1 in it")
    found = [msgspec.structs.replace(one, remarks=(*one.remarks, *_demanded(one), *_refused(one))) for one in found]
    for one in found:
        sys.stderr.write("".join(f"{line}\n" for line in _report(one)))
    lost = sum(remark.level is Level.Lost for one in found for remark in one.remarks)
    told = f"{lost} things could not be carried over" if lost != 1 else "one thing could not be carried over"
    sys.stderr.write(f"CronJobs imported: {len(found)}; {told if lost else 'everything was carried over'}\n")
    _print([one.document for one in found], output)
    return NO if lost else 0


def _documents(data: bytes) -> list[Any]:
    """The values of every document. Errors: click.ClickException for what is no YAML."""
    from controller.kinds import yaml  # noqa: PLC0415 - as above

    stream = yaml.read(data)
    problems = [stream.problem] if stream.problem else [one for found in stream.documents for one in found.problems]
    if problems:
        first = problems[0]
        raise click.ClickException(f"line {first.line}, column {first.column}: {first.message}")
    return [one.value for one in stream.documents]


def _refused(found: "Imported") -> "Iterator[Remark]":
    """What the controller would say of the result, unless it is said already."""
    from controller.kinds.cronjobs import Level, Remark  # noqa: PLC0415 - as above
    from controller.reconcile.read import Rules, read  # noqa: PLC0415

    told = {one.pointer for one in found.remarks}
    for error in read("", "", json.dumps(found.document).encode(), Rules("import")).errors:
        if error.pointer not in told:
            message = f"the result is not accepted yet: {error.message}"
            yield Remark(Level.Lost, error.pointer, message, error.hint)


def _demanded(found: "Imported") -> "Iterator[Remark]":
    """What the template asks for that a controller allows only where its settings say so."""
    from controller.domain.pods import demands  # noqa: PLC0415 - as above
    from controller.domain.resolve import PodsAllow  # noqa: PLC0415
    from controller.kinds.cronjobs import JOB, Level, Remark  # noqa: PLC0415

    for demand in demands(found.document["spec"].get("pod", {}).get("template", {}), PodsAllow()):
        hint = f"settings.pods.allow.{demand.setting} of the controller has to allow it"
        yield Remark(Level.Differs, f"{JOB}/template{demand.pointer}", demand.message, hint)


def _report(found: "Imported") -> Iterator[str]:
    yield f"CronJob {'/'.join(part for part in (found.namespace, found.name) if part) or '(without a name)'}:"
    for remark in found.remarks:
        if remark.level != "dropped":
            yield f"  {_level(remark.level)} {remark.pointer}: {remark.message}"
            if remark.hint:
                yield f"           {remark.hint}"
    why: dict[str, list[str]] = {}
    for remark in found.remarks:
        if remark.level == "dropped":
            why.setdefault(remark.message, []).append(remark.pointer)
    for message, pointers in why.items():
        yield f"  {_level('dropped')} {', '.join(pointers)}: {message}"


def _level(level: str) -> str:
    return paint(f"{level:<8}", _COLOURS[level], sys.stderr)


def _called(value: Any) -> str:
    if not isinstance(value, dict):
        return "a document that is no mapping"
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return " ".join(str(one) for one in (value.get("kind") or "a document without a kind", name) if one)


def _print(documents: Iterable[Any], output: str) -> None:
    made = list(documents)
    if output == "json":
        whole = made[0] if len(made) == 1 else {"apiVersion": "v1", "kind": "List", "items": made}
        printing.show(json.dumps(whole).encode(), "json")
    else:
        sys.stdout.write("---\n".join(printing.document(json.dumps(one).encode(), "yaml") for one in made))
