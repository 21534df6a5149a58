"""Which folders have to be polled."""

from pathlib import Path

import pytest

from controller.sources.mounts import must_poll

MOUNTS = """\
22 1 0:20 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / /srv rw,relatime shared:5 - nfs4 server:/srv rw
31 30 0:31 / /srv/local rw - xfs /dev/sdb rw
32 22 0:32 / /mnt/with\\040space rw - fuse.sshfs host:/ rw
33 22 0:33 / /run rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "polls"),
    [
        ("/etc/jobs", False),
        ("/srv", True),
        ("/srv/jobs/deep", True),
        ("/srv/local/jobs", False),
        ("/srvx", False),
        ("/mnt/with space/jobs", True),
        ("/run/jobs", False),
    ],
)
def test_remote_file_systems_are_polled(tmp_path: Path, path: str, polls: bool) -> None:
    """The longest mount point that holds the path decides."""
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert must_poll(path, {}, table) is polls


@pytest.mark.parametrize(("said", "polls"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_the_variable_of_watchfiles_wins(tmp_path: Path, said: str, polls: bool) -> None:
    """Bind mounts of a virtual machine look local; people can say that they are not."""
    assert must_poll("/srv", {"WATCHFILES_FORCE_POLLING": said}, tmp_path / "missing") is polls


def test_without_a_mount_table_events_are_believed(tmp_path: Path) -> None:
    """The periodic rescan finds the rest."""
    assert must_poll("/srv", {}, tmp_path / "missing") is False
