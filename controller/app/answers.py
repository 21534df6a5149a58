"""Who answers which enquiry of the gates."""

from collections.abc import Mapping

from controller.gates.enquiries import Enquiry
from controller.loops.enquiring import Answerer


def answerers() -> Mapping[type[Enquiry], Answerer]:
    """An answerer for each kind of enquiry."""
    return {}
