"""The settings of the connection to Redis, and which of them contradict each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from k6_sweep.names import how_to_install
from k6_sweep.settings.options import Role, TakenBy, flag, option
from k6_sweep.settings.redis_url import IamCache, RedisUrl, Secret
from k6_sweep.settings.values import host_name, name_of, readable_file, secret_file

_REDIS = "Redis"


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """The address of Redis, the login and TLS. `None` means that a feature is off."""

    redis_url: RedisUrl = option(
        _REDIS,
        TakenBy.ALL,
        "Address of Redis: redis://HOST[:PORT][/DB], rediss://… for TLS, unix:///PATH, or "
        "redis+sentinel://HOST:PORT,HOST:PORT/MASTER. One node, or the configuration endpoint, is enough to find the "
        "whole cluster.",
        role=Role.SELECTS,
        why="k6-sweep never deletes keys from a Redis that you did not name.",
        parse=RedisUrl.parse,
        metavar="URL",
        required=True,
    )
    redis_username: str | None = option(
        _REDIS,
        TakenBy.ALL,
        "ACL user to log in as.",
        role=Role.PROTECTS,
        why="Without a name, Redis uses its user `default`. --redis-url can contain the name, too.",
        parse=name_of,
        metavar="NAME",
    )
    redis_password: Secret | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "Password of Redis. A file (--redis-password-file) is safer.",
        role=Role.NEITHER,
        why="Needed only if Redis requires a login. It has no option, because every process of the pod could read it.",
        parse=Secret,
        secret=True,
    )
    redis_password_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "File with the password of Redis, instead of the variable SWEEP_REDIS_PASSWORD. k6-sweep reads it again at "
        "each login, so you can rotate the password.",
        role=Role.NEITHER,
        why="Needed only if Redis requires a login.",
        parse=secret_file,
        metavar="FILE",
    )
    redis_ca_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "File with the certificate authorities (PEM) to trust for TLS, instead of the system's.",
        role=Role.PROTECTS,
        why="Needed only if your own authority signed the certificate of Redis.",
        parse=readable_file,
        metavar="FILE",
    )
    redis_cert_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "File with k6-sweep's own certificate (PEM), if Redis asks for one.",
        role=Role.NEITHER,
        why="Needed only if Redis asks for a client certificate.",
        parse=readable_file,
        metavar="FILE",
    )
    redis_key_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "File with the private key (PEM) of the certificate in --redis-cert-file.",
        role=Role.NEITHER,
        why="Needed only with --redis-cert-file.",
        parse=readable_file,
        metavar="FILE",
    )
    redis_tls_server_name: str | None = option(
        _REDIS,
        TakenBy.ALL,
        "Name that the certificate of every node must have, instead of the node's address.",
        role=Role.PROTECTS,
        why="Needed only if the certificates name the service and not the nodes. A node's own name proves more.",
        parse=host_name,
        metavar="NAME",
    )
    redis_iam: IamCache | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "AWS cache to log in to by IAM, without a password: elasticache:NAME, elasticache-serverless:NAME or "
        "memorydb:NAME. Needs k6-sweep[aws].",
        role=Role.NEITHER,
        why="Only caches of AWS have this login.",
        parse=IamCache.parse,
        metavar="CACHE",
    )
    redis_tls_insecure: bool = flag(
        _REDIS,
        TakenBy.ALL,
        "Do not check the server's certificate. Anyone on the network path can then read the password.",
        role=Role.PROTECTS,
        why="TLS protects the password only with this check.",
    )

    @property
    def username(self) -> str | None:
        """The user to log in as, from --redis-username or the URL."""
        return self.redis_username or self.redis_url.username

    @property
    def shown_username(self) -> str:
        """The user for messages: a user in a URL without a password may be the password itself."""
        if self.redis_url.username and not self.redis_username and not self.redis_url.password:
            return "the user in --redis-url (write redis://:PASSWORD@HOST for a password)"
        return f'"{self.username or "default"}"'


def contradictions(settings: RedisSettings) -> Iterator[str]:
    """Yield a sentence for each contradiction in the login and TLS."""
    url = settings.redis_url
    passwords = [
        name
        for name, given in (
            ("the URL", url and url.password),
            ("SWEEP_REDIS_PASSWORD", settings.redis_password),
            ("--redis-password-file", settings.redis_password_file),
        )
        if given
    ]
    if len(passwords) > 1:
        yield f"the password is set in {' and in '.join(passwords)}; keep one"
    if url and url.username and settings.redis_username not in {None, url.username}:
        yield "--redis-username and --redis-url name different users; keep one"
    if settings.redis_iam:
        yield from _iam_problems(settings, passwords)
    tls = {
        "--redis-ca-file": settings.redis_ca_file,
        "--redis-cert-file": settings.redis_cert_file,
        "--redis-key-file": settings.redis_key_file,
        "--redis-tls-server-name": settings.redis_tls_server_name,
        "--redis-tls-insecure": settings.redis_tls_insecure,
    }
    without_tls = [name for name, given in tls.items() if given]
    if url and not url.tls and without_tls:
        yield f"{', '.join(without_tls)} needs TLS: start --redis-url with rediss://"
    if settings.redis_tls_insecure and settings.redis_ca_file:
        yield "--redis-tls-insecure turns off the check that --redis-ca-file is for; keep one of them"
    if settings.redis_tls_insecure and settings.redis_tls_server_name:
        yield "--redis-tls-insecure turns off the check that --redis-tls-server-name is for; keep one of them"
    if bool(settings.redis_cert_file) != bool(settings.redis_key_file):
        yield "--redis-cert-file and --redis-key-file must be set together; one is missing"


def _iam_problems(settings: RedisSettings, passwords: Sequence[str]) -> Iterator[str]:
    if find_spec("botocore") is None:
        yield f"--redis-iam needs the extra `aws`; run: {how_to_install('aws')}"
    if passwords:
        yield f"--redis-iam replaces the password; remove the password from {' and from '.join(passwords)}"
    if settings.redis_url and not settings.username:
        yield "--redis-iam needs a user name; set --redis-username"
    if settings.redis_url and not settings.redis_url.tls:
        yield "--redis-iam needs TLS: start --redis-url with rediss://"
