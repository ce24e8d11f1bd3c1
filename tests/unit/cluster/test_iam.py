"""IAM tokens, checked against an independent implementation of AWS's published rules for signing.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.session import Session

from k6_sweep.cluster.iam import token
from k6_sweep.errors import DeniedError
from k6_sweep.settings.redis_url import IamCache

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def session(region: str | None = "eu-west-1", session_token: str | None = "temporary+token/=") -> Session:
    made = Session()
    made.set_config_variable("region", region)
    made.set_credentials("AKIDEXAMPLE", SECRET, session_token)
    return made


def sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def expected_signature(signed: str, region: str, service: str) -> str:
    """Compute the signature of a presigned request by the published rules."""
    url = urlsplit(f"https://{signed}")
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    query.pop("X-Amz-Signature")
    canonical_query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items())
    )
    empty = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n{url.path}\n{canonical_query}\nhost:{url.netloc}\n\nhost\n{empty}"
    moment = query["X-Amz-Date"]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    assert query["X-Amz-Credential"] == f"AKIDEXAMPLE/{scope}"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in (moment[:8], region, service, "aws4_request"):
        key = sign(key, part)
    return sign(key, text).hex()


CACHES = {
    "elasticache:My-Cache": ("elasticache", "my-cache", {}),
    "elasticache-serverless:my-cache": ("elasticache", "my-cache", {"ResourceType": "ServerlessCache"}),
    "memorydb:my-cluster": ("memorydb", "my-cluster", {}),
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("session_token", [None, "temporary+token/="])
def test_the_token_is_signed_as_published(cache: str, session_token: str | None) -> None:
    """The password is a presigned request for the cache's name, without its scheme, valid for 15 minutes."""
    service, host, more = CACHES[cache]
    signed = token(IamCache.parse(cache), "sweeper one", session(session_token=session_token))
    url = urlsplit(f"https://{signed}")
    query = dict(parse_qsl(url.query))
    assert (url.netloc, url.path) == (host, "/")
    wanted = {"Action": "connect", "User": "sweeper one", "X-Amz-Expires": "900", "X-Amz-SignedHeaders": "host"} | more
    assert {name: query[name] for name in wanted} == wanted
    assert query.get("X-Amz-Security-Token") == session_token
    assert ("ResourceType" in query) == ("ResourceType" in more)
    assert query["X-Amz-Signature"] == expected_signature(signed, "eu-west-1", service)


def test_what_is_missing_is_named() -> None:
    """The error names what is missing: the region or the identity."""
    cache = IamCache.parse("elasticache:my-cache")
    with pytest.raises(DeniedError, match="a region"):
        token(cache, "sweeper", session(region=None))
    nobody = session()
    nobody._credentials = None  # type: ignore[attr-defined]  # a machine without an AWS identity
    nobody.get_component("credential_provider").providers = []
    with pytest.raises(DeniedError, match="an AWS identity"):
        token(cache, "sweeper", nobody)


@pytest.mark.parametrize("text", ["my-cache", "elasticache:", "redis:my-cache", "memorydb-serverless:x"])
def test_what_is_no_cache(text: str) -> None:
    """A text without a known service and a name is refused."""
    with pytest.raises(ValueError, match="must be elasticache:NAME"):
        IamCache.parse(text)
