"""The configurations of a study, and what its images and labels leave out of them.

What is left out is not in the grid and stays among the choices: a study that goes on finds its
parameters as they were.
"""

from dataclasses import replace

from hpsearch.config.space import (
    PREPROCESSING,
    RESOLUTION,
    Canonical,
    Params,
    SearchSpace,
    build_space,
)
from hpsearch.config.spec import AUTO, StudySpec
from hpsearch.datasets.pixels import all_grey, usual_side
from hpsearch.datasets.table import Dataset
from hpsearch.detectors.backbones.backbone import architecture_of
from hpsearch.detectors.base import (
    axes_of,
    canonical_of,
    detector_names,
    is_of_family,
    trains_on_labels,
)
from hpsearch.errors import DataError, SpecError
from hpsearch.protocol.labels import apart_from_labels, split_labels
from hpsearch.protocol.protocol import StudySplit
from hpsearch.search.events import Listener


def require_sections(spec: StudySpec) -> None:
    """Refuse a section of the space that is no detector's.

    Raises:
        SpecError: in one line, with those that there are.
    """
    sections = (PREPROCESSING, *detector_names(), *spec.detectors)
    for section in spec.space:
        if section not in sections and not is_of_family(section):
            raise SpecError(
                f"space.{section:.60}: no such section; there are {', '.join(sections)}"
            )


def space_of(spec: StudySpec) -> SearchSpace:
    """The space of a study, by the axes of its detectors and the layers of its network.

    Raises:
        SpecError: a detector or an axis that there is not.
    """
    architecture = architecture_of(spec.backbone.name)
    return build_space(
        spec, {name: axes_of(name, architecture) for name in spec.detectors}, canonical_of
    )


def space_on(
    space: SearchSpace, spec: StudySpec, dataset: Dataset, split: StudySplit, listener: Listener
) -> SearchSpace:
    """The space without what cannot be tried, or cannot differ, on these images and labels.

    Raises:
        DataError: nothing of it is left.
    """
    space = _without_idle_heads(space, split, dataset, listener)
    if spec.detector == AUTO:
        space = _without_enlarging(space, dataset, listener)
    if any(len(axes["greyscale"]) > 1 for axes in space.branches.values()) and all_grey(dataset):
        space = replace(space, canonical=_of_grey_images(space))
    return space


def _without_idle_heads(
    space: SearchSpace, split: StudySplit, dataset: Dataset, listener: Listener
) -> SearchSpace:
    """Leave out detectors that are trained on labels where these cannot be parted.

    Raises:
        DataError: the study has no other detector.
    """
    heads = frozenset(filter(trains_on_labels, space.branches))
    if not heads:
        return space
    try:
        for fold in range(len(split.folds)):
            part = split_labels(dataset.table, split.labelled, fold=fold, n_folds=len(split.folds))
            apart_from_labels(split.folds[fold], part, dataset.table)
    except DataError as error:
        if heads == space.branches.keys():
            raise
        listener.note(f"warning: without {', '.join(sorted(heads))}: {error}")
        return replace(space, left_out=heads)
    return space


def _without_enlarging(space: SearchSpace, dataset: Dataset, listener: Listener) -> SearchSpace:
    """Leave out resolutions for which most images would have to be enlarged."""
    narrow = replace(space, side=usual_side(dataset))
    sides = [
        {int(one.configuration(params)[1][RESOLUTION]) for params in one.grid}
        for one in (space, narrow)
    ]
    if left_out := sorted(sides[0] - sides[1]):
        listener.note(
            f"resolution {', '.join(map(str, left_out))} px: left out, for most images have "
            f"{narrow.side} px or fewer"
        )
    return narrow


def _of_grey_images(space: SearchSpace) -> Canonical:
    """Colours cannot be given up where there are none."""

    def canonical(detector: str, params: Params) -> Params:
        first = space.branches[detector]["greyscale"][0]
        return space.canonical(detector, {**params, "greyscale": first})

    return canonical
