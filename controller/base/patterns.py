"""Regular expressions that users write, matched in time linear in the text.

Python's own `re` backtracks, so that one pattern and one long value can hold a process for hours; the engine behind JSON Schema validation does not.
The dialect is that of RE2 and Rust: no look-around, no back-references.
"""

from collections.abc import Callable
from functools import lru_cache

import jsonschema_rs


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A test whether a text matches `pattern` from its first to its last character. Errors: ValueError, saying what is wrong with it."""
    schema = {"pattern": f"^(?:{pattern})$"}
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
        return jsonschema_rs.validator_for(schema, pattern_options=jsonschema_rs.RegexOptions()).is_valid
    except (jsonschema_rs.ValidationError, ValueError):
        raise ValueError(
            "it is not a regular expression of the RE2 kind (no look-around, no back-references), or it is too large"
        ) from None
