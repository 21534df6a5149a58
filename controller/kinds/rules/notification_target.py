"""Rules of NotificationTarget: no secret stands in a manifest, and no header is sent twice."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from controller.kinds.findings import Finding
from controller.kinds.records import Reason
from controller.kinds.rules.lists import doubles

# Services whose webhook URL is the credential.
_SECRET_HOSTS = re.compile(
    r"(^|\.)(hooks\.slack\.com|hooks\.slack-gov\.com|discord(app)?\.com|webhook\.office\.com|chat\.googleapis\.com|hooks\.zapier\.com|hc-ping\.com|"
    r"api\.telegram\.org|events\.pagerduty\.com|open\.feishu\.cn|qyapi\.weixin\.qq\.com)$"
)
_SECRET_NAMES = re.compile(r"token|secret|passw|api[-_]?key|^key$|^sig(nature)?$|credential|^auth", re.IGNORECASE)
# Long and made of letters and digits in one piece: words are shorter or have no digits.
_SECRET_PART = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_-]{20,}")
_HINT = "Put the whole URL into a file or a variable and name that in urlFrom"


def check(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one NotificationTarget or ClusterNotificationTarget. Pure."""
    webhook = document["spec"].get("webhook", {})
    headers = [{"name": header["name"].lower()} for header in webhook.get("headersFrom", ())]
    yield from doubles(headers, "/spec/webhook/headersFrom", "header", "name")
    if "url" in webhook and (why := _objection(webhook["url"])):
        reason, message, hint = why
        yield Finding("/spec/webhook/url", reason, message, hint)


def _objection(url: str) -> tuple[Reason, str, str] | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return Reason.InvalidValue, "the URL cannot be read", "Write it as https://HOST/PATH"
    if not host:
        return Reason.InvalidValue, "the URL names no host", "Write it as https://HOST/PATH"
    if parts.username is not None or parts.password is not None:
        return Reason.InvalidValue, "the URL carries a user or password, and manifests carry no secrets", _HINT
    if _SECRET_HOSTS.search(host):
        return Reason.InvalidValue, f"webhook URLs of {host} are secrets, and manifests carry none", _HINT
    if any(value and _SECRET_NAMES.search(name) for name, value in parse_qsl(parts.query)):
        return Reason.InvalidValue, "the URL's query carries a secret, and manifests carry none", _HINT
    if _SECRET_PART.search(parts.path) or any(_SECRET_PART.fullmatch(value) for _, value in parse_qsl(parts.query)):
        return Reason.InvalidValue, "a part of the URL looks like a secret, and manifests carry none", _HINT
    return None
