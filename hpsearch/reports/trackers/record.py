"""A trial, or the final model, as what every experiment tracker knows: settings and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from hpsearch.config.space import Params
from hpsearch.storage.results import read_result
from hpsearch.storage.run_dir import AVERAGE
from hpsearch.storage.trials import facts_of
from hpsearch.study.result import FinalResult

Curve = tuple[tuple[int, float], ...]
"""Steps and values."""

_LOSSES = ("train_loss", "held_out_loss")


@dataclass(frozen=True)
class Record:
    """One run in a tracker.

    Attributes:
        name: `trial-0007` or `final-0007`.
        settings: the configuration.
        metrics: single numbers.
        curves: losses by step, one for each training.
        model: folder of the trained model, None for a trial.
    """

    name: str
    settings: Params
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve]
    model: Path | None = None


def trial_name(trial: FrozenTrial) -> str:
    """Name of a trial's record."""
    return f"trial-{trial.number:04d}"


def final_name(result: FinalResult) -> str:
    """Name of the record of a final model."""
    return f"final-{AVERAGE}" if result.members else f"final-{result.trial:04d}"


def trial_record(trial: FrozenTrial, tasks: Path) -> Record:
    """Of a trial that has ended, with the folds that it scored.

    Args:
        trial: complete, pruned or failed.
        tasks: folder of the study's trainings.
    """
    facts = facts_of(trial)
    metrics = {f"criterion/{criterion}": value for criterion, value in facts.criteria.items()}
    for fold, auroc in enumerate(facts.fold_values.get("weak", ())):
        metrics[f"fold-{fold}/auroc"] = auroc
    metrics["seconds"] = facts.seconds
    return Record(trial_name(trial), trial.params, metrics, _curves("fold", facts.tasks, tasks))


def final_record(result: FinalResult, *, tasks: Path, model: Path) -> Record:
    """Of the model that was trained on all normals.

    Args:
        result: of the study.
        tasks: folder of the study's trainings.
        model: folder of the model.
    """
    figures = {"test": result.test, "seen_types": result.seen, "unseen_types": result.unseen}
    metrics = {"validation_auroc": result.criteria["weak"], "steps": float(result.steps)}
    for name, figure in figures.items():
        if figure is not None:
            metrics[f"{name}/auroc"] = figure.auroc
            if figure.interval is not None:
                metrics[f"{name}/auroc_low"] = figure.interval.low
                metrics[f"{name}/auroc_high"] = figure.interval.high
    curves = _curves("run", result.tasks, tasks)
    return Record(final_name(result), result.params, metrics, curves, model)


def _curves(what: str, digests: Sequence[str], tasks: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for number, digest in enumerate(digests):
        result = read_result(tasks, digest)
        if result is None:
            continue
        for loss in _LOSSES:
            known = result.curve[["step", loss]].dropna()
            if len(known):
                steps, values = known["step"].astype(int), known[loss].astype(float)
                curves[f"{what}-{number}/{loss}"] = tuple(zip(steps, values, strict=True))
    return curves
