"""The clearest and the most wrong test images with their maps (the paper's Fig. 5)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hpsearch.io.files import printable
from hpsearch.reports.document import Picture, Pictures, Section, Text
from hpsearch.reports.examples.store import Example, Kind

_CAPTIONS: Mapping[Kind, str] = {
    "most_normal": "Most normal: the normal images that score lowest",
    "most_anomalous": "Most anomalous: the anomalies that score highest",
    "false_alarm": "Most wrong: the normal images that score highest",
    "miss": "Most wrong: the anomalies that score lowest",
}


def examples_section(
    folder: Path,
    examples: Sequence[Example],
    *,
    threshold: float | None,
    missing: str | None,
) -> Section:
    """A row of pictures a kind.

    Args:
        folder: of the pictures.
        examples: what is in it.
        threshold: above it an image is flagged, None where there is none.
        missing: why there are no pictures.
    """
    blocks: list[Text | Pictures] = []
    if missing is not None:
        blocks.append(Text(f"There are no pictures: {printable(missing)}."))
    elif any(example.overlay for example in examples):
        scale = "the highest value" if threshold is None else "twice the threshold"
        blocks.append(
            Text(
                "Each image as the detector sees it, and with its map over it in grey: the lighter "
                f"a place, the more it adds to the score; the lightest is {scale}."
            )
        )
    else:
        blocks.append(
            Text(
                "Each image as the detector sees it. This detector gives one score an image and "
                "no maps."
            )
        )
    for kind, caption in _CAPTIONS.items():
        found = [example for example in examples if example.kind == kind]
        if found:
            pictures = tuple(_picture(folder, example, threshold) for example in found)
            blocks.append(Pictures(caption, pictures))
    return Section("examples", "Test images", tuple(blocks))


def _picture(folder: Path, example: Example, threshold: float | None) -> Picture:
    what = example.anomaly_type or "normal"
    flagged = ""
    if threshold is not None:
        flagged = ", flagged" if example.score > threshold else ", not flagged"
    return Picture(
        folder / example.image,
        folder / example.overlay if example.overlay else None,
        f"{printable(example.image_id)} ({printable(what)}): score {example.score:.4g}{flagged}",
        f"Test image {printable(example.image_id)}, {printable(what)}",
    )
