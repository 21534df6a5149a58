"""`jobwarden evidence`: shown, verified and taken away, with a controller and without; a file without either."""

import json
import tempfile
from pathlib import Path

import pytest
import yaml
from sqlalchemy import delete, update

from controller.domain.records import Run
from controller.evidence.dsse import Envelope
from controller.store import evidence, schema
from tests.evidence import AT, ended, grant, new_key
from tests.integration.cli.place import Place

KEY, OTHER = new_key(), new_key(curve=True)


def record(place: Place, *runs: Run, sign: bool = True) -> None:
    """Put runs on record, with a checkpoint, signed."""
    place.store.submit(lambda tx: evidence.append(tx, runs, AT)).result()
    place.store.submit(lambda tx: evidence.mark_heads(tx, AT, AT - AT)).result()
    if not sign:
        return
    for signer in place.store.read_now(evidence.signers):
        waiting = place.store.read_now(lambda tx, signer=signer: evidence.unsigned(tx, signer, 10_000))
        made = [(one, KEY.sign(Envelope(one.statement))) for one in waiting]
        place.store.submit(lambda tx, made=made: evidence.sign(tx, made, AT)).result()


@pytest.fixture
def filled(either: Place) -> Place:
    """Three statements of one job, with its keys in files."""
    record(either, *(ended(number) for number in (1, 2, 3)))
    (either.folder / "public.pem").write_bytes(KEY.public.pem)
    (either.folder / "other.pem").write_bytes(OTHER.public.pem)
    return either


def test_a_run_is_shown_in_words_and_as_a_document(filled: Place) -> None:
    """Who, what was decided, how it ended, its place in the chain and its signature; and everything as JSON and YAML."""
    shown = filled.run("evidence", "show", "nightly-2")
    assert (shown.returncode, shown.stderr) == (0, "")
    for words in (
        "Run: default/nightly-2, attempt 1 of nightly, Succeeded (Completed)",
        "Identity: Agent agent:nightly, Supervised",
        "Decided: Trust: Permit (TrustSufficient)",
        "Chain: sequence 2 of default/nightly, sha256:",
        f"by {KEY.public.key_id} (CredentialProvider/signing)",
    ):
        assert words in shown.stdout
    document = json.loads(filled.run("evidence", "show", "nightly-2", "-o", "json").stdout)
    assert document["statement"]["predicate"]["chain"]["sequence"] == 2
    assert document["envelope"]["payloadType"] == "application/vnd.in-toto+json"
    assert yaml.safe_load(filled.run("evidence", "show", "run/nightly-2", "-o", "yaml").stdout) == document


def test_a_run_is_verified_with_its_whole_chain(filled: Place) -> None:
    """With the key: signed and unchanged; without: unchanged, and it is said that nobody's signature was looked at."""
    verified = filled.run("evidence", "verify", "nightly-2", "--key", "public.pem")
    assert (verified.returncode, verified.stderr) == (0, "")
    assert f"default/nightly: 3 statements, sequences 1 to 3, 3 signed by {KEY.public.key_id}" in verified.stdout
    assert verified.stdout.endswith("What is on record about nightly-2 has not been changed.\n")
    bare = filled.run("evidence", "verify", "nightly-2")
    assert bare.returncode == 0
    assert "Whose it is was not checked" in bare.stdout
    wrong = filled.run("evidence", "verify", "nightly-2", "--key", "other.pem")
    assert wrong.returncode == 1
    assert (
        f"sequence 1 (run nightly-1): it is not signed by a key that was given (it says by {KEY.public.key_id})"
        in wrong.stdout
    )
    both = filled.run("evidence", "verify", "nightly-2", "--key", "other.pem", "--key", "public.pem", "-o", "json")
    assert json.loads(both.stdout)["good"] is True


def test_one_byte_makes_it_fail_and_says_where(filled: Place) -> None:
    """In the database, in a statement in the middle."""
    changed = ended(2, exit_code=1)
    record_of = filled.store.read_now(lambda tx: evidence.of_name(tx, "default", "nightly-2"))
    assert record_of is not None
    forged = record_of.envelope.payload.replace(b'"exitCode":0', b'"exitCode":1')
    assert forged != record_of.envelope.payload
    table = schema.evidence
    where = table.c.run == changed.name
    filled.store.submit(lambda tx: tx.execute(update(table).where(where).values(statement=forged))).result()
    for arguments, words in (
        ((), "sequence 3 (run nightly-3): it does not follow sequence 2 (run nightly-2): one of the two was changed"),
        ((), "sequence 2 (run nightly-2): it is not what was recorded; its digest was "),
        (("--key", "public.pem"), "sequence 2 (run nightly-2): it is not what was signed"),
    ):
        done = filled.run("evidence", "verify", "nightly-3", *arguments)
        assert done.returncode == 1
        assert words in done.stdout
        assert done.stdout.endswith("It does not hold.\n")


def test_a_chain_that_was_cut_off_is_found(filled: Place) -> None:
    """The newest statement is gone, and its checkpoint with it; the head of the chain remembers."""
    for table in (schema.evidence, schema.checkpoints):
        gone = table.c.sequence == 3
        filled.store.submit(lambda tx, table=table, gone=gone: tx.execute(delete(table).where(gone))).result()
    done = filled.run("evidence", "verify", "nightly-1", "--key", "public.pem")
    assert done.returncode == 1
    assert "the chain ends at sequence 2, and its head is at 3" in done.stdout


def test_an_export_is_verified_without_a_controller_or_a_database(filled: Place) -> None:
    """Anywhere, with the file and the public key alone; and it fails when one byte changes."""
    exported = filled.run("evidence", "export", "--job", "nightly", "-o", "nightly.intoto.jsonl")
    assert (exported.returncode, exported.stdout) == (0, "")
    assert exported.stderr == "nightly.intoto.jsonl: 4 envelopes\n"
    data = (filled.folder / "nightly.intoto.jsonl").read_text()
    assert filled.run("evidence", "export", "--job", "nightly").stdout == data
    assert filled.run("evidence", "export", "--job", "nightly", "-o", "-").stdout == data
    assert all(set(json.loads(line)) == {"payload", "payloadType", "signatures"} for line in data.splitlines())
    with tempfile.TemporaryDirectory() as elsewhere:
        copy, key = Path(elsewhere) / "copy.jsonl", Path(elsewhere) / "key.pem"
        copy.write_text(data)
        key.write_bytes(KEY.public.pem)
        nowhere = {"JOBWARDEN_DB": "postgresql://nobody@127.0.0.1:1/none"}
        done = filled.process("evidence", "verify", str(copy), "--key", str(key), environment=nowhere)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("Nothing of it has been changed.\n")
        lines = data.splitlines()
        copy.write_text("\n".join([*lines[:2], *lines[3:]]))
        cut = filled.process("evidence", "verify", str(copy), "--key", str(key), environment=nowhere)
        assert cut.returncode == 1
        assert "sequence 2 is missing, between the runs nightly-1 and nightly-3" in cut.stdout


def test_an_earlier_export_is_a_witness(filled: Place) -> None:
    """What it has must still be there: a database that was put back, with everything in order, is found."""
    filled.run("evidence", "export", "--job", "nightly", "-o", "before.jsonl")
    assert (
        filled.run("evidence", "verify", "nightly-1", "--against", "before.jsonl", "--key", "public.pem").returncode
        == 0
    )
    for table in (schema.evidence, schema.checkpoints):
        gone = table.c.sequence == 3
        filled.store.submit(lambda tx, table=table, gone=gone: tx.execute(delete(table).where(gone))).result()
    chains = schema.evidence_chains
    second = filled.store.read_now(lambda tx: evidence.of_name(tx, "default", "nightly-2"))
    assert second is not None
    filled.store.submit(lambda tx: tx.execute(update(chains).values(sequence=2, digest=second.digest))).result()
    assert filled.run("evidence", "verify", "nightly-1", "--key", "public.pem").returncode == 0
    done = filled.run("evidence", "verify", "nightly-1", "--key", "public.pem", "--against", "before.jsonl")
    assert done.returncode == 1
    assert "the chain ends at sequence 2, but what was kept earlier has sequence 3: its end was cut off" in done.stdout


def test_what_is_not_signed_yet_is_said(either: Place) -> None:
    """It waits for its signer: with a key that is a no."""
    record(either, ended(1), ended(2, grant=grant(signer=None)), sign=False)
    (either.folder / "public.pem").write_bytes(KEY.public.pem)
    assert (
        "Signed: not yet; CredentialProvider/signing is to sign it"
        in either.run("evidence", "show", "nightly-1").stdout
    )
    assert "Signed: no; its contract names no key" in either.run("evidence", "show", "nightly-2").stdout
    done = either.run("evidence", "verify", "nightly-1", "--key", "public.pem")
    assert done.returncode == 1
    assert "sequence 1 (run nightly-1): it is not signed" in done.stdout


def test_a_chain_longer_than_a_page_is_read_whole(either: Place) -> None:
    """A thousand statements and one."""
    record(either, *(ended(number) for number in range(1, 1002)))
    assert either.run("evidence", "verify", "nightly-700").stdout.startswith(
        "default/nightly: 1001 statements, sequences 1 to 1001;"
    )
    assert len(either.run("evidence", "export", "--job", "nightly").stdout.splitlines()) == 1002


def test_evidence_of_another_namespace_is_found_with_minus_n(either: Place) -> None:
    """As everything else."""
    record(either, ended(1, namespace="team"))
    assert either.run("evidence", "show", "nightly-1").returncode == 1
    assert either.run("evidence", "show", "nightly-1", "-n", "team").returncode == 0
    assert either.run("evidence", "verify", "nightly-1", "-n", "team").returncode == 0


def test_what_is_not_there_is_said_with_a_hint(filled: Place) -> None:
    """No such run, a run without evidence, one that goes on, no such job, a file that cannot be used, a key that is none."""
    number = filled.job("quiet")
    filled.ran("quiet-1", "quiet", number)
    filled.ran("quiet-2", "quiet", number, cause="Manual", state="Running", finished_at=None)
    (filled.folder / "empty.jsonl").write_text("")
    (filled.folder / "noise.jsonl").write_text("noise\n")
    (filled.folder / "bad.pem").write_text("bad")
    for arguments, words in (
        (("show", "quiet-3"), "did you mean 'quiet-"),
        (("show", "quiet-1"), "its contract asked for none, or it is older than what is kept"),
        (("show", "quiet-2"), "has not ended"),
        (("verify", "quiet-1"), "there is no evidence of the run 'quiet-1'"),
        (("export", "--job", "quiet"), "there is some of nightly"),
        (("verify", "./missing.jsonl"), "cannot be read: No such file"),
        (("verify", "nightly-1", "--key", "bad.pem"), "bad.pem: this is no public key"),
    ):
        done = filled.run("evidence", *arguments)
        assert done.returncode == 1, arguments
        assert words in done.stderr, (arguments, done.stderr)
        assert not done.stdout
    assert filled.run("evidence", "verify", "empty.jsonl").stdout == "There is no evidence in it.\n"
    noise = filled.run("evidence", "verify", "noise.jsonl")
    assert noise.returncode == 1
    assert "line 1: it is no DSSE envelope" in noise.stdout
