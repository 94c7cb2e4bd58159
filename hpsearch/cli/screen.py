"""Where text meets the terminal: a name may hold anything, and is shown as what it is."""

from typing import Any

from rich.console import Console
from rich.text import Text

from hpsearch.io.text import printable


class Screen(Console):
    """A console without markup, on which control characters and secrets of a text do nothing."""

    def __init__(self) -> None:
        super().__init__(markup=False, highlight=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """As every string comes here, those in the cells of a table too."""
        return super().render_str(printable(text), **options)


def say(*lines: object) -> None:
    """Print lines as they are, where nothing is wrapped or drawn."""
    for line in lines:
        print(printable(line), flush=True)
