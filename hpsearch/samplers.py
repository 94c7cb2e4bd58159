"""From the names of a study to Optuna's samplers and pruners."""

from typing import Literal

import optuna

SamplerName = Literal["grid", "tpe", "random"]


def choose_sampler(
    name: Literal["auto", "grid", "tpe", "random"], *, n_points: int, n_trials: int
) -> SamplerName:
    """`auto` is the grid where the trials can hold it, and TPE where the space is larger."""
    if name != "auto":
        return name
    return "grid" if n_trials >= n_points else "tpe"


def build_sampler(name: SamplerName, *, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler; on the grid the points are queued and the sampler is never asked."""
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def build_pruner(name: str, *, n_folds: int) -> optuna.pruners.BasePruner:
    """The pruner; its steps are folds scored, its values the running mean over them."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=n_folds, reduction_factor=3
        )
    return optuna.pruners.NopPruner()
