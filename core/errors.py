"""Errors as part of the interface: each message is one line that says what, where and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NichenasError(Exception):
    """Base of every error that this project raises on purpose."""


def one_line(text: str) -> str:
    """Returns text on one line, without characters that a terminal would act on."""
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, limit: int = 100) -> str:
    """Returns text of at most about ``limit`` characters, for messages that repeat what was given."""
    return text if len(text) <= limit else f"{text[:limit]}..."


class UserError(NichenasError):
    """Something that the user can fix; the command line prints it as one line and exits with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the file and the key.

    Attributes:
        message: what is wrong and what is allowed.
        key: dotted, as in ``search.trials``; empty where it is not known yet.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.message = one_line(message)
        self.key = key


class DataError(UserError):
    """Data that is missing or damaged; the message names the file and what belongs there."""


class RunFolderError(UserError):
    """A run folder that cannot be used as asked: in use, of another version, or with another configuration."""


class TestDataError(NichenasError):
    """Test data was read where it may not be: anywhere but in a retraining."""

    __test__ = False  # the name must not make pytest collect it


class CandidateFailure(NichenasError):
    """One candidate failed (divergence, a limit, out of memory); it becomes a failed trial, the search continues.

    Attributes:
        reason: a short, stable word for counting, such as ``diverged`` or ``limit:seconds``.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[CandidateFailure], tuple[str, str]]:
        return CandidateFailure, (self.reason, self.detail)


class ProposalError(NichenasError):
    """A strategy or scheduler proposed what the search cannot measure."""


class SearchDiverged(NichenasError):
    """The weights that a search shares have no finite loss any more, or serve no candidate."""


class Interrupted(NichenasError):
    """The run was stopped by the user; everything finished so far is kept.

    Attributes:
        advice: how to continue.
    """

    advice = "continue with --resume"


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Returns ``" (did you mean 'x'?)"`` for the closest allowed word, or an empty string."""
    if len(word) > 200:
        return ""  # the search for the closest takes the square of the length
    by_lower = {option.lower(): option for option in allowed}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""


def unknown_name_message(kind: str, word: str, allowed: Iterable[str], quote: bool = True) -> str:
    """Returns the message for a name that is not among those allowed, for instance of a strategy.

    Args:
        quote: whether the name is part of the message; a key is named before it.
    """
    options = sorted(allowed)
    name = f" '{shortened(word)}'" if quote else ""
    return f"unknown {kind}{name}{did_you_mean(word, options)}; allowed: {', '.join(options) or 'none'}"
