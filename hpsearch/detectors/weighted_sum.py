"""The text in which a study writes weighted sums of losses and schedules of layers.

`r32+0.5*r42` is a weighted sum; `8:r12 16:r22 64:r32+r42` says which one holds from which
resolution (px) on.
"""

import re
from collections.abc import Collection, Mapping

from hpsearch.errors import SpecError

_TERM = re.compile(r"(?:(?P<weight>[0-9.]+(?:e-?[0-9]+)?)\*)?(?P<name>[a-z][a-z0-9_]*)")
_LEAST, _MOST = 1e-6, 1e6  # beyond it a sum in single precision is one of its terms alone
_ENTRY = re.compile(r"(?P<resolution>[1-9][0-9]{0,4}):(?P<sum>\S+)")


def weighted_sum(text: str) -> dict[str, float]:
    """Weight of each name in `text`, 1 where none is written.

    Raises:
        SpecError: not a sum of `NAME` or `WEIGHT*NAME`, a name twice, or a weight that is not from
            1e-6 to 1e6.
    """
    found: dict[str, float] = {}
    for part in text.split("+"):
        match = _TERM.fullmatch(part.strip())
        weight = _number(match["weight"]) if match else 0.0
        if match is None or match["name"] in found or not _LEAST <= weight <= _MOST:
            raise SpecError(
                f"space: {text!r:.80}: write a sum of different names with weights from "
                f"{_LEAST:g} to {_MOST:g}, e.g. r32+0.5*r42"
            )
        found[match["name"]] = weight
    return found


def layer_schedule(text: str) -> dict[int, dict[str, float]]:
    """Layers and their weights by the resolution from which on they hold; 0 where none is written.

    Raises:
        SpecError: neither a weighted sum nor `RESOLUTION:SUM` entries, or a resolution twice.
    """
    if ":" not in text:
        return {0: weighted_sum(text)}
    found: dict[int, dict[str, float]] = {}
    for entry in text.split():
        match = _ENTRY.fullmatch(entry)
        if match is None or int(match["resolution"]) in found:
            raise SpecError(
                f"space: layers {text!r:.80}: write a layer for each resolution, "
                "e.g. 8:r12 16:r22 32:r32 64:r42"
            )
        found[int(match["resolution"])] = weighted_sum(match["sum"])
    return found


def known_weights(text: str, names: Collection[str]) -> Mapping[str, float]:
    """A weighted sum of some of `names`; the others have weight 0.

    Raises:
        SpecError: as `weighted_sum`, or another name.
    """
    found = weighted_sum(text)
    if unknown := found.keys() - set(names):
        raise SpecError(
            f"space: {text!r:.80}: no {', '.join(sorted(unknown))} here; "
            f"choose among {', '.join(names)}"
        )
    return {name: found.get(name, 0.0) for name in names}


def _number(text: str | None) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0
