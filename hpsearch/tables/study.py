"""A study that a table needs."""

from dataclasses import dataclass

from hpsearch.spec import Criterion, StudySpec


@dataclass(frozen=True)
class TableStudy:
    """One study of a table.

    Attributes:
        spec: what is run.
        criteria: whose choices are trained on all normals, each once.
        title: what it is for, for the one who waits.
    """

    spec: StudySpec
    criteria: tuple[Criterion, ...]
    title: str
