"""Who answers which enquiry of the gates."""

from collections.abc import Mapping

from controller.gates.enquiries import Enquiry, Vouching
from controller.loops.enquiring import Answerer
from controller.loops.obtaining import Obtaining


def answerers(obtaining: Obtaining) -> Mapping[type[Enquiry], Answerer]:
    """An answerer for each kind of enquiry."""
    return {Vouching: obtaining.vouch}
