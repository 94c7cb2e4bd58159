"""Notes in the study database, which people may edit: what they wrote is left alone."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import optuna

from hpsearch.errors import StudyError
from hpsearch.files import write_text_atomic


class NoteBook:
    """Writes the notes of a study and its trials.

    Args:
        study: for its one writer.
        ledger: file of the digests of all notes that were ever written here; a note that is not
            among them is somebody's own.

    Raises:
        StudyError: the ledger is damaged.
    """

    def __init__(self, study: optuna.Study, ledger: Path) -> None:
        self.study, self.ledger = study, ledger
        try:
            self._ours = set(json.loads(ledger.read_text())) if ledger.is_file() else set()
        except ValueError as error:
            raise StudyError(
                f"{ledger}: damaged ({error}); delete it, and notes that are there stay as they are"
            ) from error

    def write(self, notes: Mapping[int | None, str]) -> None:
        """Write each note where there is none yet, or another one that `write` wrote.

        Args:
            notes: by Optuna's id of a trial, None for the study itself.
        """
        from optuna_dashboard import save_note

        due = self._due(notes)
        if not due:
            return
        # The ledger first, or after a kill between the two a note would seem somebody's own.
        self._ours |= {_digest(body) for body in due.values()}
        write_text_atomic(self.ledger, json.dumps(sorted(self._ours)))
        for trial_id, body in due.items():
            of = self.study if trial_id is None else optuna.trial.Trial(self.study, trial_id)
            save_note(of, body)

    def _due(self, notes: Mapping[int | None, str]) -> dict[int | None, str]:
        # The public `get_note` would read all attributes of the study again for every trial.
        from optuna_dashboard._note import get_note_from_system_attrs

        attributes = self.study._storage.get_study_system_attrs(self.study._study_id)
        there = {of: get_note_from_system_attrs(attributes, of)["body"] for of in notes}
        return {
            of: body
            for of, body in notes.items()
            if body != there[of] and (not there[of] or _digest(there[of]) in self._ours)
        }


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
