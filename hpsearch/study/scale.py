"""A study whose trainings are shortened in proportion, for a machine smaller than the paper's."""

from typing import Any

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.detectors.base import load_detector
from hpsearch.errors import SpecError

_STEPS_PER_PHASE = "steps_per_phase"
"""The axis that counts steps, of a detector that grows."""


def scaled(spec: StudySpec, scale: float) -> StudySpec:
    """`spec` with every count of training steps times `scale`, at least 1.

    These are the cap of a training, the steps between two validations, and the steps of a phase of
    growing (choices that become equal are one). The number of validations stays about what it was.

    Args:
        spec: a study at full size.
        scale: above 0, up to 1.

    Raises:
        SpecError: a scale out of range.
    """
    if not 0 < scale <= 1:
        raise SpecError(f"--scale must be above 0 and at most 1, got {scale:g}")

    def fewer(steps: int) -> int:
        return max(1, round(steps * scale))

    shorter: dict[str, Any] = {
        "training": {
            "max_steps": fewer(spec.training.max_steps),
            "check_every": fewer(spec.training.check_every),
        }
    }
    for detector in spec.detectors:
        default = load_detector(detector).axes.get(_STEPS_PER_PHASE, ())
        phases = spec.space.get(detector, {}).get(_STEPS_PER_PHASE, default)
        if phases and all(type(steps) is int for steps in phases):
            counts = list(dict.fromkeys(fewer(int(steps)) for steps in phases))
            shorter.setdefault("space", {})[detector] = {_STEPS_PER_PHASE: counts}
    return build_spec(spec.model_dump(), shorter)
