"""Optuna's dashboard on one study, served to this machine alone, beside a search that may run."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import RDBStorage

from hpsearch.errors import SpecError
from hpsearch.reports.dashboard.guard import Guard, OneTimeLink
from hpsearch.storage.database import load_study, sole_writer_of
from hpsearch.storage.optuna_storage import sqlite_url, study_id
from hpsearch.storage.run_dir import DATABASE, RunDir

_BUSY_SECONDS = 60  # the search may hold the file for a moment


class _ReadOnly(sqlite3.Connection):
    """Refuses to change a row.

    Not SQLite's mode=ro: that could not roll back the transaction in which a killed search was.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA query_only=ON")


def open_storage(run_dir: Path, *, write: bool) -> RDBStorage:
    """The storage of a study that is there and whole; the file is never made.

    Args:
        run_dir: of the study.
        write: for the holder of the study's lock alone.

    Raises:
        StudyError: there is no study, or its database is damaged.
    """
    load_study(run_dir)
    uri = (run_dir / DATABASE).absolute().as_uri()
    connect_args: dict[str, Any] = {"timeout": _BUSY_SECONDS}
    if not write:
        connect_args["factory"] = _ReadOnly
    return RDBStorage(
        sqlite_url(uri, {"mode": "rw", "uri": "true"}),
        engine_kwargs={"connect_args": connect_args},
        skip_table_creation=True,
    )


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


_HOST = "127.0.0.1"
_IDLE_SECONDS = 60  # after which a connection that says nothing is closed


class _Server(ThreadingMixIn, WSGIServer):
    # A browser opens connections ahead of need, and one that waits must not keep the others out.
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@dataclass(frozen=True)
class Dashboard:
    """A server that is listening.

    Attributes:
        url: the link that lets one browser in, once.
        port: that it listens on.
        server: behind it.
    """

    url: str
    port: int
    server: WSGIServer

    def serve(self) -> None:
        """Answer requests until `server.shutdown()`."""
        self.server.serve_forever()


@contextmanager
def open_dashboard(folder: RunDir, *, port: int, allow_write: bool) -> Iterator[Dashboard]:
    """Listen on the loopback interface for as long as the block lasts.

    Args:
        folder: of the study, which may be running.
        port: 0 for any that is free.
        allow_write: lets the browser add notes and files; the study cannot be run meanwhile.

    Raises:
        SpecError: the port cannot be had, or Optuna's dashboard is not installed.
        StudyError: the study is damaged, or is being run and `allow_write` is set.
    """
    require_installed()
    from optuna_dashboard import wsgi

    with ExitStack() as stack:
        if allow_write:
            stack.enter_context(sole_writer_of(folder.path))
        storage = open_storage(folder.path, write=allow_write)
        stack.callback(storage.engine.dispose)
        (study,) = storage.get_all_studies()
        try:
            server = stack.enter_context(_Server((_HOST, port), _Handler))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SpecError(
                f"--port {port}: {str(reason).lower()}; give another, or 0 for any that is free"
            ) from error
        link = OneTimeLink(server.server_port)
        server.set_app(
            Guard(
                wsgi(storage, artifact_store=FileSystemArtifactStore(folder.artifacts)),
                port=server.server_port,
                link=link,
                landing=f"/dashboard/studies/{study_id(study)}",
                allow_write=allow_write,
            )
        )
        url = f"http://{_HOST}:{server.server_port}/?{link.query}"
        yield Dashboard(url, server.server_port, server)
