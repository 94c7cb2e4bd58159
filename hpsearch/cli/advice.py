"""What to do after a run: commands that work as they are printed, from where they are printed."""

import os
from math import prod
from pathlib import Path
from shlex import quote

import optuna

from hpsearch.cli.options import DEFAULT_RUNS
from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.errors import DataError, SpecError
from hpsearch.protocol.labels import LabelBudget, anomaly_pool, draw_labelled, evaluation_roles
from hpsearch.storage.results import RECIPE
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import trials_of

_MORE = 2  # times as many


def next_steps(folder: RunDir, study: optuna.Study) -> list[tuple[str, str]]:
    """Commands to go on with a finished study, and what each does."""
    spec = folder.spec()
    named = folder.path.name if _is_default(folder.path.parent) else str(folder.path)
    steps = [(f"hpsearch report {quote(named)}", "one page on all of it")]
    goes_on = folder.recipe == RECIPE
    if spec.search.protocol == "clean":
        budget = f"hpsearch label-budget {quote(named)}{'' if goes_on else ' --no-train'}"
        steps.append((budget, "what fewer or more labels would have bought"))
    if not goes_on or folder.path.name != spec.study_name:  # a copy, which is there to be read
        return steps
    again = f"hpsearch run --study-name {spec.study_name}"
    if not _is_default(folder.path.parent):
        again += f" --runs {quote(str(folder.path.parent))}"
    if (trials := _more_trials(study)) is not None:
        steps.append((f"{again} --n-trials {trials}", "more configurations"))
    drawn = spec.search.protocol == "clean" and spec.search.criterion == "weak"
    if drawn and (labels := _more_labels(folder, spec)) is not None:
        steps.append((f"{again}{labels}", "choose again by more labels; no fold is trained anew"))
    return steps


def _is_default(runs: Path) -> bool:
    """Whether a command finds studies in `runs` by their names alone."""
    default = Path(os.environ.get("HPSEARCH_RUNS", DEFAULT_RUNS))
    return runs.resolve() == default.resolve()


def _more_trials(study: optuna.Study) -> int | None:
    """Twice the trials that have ended, up to the whole grid; None where all of it was tried."""
    by_state = trials_of(study)
    ended = by_state.ended
    tried = {tuple(trial.params.items()) for trial in ended}
    axes = by_state.completed[0].distributions.values()
    points = prod(len(getattr(axis, "choices", ())) for axis in axes)
    if len(tried) >= points:
        return None
    return min(_MORE * len(ended), len(ended) + points - len(tried))


def _more_labels(folder: RunDir, spec: StudySpec) -> str | None:
    """Options that draw up to twice the labelled anomalies; None where the images hold no more."""
    from hpsearch.protocol.protocol import split_images

    table = folder.images()
    pool = table["anomaly_type"].iloc[anomaly_pool(table)]
    now, began = spec.labels, split_images(spec, table)
    for n_types in range(now.n_anomaly_types, pool.nunique() + 1):
        types = draw_labelled(table, LabelBudget(n_types, n_types), seed=spec.search.seed).types
        n_examples = min(_MORE * now.n_examples, int(pool.isin(types).sum()))
        more = {"n_anomaly_types": n_types, "n_examples": n_examples}
        if n_examples <= now.n_examples:
            continue
        try:
            asked = build_spec(spec.model_dump(mode="json"), {"labels": more})
            split = split_images(asked, table)
            evaluation_roles(table, split.labelled)
        except (DataError, SpecError):  # too few would be left to test on
            continue
        if not split.has_folds_of(began):  # they share groups with normals
            continue
        types_option = "" if n_types == now.n_anomaly_types else f" --n-anomaly-types {n_types}"
        return f"{types_option} --n-examples {n_examples}"
    return None
