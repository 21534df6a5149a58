"""Addresses that are safe to ask: over TLS, or not off this host."""

import pytest

from controller.base import urls


@pytest.mark.parametrize(
    "url",
    [
        "https://opa.example.org/v1/data/jobs",
        "https://10.0.0.1:8443",
        "https://localhost/x",
        "http://localhost:8181/v1/data/a",
        "http://127.0.0.1:8181",
        "http://127.8.8.8/x",
        "http://[::1]:8181/x",
    ],
)
def test_an_address_that_nobody_on_the_way_can_read_or_forge(url: str) -> None:
    """TLS, or the loopback."""
    assert urls.objection(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://opa.example.org/v1/data/jobs",
        "http://localhost.example.org/",
        "http://opa.localhost/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://127.0.0.1.example.org/",
        "http://localhost@example.org/",
        "http://user:word@localhost/",
        "http://localhost\\@example.org/",
        "https://example.org/?token=x",
        "https://example.org/#x",
        "https:///path",
        "https://",
        "ftp://localhost/",
        "https://example.org:99999/",
        "http://[::1/",
        "",
    ],
)
def test_what_is_not_one_is_told_why(url: str) -> None:
    """Also where it only looks like this host."""
    assert urls.objection(url)


@pytest.mark.parametrize(
    ("url", "here"), [("https://localhost:1/x", True), ("https://[::1]/", True), ("https://a.b/", False), ("x", False)]
)
def test_what_leads_to_this_host_is_recognised(url: str, here: bool) -> None:
    """Whatever the scheme."""
    assert urls.is_this_host(urls.host_of(url)) is here
