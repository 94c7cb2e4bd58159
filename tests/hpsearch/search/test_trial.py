import optuna
import pytest

from hpsearch.search.trial import build_pruner, build_sampler, choose_sampler


@pytest.mark.parametrize(
    ("n_trials", "chosen"), [(12, "grid"), (50, "grid"), (11, "tpe"), (1, "tpe")]
)
def test_auto_is_the_grid_where_the_trials_hold_it(n_trials: int, chosen: str) -> None:
    assert choose_sampler("auto", n_points=12, n_trials=n_trials) == chosen


def test_a_name_is_kept() -> None:
    assert choose_sampler("random", n_points=1, n_trials=100) == "random"


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_the_seed_decides_the_draws(name: str) -> None:
    def draws(seed: int) -> list[float]:
        study = optuna.create_study(sampler=build_sampler(name, seed=seed))  # type: ignore[arg-type]
        return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]

    assert draws(1) == draws(1) != draws(2)


def test_median_stops_what_is_below_the_median_at_the_first_fold() -> None:
    study = optuna.create_study(direction="maximize", pruner=build_pruner("median", n_folds=3))
    for value in (0.9, 0.8, 0.7, 0.6):
        trial = study.ask()
        trial.report(value, step=1)
        study.tell(trial, value)
    for value, pruned in ((0.95, False), (0.5, True)):
        trial = study.ask()
        trial.report(value, step=1)
        assert bool(trial.should_prune()) is pruned


def test_none_never_stops() -> None:
    assert isinstance(build_pruner("none", n_folds=3), optuna.pruners.NopPruner)


def test_hyperband_counts_folds() -> None:
    study = optuna.create_study(direction="maximize", pruner=build_pruner("hyperband", n_folds=3))
    for number in range(8):
        trial = study.ask()
        trial.report(number / 10, step=1)
        trial.should_prune()
        study.tell(trial, number / 10)
