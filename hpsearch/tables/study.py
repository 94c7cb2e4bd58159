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
        searched: whether the configuration is searched for; where not, the spec has one, and
            `training.max_steps` is how long it is trained.
        notes: what must be said beside its figures.
    """

    spec: StudySpec
    criteria: tuple[Criterion, ...]
    title: str
    searched: bool = True
    notes: tuple[str, ...] = ()
