"""What a list of hosts allows, and what a proxy understands."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.executors.egress import Answer, Target, allows, may_connect, read_head

label = st.text(string.ascii_lowercase, min_size=1, max_size=8)
name = st.lists(label, min_size=2, max_size=4).map(".".join)
port = st.integers(1, 65535)


@given(name, port)
def test_a_name_allows_itself_in_any_case_and_on_any_port(host: str, number: int) -> None:
    """And with the dot that ends a full name."""
    for written in (host, host.upper(), host + "."):
        assert allows([host], written, number)


@given(name, name, port)
def test_a_name_allows_no_other(host: str, other: str, number: int) -> None:
    """Not one that begins or ends alike either."""
    if host != other:
        assert not allows([host], other, number)
    assert not allows([host], f"{host}.{other}", number)
    assert not allows([host], f"x{host}", number)
    assert not allows([host], f"x.{host}", number)


@given(name, label, port)
def test_a_star_allows_what_is_below_and_not_the_name_itself(host: str, below: str, number: int) -> None:
    """At any depth."""
    assert allows([f"*.{host}"], f"{below}.{host}", number)
    assert allows([f"*.{host}"], f"{below}.{below}.{host}", number)
    assert not allows([f"*.{host}"], host, number)
    assert not allows([f"*.{host}"], f"{below}{host}", number)


@given(name, port, port)
def test_a_port_allows_only_that_port(host: str, listed: int, asked: int) -> None:
    """Of the same host."""
    assert allows([f"{host}:{listed}"], host, asked) == (listed == asked)


def test_an_empty_list_allows_nothing() -> None:
    """Restricted without hosts."""
    assert not allows([], "example.com", 443)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "169.254.169.254",
        "fe80::1%eth0",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "?",
    ],
)
def test_a_listed_name_does_not_lead_back_to_this_machine(address: str) -> None:
    """Whoever runs the name's zone decides where it leads: not to the controller, and not to the credentials of a cloud."""
    assert not may_connect(["example.com", "*.org"], "example.com", address, 80)


@pytest.mark.parametrize("address", ["93.184.215.14", "10.1.2.3", "192.168.0.1", "2606:2800::1", "fd00::1"])
def test_a_listed_name_leads_anywhere_else(address: str) -> None:
    """Also into a private network: that is where most services are."""
    assert may_connect(["example.com"], "example.com", address, 80)


def test_who_lists_localhost_or_the_address_means_it() -> None:
    """A service beside the controller."""
    assert may_connect(["localhost"], "localhost", "127.0.0.1", 80)
    assert may_connect(["127.0.0.1", "example.com"], "example.com", "127.0.0.1", 80)
    assert not may_connect(["127.0.0.1:81", "example.com"], "example.com", "127.0.0.1", 80)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("CONNECT example.com:443 HTTP/1.1", Target("example.com", 443)),
        ("CONNECT [2606::1]:443 HTTP/1.1", Target("2606::1", 443)),
        ("CONNECT EXAMPLE.com:443 HTTP/1.0", Target("example.com", 443)),
        ("GET http://example.com HTTP/1.1", Target("example.com", 80, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")),
        (
            "PUT http://u:p@example.com:81/a%20b?c=d HTTP/1.1",
            Target("example.com", 81, b"PUT /a%20b?c=d HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ),
    ],
)
def test_a_request_names_where_it_goes(line: str, target: Target) -> None:
    """By either form."""
    assert read_head(f"{line}\r\n\r\n".encode()) == target


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET / HTTP/1.1",
        "GET https://example.com/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://a:b/ HTTP/1.1",
        "CONNECT example.com HTTP/1.1",
        "CONNECT example.com:0 HTTP/1.1",
        "CONNECT example.com:99999 HTTP/1.1",
        "CONNECT u@example.com:443 HTTP/1.1",
        "CONNECT example.com:443/path HTTP/1.1",
        "CONNECT [::1:443 HTTP/1.1",
        "CONNECT example.com:443",
        "CONNECT example.com:443 HTTP/2",
    ],
)
def test_what_names_nothing_is_a_bad_request(line: str) -> None:
    """In words."""
    answer = read_head(f"{line}\r\n\r\n".encode())
    assert isinstance(answer, Answer)
    assert answer.status.startswith("400 ")


@given(st.binary(max_size=300))
def test_no_bytes_break_it(head: bytes) -> None:
    """Whatever a run sends."""
    assert isinstance(read_head(head), Target | Answer)


def test_what_is_meant_for_the_proxy_stays_here() -> None:
    """And a connection serves one request, or the next one would go where the first was allowed."""
    head = b"GET http://a.b/ HTTP/1.1\r\nHost: a.b\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n"
    answer = read_head(head)
    assert isinstance(answer, Target)
    assert answer.head == b"GET / HTTP/1.1\r\nHost: a.b\r\nAccept: */*\r\nConnection: close\r\n\r\n"
