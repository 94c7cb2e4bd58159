"""A finished study of four trials, and its dashboard on a random port."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple

import pytest

from hpsearch.config.spec import StudySpec
from hpsearch.storage.run_dir import RunDir

pytest.importorskip("optuna_dashboard")

from hpsearch.reports.dashboard.server import Dashboard, open_dashboard


@pytest.fixture
def finished(tiny_spec: Any, finished_study: Callable[[StudySpec], RunDir]) -> RunDir:
    return finished_study(tiny_spec())


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Asks over real HTTP; sends its cookie where it has been let in."""

    def __init__(self, board: Dashboard) -> None:
        self.port = board.port
        self.link = board.url.partition(str(board.port))[2]
        self.cookie: str | None = None

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Host": f"127.0.0.1:{self.port}"} | headers
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            got = connection.getresponse()
            return Answer(got.status, dict(got.headers.items()), got.read())
        finally:
            connection.close()

    def open_link(self) -> Answer:
        answer = self.ask(self.link)
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer


Serve = Callable[..., Any]


@pytest.fixture
def serve() -> Serve:
    """A context manager: a browser before a dashboard that answers."""

    @contextmanager
    def serving(folder: RunDir, *, allow_write: bool = False) -> Iterator[Browser]:
        with open_dashboard(folder, port=0, allow_write=allow_write) as board:
            thread = threading.Thread(target=lambda: board.server.serve_forever(0.02))
            thread.start()
            try:
                yield Browser(board)
            finally:
                board.server.shutdown()
                thread.join()

    return serving
