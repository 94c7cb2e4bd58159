"""Final models that a label budget asks for, trained like the study's own winner."""

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from hpsearch.search.engine import LocalEngine, plan_workers, require_results, run_tasks
from hpsearch.search.events import Listener
from hpsearch.storage.database import mean_best_step, sole_writer_of
from hpsearch.storage.run_dir import RunDir, environment
from hpsearch.storage.trials import facts_of
from hpsearch.study.prepare import prepare_study


def train_final_models(
    folder: RunDir,
    trials: Sequence[FrozenTrial],
    *,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
) -> None:
    """Train the configurations of `trials` on all normals, with the seed of a first final run.

    What is on disk already is not trained again, so the same call goes on after a kill.

    Args:
        folder: run directory of their study.
        trials: completed ones.
        cache_dir: folder of what can be computed again.
        listener: told how many there are, how long they may take, and of progress.
        device, workers: as of `hpsearch.study.run.run_study`.

    Raises:
        UserError: the data is gone or another, or another process writes the study.
        StudyError: a training failed.
    """
    plan = plan_workers(device, workers)
    seconds = estimated_seconds(trials, plan.count)
    listener.note(
        f"final models missing: {len(trials)}; training them takes about {seconds:.0f} s, "
        "as the folds took; --no-train goes without"
    )
    prepared = prepare_study(
        folder.spec(),
        cache_dir=cache_dir,
        workers=plan.count * plan.threads,
        listener=listener,
        folder=folder,
    )
    facts = environment(
        prepared.dataset,
        prepared.backbone,
        ", ".join(plan.devices),
        warnings=prepared.warnings,
    )
    tasks = [
        prepared.final_task(trial.params, run=0, steps=mean_best_step(trial)) for trial in trials
    ]
    with sole_writer_of(folder.path):
        folder.begin(prepared.spec, prepared.dataset.table, facts)
        engine = LocalEngine(prepared.context(folder.tasks, cache_dir), plan)
        try:
            what = "training final models"
            require_results(run_tasks(tasks, engine, listener, what), tasks, what)
        finally:
            engine.close()


def estimated_seconds(trials: Sequence[FrozenTrial], workers: int) -> float:
    """How long their final trainings may take: as long as a fold of each, side by side."""
    folds = [facts.seconds / len(facts.tasks) for facts in map(facts_of, trials)]
    return max(sum(folds) / workers, *folds) if folds else 0.0
