"""Whether the extra that the dashboard needs is installed."""

from importlib.util import find_spec

from hpsearch.errors import SpecError


def is_installed() -> bool:
    """Whether Optuna's dashboard is there."""
    return find_spec("optuna_dashboard") is not None


def require_installed() -> None:
    """Refuse to go on without it.

    Raises:
        SpecError: it is not there.
    """
    if not is_installed():
        raise SpecError(
            "dashboard: optuna-dashboard is not installed; pip install 'hpsearch[dashboard]'"
        )
