"""The configurations that the authors published for their own method, in the words of this project.

They lie in `studies/published.csv`, whose first lines say where they are from, beside those of the
other methods of the paper's tables.

`published_study` trains one of them, without a search.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from hpsearch.config.space import PREPROCESSING
from hpsearch.config.spec import StudySpec, build_spec, merged
from hpsearch.datasets.digits import DIGITS_NAME as DIGITS
from hpsearch.datasets.nih_copies import NIH_SIDE
from hpsearch.datasets.synthetic import SYNTHETIC_NAME as SYNTHETIC
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN
from hpsearch.errors import DataError, SpecError
from hpsearch.paper.ablation import data_settings
from hpsearch.paper.contents import PaperTable, Part, TableData, TableStudy
from hpsearch.paper.growing import START_RESOLUTION, STEPS_PER_PHASE, lengthened

WITH_GROWING, WITHOUT_GROWING = "pg", "wo_pg"
"""The rows of what their search chose."""

_FILE = "published.csv"
_METHOD = "dpa"
_DURATION = re.compile(
    r"steps (?:(?P<steps>\d+)|\d+:stab:(?P<last>\d+); growing from (?P<start>\d+) to \d+, "
    r"transition (?P<phase>\d+), stabilise (?P=phase))"
)


@dataclass(frozen=True)
class PublishedConfiguration:
    """What was trained for one row of a table.

    Attributes:
        dataset: as it is named here.
        normal_class: "" where the data set has none.
        row: its name in the source, e.g. `pg`.
        n_runs: trainings, each with a seed of its own.
        resolution: side of the images in px.
        latent_dim, latent_res: of the bottleneck.
        layers, loss: as the axes of the detector are written.
        widths: channels of the encoder from the image to the bottleneck; of a list longer than the
            stages only those nearest the bottleneck are used.
        learning_rate, batch_size: of the optimiser.
        steps: at full size; after those of growing, where it grows.
        start_resolution: px at which growing begins, 0 where it does not grow.
        steps_per_phase: of each transition and stabilisation, 0 where it does not grow.
        preprocessing: values of axes, as far as the source names them.
    """

    dataset: str
    normal_class: str
    row: str
    n_runs: int
    resolution: int
    latent_dim: int
    latent_res: int
    layers: str
    loss: str
    widths: tuple[int, ...]
    learning_rate: float
    batch_size: int
    steps: int
    start_resolution: int
    steps_per_phase: int
    preprocessing: Mapping[str, bool | float]


def find_published(
    dataset: str, normal_class: str, *, growing: bool
) -> PublishedConfiguration | None:
    """What the authors' search chose, None where they published nothing."""
    row = WITH_GROWING if growing else WITHOUT_GROWING
    for found in published_configurations():
        if (found.dataset, found.normal_class, found.row) == (dataset, normal_class, row):
            return found
    return None


@cache
def published_configurations() -> tuple[PublishedConfiguration, ...]:
    """Every published configuration of the authors' own method.

    Raises:
        DataError: the file that came with the project was changed and cannot be read.
    """
    with (files("studies") / _FILE).open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#", dtype=str, keep_default_na=False)
    try:
        return tuple(_read(row) for _, row in table[table["method"] == _METHOD].iterrows())
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{_FILE}: cannot be read ({error}); install it again") from error


def _read(row: "pd.Series[Any]") -> PublishedConfiguration:
    duration = _DURATION.fullmatch(row["duration"])
    if duration is None:
        raise ValueError(f"duration {row['duration']!r}")
    latent_dim, latent_res = map(int, row["latent"].split("x"))
    batches = re.findall(r"(?:(\d+):)?(\d+)", row["batch"])
    (batch_size,) = {int(size) for _, size in batches}
    layers, loss, sides = _losses(row["loss"])
    # Data set and class as they are named here.
    dataset, normal, normal_class = row["dataset"], row["normal"], ""
    if dataset == "nih":
        dataset = f"nih-{normal.lower()}"
    elif dataset == CIFAR10.name:
        normal_class = CIFAR10.aliases.get(normal, normal)
    elif dataset == SVHN.name:
        normal_class = normal
    return PublishedConfiguration(
        dataset=dataset,
        normal_class=normal_class,
        row=row["row"],
        n_runs=int(row["runs"]),
        resolution=max([*sides, *(int(side) for side, _ in batches if side)]),
        latent_dim=latent_dim,
        latent_res=latent_res,
        layers=layers,
        loss=loss,
        widths=tuple(map(int, row["widths_encoder"].split("-"))),
        learning_rate=float(row["lr"]),
        batch_size=batch_size,
        steps=int(duration["steps"] or duration["last"]),
        start_resolution=int(duration["start"] or 0),
        steps_per_phase=int(duration["phase"] or 0),
        preprocessing=_preprocessing(dataset, row["transforms"]),
    )


def _losses(text: str) -> tuple[str, str, list[int]]:
    """Layers, loss and sides in px of `8:r12; 64:r32 + 0.1 x l1 + 1 x adversarial`."""
    first, *others = text.split(" + ")
    if first == "l1":  # pixels alone are compared: the layer has no part in it
        return "r32", "l1", []
    schedule = dict(entry.split(":") for entry in first.split("; "))
    entries = [f"{side}:{names}" for side, names in schedule.items()]
    layers = " ".join(entries) if len(entries) > 1 else schedule.popitem()[1]
    terms = ["perceptual", *(term.removeprefix("1 x ").replace(" x ", "*") for term in others)]
    sides = [int(entry.split(":")[0]) for entry in entries]
    return layers, "+".join(terms), sides


def _preprocessing(dataset: str, transforms: str) -> dict[str, bool | float]:
    """Axes of the preprocessing; on Camelyon16 the random crop is the study's own."""
    given = dict(word.split(":") for word in transforms.split())
    axes: dict[str, bool | float] = {}
    if dataset.startswith("nih-"):
        axes["central_crop"] = int(given["crop_size"]) / NIH_SIDE
        axes["equalize"] = given["equalize_hist"] == "True"
    if dataset == SVHN.name:
        axes["greyscale"] = given["to_grayscale"] == "True"
    return axes


STAND_INS: Mapping[str, str] = {DIGITS: SVHN.name, SYNTHETIC: "camelyon16"}
"""Data that anyone has, and the paper's whose configuration they are trained with."""

_DETECTOR: str = StudySpec.model_fields["detector"].default
# Nothing is chosen, so the labels have no part in it: as few as a study may have.
_NO_LABELS = {"n_anomaly_types": 1, "n_examples": 1, "anomalies": "shared"}


def published_study(
    table: PaperTable, part: Part, data: TableData, options: Mapping[str, Any], *, prefix: str
) -> TableStudy:
    """The study of a part that trains the published configuration, at full size.

    Args: as of `hpsearch.paper.contents.table_study`.

    Raises:
        SpecError: the authors published none, a setting breaks a rule, or an option gives more than
            one configuration.
    """
    source = STAND_INS.get(part.dataset, part.dataset)
    found = find_published(source, part.normal_class, growing=part.growing)
    if found is None:
        there = ", ".join([*table.datasets, *STAND_INS])
        what = " ".join(filter(None, [part.dataset, part.normal_class]))
        raise SpecError(
            f"--published: the authors published no configuration for {what} in {table.name}; "
            f"take one of {there} as --dataset"
        )
    words = [data.short, part.normal_class, "growing" if part.growing else ""]
    said = [word for word in words if word]
    named: dict[str, Any] = {"study_name": "-".join([prefix, *said])}
    if part.normal_class:
        named["dataset"] = {"normal_class": part.normal_class}
    settings = merged(published_settings(found, data.study), {"dataset": {"name": data.name}})
    spec = build_spec(merged(settings, options), named)
    for axes in spec.space.values():
        for axis, choices in axes.items():
            if len(choices) != 1:
                raise SpecError(
                    f"--axis {axis}: --published trains one configuration; give one choice"
                )
    note = f"the published configuration of {source}" if source != part.dataset else None
    return TableStudy(
        lengthened(spec),
        ("weak",),
        f"{table.name} {' '.join(said)}, published configuration",
        searched=False,
        notes=(note,) if note else (),
    )


def published_settings(found: PublishedConfiguration, study: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping of a data set's own study with a published configuration as its only one.

    What was searched is the configuration's: network, layers, loss, preprocessing, steps at full
    size. The rest is the study's or the default: rate, batch, widths, how it grows.
    """
    axes: dict[str, list[Any]] = {
        "latent_dim": [found.latent_dim],
        "latent_res": [found.latent_res],
        "layers": [found.layers],
        "loss": [found.loss],
    }
    if found.start_resolution:
        axes[START_RESOLUTION] = [found.start_resolution]
        axes[STEPS_PER_PHASE] = [found.steps_per_phase]
    own = data_settings(study)
    images = dict(own["space"][PREPROCESSING])
    images["resolution"] = [found.resolution]
    images |= {axis: [value] for axis, value in found.preprocessing.items()}
    return own | {
        "labels": _NO_LABELS,
        "space": {_DETECTOR: axes, PREPROCESSING: images},
        "training": own["training"] | {"max_steps": found.steps},
        "final": {"n_runs": found.n_runs},
    }
