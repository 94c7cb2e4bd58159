"""How the library tells of progress without printing: a callable that the command line supplies."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`, e.g. `progress("decoding", 512, 2000)`."""


def silent(what: str, done: int, total: int) -> None:
    """The progress callable that tells nobody."""
