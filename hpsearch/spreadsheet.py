"""CSV files that people open: no cell is run as a formula.

Tables that hpsearch reads back (`images.csv` and `scores.csv` of a study, manifests) hold names as
they are.
"""

from typing import TypeVar

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection

Cell = TypeVar("Cell")


def guarded(cell: Cell) -> Cell | str:
    """Text that a spreadsheet would take for a formula, after a `'`; anything else as it is."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or _is_number(cell):
        return cell
    return f"'{cell}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
