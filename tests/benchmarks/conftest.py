"""Benchmarks run only when this folder is named on the command line."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    base = config.invocation_params.dir
    named = [base / argument.split("::")[0] for argument in config.args]
    if any(path.resolve().is_relative_to(HERE) for path in named):
        return
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason="benchmark: run pytest tests/benchmarks -s"))
