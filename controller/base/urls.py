"""Addresses that secrets are sent to and whose answers are believed: nobody on the way may read the one or forge the other.

Rules of documents and the clients of backends ask here.
"""

import ipaddress
from urllib.parse import urlsplit


def objection(url: str) -> str | None:
    """Why this is no such address; None where it is one: https, or http on this host alone, and nothing but scheme, host, port and path. Pure."""
    try:
        split = urlsplit(url)
        host, _ = split.hostname or "", split.port
    except ValueError:
        return "it is no URL"
    if split.username or split.password or split.query or split.fragment or not host:
        return "write https://host/path, without a user, a query or a fragment"
    if split.scheme != "https" and not (split.scheme == "http" and is_this_host(host)):
        return "what is sent and answered there is safe over https only; http is for this host alone (localhost)"
    return None


def host_of(url: str) -> str:
    """The host of a URL, "" where there is none. Pure."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_this_host(host: str) -> bool:
    """Whether a name or address is that of the loopback, by its looks: no name is resolved. Pure."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
