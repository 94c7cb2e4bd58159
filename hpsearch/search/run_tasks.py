"""Trainings outside the search: run several, tell of them, and require that all succeed."""

from collections.abc import Iterable, Mapping, Sequence

from hpsearch.errors import StudyError, TaskError
from hpsearch.search.engine import Engine
from hpsearch.search.events import Listener
from hpsearch.search.task import Task
from hpsearch.storage.results import FoldResult


def run_tasks(
    tasks: Iterable[Task], engine: Engine, listener: Listener, what: str
) -> dict[str, FoldResult | TaskError]:
    """What became of tasks, by digest; told as `what` while they run."""
    queue = list({task.digest: task for task in tasks}.values())
    total = len(queue)
    outcomes: dict[str, FoldResult | TaskError] = {}
    while len(outcomes) < total:
        while queue and engine.idle > 0:
            engine.submit(queue.pop())
        for finished in engine.wait():
            outcomes[finished.task.digest] = finished.outcome
            listener.progress(what, len(outcomes), total)
            if isinstance(finished.outcome, FoldResult):
                for note in finished.outcome.notes:
                    listener.note(note)
    return outcomes


def require_results(
    outcomes: Mapping[str, FoldResult | TaskError], tasks: Sequence[Task], what: str
) -> list[FoldResult]:
    """The results of `tasks`, in their order.

    Raises:
        StudyError: one of them failed; the others are on disk.
    """
    found = [outcomes[task.digest] for task in tasks]
    for outcome in found:
        if isinstance(outcome, TaskError):
            raise StudyError(
                f"{what}: {outcome.reason}: {outcome.message}; mend that and run the same command "
                "again, which trains only what is missing"
            )
    return [outcome for outcome in found if isinstance(outcome, FoldResult)]
