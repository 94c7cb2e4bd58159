"""A listener for tests."""

from hpsearch.search.events import SilentListener


class Notes(SilentListener):
    """Keeps the notes that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        """Keep it."""
        self.lines.append(message)
