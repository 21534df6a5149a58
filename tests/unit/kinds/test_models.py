"""The models and the schemas made from them judge alike."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.kinds import verdict
from controller.kinds.catalog import KINDS, schema_file
from controller.kinds.generate import json_schema
from controller.kinds.models import MODELS
from controller.kinds.structural import plain
from tests.unit.kinds.strategies import damaged, valid


def document_of(kind: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": "jobwarden.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_the_schema_accepts_the_model_accepts_and_gives_back_unchanged(kind: str, data: st.DataObject) -> None:
    """A generated spec becomes a model and a document again without loss."""
    model, _ = MODELS[kind]
    spec = data.draw(valid(json_schema(plain(model))))
    assert verdict.judge(kind, schema_file(kind), document_of(kind, spec)).findings == ()
    assert model.model_validate(spec).document() == spec


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_the_schema_refuses_the_model_refuses(kind: str, data: st.DataObject) -> None:
    """Damaged specs: strict validation by the model never accepts what the schema does not."""
    model, _ = MODELS[kind]
    spec = data.draw(valid(json_schema(plain(model))).flatmap(damaged))
    if verdict.judge(kind, schema_file(kind), document_of(kind, spec)).findings:
        with pytest.raises(ValidationError):
            model.model_validate(spec, strict=True, by_name=False)


@pytest.mark.parametrize("kind", KINDS)
def test_status_models_accept_nothing_unknown_and_need_nothing(kind: str) -> None:
    """A status is written piece by piece."""
    _, status = MODELS[kind]
    assert status.model_validate({}).document() == {}
    with pytest.raises(ValidationError):
        status.model_validate({"phase": "Running"})
