"""Makes the short-lived tokens by which AWS lets an IAM identity log in to ElastiCache or MemoryDB.

Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html (a presigned request without its scheme is
the password; it is good for logging in for 15 minutes, and a connection lives on after that).
"""

import functools
from typing import Final
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.model import ServiceId
from botocore.session import Session, get_session
from botocore.signers import RequestSigner

from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.redis_url import IamCache

_SECONDS_VALID: Final = 900


@functools.cache
def _session() -> Session:
    """Return one session for the whole process: it keeps the identity's credentials, and renews them."""
    return get_session()


def token(cache: IamCache, user: str, session: Session | None = None) -> str:
    """Return a fresh token, to be given as the password.

    Raises:
        DeniedError: There is no AWS identity here, or no region, or AWS refuses it.
        UnreachableError: AWS could not be asked.
    """
    try:
        return _signed(cache, user, session or _session())
    except HTTPClientError as error:
        raise UnreachableError(f"cannot make an IAM token for {cache.name}: {error}") from error
    except (BotoCoreError, ClientError) as error:
        raise DeniedError(f"cannot make an IAM token for {cache.name}: {error}") from error


def _signed(cache: IamCache, user: str, session: Session) -> str:
    region = session.get_config_variable("region")
    credentials = session.get_credentials()
    if not region or credentials is None:
        what = "an AWS identity (such as a service account's role)" if region else "a region (AWS_DEFAULT_REGION)"
        raise DeniedError(f"cannot make an IAM token for {cache.name}: {what} is missing")
    events = session.get_component("event_emitter")
    signer = RequestSigner(ServiceId(cache.service), region, cache.service, "v4", credentials, events)
    query = {"Action": "connect", "User": user} | ({"ResourceType": "ServerlessCache"} if cache.serverless else {})
    request = {
        "method": "GET",
        "url": f"https://{cache.name}/?{urlencode(query)}",
        "body": {},
        "headers": {},
        "context": {},
    }
    signed = signer.generate_presigned_url(
        request, operation_name="connect", expires_in=_SECONDS_VALID, region_name=region
    )
    return str(signed).removeprefix("https://")
