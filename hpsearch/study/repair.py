"""`hpsearch recover`: what is damaged or lost in a run directory, mended from the rest of it."""

from pathlib import Path

import optuna

from hpsearch.config.space import SearchSpace, network_of
from hpsearch.config.spec import StudySpec
from hpsearch.datasets.registry import load_dataset
from hpsearch.errors import StudyError
from hpsearch.evaluation.stored_scores import read_table
from hpsearch.protocol.protocol import split_images
from hpsearch.search.events import Listener
from hpsearch.search.rebuild import (
    end_stored_trials,
    fill_fold_table,
    rebuild_database,
    rescore,
    set_aside,
    set_damaged_tasks_aside,
    stored_folds,
)
from hpsearch.search.trial import Criteria
from hpsearch.storage.database import create_or_load_study, sole_writer_of
from hpsearch.storage.optuna_storage import upgrade_schema
from hpsearch.storage.results import RECIPE, read_result, read_task, recipe_of
from hpsearch.storage.run_dir import DATABASE, RunDir, environment
from hpsearch.storage.trials import trials_of
from hpsearch.study.inputs import backbone_of, request_of
from hpsearch.study.space import space_of


def recover_study(
    folder: RunDir, *, cache_dir: Path, listener: Listener, upgrade: bool = False
) -> None:
    """Mend a study's database, task directories, image table and environment record.

    Nothing is trained; what is replaced lies in `damaged/` afterwards.

    Args:
        folder: run directory of the study; its `spec.yaml` must be whole.
        cache_dir: folder of what can be computed again.
        listener: told what was done.
        upgrade: convert the database of an earlier Optuna, after a backup.

    Raises:
        UserError: the study is in use, or something is damaged that its files cannot mend.
    """
    spec = folder.spec()
    with sole_writer_of(folder.path):
        if upgrade:
            backup = upgrade_schema(folder.database)
            done = f"converted; as it was: {backup}" if backup else "needs no conversion"
            listener.note(f"{DATABASE}: {done}")
        for name in set_damaged_tasks_aside(folder):
            listener.note(f"tasks/{name}: damaged; the next `hpsearch run` trains it again")
        space = space_of(spec)
        _repair_data(folder, spec, space, cache_dir, listener)
        made_from = rebuild_database(folder, spec, space)
        if made_from is not None:
            listener.note(f"{DATABASE}: made again from {made_from}")
        table, folds_of = read_table(folder), stored_folds(folder, spec, space)
        labelled = split_images(spec, table).labelled
        criteria = Criteria(table, labelled, spec.search.n_folds)
        if changed := rescore(folder, criteria, criterion=spec.search.criterion):
            listener.note(f"the values of {changed} trials are computed anew, with its labels")
        study = create_or_load_study(
            folder.path, spec.study_name, pruner=optuna.pruners.NopPruner()
        )
        ended = end_stored_trials(study, folds_of, criteria, spec)
        if ended:
            listener.note(f"{ended} trials ended by their stored results")
        fill_fold_table(folder, study, folds_of)
        counted = trials_of(study).counts.items()
        counts = ", ".join(f"{count} {state}" for state, count in counted if count)
        listener.note(f"study {folder.path.name}: {counts or 'no trials'}")


def _repair_data(
    folder: RunDir, spec: StudySpec, space: SearchSpace, cache_dir: Path, listener: Listener
) -> None:
    """Write the image table and the environment record again, of the data that they were of."""
    lost = []
    for path, read in (
        (folder.environment_file, folder.environment),
        (folder.images_file, lambda: read_table(folder)),
    ):
        try:
            read()
        except StudyError:
            lost.append(path)
    if not lost:
        return
    dataset = load_dataset(
        request_of(spec.dataset), cache_dir=cache_dir, progress=listener.progress
    )
    backbone, _ = backbone_of(spec, space, cache_dir, listener)
    tasks = {digest: read_task(folder.tasks, digest) for digest in folder.task_digests()}
    if tasks and folder.images_file not in lost:
        fingerprint = next(iter(tasks.values()))["data_fingerprint"]
        dataset = folder.known_images(dataset, fingerprint)
    for name, task in tasks.items():
        own_network = network_of(task["params"]) is None
        if task["data_fingerprint"] != dataset.fingerprint or (
            own_network and task["backbone_digest"] != backbone.digest
        ):
            raise StudyError(
                f"{lost[0]}: lost, and the data or the backbone are others than those of "
                f"tasks/{name}; bring back what the study began with"
            )
    split = split_images(spec, dataset.table)
    results = [read_result(folder.tasks, name) for name in tasks]
    devices = {result.device for result in results if result is not None}
    facts = environment(
        dataset,
        backbone,
        ", ".join(sorted(devices)),
        folds_digest=split.folds_digest,
        warnings=split.warnings,
    )
    facts["recipe"] = min((recipe_of(task) for task in tasks.values()), default=RECIPE)
    for path in lost:
        if path.exists():
            set_aside(folder, path)
    folder.write_data(dataset.table, facts)
    listener.note(
        f"{', '.join(path.name for path in lost)}: made again from the data; the versions in "
        "env.json are those of now"
    )
