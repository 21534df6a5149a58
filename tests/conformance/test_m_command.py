"""Cases M: how the command answers what it cannot do, and what is not loaded."""

import pytest

from tests.harness import Warden, job
from tests.harness.manifests import document
from tests.harness.plugins import install

WRONG = {
    "format": ("get", "jobs", "-o", "sonnet"),
    "kind": ("get", "nonsense", "-o", "json"),
    "verb": ("frobnicate",),
    "option": ("get", "jobs", "--nothing", "-o", "json"),
    "argument": ("trigger",),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_S178_wrong_usage_exits_with_2_and_says_how_it_is_used(warden: Warden, wrong: tuple[str, ...]) -> None:
    """A person reads it on standard error; who asked for JSON gets one object with the same words on standard output."""
    answer = warden.cli(*wrong)
    assert answer.code == 2
    assert answer.err.strip()
    if "json" in wrong:
        assert answer.json["error"]["message"] in answer.err
    else:
        assert answer.out == ""


def test_S178_a_missing_thing_exits_with_1_and_says_so_in_json_as_well(warden: Warden) -> None:
    """Not found is an answer, not a usage error."""
    warden.write("job", job("here"))
    warden.run_until_idle()
    answer = warden.cli("get", "jobs", "elsewhere", "-o", "json")
    assert answer.code == 1
    assert "elsewhere" in answer.json["error"]["message"]
    assert "elsewhere" in answer.err


PLUGIN = """
from controller.providers.protocol import Secret, Session

class Provider:
    def __init__(self, config, surroundings):
        pass

    async def resolve(self, request):
        return Session(credentials={"token": Secret("hush-hush-hush")})
"""


def test_S179_a_plugin_that_anybody_may_change_or_that_is_none_is_not_loaded(
    warden: Warden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither code that everybody may write, nor an entry point that names nothing, nor one that cannot resolve; the others work, and runs say what is wrong."""
    monkeypatch.setenv("JOBWARDEN_TEST_EXEC", "1")
    install(warden, "sound", PLUGIN)
    install(warden, "open", PLUGIN).chmod(0o757)
    install(warden, "nameless", PLUGIN, target="nameless:Nobody")
    install(warden, "untyped", "class Provider: ...")
    why = {
        "open": "everybody may write to",
        "nameless": "AttributeError",
        "untyped": "has no coroutine `resolve(request)`",
    }
    names = ("sound", *why)
    policies = {name: {"deliver": [{"name": "t", "env": "TOKEN", "providerRef": {"name": name}}]} for name in names}
    warden.write(
        "all",
        *(document("CredentialProvider", name, {"plugin": {"type": name}}) for name in names),
        *(job(f"with-{name}", 'test -n "$TOKEN"', credentialPolicy=policies[name]) for name in names),
    )
    warden.start(applied=tuple(f"with-{name}" for name in names))
    for name in names:
        warden.trigger(f"with-{name}").ok()
    warden.wait_run("with-sound", "Succeeded")
    for name, words in why.items():
        [run] = warden.wait_run(f"with-{name}", "Failed")
        assert run["status"]["reason"] == "StartFailed"
        assert words in run["status"]["message"]
    assert warden.log.read_text(encoding="utf-8").count("a plug-in is not used") == len(why)
