"""What stands between a browser and the dashboard: who may ask, and for what.

Optuna's dashboard asks nobody who they are. Any page in the same browser could reach it, by a name
that it binds to 127.0.0.1 anew or by a form that it posts; so could any user of the machine. Hence
only our own `Host` and `Origin`, only the browser that used the link, and only reading.
"""

import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from hpsearch.dashboard.headers import ALWAYS, hardened
from hpsearch.dashboard.link import OneTimeLink

_READING = ("GET", "HEAD")
# Notes, and files of the study. Trials and the study itself are the search's: the dashboard would
# delete or rename what the run directory still holds.
_WRITABLE = re.compile(r"PUT /api/studies/\d+(/\d+)?/note|POST /api/artifacts/\d+")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]*")
_HTTP_PORT = 80
_LONGEST_BODY = 1 << 16  # bytes of a refused request that are read


class _Refused(Exception):
    """A request that is not passed on."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """A WSGI application around the dashboard's.

    Args:
        app: the dashboard.
        port: of the server.
        link: by which one browser is let in.
        landing: path that the link leads to.
        allow_write: whether notes and files may be added.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        port: int,
        link: OneTimeLink,
        landing: str,
        allow_write: bool,
    ) -> None:
        names = ("localhost", "127.0.0.1", "[::1]")
        self.hosts = {f"{name}:{port}" for name in names}
        if port == _HTTP_PORT:  # which browsers leave out
            self.hosts |= set(names)
        self.app, self.link = app, link
        self.landing, self.allow_write = landing, allow_write

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        try:
            self._require_own_page(environ)
            if (cookie := self._redeemed(environ, path)) is not None:
                # Not a redirect: where another page holds the link, the browser would call that
                # page the sender still, and keep a strict cookie to itself.
                more = (("Set-Cookie", cookie), ("Refresh", f"0; url={self.landing}"))
                return _answer(start_response, "200 OK", "the dashboard opens", *more)
            self._require_session(environ)
            _require_plain(path)
            self._require_allowed(environ["REQUEST_METHOD"], path)
        except _Refused as refusal:
            _read_away(environ)
            return _answer(start_response, refusal.status, str(refusal))
        return self.app(environ, hardened(start_response, path))

    def _require_own_page(self, environ: WSGIEnvironment) -> None:
        if environ.get("HTTP_HOST", "").lower() not in self.hosts:
            raise _Refused("403 Forbidden", "this host is not the dashboard's; use its own link")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self.hosts}:
            raise _Refused("403 Forbidden", "another page may not ask the dashboard")

    def _redeemed(self, environ: WSGIEnvironment, path: str) -> str | None:
        if environ["REQUEST_METHOD"] != "GET" or path != "/":
            return None
        return self.link.redeem(environ.get("QUERY_STRING", ""))

    def _require_session(self, environ: WSGIEnvironment) -> None:
        if not self.link.admits(environ.get("HTTP_COOKIE", "")):
            raise _Refused(
                "401 Unauthorized",
                "the link of `hpsearch dashboard` lets one browser in, once; go on in that one, "
                "or start the command again",
            )

    def _require_allowed(self, method: str, path: str) -> None:
        if method in _READING:
            return
        if not self.allow_write:
            raise _Refused(
                "405 Method Not Allowed",
                "this dashboard only reads; start it with --allow-write to add notes and files",
            )
        if not _WRITABLE.fullmatch(f"{method} {path.rstrip('/')}"):
            raise _Refused(
                "403 Forbidden", "notes and files may be added; studies and trials are the search's"
            )


def _require_plain(path: str) -> None:
    """Refuse what the dashboard would read as another path than the one that is checked here."""
    inner = path.removeprefix("/").removesuffix("/")
    if path != "/" and not all(_SEGMENT.fullmatch(part) for part in inner.split("/")):
        raise _Refused("404 Not Found", "the dashboard has no such path")


def _read_away(environ: WSGIEnvironment) -> None:
    """Read the body, or the sender would see a broken connection in place of the answer."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if length.isdecimal():
        environ["wsgi.input"].read(min(int(length), _LONGEST_BODY))


def _answer(
    start_response: StartResponse, status: str, message: str, *more: tuple[str, str]
) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), *ALWAYS, *more]
    if status.startswith("405"):
        headers.append(("Allow", ", ".join(_READING)))
    start_response(status, headers)
    return [f"{message}\n".encode()]
