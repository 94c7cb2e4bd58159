"""Which model the user means: a bundle, or the final model of a study."""

from pathlib import Path

from hpsearch.errors import WeightsError
from hpsearch.files import printable
from hpsearch.model.bundle import FACTS
from hpsearch.study_dir import SPEC, find_study


def find_model(name: str | Path, runs: Path) -> Path:
    """The folder of a bundle.

    Args:
        name: such a folder, a run directory, or the name of a study in `runs`.
        runs: folder of run directories.

    Raises:
        StudyError: there is no such study, or its winner is not trained yet.
        WeightsError: the folder cannot be looked into.
    """
    try:
        path = Path(name).expanduser()
        if (path / FACTS).exists() or (path.is_dir() and not (path / SPEC).exists()):
            return path
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user who is none
        what = error.strerror if isinstance(error, OSError) else str(error)
        mend = "give the folder of a model, a run directory, or the name of a study"
        raise WeightsError(printable(f"model {name}: cannot be opened ({what}); {mend}")) from error
    study = find_study(str(path), runs)
    model = study.final / str(study.winner()) / "model"
    if not (model / FACTS).exists():
        raise study.unfinished()
    return model
