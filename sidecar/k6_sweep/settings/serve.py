"""The settings of the HTTP endpoint."""

from dataclasses import dataclass
from pathlib import Path

from k6_sweep.files.regular import read_regular
from k6_sweep.settings.options import Role, TakenBy, option
from k6_sweep.settings.redis_url import Secret
from k6_sweep.settings.tokens import Token, one_token, tokens_in
from k6_sweep.settings.values import Address, readable_file, secret_file

_HTTP = "HTTP endpoint"


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The settings of the endpoint. `None` means that a feature is off."""

    listen: Address = option(
        _HTTP,
        TakenBy.SERVE,
        "Address to listen on; write an IPv6 address in brackets. Use 127.0.0.1 if all clients are in the same pod.",
        role=Role.PROTECTS,
        why="Clients connect from outside the container.",
        parse=Address.parse,
        metavar="HOST:PORT",
        default=Address("0.0.0.0", 8000),  # noqa: S104  # clients connect from outside the container
    )
    probe_listen: Address | None = option(
        _HTTP,
        TakenBy.SERVE,
        "Address of a second port, which answers only /healthz, /readyz and /metrics, without TLS. Probes get their "
        "answers there, whatever clients do to the other port.",
        role=Role.PROTECTS,
        why="Only a kubelet or a load balancer needs it. The chart sets it.",
        parse=Address.parse,
        metavar="HOST:PORT",
    )
    admin_token: Secret | None = option(
        _HTTP,
        TakenBy.SERVE,
        "Token that clients send in the header X-Admin-Token. `serve` needs it, or --admin-token-file, to start.",
        role=Role.PROTECTS,
        why="With a default token, any client could sweep. It has no option, because every process of the pod could "
        "read it.",
        parse=Secret,
        secret=True,
    )
    admin_token_file: Path | None = option(
        _HTTP,
        TakenBy.SERVE,
        "File with the token that clients send in the header X-Admin-Token, instead of the variable SWEEP_ADMIN_TOKEN. "
        "It can have several tokens, one a line, each as TOKEN or NAME TOKEN; the log has the name. k6-sweep reads it "
        "again at each request, so you can rotate the token.",
        role=Role.PROTECTS,
        why="With a default token, any client could sweep.",
        parse=secret_file,
        metavar="FILE",
    )
    tls_cert_file: Path | None = option(
        _HTTP,
        TakenBy.SERVE,
        "File with the endpoint's certificate (PEM), to serve HTTPS. k6-sweep reads it at the start.",
        role=Role.PROTECTS,
        why="HTTPS needs a certificate for the name by which your clients call the endpoint.",
        parse=readable_file,
        metavar="FILE",
        shown_default="plain HTTP",
    )
    tls_key_file: Path | None = option(
        _HTTP,
        TakenBy.SERVE,
        "File with the private key (PEM) of the certificate in --tls-cert-file.",
        role=Role.PROTECTS,
        why="Needed only with --tls-cert-file.",
        parse=readable_file,
        metavar="FILE",
    )

    def admin_tokens(self) -> tuple[list[Token], list[str]]:
        """Return the current tokens, and a sentence for each problem.

        Raises:
            OSError: Their file cannot be read.
        """
        if self.admin_token_file is not None:
            return tokens_in(read_regular(self.admin_token_file), "--admin-token-file")
        return one_token(self.admin_token.reveal().encode() if self.admin_token else b"", "SWEEP_ADMIN_TOKEN")
