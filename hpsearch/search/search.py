"""The search: ask Optuna for configurations, run their folds, tell it their mean value.

A fold's result is on disk before Optuna hears of it, so a kill at any moment loses the folds under
way and nothing else; running the same search again takes up the open trials where they were.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from hpsearch.config.space import DETECTOR, Params, SearchSpace
from hpsearch.config.spec import Criterion
from hpsearch.errors import TaskError
from hpsearch.search.engine import Engine, Finished
from hpsearch.search.events import Listener
from hpsearch.search.task import Task
from hpsearch.search.trial import Criteria, OpenTrial
from hpsearch.storage.database import FoldRecord, FoldRecords
from hpsearch.storage.optuna_storage import live_trial
from hpsearch.storage.results import FoldResult
from hpsearch.storage.trials import (
    TrialFacts,
    Trials,
    facts_of,
    message_of,
    reason_of,
    trials_of,
)

GRACE_SECONDS = 60.0
"""How long trainings may go on when the time of a search is up, before they are ended."""


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, and how far.

    Attributes:
        space: the configurations.
        criterion: which of the folds' values is maximised.
        labelled: `Criteria.digest` of the anomalies that the values are computed with.
        n_trials: how many trials end the search.
        n_folds: of the cross-validation.
        exhaustive: nothing is drawn after the points that are tried first.
        points: that are tried first, in this order, each once; None for the whole grid where the
            search is exhaustive, and for none where it is not.
        then: the detector of the configurations that are drawn after them, None for any.
        pruning: a pruner is at work, so that the folds of a trial run one after another.
        timeout: seconds after which no fold is started, None for no limit; folds under way may
            take `GRACE_SECONDS` more.
        retry_failed: try every failed configuration again, not only those that failed for a cause
            of the environment.
    """

    space: SearchSpace
    criterion: Criterion
    labelled: str
    n_trials: int
    n_folds: int
    exhaustive: bool
    pruning: bool
    points: Sequence[Params] | None = None
    then: str | None = None
    timeout: float | None = None
    retry_failed: bool = False


class Search:
    """One study being run by this process, its only writer.

    Args:
        study, plan: what is searched, and how far.
        make_task: the task of a configuration and a fold.
        known: the stored result of a task, None where there is none.
        criteria: the values of a fold.
        engine: where tasks run.
        records: table of fold results.
        listener: told of progress.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: SearchPlan,
        *,
        make_task: Callable[[Params, int], Task],
        known: Callable[[Task], FoldResult | None],
        criteria: Criteria,
        engine: Engine,
        records: FoldRecords,
        listener: Listener,
    ) -> None:
        self.study = study
        self.plan = plan
        self.make_task = make_task
        self.known = known
        self.criteria = criteria
        self.engine = engine
        self.records = records
        self.listener = listener
        self.open: dict[int, OpenTrial] = {}
        self._under_way: dict[str, list[tuple[int, int]]] = {}  # task digest: (trial, fold)
        self._folds_done = 0
        self._deadline = time.monotonic() + plan.timeout if plan.timeout else None

    def run(self) -> None:
        """Search until the plan is fulfilled or its time is up.

        What is still under way `GRACE_SECONDS` after that is ended, and its trials stay open: the
        same search goes on with them.
        """
        by_state = trials_of(self.study)
        self._queue_retries(by_state)
        queue_points(self.study, self.plan)
        if by_state.foreign:
            numbers = ", ".join(str(trial.number) for trial in by_state.foreign)
            self.listener.note(f"warning: ignored, for another program ended it: trial {numbers}")
        self._folds_done = len(by_state.ended) * self.plan.n_folds
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._take_up(live_trial(self.study, trial), trial.intermediate_values)
        while True:
            self._fill()
            if not self._under_way:
                return
            for result in self.engine.wait(self._patience()):
                self._receive(result)
            if self._under_way and self._patience() == 0:
                count = len(self._under_way)
                self.engine.close()
                self._under_way.clear()
                self.listener.note(
                    f"the time is up: {count} trainings that took {GRACE_SECONDS:g} s more were "
                    "ended; the same command goes on with them"
                )
                return

    def _queue_retries(self, by_state: Trials) -> None:
        """Queue each failed configuration that is to be tried again as a trial of its own."""
        for failed in by_state.to_retry(all_failed=self.plan.retry_failed):
            last = failed[-1]
            facts = TrialFacts(
                config=facts_of(last).config, retry_of=tuple(one.number for one in failed)
            )
            self.study.enqueue_trial(last.params, user_attrs=facts.attributes())
            self.listener.note(
                f"trial {last.number} is tried again: {reason_of(last)}: {message_of(last)}"
            )

    def _fill(self) -> None:
        """Give every idle worker a fold."""
        while self.engine.idle > 0:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return
            following = self._next_fold()
            if following is None:
                return
            trial, fold = following
            trial.pending.remove(fold)
            trial.under_way.add(fold)
            task = self.make_task(trial.params, fold)
            waiting = self._under_way.setdefault(task.digest, [])
            waiting.append((trial.number, fold))
            if len(waiting) == 1:  # another trial of the same configuration shares the result
                self.engine.submit(task)

    def _next_fold(self) -> tuple[OpenTrial, int] | None:
        """The next fold of the oldest trial that may run one; a new trial where none may."""
        while True:
            candidates = [
                (trial, fold)
                for trial in self.open.values()
                for fold in trial.pending
                # With pruning one a trial, for it decides about the next.
                if not (self.plan.pruning and trial.under_way)
            ]
            if candidates or not self._may_ask():
                return min(candidates, key=lambda one: (one[0].number, one[1]), default=None)
            if self.plan.then is not None and not self._is_waiting():
                self.study.enqueue_trial({DETECTOR: self.plan.then})
            self._take_up(self.study.ask())

    def _may_ask(self) -> bool:
        if self._is_waiting():
            return True
        by_state = trials_of(self.study)
        used = len(by_state.ended) + len(by_state.under_way)
        return not self.plan.exhaustive and used < self.plan.n_trials

    def _is_waiting(self) -> bool:
        """Whether a trial is queued."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _take_up(self, trial: optuna.Trial, reported: Collection[int] = ()) -> None:
        """Open a trial, new or left by a killed run; folds that are on disk are not run again."""
        params = self.plan.space.suggest(trial)
        TrialFacts(config=self.plan.space.digest(params), labelled=self.plan.labelled).write(trial)
        folds = list(range(self.plan.n_folds))
        opened = OpenTrial(trial, params, self.plan.criterion, reported, pending=folds)
        self.open[trial.number] = opened
        for fold in range(self.plan.n_folds):
            result = self.known(self.make_task(params, fold))
            if result is not None and trial.number in self.open:
                opened.pending.remove(fold)
                self._settle(opened, fold, result)

    def _receive(self, finished: Finished) -> None:
        for number, fold in self._under_way.pop(finished.task.digest):
            trial = self.open.get(number)
            if trial is None:  # pruned or failed by another fold meanwhile
                continue
            trial.under_way.remove(fold)
            self._settle(trial, fold, finished.outcome)

    def _settle(self, trial: OpenTrial, fold: int, outcome: FoldResult | TaskError) -> None:
        try:
            if isinstance(outcome, TaskError):
                trial.failure = outcome
                self._end(trial, TrialState.FAIL)
            else:
                self._score_fold(trial, fold, outcome)
        except optuna.exceptions.UpdateFinishedTrialError:
            # Another program has ended the trial: its configuration gets another one.
            del self.open[trial.number]
            self.listener.note(
                f"warning: ignored, for another program ended it: trial {trial.number}; its "
                "configuration gets another trial"
            )
            facts = TrialFacts(config=self.plan.space.digest(trial.params))
            self.study.enqueue_trial(dict(trial.params), user_attrs=facts.attributes())

    def _score_fold(self, trial: OpenTrial, fold: int, result: FoldResult) -> None:
        values = self.criteria(result, fold)
        trial.results[fold], trial.values[fold] = result, values
        self.records.add(FoldRecord(trial.number, fold, values), result, instead_of=trial.retry_of)
        for note in result.notes:
            self.listener.note(note)
        self._folds_done += 1
        self._tell_progress()
        if len(trial.values) == self.plan.n_folds:
            self._end(trial, TrialState.COMPLETE)
            return
        if (step := len(trial.values)) not in trial.reported:
            trial.trial.report(trial.value, step=step)
        if self.plan.pruning and trial.trial.should_prune():
            self._end(trial, TrialState.PRUNED)

    def _end(self, trial: OpenTrial, state: TrialState) -> None:
        """Every trial ends here, in exactly one state."""
        value = trial.value if state is TrialState.COMPLETE else None
        completed = trials_of(self.study).completed
        best = value is not None and all(
            value > before.value for before in completed if before.value is not None
        )
        trial.store_facts()
        self.study.tell(trial.trial, value, state)
        del self.open[trial.number]
        if len(trial.values) < self.plan.n_folds:
            self._folds_done += self.plan.n_folds - len(trial.values)
            self._tell_progress()
        searched = self.plan.space.searched
        self.listener.trial(trial.report(state, searched, best=best))

    def _tell_progress(self) -> None:
        total = self.plan.n_trials * self.plan.n_folds
        self.listener.progress("searching", min(self._folds_done, total), total)

    def _patience(self) -> float | None:
        """Seconds that trainings under way may still take."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline + GRACE_SECONDS - time.monotonic())


def queue_points(study: optuna.Study, plan: SearchPlan) -> None:
    """Queue each point to be tried first that no trial has yet, up to `n_trials` in all."""
    # Optuna's GridSampler repeats and skips points after failures; this record of hashes does not.
    trials = trials_of(study).ours
    taken = {facts_of(trial).config for trial in trials} - {None}
    points = plan.points
    if points is None:
        points = plan.space.grid if plan.exhaustive else ()
    for params in points:
        if len(taken) >= plan.n_trials:
            return
        digest = plan.space.digest(params)
        if digest not in taken:
            study.enqueue_trial(dict(params), user_attrs=TrialFacts(config=digest).attributes())
            taken.add(digest)
