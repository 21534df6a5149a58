"""Values that a real run leaves for others."""

from datetime import timedelta
from pathlib import Path

from controller.executors import outputs
from tests.integration.executors.conftest import Runner, until


async def test_values_are_read_after_success_and_the_file_goes(run: Runner) -> None:
    """Appending is enough; the file need not exist."""
    result = await run.script('echo rows=12 >> "$JOBWARDEN_OUTPUT"; echo "name=Zoë" >> "$JOBWARDEN_OUTPUT"')
    assert result.outputs == {"rows": "12", "name": "Zoë"}
    assert result.outputs_error is None
    await until(lambda: list(run.folder.glob("*.outputs")) == [], "the file is removed")


async def test_a_failed_run_has_no_outputs_and_leaves_no_file(run: Runner) -> None:
    """What it wrote before failing is not to be built upon."""
    for fields in ({"script": "echo a=b > $JOBWARDEN_OUTPUT; exit 1"}, {"timeout": timedelta(seconds=0.5)}):
        result = await run.script(**({"script": "echo a=b > $JOBWARDEN_OUTPUT; exec sleep 600"} | fields))
        assert result.outputs == {}
        assert result.outputs_error is None
    await until(lambda: list(run.folder.glob("*.outputs")) == [], "the files are removed")


def test_whatever_a_run_has_left_there_is_removed(tmp_path: Path) -> None:
    """Files, folders, links and what they do not point at; those of other runs stay."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("x")
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "file").write_text("a=b")
    (folder / "folder").mkdir()
    (folder / "folder/deep").write_text("a=b")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "other").write_text("a=b")
    assert sorted(outputs.left(folder)) == ["file", "folder", "link", "other"]
    outputs.remove(folder, ["file", "folder", "link", "nobody"])
    assert outputs.left(folder) == ["other"]
    assert (tmp_path / "outside/kept").exists()
    assert outputs.left(tmp_path / "nowhere") == []


async def test_malformed_outputs_are_told_of_and_the_run_still_succeeds(run: Runner) -> None:
    """The work is done; only nobody can build upon its values."""
    result = await run.script("echo fine=1 >> $JOBWARDEN_OUTPUT; echo oops >> $JOBWARDEN_OUTPUT")
    assert result.exit_code == 0
    assert result.outputs == {}
    assert result.outputs_error == "$JOBWARDEN_OUTPUT, line 2: 'oops' is not key=value"


async def test_too_many_outputs_are_told_of(run: Runner) -> None:
    """Four KiB in all."""
    result = await run.script("seq -f 'key%g=value' 1000 >> $JOBWARDEN_OUTPUT")
    assert result.exit_code == 0
    assert result.outputs == {}
    assert result.outputs_error is not None
    assert "more than 4096 bytes" in result.outputs_error


async def test_a_trap_in_place_of_the_file_does_not_stop_the_controller(run: Runner) -> None:
    """A FIFO would block whoever opens it, a folder cannot be read."""
    for made in ("mkfifo", "mkdir"):
        result = await run.script(f"{made} $JOBWARDEN_OUTPUT")
        assert result.exit_code == 0
        assert result.outputs_error is not None


async def test_a_run_without_an_output_file_has_no_outputs(run: Runner) -> None:
    """Watchdog checks, for instance."""
    assert (await run.script("true", output_path=None)).outputs == {}
