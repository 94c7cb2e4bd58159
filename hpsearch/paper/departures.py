"""In what a table that was made here is not the paper's, in plain words."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsearch.paper.running import Outcome

_TORCHVISION = "torchvision "
"""What the source of torchvision's own weights begins with; see `hpsearch.detectors.backbones`."""
GENUINE = "dcbb9e9d"
"""The first digits of the SHA-256 of torchvision's file, which it carries in its name."""
_OF_THE_PAPER = ("dataset", "backbone")  # sections of which other words are made here


def departures(
    outcomes: Sequence[Outcome], settings: Mapping[str, Any], *, scale: float | None
) -> list[str]:
    """What a reader must know before a figure is set beside the paper's, each once.

    Args:
        outcomes: of the studies of the table.
        settings: of the user, laid over all studies.
        scale: of the steps of every training, None for full size.
    """
    answered = [outcome for outcome in outcomes if outcome.answers]
    said = [_weights(outcome) for outcome in answered]
    said += [note for outcome in answered for note in outcome.notes]
    if scale is not None and scale != 1:
        said.append(f"steps x {scale:g}")
    changed = {key: value for key, value in settings.items() if key not in _OF_THE_PAPER}
    if words := list(_words(changed)):
        said.append(f"settings of the command line: {', '.join(words)}")
    return list(dict.fromkeys(word for word in said if word))


def _weights(outcome: Outcome) -> str:
    source = str(outcome.folder.environment()["backbone_source"])
    if source.startswith(_TORCHVISION) or _is_genuine(Path(source)):
        return ""
    return f"stand-in weights ({Path(source).name}), not torchvision's ImageNet VGG-19"


def _is_genuine(path: Path) -> bool:
    """Whether a file that the user gave is torchvision's own."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(GENUINE)


def _words(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested settings as `training.batch_size=16` words."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _words(value, f"{prefix}{key}.")
        else:
            said = "|".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{key}={said}"
