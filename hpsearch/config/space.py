"""The search space: named axes of choices, as a grid or as an Optuna distribution."""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpsearch.config.spec import AxisChoices, AxisValue, StudySpec
from hpsearch.datasets.pixels import STEPS, Preprocessing
from hpsearch.errors import SpecError

if TYPE_CHECKING:  # workers import this file, and need not wait for Optuna
    import optuna

Params = Mapping[str, AxisValue]
"""One configuration: a value for every axis of the space."""

PREPROCESSING = "preprocessing"
RESOLUTION = "resolution"
PREPROCESSING_AXES: Mapping[str, AxisChoices] = {
    RESOLUTION: (32,),  # px, side of the image that the detector sees
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


DETECTOR = "detector"
"""The first parameter of a configuration in a study of several detectors: the name of its own."""

Canonical = Callable[[str, Params], Params]
"""The configuration of a detector that stands for all that cannot differ from it."""


def _as_it_is(detector: str, params: Params) -> Params:
    return params


@dataclass(frozen=True)
class SearchSpace:
    """The axes of each detector and their choices, in a fixed order.

    A configuration of a study of one detector has a value for each of its axes. One of a study of
    several says first which detector it is of, and its axes bear the name of that detector
    (`patch.kind`), for under one name a study has one set of choices.

    Attributes:
        branches: per detector its axes.
        canonical: see `Canonical`; each configuration stands for itself where none is given.
        left_out: detectors that cannot be tried on these images.
        side: of the images, in px: configurations that would enlarge them are not in the grid, but
            for those of a detector's lowest resolution; None to leave none out.
    """

    branches: Mapping[str, Mapping[str, AxisChoices]]
    canonical: Canonical = field(default=_as_it_is, compare=False)
    left_out: frozenset[str] = frozenset()
    side: int | None = None

    @property
    def axes(self) -> Mapping[str, AxisChoices]:
        """Every parameter that a configuration may have."""
        if len(self.branches) == 1:
            return next(iter(self.branches.values()))
        named = {
            f"{detector}.{axis}": choices
            for detector, axes in self.branches.items()
            for axis, choices in axes.items()
        }
        return {DETECTOR: tuple(self.branches), **named}

    @cached_property
    def grid(self) -> list[Params]:
        """Every configuration, the last axis varying fastest; of those that are alike the first."""
        points: dict[str, Params] = {}
        for detector, axes in self.branches.items():
            if detector in self.left_out:
                continue
            if self.side is not None:
                sides = axes[RESOLUTION]
                largest = max(self.side, min(map(int, sides)))
                axes = {**axes, RESOLUTION: tuple(one for one in sides if int(one) <= largest)}
            for values in itertools.product(*axes.values()):
                params = self.named(detector, dict(zip(axes, values, strict=True)))
                points.setdefault(self.digest(params), params)
        return list(points.values())

    @property
    def searched(self) -> tuple[str, ...]:
        """Parameters with more than one choice."""
        return tuple(name for name, choices in self.axes.items() if len(choices) > 1)

    def suggest(self, trial: "optuna.Trial") -> Params:
        """Draw, or read back, the trial's configuration."""
        names = tuple(self.branches)
        detector = names[0] if len(names) == 1 else trial.suggest_categorical(DETECTOR, names)
        own = dict.fromkeys(self.named(detector, self.branches[detector]))
        own.pop(DETECTOR, None)
        params: dict[str, AxisValue] = {} if len(names) == 1 else {DETECTOR: detector}
        for name in own:
            value = trial.suggest_categorical(name, self.axes[name])
            assert value is not None  # no axis has None among its choices
            params[name] = value
        return params

    def named(self, detector: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a detector's axes under the names that they have in this space."""
        if len(self.branches) == 1:
            return dict(params)
        return {DETECTOR: detector, **{f"{detector}.{axis}": params[axis] for axis in params}}

    def configuration(self, params: Params) -> tuple[str, Params]:
        """The detector of a configuration and the values of its axes, canonical."""
        detector, own = configuration(params, next(iter(self.branches)))
        return detector, self.canonical(detector, own)

    def digest(self, params: Params) -> str:
        """The same for configurations that are the same or cannot differ."""
        return config_digest(self.named(*self.configuration(params)))


def configuration(params: Params, detector: str) -> tuple[str, Params]:
    """The detector of a configuration and the values of its axes by their own names.

    Args:
        params: of a study.
        detector: of the study, where it has one alone.
    """
    if DETECTOR not in params:
        return detector, params
    name = str(params[DETECTOR])
    return name, {
        axis.removeprefix(f"{name}."): value for axis, value in params.items() if axis != DETECTOR
    }


def build_space(
    spec: StudySpec,
    detector_axes: Mapping[str, Mapping[str, AxisChoices]],
    canonical: Canonical = _as_it_is,
) -> SearchSpace:
    """The axes of `spec.space` for each detector of the study, completed with their defaults.

    Preprocessing that the section of a detector names goes before that of all.

    Args:
        spec: the study.
        detector_axes: per detector its own axes, with the choices where the study names none.
        canonical: see `Canonical`.

    Raises:
        SpecError: an axis that neither preprocessing nor the detector has, an axis with no choice
            or one given twice, or a choice of another type than the axis's defaults.
    """
    shared = spec.space.get(PREPROCESSING, {})
    branches = {}
    for detector, own_axes in detector_axes.items():
        own = spec.space.get(detector, {})
        defaults = {**own_axes, **PREPROCESSING_AXES}
        for section, chosen, known in (
            (detector, own, defaults),
            (PREPROCESSING, shared, PREPROCESSING_AXES),
        ):
            for name in chosen.keys() - known.keys():
                raise SpecError(
                    f"space.{section}.{name}: no such axis; {section} has {', '.join(known)}"
                )
        axes = {}
        for name, default in defaults.items():
            usual = shared.get(name, default) if name in PREPROCESSING_AXES else default
            kind = type(default[0])
            axes[name] = tuple(_typed(name, value, kind) for value in own.get(name, usual))
        for name, choices in axes.items():
            if not choices or len(set(map(repr, choices))) < len(choices):
                raise SpecError(
                    f"space: axis {name} needs one or more different choices, got {choices}"
                )
        branches[detector] = axes
    return SearchSpace(branches, canonical)


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


LAYER = "layer"
"""The axis of a detector on frozen features: layers joined by `+`, after `NETWORK:` where they are
not of the study's network, e.g. `s3+s4` or `vgg-mini:r22`."""


def network_of(params: Params) -> str | None:
    """The network that a configuration names, None for that of the study."""
    network, colon, _ = str(params.get(LAYER, "")).rpartition(":")
    return network if colon else None


def layers_of(params: Params) -> tuple[str, ...]:
    """The layers that a configuration on frozen features reads, by their names in its network."""
    return tuple(str(params[LAYER]).rpartition(":")[2].split("+"))


def config_digest(params: Params) -> str:
    """A short hash that is the same for the same configuration."""
    canonical = json.dumps(dict(params), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def describe(params: Params, axes: tuple[str, ...] | None = None) -> str:
    """A configuration on one line, all axes or those given.

    E.g. `latent_dim=4 layers=r42`; of a study of several detectors `patch kind=nearest layer=s3`.
    """
    chosen = {name: params[name] for name in (axes or tuple(params))}
    detector = chosen.pop(DETECTOR, None)
    words = [f"{name.removeprefix(f'{detector}.')}={value}" for name, value in chosen.items()]
    return " ".join(words if detector is None else [str(detector), *words])


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
