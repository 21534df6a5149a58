"""Types that several threads decode into.

msgspec describes a type to itself when it is first decoded into, and a second thread that meanwhile decodes into the same type reads a description that is
half made: the process dies (seen with 0.22). So what threads share is described when its module is imported: by a `Decoder` in the module, or by
`described` where `convert` is used, which has no such object.
"""

from typing import TypeVar

import msgspec

Kind = TypeVar("Kind", bound=type[msgspec.Struct])


def described(kind: Kind) -> Kind:
    """Class decorator: the type may be converted into from any thread, from now on."""
    msgspec.json.Decoder(kind)
    return kind
