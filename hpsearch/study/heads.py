"""The best head of a study: the detector, trained on labelled anomalies too, that it would choose.

Where there are two or more labelled types, it is trained again without each of them, to know what
its figures are worth on types that no label showed.
"""

from hpsearch.config.space import describe
from hpsearch.errors import TaskError
from hpsearch.evaluation.delong import auroc_interval, estimate_aurocs
from hpsearch.evaluation.heads import best_head, held_out_types, types_in_words
from hpsearch.evaluation.selection import HeldOutType, Selection, fold_scores, tie_set, varied_axes
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.search.engine import Engine, run_tasks
from hpsearch.search.events import Listener
from hpsearch.storage.results import FoldResult
from hpsearch.study.inputs import StudyInputs


def select_head(
    inputs: StudyInputs, heads: StoredScores, engine: Engine, listener: Listener
) -> Selection:
    """Choose the best head by the labelled anomalies, and train it without each of their types.

    Trainings that are on disk are not repeated. A type without which nothing is left to train on
    is left out, with a note.
    """
    number = best_head(heads, inputs.labelled)
    index = [trial.number for trial in heads.trials].index(number)
    trial = heads.trials[index]
    estimates = estimate_aurocs(fold_scores(heads, inputs.labelled))
    ties = tie_set(estimates, seed=inputs.spec.search.seed)
    by_value = sorted(range(len(heads.trials)), key=lambda row: -estimates.values[row])
    types = _held_out_types(inputs, heads, number, engine, listener)
    low, high = auroc_interval(estimates, index)
    varied = varied_axes(trial)
    name = f"trial {number} ({describe(trial.params, varied)})" if varied else f"trial {number}"
    sentence = (
        f"{name} is the best detector that is trained on labelled anomalies (validation AUC "
        f"{estimates.values[index]:.3f}, 95 % interval {low:.3f} to {high:.3f}, of anomalies that "
        f"its models saw nothing of); {'; '.join(types_in_words(types))}"
    )
    return Selection(
        trial=number,
        sentence=sentence,
        tied=tuple(heads.trials[row].number for row in by_value if ties.tied[row]),
        left_out_types=(),
        held_out_types=types,
    )


def _held_out_types(
    inputs: StudyInputs, heads: StoredScores, trial: int, engine: Engine, listener: Listener
) -> tuple[HeldOutType, ...]:
    if len(inputs.labelled.types) < 2:
        return ()
    params = next(one.params for one in heads.trials if one.number == trial)
    tasks = {name: inputs.left_out_tasks(params, name) for name in inputs.labelled.types}
    every = [task for of_type in tasks.values() for task in of_type]
    done = run_tasks(every, engine, listener, "training without a labelled type")
    without: dict[str, list[FoldResult]] = {}
    for name, of_type in tasks.items():
        outcomes = [done[task.digest] for task in of_type]
        failed = next((one for one in outcomes if isinstance(one, TaskError)), None)
        if failed is None:
            without[name] = [one for one in outcomes if isinstance(one, FoldResult)]
        else:
            listener.note(f"warning: nothing is trained without {name}: {failed.message}")
    return held_out_types(heads, trial, inputs.labelled, without)
