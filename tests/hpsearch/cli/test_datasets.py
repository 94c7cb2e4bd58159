import json
from collections.abc import Callable
from typing import Any

from hpsearch.datasets.registry import NAMES

Command = Callable[..., Any]


def test_every_name_and_how_to_get_it(hpsearch: Command) -> None:
    ended = hpsearch("datasets")
    assert (ended.code, ended.err) == (0, "")
    assert all(name in ended.out for name in NAMES)
    infos = json.loads(hpsearch("datasets", "--json").out)
    assert {info["name"] for info in infos} == set(NAMES)
    assert all(info["how"] for info in infos)
