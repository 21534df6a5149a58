"""`db backup` and `db restore` as commands: what they say, and that they say nothing else."""

from tests.harness import Warden, once


def test_a_restore_says_what_came_back_and_nothing_else(warden: Warden) -> None:
    """One sentence on standard output; no traceback of a library on standard error."""
    warden.write("one", once("one"))
    warden.run_until_idle()
    copy = warden.folder / "copy.db"
    assert warden.cli("db", "backup", str(copy)).ok().err == ""
    restored = warden.cli("db", "restore", str(copy), "--hold").ok()
    assert restored.err == ""
    assert restored.out.startswith("1 jobs and 1 runs are back")
    assert warden.cli("db", "check").ok().out == "the database is sound\n"
