"""Reads the address of Redis and its login from the forms that users write."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from k6_sweep.settings.values import Address

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix")
_MALFORMED: Final = "has an invalid host or port"


class Secret:
    """Text that stays hidden: its repr and str are `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep the text.

        Raises:
            ValueError: It has bytes that are not UTF-8, as Redis and HTTP headers take it.
        """
        if any("\ud800" <= each <= "\udfff" for each in text):
            raise ValueError("is not UTF-8 text; store it in UTF-8")
        self._text = text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text


@dataclass(frozen=True)
class RedisUrl:
    """The first address: a node, a cluster's configuration endpoint, a Unix socket, or Sentinels of the primary."""

    address: Address = Address("", DEFAULT_PORT)
    """One node; its host is empty with a Unix socket or Sentinels."""
    tls: bool = False
    socket_path: str | None = None
    sentinels: tuple[Address, ...] = ()
    master: str = ""
    """The Sentinels' name of the primary."""
    database: int = 0
    username: str | None = field(default=None, repr=False)  # without a password, it may be the password itself
    password: Secret | None = None

    def __str__(self) -> str:
        """Return the place without secrets: `redis-0:6379`, the socket's path, or the Sentinels' primary name."""
        if self.master:
            return f"{self.master} of {','.join(map(str, self.sentinels))}"
        return str(self.address) if self.socket_path is None else self.socket_path

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Parse a URL of one of these forms; `rediss` means TLS.

        - `redis://[user[:password]@]host[:port][/database]`
        - `redis+sentinel://[user[:password]@]host[:port][,host[:port]…]/master[/database]`
        - `unix://[user[:password]@]/path`

        Raises:
            ValueError: Its clause names the problem and never repeats the URL, which may hold a password.
        """
        text = text.rstrip("\r\n")  # of the file that a variable comes from
        scheme, separator, _ = text.partition("://")
        if not separator or scheme not in _SCHEMES:
            raise ValueError("must start with redis://, rediss:// (TLS), redis+sentinel:// or unix://")
        parts = _split(text)
        if "@" in parts.netloc and not (parts.username or parts.password):
            raise ValueError("has an empty login before @; give the user or the password, or remove the @")
        if parts.password == "":
            raise ValueError("has an empty password before @; give it, or remove the : before the @")
        username = unquote(parts.username) if parts.username else None
        password = Secret(unquote(parts.password)) if parts.password else None
        places = parts.netloc.rpartition("@")[2]
        if scheme == "unix":
            if places or not parts.path.strip("/"):
                raise ValueError("has no socket path; write it as unix:///run/redis.sock")
            return cls(socket_path=unquote(parts.path), username=username, password=password)
        tls = scheme.startswith("rediss")
        if "+" in scheme:
            sentinels = tuple(_address(place, SENTINEL_PORT) for place in places.split(","))
            master, slash, database = parts.path.removeprefix("/").partition("/")
            if not master:
                raise ValueError("has no master name; write it as redis+sentinel://HOST:PORT,HOST:PORT/MASTER")
            return cls(
                tls=tls,
                sentinels=sentinels,
                master=unquote(master),
                database=_database(slash + database),
                username=username,
                password=password,
            )
        return cls(
            address=_address(places, DEFAULT_PORT),
            tls=tls,
            database=_database(parts.path),
            username=username,
            password=password,
        )


@dataclass(frozen=True)
class IamCache:
    """An AWS cache that accepts logins of IAM identities."""

    service: str
    name: str
    serverless: bool = False

    @classmethod
    def parse(cls, text: str) -> "IamCache":
        """Parse `elasticache:NAME`, `elasticache-serverless:NAME` or `memorydb:NAME`.

        Raises:
            ValueError: The text has another form.
        """
        kind, _, name = text.partition(":")
        service, _, suffix = kind.partition("-")
        if not name or kind not in {"elasticache", "elasticache-serverless", "memorydb"}:
            raise ValueError("must be elasticache:NAME, elasticache-serverless:NAME or memorydb:NAME")
        return cls(service, name.lower(), serverless=bool(suffix))


def _split(text: str) -> SplitResult:
    if re.search(r"[\s\x00-\x1f]", text):  # urlsplit removes some of them, and would read another port or database
        raise ValueError("has a blank or a line end; remove it (in a password, a blank is %20)")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(_MALFORMED) from error
    if parts.query or parts.fragment:
        raise ValueError(
            "must not contain ?options or a #fragment; use the options of k6-sweep (in a password: # is %23, ? is %3F)"
        )
    return parts


def _address(text: str, default_port: int) -> Address:
    """Parse `host[:port]`, with an IPv6 address in brackets."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(_MALFORMED) from error
    if not host:
        raise ValueError("has no host")
    if text.endswith(":"):  # an unset variable leaves it: another Redis may be at the default port
        raise ValueError("has a colon but no port after the host; add the port, or remove the colon")
    if port == 0 or not re.fullmatch(r"[\w.-]+|[\da-f:.]+(%[\w.-]+)?", host):
        raise ValueError(_MALFORMED)
    return Address(host, default_port if port is None else port)


def _database(path: str) -> int:
    if path == "/":  # an unset variable leaves it: database 0 may be another's
        raise ValueError("has a slash but no database number at its end; add the number, or remove the slash")
    if not re.fullmatch(r"(/(0|[1-9][0-9]*))?", path):
        raise ValueError("must end with the host, the port or a database number")
    return int(path[1:] or 0)
