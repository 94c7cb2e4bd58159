"""The same study with and without progressive growing (paper, section 3.2)."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from hpsearch.config.space import PREPROCESSING, PREPROCESSING_AXES
from hpsearch.config.spec import AxisChoices, StudySpec, build_spec

START_RESOLUTION = "start_resolution"
"""The axis of the side, in px, at which growing begins; 0 where it does not grow."""
STEPS_PER_PHASE = "steps_per_phase"
"""The axis of the steps of each transition and each stabilisation."""
LAYERS = "layers"
"""The axis of the layers to compare; a choice may be a mapping by resolution."""

_DETECTOR: str = StudySpec.model_fields["detector"].default

_Mapping = Mapping[str, Any]


def grows(study: _Mapping) -> bool:
    """Whether a study's mapping has growing in it."""
    return START_RESOLUTION in _axes(study)


def without_growing(study: _Mapping) -> dict[str, Any]:
    """The study with its final layers alone, and the authors' cap where it had one for growing."""
    if not grows(study):
        return dict(study)
    growth = (START_RESOLUTION, STEPS_PER_PHASE)
    axes = {axis: choices for axis, choices in _axes(study).items() if axis not in growth}
    # A choice by resolution becomes its layer at full size; any other is itself.
    finals = [
        choice[max(choice)] if isinstance(choice, Mapping) else choice
        for choice in axes.get(LAYERS, ())
    ]
    if finals:
        axes[LAYERS] = list(dict.fromkeys(finals))
    return _with_axes(_without_cap(study), axes)


def with_growing(study: _Mapping, usual: _Mapping) -> dict[str, Any]:
    """The study as it grows; one that does not gets the axes `usual`."""
    if grows(study):
        return _without_cap(study)
    return _with_axes(study, {**_axes(study), **usual})


def lengthened(spec: StudySpec) -> StudySpec:
    """The study with `max_steps` at full size, after the steps of the longest growing."""
    longer = spec.training.max_steps + growth_steps(spec.space)
    return build_spec(spec.model_dump(), {"training": {"max_steps": longer}})


def growth_steps(space: Mapping[str, Mapping[str, AxisChoices]]) -> int:
    """Steps that the longest growing takes: two phases a doubling (paper, section 3.2)."""
    axes = space.get(_DETECTOR, {})
    starts, phases = axes.get(START_RESOLUTION, ()), axes.get(STEPS_PER_PHASE, ())
    sides = space.get(PREPROCESSING, {}).get("resolution", PREPROCESSING_AXES["resolution"])
    # A choice of another type is refused where the axes are checked.
    return max(
        (
            2 * ((side // start).bit_length() - 1) * steps
            for side, start, steps in product(sides, starts, phases)
            if type(side) is type(start) is type(steps) is int and 0 < start <= side
        ),
        default=0,
    )


def _axes(study: _Mapping) -> _Mapping:
    axes: _Mapping = study.get("space", {}).get(_DETECTOR, {})
    return axes


def _with_axes(study: _Mapping, axes: _Mapping) -> dict[str, Any]:
    return {**study, "space": {**study.get("space", {}), _DETECTOR: dict(axes)}}


def _without_cap(study: _Mapping) -> dict[str, Any]:
    training = {
        key: value for key, value in study.get("training", {}).items() if key != "max_steps"
    }
    return {**study, "training": training}
