"""Makes the short-lived tokens with which an IAM identity of AWS logs in to ElastiCache or MemoryDB.

Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html (the password is a presigned request
without its scheme; it is valid for a login for 15 minutes, and a connection stays open after that).
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
"""The longest validity that AWS accepts for this token."""


@functools.cache
def _session() -> Session:
    """Return the one session of the process, which caches and renews the identity's credentials."""
    return get_session()


def token(cache: IamCache, user: str, session: Session | None = None) -> str:
    """Return a fresh token, which is the password.

    Raises:
        DeniedError: The AWS identity or the region is missing, or AWS refuses the identity.
        UnreachableError: AWS cannot be reached.
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
    # botocore makes such tokens for RDS, but not for caches; only its signer serves for both.
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
