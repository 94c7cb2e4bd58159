"""Train a study's one configuration on all normals, without a search, and say how good it is."""

from pathlib import Path

import numpy as np

from hpsearch.budget import LabelledAnomalies, test_roles
from hpsearch.engine import LocalEngine, plan_workers
from hpsearch.estimate import estimate, mean_auroc
from hpsearch.final import require_results, run_tasks
from hpsearch.listener import Listener
from hpsearch.prepared import prepare_study
from hpsearch.provenance import environment
from hpsearch.spec import StudySpec
from hpsearch.storage import sole_writer_of
from hpsearch.study_dir import StudyDir
from hpsearch.tables.answer import Answer
from hpsearch.tables.growing import STEPS_PER_PHASE

_WHAT = "training the published configuration"
_NOTHING = LabelledAnomalies(np.empty(0, dtype=np.intp), (), "shared")


def train_fixed(
    spec: StudySpec,
    *,
    runs: Path,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
) -> Answer:
    """Train the configuration `final.n_runs` times for `training.max_steps`, or go on with it.

    The run directory has the settings, the environment and the trainings, and no database: there
    are no trials. What is trained already is read.

    Args:
        spec: of one configuration.
        runs: folder of run directories.
        cache_dir: folder of what can be computed again.
        listener: told of progress.
        device, workers: as of `hpsearch.study.run_study`.

    Raises:
        UserError: a mistake that the user can mend, in one line.
    """
    plan = plan_workers(device, workers)
    prepared = prepare_study(
        spec, cache_dir=cache_dir, workers=plan.count * plan.threads, listener=listener
    )
    (params,) = prepared.space.grid
    tasks = [
        prepared.final_task(params, run=run, steps=spec.training.max_steps)
        for run in range(spec.final.n_runs)
    ]
    folder = StudyDir(runs / spec.study_name)
    facts = environment(prepared.dataset, prepared.backbone, ", ".join(plan.devices))
    with sole_writer_of(folder.path):
        folder.begin(prepared.spec, prepared.dataset.table, facts, latest=False)
        engine = LocalEngine(prepared.context(folder.tasks, cache_dir), plan)
        try:
            done = run_tasks(tasks, engine, listener, _WHAT)
        finally:
            engine.close()
    results = require_results(done, tasks, _WHAT)
    table = prepared.dataset.table
    roles = test_roles(table, _NOTHING)  # every test anomaly: the choice has seen none
    return Answer(
        params=params,
        searched={
            axis: params[axis] for axis in spec.space[spec.detector] if axis != STEPS_PER_PHASE
        },
        test=estimate(results, table, roles.normals, roles.headline, seed=spec.search.seed),
        runs=tuple(mean_auroc([run], table, roles.normals, roles.headline) for run in results),
        tasks=tuple(task.digest for task in tasks),
        seconds=sum(result.seconds for result in results),
        final_seconds=tuple(result.seconds for result in results),
        devices=tuple(dict.fromkeys(result.device for result in results)),
    )
