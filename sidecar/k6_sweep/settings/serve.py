"""The settings of the HTTP endpoint."""

from dataclasses import dataclass
from pathlib import Path

from k6_sweep.settings.options import TakenBy, option
from k6_sweep.settings.redis_url import Secret
from k6_sweep.settings.values import Address, readable_file

_HTTP = "The HTTP endpoint"


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The settings of the endpoint. `None` means that a feature is off."""

    listen: Address = option(
        _HTTP,
        TakenBy.SERVE,
        "Where to listen: HOST:PORT, an IPv6 address in brackets. 127.0.0.1 is for the containers of one pod.",
        parse=Address.parse,
        metavar="ADDRESS",
        default=Address("0.0.0.0", 8000),  # noqa: S104  # clients connect from outside the container
    )
    admin_token: Secret | None = option(
        _HTTP,
        TakenBy.SERVE,
        "The token that callers send as X-Admin-Token; without one, or a file, serve refuses to start.",
        parse=Secret,
        secret=True,
    )
    admin_token_file: Path | None = option(
        _HTTP,
        TakenBy.SERVE,
        "A file that holds the token; read again at each request, so it may be rotated.",
        parse=readable_file,
        metavar="FILE",
    )
    tls_cert_file: Path | None = option(
        _HTTP,
        TakenBy.SERVE,
        "The endpoint's own certificate (PEM), to serve HTTPS; read at the start.",
        parse=readable_file,
        metavar="FILE",
        shown_default="plain HTTP",
    )
    tls_key_file: Path | None = option(
        _HTTP, TakenBy.SERVE, "That certificate's key (PEM).", parse=readable_file, metavar="FILE", default=None
    )

    def current_admin_token(self) -> bytes:
        """Return the current token; empty if there is none.

        Raises:
            OSError: Its file cannot be read.
        """
        if self.admin_token_file is not None:
            return self.admin_token_file.read_bytes().strip()
        return self.admin_token.reveal().encode() if self.admin_token else b""
