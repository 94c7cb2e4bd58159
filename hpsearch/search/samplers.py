"""From the names of a study to Optuna's samplers and pruners."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

SamplerName = Literal["grid", "tpe", "random"]


def choose_sampler(
    name: Literal["auto", "grid", "tpe", "random"], *, n_points: int, n_trials: int
) -> SamplerName:
    """`auto` is the grid where the trials can hold it, and TPE where the space is larger."""
    if name != "auto":
        return name
    return "grid" if n_trials >= n_points else "tpe"


class SeededByTrial(BaseSampler):
    """Draws each trial from a generator of its own, whichever process asks for it.

    Optuna's samplers draw all trials of a process from one generator. A search that was stopped
    would then go on with other draws than one that was not.

    Args:
        make: a sampler by its seed.
        seed: of the study.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The sampler's own."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Parameters that are drawn together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter, the same whether those before it were drawn now or are read back."""
        sampler = self._of(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial, *parts: str) -> BaseSampler:
        key = repr((self._seed, trial.number, *parts))
        digest = hashlib.sha256(key.encode()).digest()
        return self._make(int.from_bytes(digest[:4]))  # numpy takes 32 bits


def build_sampler(name: SamplerName, *, seed: int) -> BaseSampler:
    """The sampler; on the grid the points are queued and the sampler is never asked."""
    if name == "tpe":
        return SeededByTrial(lambda own: optuna.samplers.TPESampler(seed=own), seed)
    return SeededByTrial(lambda own: optuna.samplers.RandomSampler(seed=own), seed)


def build_pruner(name: str, *, n_folds: int) -> optuna.pruners.BasePruner:
    """The pruner; its steps are folds scored, its values the running mean over them."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=n_folds, reduction_factor=3
        )
    return optuna.pruners.NopPruner()
