"""The stage of progressive growing that a network runs in (paper, section 3.2)."""

from dataclasses import dataclass

from dpa_core.config import AutoencoderConfig


@dataclass(frozen=True)
class Phase:
    """Resolution in px, and the weight α in [0, 1] of the newest resolution's layers."""

    resolution: int
    alpha: float = 1.0


def final_phase(config: AutoencoderConfig) -> Phase:
    """The phase of a network that is fully grown, or never grew."""
    return Phase(config.image_size)
