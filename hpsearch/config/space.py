"""The search space: named axes of choices, as a grid or as an Optuna distribution."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpsearch.config.spec import AxisChoices, AxisValue, StudySpec
from hpsearch.datasets.pixels import STEPS, Preprocessing
from hpsearch.errors import SpecError

if TYPE_CHECKING:  # workers import this file, and need not wait for Optuna
    import optuna

Params = Mapping[str, AxisValue]
"""One configuration: a value for every axis of the space."""

PREPROCESSING = "preprocessing"
PREPROCESSING_AXES: Mapping[str, AxisChoices] = {
    "resolution": (32,),  # px, side of the image that the detector sees
    "random_crop": (1.0,),  # side of a training crop as a fraction of the stored image
    # The switches stand last, for the last axis varies fastest in a grid.
    **{name: (STEPS[name],) for name in sorted(STEPS, key=lambda name: STEPS[name] is False)},
}
"""Axes that every detector has, with the choice where a study names none."""


_KINDS: Mapping[type[AxisValue], str] = {
    bool: "true or false",
    int: "whole numbers",
    float: "numbers",
    str: "names",
}


@dataclass(frozen=True)
class SearchSpace:
    """Axes and their choices, in a fixed order."""

    axes: Mapping[str, AxisChoices]

    @property
    def grid(self) -> list[Params]:
        """Every configuration, the last axis varying fastest."""
        return [
            dict(zip(self.axes, values, strict=True))
            for values in itertools.product(*self.axes.values())
        ]

    @property
    def searched(self) -> tuple[str, ...]:
        """Axes with more than one choice."""
        return tuple(name for name, choices in self.axes.items() if len(choices) > 1)

    def suggest(self, trial: "optuna.Trial") -> Params:
        """Draw, or read back, the trial's configuration."""
        params: dict[str, AxisValue] = {}
        for name, choices in self.axes.items():
            value = trial.suggest_categorical(name, choices)
            assert value is not None  # no axis has None among its choices
            params[name] = value
        return params


def build_space(spec: StudySpec, detector_axes: Mapping[str, AxisChoices]) -> SearchSpace:
    """The axes of `spec.space` for its detector, completed with their defaults.

    Raises:
        SpecError: an axis that neither preprocessing nor the detector has, an axis with no choice
            or one given twice, or a choice of another type than the axis's defaults.
    """
    axes: dict[str, AxisChoices] = {}
    for section, defaults in ((spec.detector, detector_axes), (PREPROCESSING, PREPROCESSING_AXES)):
        chosen = spec.space.get(section, {})
        for name in chosen:
            if name not in defaults:
                raise SpecError(
                    f"space.{section}.{name}: no such axis; {section} has {', '.join(defaults)}"
                )
        for name, default in defaults.items():
            kind = type(default[0])
            axes[name] = tuple(_typed(name, value, kind) for value in chosen.get(name, default))
    for name, choices in axes.items():
        if not choices or len(set(map(repr, choices))) < len(choices):
            raise SpecError(
                f"space: axis {name} needs one or more different choices, got {choices}"
            )
    return SearchSpace(axes)


def _typed(name: str, value: AxisValue, kind: type[AxisValue]) -> AxisValue:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise SpecError(f"space: axis {name} takes {_KINDS[kind]}, got {value!r:.60}")
    return value


def preprocessing_of(params: Params) -> Preprocessing:
    """The stored image variant that a configuration reads.

    Raises:
        SpecError: a value out of its range.
    """
    resolution, crop = int(params["resolution"]), float(params["random_crop"])
    if not 8 <= resolution <= 1024:
        raise SpecError(f"space: resolution must be from 8 to 1024 px, got {resolution}")
    for name, fraction in (("random_crop", crop), ("central_crop", params["central_crop"])):
        if not 0.1 <= float(fraction) <= 1:
            raise SpecError(f"space: {name} must be from 0.1 to 1, got {fraction}")
    try:
        return Preprocessing.of(round(resolution / crop), params)
    except SpecError as error:
        raise SpecError(f"space: {error}") from None


def config_digest(params: Params) -> str:
    """A short hash that is the same for the same configuration."""
    canonical = json.dumps(dict(params), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def describe(params: Params, axes: tuple[str, ...] | None = None) -> str:
    """A configuration on one line, e.g. `latent_dim=4 layers=r42`; all axes or those given."""
    return " ".join(f"{name}={params[name]}" for name in (axes or tuple(params)))


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
