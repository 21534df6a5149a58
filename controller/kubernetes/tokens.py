"""Tokens of service accounts, by the TokenRequest API: made for a run, kept nowhere.

Fulfils `TokenIssuer` of `controller.providers.protocol`. Invariant: a token that is given has every audience that was asked for, and none besides.
"""

from datetime import UTC, datetime, timedelta

from lightkube import AsyncClient
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccountToken

from controller.kubernetes.objects import ApiFailed, answered
from controller.providers.protocol import Issued, Refused, Secret, Unavailable


class ServiceAccountTokens:
    """Those of one API server. `home` is the controller's own namespace."""

    def __init__(self, client: AsyncClient, home: str) -> None:
        self._client, self._home = client, home

    async def issue(
        self, namespace: str, account: str, audiences: tuple[str, ...], lifetime: timedelta
    ) -> Issued | Refused | Unavailable:
        """A token, or why there is none. Namespace "": the controller's own."""
        home = namespace or self._home
        wanted = TokenRequestSpec(audiences=list(audiences), expirationSeconds=int(lifetime.total_seconds()))
        # lightkube looks for a namespace in the object, too.
        body = ServiceAccountToken(spec=wanted, metadata=ObjectMeta())
        asked = self._client.create(body, name=account, namespace=home)
        try:
            made = await answered(asked)
        except ApiFailed as error:
            return _failed(error, home, account)
        return _issued(made, audiences, home, account)


def _issued(made: ServiceAccountToken, audiences: tuple[str, ...], namespace: str, account: str) -> Issued | Refused:
    status, spec = made.status, made.spec
    if status is None or not status.token or status.expirationTimestamp is None:
        return Refused(f"the API server answered without a token for the service account {namespace}/{account}")
    if audiences and (spec is None or set(spec.audiences or ()) != set(audiences)):
        return Refused(
            f"the API server changed the audiences of the token for the service account {namespace}/{account}"
        )
    return Issued(Secret(status.token), _instant(status.expirationTimestamp))


def _instant(given: datetime | str) -> datetime:
    found = datetime.fromisoformat(given) if isinstance(given, str) else given
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _failed(error: ApiFailed, namespace: str, account: str) -> Refused | Unavailable:
    if error.passing:
        wait = timedelta(seconds=error.retry_after) if error.retry_after is not None else None
        return Unavailable(str(error), wait)
    if error.code == 404:
        return Refused(f"there is no service account {namespace}/{account}: create it, or correct the name")
    if error.code in (401, 403):
        return Refused(
            f"no token may be asked for the service account {namespace}/{account}: give the controller the verb create on "
            "serviceaccounts/token, with that name, in a Role (in the chart: credentials.serviceAccounts)"
        )
    return Refused(f"no token for the service account {namespace}/{account}: {error}")
