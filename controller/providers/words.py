"""What a backend said, fit to be shown: short, on one line, without secrets.

The callers know values to mask (`masking.Masker`); what is left and looks like a credential goes as well, because a backend may quote one that we never
saw. Invariant: the result has at most `LONGEST` characters and no control character.
"""

import re
from collections.abc import Iterable

from controller.base.masking import MASK, Masker

LONGEST = 300  # characters
_LOOKED_AT = 16 * LONGEST  # the rest of a huge message is cut before it costs anything
_TOKENS = re.compile(
    r"eyJ[\w-]{8,}(?:\.[\w-]*){1,4}"  # JOSE in compact form: RFC 7515, section 3.1
    r"|(?i:(?<=bearer )|(?<=basic ))\S{8,}"  # RFC 6750, RFC 7617
    r"|(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}"  # long runs of letters and digits, as keys and opaque tokens are
)
_SECRET_URL = re.compile(r"(?<=://)[^/\s@]+@")


def fit(text: str, *maskers: Masker) -> str:
    """The text as it may be shown; "" for nothing. Pure but for what the maskers know."""
    # Masked before it is cut, so that no half of a value is left at the end.
    for masker in maskers:
        text = masker.mask(text[:_LOOKED_AT])
    text = _TOKENS.sub(MASK, _SECRET_URL.sub(f"{MASK}@", text[:_LOOKED_AT]))
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names for people, sorted, a long list cut. Pure."""
    known = sorted(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more or "none"
