"""Values that a job's variables point at."""

from pathlib import Path

from controller.base.references import Allowed, Unreadable
from controller.domain.job import EnvVar
from controller.executors.values import Resolved, resolve

FIELDS = {"metadata.name": "report", "metadata.namespace": "team-a", "metadata.labels['team']": "blue"}


def test_every_kind_of_value_is_found(tmp_path: Path) -> None:
    """Plain values, files, variables of the controller and fields; what came from outside the manifest is named as secret."""
    (tmp_path / "token").write_text("t0ken\n")
    declared = (
        EnvVar(name="PLAIN", value="as $it is"),
        EnvVar(name="EMPTY", value=""),
        EnvVar(name="TOKEN", file_ref=str(tmp_path / "token")),
        EnvVar(name="REGION", env_ref="CLOUD_REGION"),
        EnvVar(name="JOB", field_ref="metadata.name"),
        EnvVar(name="TEAM", field_ref="metadata.labels['team']"),
    )
    allowed = Allowed(env=frozenset({"CLOUD_REGION"}), folders=(tmp_path,))
    found = resolve(declared, FIELDS, allowed, {"CLOUD_REGION": "eu-1", "OTHER": "x"})
    assert isinstance(found, Resolved)
    assert found.values == {
        "PLAIN": "as $it is",
        "EMPTY": "",
        "TOKEN": "t0ken",
        "REGION": "eu-1",
        "JOB": "report",
        "TEAM": "blue",
    }
    assert found.secrets == ("t0ken", "eu-1")
    assert "t0ken" not in repr(found)


def test_nothing_is_allowed_by_default(tmp_path: Path) -> None:
    """A message names the variable of the job and the setting to change, and gives away neither value nor existence."""
    (tmp_path / "token").write_text("t0ken")
    for one, setting in (
        (EnvVar(name="A", env_ref="HOME"), "settings.allowEnv"),
        (EnvVar(name="A", file_ref=str(tmp_path / "token")), "settings.allowFiles"),
        (EnvVar(name="A", file_ref=str(tmp_path / "missing")), "settings.allowFiles"),
    ):
        found = resolve((one,), FIELDS, Allowed(), {"HOME": "/root"})
        assert isinstance(found, Unreadable)
        assert found.permanent
        assert found.message.startswith("variable A of spec.env: ")
        assert setting in found.message
        assert "/root" not in found.message


def test_a_field_that_the_job_lacks_is_named_with_those_that_it_has() -> None:
    """A label can be taken away after the manifest was accepted."""
    found = resolve((EnvVar(name="A", field_ref="metadata.labels['gone']"),), FIELDS, Allowed(), {})
    assert isinstance(found, Unreadable)
    assert "the job has no metadata.labels['gone']: use one of metadata.labels['team'], metadata.name" in found.message


def test_a_value_that_no_variable_can_hold_is_refused(tmp_path: Path) -> None:
    """A NUL byte would end the value early; the message does not show it."""
    (tmp_path / "binary").write_bytes(b"secret\0rest")
    found = resolve((EnvVar(name="A", file_ref=str(tmp_path / "binary")),), {}, Allowed(folders=(tmp_path,)), {})
    assert isinstance(found, Unreadable)
    assert "NUL" in found.message
    assert "secret" not in found.message
