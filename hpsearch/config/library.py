"""Finding and reading study files: those that ship with the project, and the user's own."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from hpsearch.errors import SpecError

_LARGEST = 64 * 1024  # bytes; a study is a page
_PACKAGE = "studies"


def shipped_studies() -> tuple[str, ...]:
    """Names of the studies that come with the project."""
    names = (entry.name for entry in files(_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def read_study(name: str) -> dict[str, Any]:
    """The mapping of a study: a shipped name, or the path of a YAML file.

    Raises:
        SpecError: no such study, or a file that is not a plain YAML mapping.
    """
    if name in shipped_studies():
        return parse_study((files(_PACKAGE) / f"{name}.yaml").read_text(encoding="utf-8"), name)
    path = Path(name)
    if not path.is_file():
        raise SpecError(f"study {name!r}: neither a file nor one of {', '.join(shipped_studies())}")
    if path.stat().st_size > _LARGEST:
        raise SpecError(f"{path}: a study has at most {_LARGEST} bytes; is this the right file?")
    try:
        return parse_study(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise SpecError(f"{path}: a study is UTF-8 text; save it as UTF-8") from None


def parse_study(text: str, source: str) -> dict[str, Any]:
    """The mapping in a YAML text; `source` names it in errors."""
    try:
        # A safe loader: it builds plain values only, and the subclass only narrows it.
        study = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a bad date, deep nesting
        reason = " ".join(str(error).split())
        raise SpecError(f"{source}: not a plain YAML file: {reason:.200}") from None
    if not isinstance(study, Mapping):
        raise SpecError(f"{source}: a study is a mapping of settings, got {type(study).__name__}")
    return dict(study)


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases, with which a page can grow to gigabytes, and a key that comes twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a study; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        keys = [self.construct_object(key) for key, _ in node.value]
        if len(mapping) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.YAMLError(f"{twice!r:.60} comes twice in one mapping; keep one of them")
        return mapping
