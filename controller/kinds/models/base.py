"""What the models are made of: the base class, the rules between fields, and the scalar types with their patterns.

A rule is declared once on the model. Pydantic checks it when a model is built; `generate` writes it as `oneOf`, `anyOf` or `not` into the JSON Schema and as
CEL into the CRD. The `x-jobwarden-…` keys are notes from the models to the generator and to `digests`; editors ignore them.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

RuleType = Literal["ExactlyOne", "AtMostOne", "AtLeastOne"]


class Rule(BaseModel):
    """Of these fields (camelCase) exactly one, at most one, or at least one is set."""

    model_config = ConfigDict(frozen=True)

    type: RuleType
    fields: tuple[str, ...]


def exactly_one(*fields: str) -> Rule:
    """The rule that one of `fields` is set and no other. Pure."""
    return Rule(type="ExactlyOne", fields=fields)


def at_most_one(*fields: str) -> Rule:
    """The rule that no two of `fields` are set. Pure."""
    return Rule(type="AtMostOne", fields=fields)


def at_least_one(*fields: str) -> Rule:
    """The rule that one of `fields` is set, or several of them. Pure."""
    return Rule(type="AtLeastOne", fields=fields)


class Model(BaseModel):
    """Base of everything that people write: camelCase, no unknown fields, immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    unions: ClassVar[tuple[Rule, ...]] = ()
    immutable: ClassVar[bool] = False

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.unions:
            schema["x-jobwarden-rules"] = [rule.model_dump(mode="json") for rule in cls.unions]
        if cls.immutable:
            schema["x-jobwarden-immutable"] = True
        return schema

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        written = {name for name, value in self.document().items() if value is not None}
        for rule in self.unions:
            given = [field for field in rule.fields if field in written]
            many, none = rule.type != "AtLeastOne", rule.type != "AtMostOne"
            if (many and len(given) > 1) or (none and not given):
                raise ValueError(f"{rule.type} of {', '.join(rule.fields)}; given: {', '.join(given) or 'none'}")
        return self

    def document(self) -> dict[str, Any]:
        """The plain value as somebody would write it: camelCase, nothing that was not set. Pure."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _text(pattern: str, type_: str, max_length: int, min_length: int = 1) -> Any:
    return Field(
        pattern=pattern, min_length=min_length, max_length=max_length, json_schema_extra={"x-jobwarden-type": type_}
    )


def list_of(keys: str) -> dict[str, Any]:
    """Marks a list whose items are told apart by `keys` (space separated), or by themselves when `keys` is empty. Pure."""
    return {"x-jobwarden-list": keys.split()}


def open_object() -> dict[str, Any]:
    """Marks an object whose fields are somebody else's to define: kept whatever they are. Pure."""
    return {"x-jobwarden-open": True}


# Numbers carry no leading zero, so a duration is positive exactly when it is not `0s`: that needs no lookahead, which RE2 does not have.
# All parts at their largest are below the century that `base.durations` allows.
_PARTS = r"([1-9][0-9]{0,3}d)?([1-9][0-9]{0,4}h)?([1-9][0-9]{0,6}m)?([1-9][0-9]{0,8}s)?"
_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"

Duration = Annotated[str, _text(f"^{_PARTS}$", "duration", 32, 2)]
DurationOrZero = Annotated[str, _text(f"^(0s|{_PARTS})$", "duration", 32, 2)]
Instant = Annotated[str, _text(f"^{_DATE}T{_TIME}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$", "instant", 40)]
Quantity = Annotated[str, _text(r"^(0|[1-9][0-9]{0,8}(Ki|Mi|Gi|k|M|G)?)$", "quantity", 15)]
Name = Annotated[str, _text(f"^{_NAME}$", "name", 63)]
JobName = Annotated[str, _text(f"^{_NAME}$", "name", 52)]
EnvName = Annotated[str, _text(r"^[A-Za-z_][A-Za-z0-9_]*$", "envName", 128)]
ParameterName = Annotated[str, _text(r"^[a-z][a-z0-9_]{0,62}$", "parameterName", 63)]
TimeZone = Annotated[str, _text(r"^[A-Za-z][A-Za-z0-9+_/-]*$", "timeZone", 64)]
WallTime = Annotated[str, _text(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "wallTime", 5)]
AbsolutePath = Annotated[str, _text(r"^/", "absolutePath", 4096)]
Url = Annotated[str, _text(r"^https?://[^\s/?#]+[^\s]*$", "url", 2048)]
Actor = Annotated[str, _text(r"^%?[A-Za-z0-9_][A-Za-z0-9_.@:\\+-]*$", "actor", 128)]
# As an API server knows people: `arn:aws:sts::1:assumed-role/x`, `https://issuer#subject`, `CN` of a certificate.
UserName = Annotated[str, _text(r"^[!-~]([ -~]*[!-~])?$", "userName", 240)]
NamespaceOrAll = Annotated[str, _text(rf"^(\*|{_NAME})$", "namespaceOrAll", 63)]
