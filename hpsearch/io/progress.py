"""How the library tells of what it does without printing: the command line says to whom."""

from collections.abc import Callable
from typing import Protocol

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`, e.g. `progress("decoding", 512, 2000)`."""


def silent(what: str, done: int, total: int) -> None:
    """The progress callable that tells nobody."""


class Reporter(Protocol):
    """Told of progress and of what is worth a line; must not raise."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` pieces of `what` are finished."""

    def note(self, message: str) -> None:
        """Something worth a line."""
