"""Snapshots: which files count, how a difference is told, how a revision is kept."""

from hypothesis import given
from hypothesis import strategies as st

from controller.sources.gitcommand import without_secrets
from controller.sources.snapshot import Revision, difference, is_manifest

trees = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "3"]))


def test_manifests_are_told_by_their_suffix_and_hidden_files_are_not_read():
    """Editors' temporary files and timestamp folders never become documents."""
    assert all(map(is_manifest, ("a.yaml", "a.yml", "a.json")))
    assert not any(map(is_manifest, (".a.yaml", "a.yaml~", "a.yaml.swp", "#a.yaml#", "README.md", "..data")))


@given(known=trees, files=trees)
def test_a_difference_leads_from_what_is_known_to_what_is_there(known, files):
    """Whoever applies `changed` and `removed` to what they know has exactly the files."""
    changed, removed = difference(known, files)
    after = {path: digest for path, digest in known.items() if path not in removed}
    after.update({path: files[path] for path in changed})
    assert after == files
    assert all(known.get(path) != files[path] for path in changed)


@given(known=trees, files=trees, among=st.sets(st.sampled_from("abcdef")))
def test_a_hinted_difference_is_the_part_of_the_whole_that_was_hinted(known, files, among):
    """Looking only at some paths finds what looking at all of them would have found there."""
    changed, removed = difference(known, files)
    assert difference(known, files, among) == (
        [path for path in changed if path in among],
        tuple(path for path in removed if path in among),
    )


@given(before=trees, after=trees)
def test_a_revision_depends_on_the_files_alone_and_not_on_the_way_there(before, after):
    """Kept up to date file by file it equals one made at once."""
    walked = Revision()
    for path, digest in before.items():
        walked.replace(path, None, digest)
    for path in before.keys() | after.keys():
        walked.replace(path, before.get(path), after.get(path))
    fresh = Revision()
    for path, digest in after.items():
        fresh.replace(path, None, digest)
    assert str(walked) == str(fresh)
    assert (str(walked) == str(Revision())) == (not after)


def test_a_repository_url_is_shown_without_its_secret():
    """Passwords and tokens in a URL are never part of messages or status."""
    assert without_secrets("https://me:s3cret@example.org/x.git") == (
        "https://me:…@example.org/x.git",
        ("s3cret", "s3cret"),
    )
    assert without_secrets("https://t0ken@example.org/x.git") == ("https://…@example.org/x.git", ("t0ken", "t0ken"))
    assert without_secrets("git@example.org:x.git") == ("git@example.org:x.git", ())
    assert without_secrets("ssh://git@example.org/x.git") == ("ssh://git@example.org/x.git", ())
    assert without_secrets("/srv/git/x.git") == ("/srv/git/x.git", ())
