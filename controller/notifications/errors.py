"""How a delivery can fail, and whether trying again helps. Messages are for people and contain no secret and no URL.

DeliveryFailed (base)       backoff     the target did not accept the message, or could not be reached
├── DeliveryPostponed       then        the target named the time to come back
└── DeliveryRefused         never       the same message will not be accepted later either
"""

from datetime import timedelta

from controller.base.errors import DeliveryFailed, Retry


class DeliveryPostponed(DeliveryFailed):
    """The target asked to come back after `retry_after`."""

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeliveryRefused(DeliveryFailed):
    """The target, or its declaration, makes success impossible until a person changes something."""

    retry = Retry.Never
