"""The studies that train what the authors published, without a search."""

from collections.abc import Mapping
from typing import Any

from hpsearch.ablation import data_settings
from hpsearch.datasets.digits import NAME as DIGITS
from hpsearch.datasets.synthetic import NAME as SYNTHETIC
from hpsearch.datasets.torchvision_sets import SVHN
from hpsearch.errors import SpecError
from hpsearch.published import PublishedConfiguration, find_published
from hpsearch.space import PREPROCESSING
from hpsearch.spec import StudySpec, build_spec, merged
from hpsearch.tables.contents import PaperTable, Part, TableData
from hpsearch.tables.growing import START_RESOLUTION, STEPS_PER_PHASE, lengthened
from hpsearch.tables.study import TableStudy

STAND_INS: Mapping[str, str] = {DIGITS: SVHN.name, SYNTHETIC: "camelyon16"}
"""Data that anyone has, and the paper's whose configuration they are trained with."""

_DETECTOR: str = StudySpec.model_fields["detector"].default
# Nothing is chosen, so the labels have no part in it: as few as a study may have.
_NO_LABELS = {"n_anomaly_types": 1, "n_examples": 1, "anomalies": "shared"}


def published_study(
    table: PaperTable, part: Part, data: TableData, options: Mapping[str, Any], *, prefix: str
) -> TableStudy:
    """The study of a part that trains the published configuration, at full size.

    Args: as of `hpsearch.tables.contents.table_study`.

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
    _require_one(spec)
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


def _require_one(spec: StudySpec) -> None:
    for axes in spec.space.values():
        for axis, choices in axes.items():
            if len(choices) != 1:
                raise SpecError(
                    f"--axis {axis}: --published trains one configuration; give one choice"
                )
