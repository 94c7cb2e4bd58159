"""Over which images the channel statistics of a configuration are taken; without torch."""

from collections.abc import Mapping

AXIS = "statistics"
"""The axis of a detector that normalises the channels of its features."""
NATURAL, OWN = "natural", "own"
"""Its choices: a large set of natural images (paper, section 3.1), or the study's own normals."""


def statistics_in_words(params: Mapping[str, object], natural: str) -> str | None:
    """Over which images those of a configuration are; None where it takes none.

    Args:
        params: the configuration.
        natural: what the natural images of its network are.
    """
    return {NATURAL: natural, OWN: "the normal images of the study"}.get(str(params.get(AXIS)))
