"""Variables that take a field of the job itself."""

from controller.domain.job import EnvVar, JobSpec, ShellTarget
from controller.domain.resolve import with_fields


def test_labels_and_annotations_are_filled_in_when_the_job_is_read() -> None:
    """What the document says of itself is known without its run; name and namespace stay references."""
    env = (
        EnvVar("TEAM", field_ref="metadata.labels['team']"),
        EnvVar("NOTE", field_ref="metadata.annotations['a/b']"),
        EnvVar("NAME", field_ref="metadata.name"),
        EnvVar("PLAIN", value="x"),
    )
    filled = with_fields(JobSpec(target=ShellTarget("true"), env=env), {"team": "ops"}, {"a/b": "c"})
    assert [(v.name, v.value, v.field_ref) for v in filled.env] == [
        ("TEAM", "ops", None),
        ("NOTE", "c", None),
        ("NAME", None, "metadata.name"),
        ("PLAIN", "x", None),
    ]
