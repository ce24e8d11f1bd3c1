"""Knows which tokens are valid now: it reads their file again for each request, so a rotated token counts at once."""

import hmac
from collections.abc import Sequence

from k6_sweep.log import Log, LogEvent
from k6_sweep.settings.serve import ServeSettings
from k6_sweep.settings.tokens import Token, digest_of


def matching(given: bytes, tokens: Sequence[Token]) -> Token | None:
    """Return the token that is equal to the given one, in a time that depends on none of them."""
    digest, found = digest_of(given), None
    for token in tokens:  # all of them, also after the right one
        if hmac.compare_digest(digest, token.digest):
            found = token
    return found


class Tokens:
    """The valid tokens. A change of their file is logged once, not at each request."""

    def __init__(self, settings: ServeSettings, log: Log) -> None:
        """Read the tokens for the first time, and warn about those that can be guessed."""
        self._settings = settings
        self._log = log
        self._valid: Sequence[Token] | None = None
        """The tokens of the last file without a mistake."""
        self._problem: str | None = None
        self._read()

    def find(self, given: bytes) -> Token | None:
        """Return the valid token that is equal to the given one."""
        return matching(given, self._read())

    def _read(self) -> Sequence[Token]:
        try:
            tokens, problems = self._settings.admin_tokens()
        except OSError as error:
            self._log_once(LogEvent.TOKEN_UNREADABLE, problem=str(error))
            return ()
        if problems:
            # Half of a file that is being written, or a slip: the tokens of before must not stop to work.
            self._log_once(LogEvent.TOKENS_BROKEN, problem="; ".join(problems))
            return self._valid or ()
        self._problem = None
        if tokens != self._valid:
            if self._valid is not None:
                self._log.info(LogEvent.TOKENS_CHANGED, tokens=[each.name for each in tokens])
            self._valid = tokens
            for warning in filter(None, (each.warning for each in tokens)):
                self._log.warning(LogEvent.SETTINGS_WARNING, problem=warning)
        return tokens

    def _log_once(self, event: LogEvent, problem: str) -> None:
        if problem != self._problem:
            self._log.error(event, problem=problem)
        self._problem = problem
