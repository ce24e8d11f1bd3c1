"""Where Redis is, as one URL."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

DEFAULT_PORT: Final = 6379


class Secret:
    """Text that never shows itself: its repr and str are `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
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
    """One address to begin with: a node, a cluster's configuration endpoint, or a Unix socket."""

    host: str = ""
    port: int = DEFAULT_PORT
    tls: bool = False
    socket_path: str | None = None
    database: int = 0
    username: str | None = None
    password: Secret | None = field(default=None)

    def __str__(self) -> str:
        """Name the place without a secret: `redis-0:6379` or the socket's path."""
        if self.socket_path is not None:
            return self.socket_path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Read `redis://[user[:password]@]host[:port][/database]`, `rediss://…` (TLS) or `unix:///path`.

        Raises:
            ValueError: With a clause that says what is wrong; it never repeats the URL, which may hold a password.
        """
        scheme, separator, _ = text.partition("://")
        if not separator or scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must begin with redis://, rediss:// (TLS) or unix://")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError("has a malformed host or port") from error
        if parts.query or parts.fragment:
            raise ValueError(
                "must not carry ?options or a #fragment; use the --redis-… options (%23 and %3F in a password)"
            )
        username = unquote(parts.username) if parts.username else None
        password = Secret(unquote(parts.password)) if parts.password else None
        if scheme == "unix":
            if parts.hostname or not parts.path.strip("/"):
                raise ValueError("names no socket; write unix:///run/redis.sock")
            return cls(socket_path=unquote(parts.path), username=username, password=password)
        if not parts.hostname:
            raise ValueError("names no host")
        database = parts.path.strip("/") or "0"
        if not (database.isascii() and database.isdigit()):
            raise ValueError("must end in the host, the port or a database number")
        return cls(
            host=parts.hostname,
            port=DEFAULT_PORT if port is None else port,
            tls=scheme == "rediss",
            database=int(database),
            username=username,
            password=password,
        )
