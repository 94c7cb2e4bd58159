"""Table 4 of the paper (section 4.6): its rows, and the studies that answer them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from hpsearch.config.space import PREPROCESSING
from hpsearch.config.spec import AxisValue, Criterion, StudySpec, build_spec, merged, read_study
from hpsearch.errors import SpecError
from hpsearch.paper.growing import lengthened

ABLATION = "ablation"
"""The shipped study that holds the table."""
ROWS = "rows"
"""Its section of rows, which no study has that is run as one."""

_DETECTOR: str = StudySpec.model_fields["detector"].default
_OF_THE_DATA = ("dataset", "labels", "backbone")  # sections of a study that hang on its data

_Mapping = Mapping[str, Any]


class AblationRow(BaseModel):
    """A row of the table: what it is, and what it has beyond the settings common to all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int  # as in the paper
    name: str  # as in the paper
    criterion: Criterion
    fixed: dict[str, AxisValue]  # values of axes that make the row what it is
    space: dict[str, list[Any]] = {}  # choices of its own

    def shares_trainings_with(self, other: "AblationRow") -> bool:
        """Whether the two differ in nothing but what chooses among the same trainings."""
        mine, theirs = (row.model_dump(exclude={"number", "name"}) for row in (self, other))
        return mine | {"criterion": None} == theirs | {"criterion": None}


@dataclass(frozen=True)
class RowStudy:
    """One study, and the rows that its trainings answer.

    Attributes:
        spec: what is run.
        rows: of the table, which differ in what chooses.
    """

    spec: StudySpec
    rows: tuple[AblationRow, ...]

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What chooses in the rows, each once."""
        return tuple(dict.fromkeys(row.criterion for row in self.rows))


@cache
def table4_rows() -> tuple[AblationRow, ...]:
    """The ten rows, in the paper's order."""
    return tuple(AblationRow.model_validate(row) for row in read_study(ABLATION)[ROWS])


@cache
def _common() -> _Mapping:
    """The settings of all rows."""
    return {key: value for key, value in read_study(ABLATION).items() if key != ROWS}


def table4_studies(
    data: _Mapping, options: _Mapping, *, prefix: str, numbers: Collection[int] | None = None
) -> list[RowStudy]:
    """The studies of the rows; rows that share their trainings share a study.

    Args:
        data: the data set's own study, see `data_settings`.
        options: settings of the user, over all others. An axis goes to the rows that have it and
            do not fix it.
        prefix: of the studies' names, which are `<prefix>-row-1` or `<prefix>-rows-2-3`.
        numbers: of the rows that are wanted, None for all.

    Raises:
        SpecError: there is no such row, or a setting breaks a rule.
    """
    rows = table4_rows()
    known = [row.number for row in rows]
    wanted = known if numbers is None else numbers
    for number in wanted:
        if number not in known:
            raise SpecError(f"--rows: table4 has rows {known[0]} to {known[-1]}, not {number}")
    for axis in options.get("space", {}).get(_DETECTOR, {}):
        if all(axis in row.fixed for row in rows):
            raise SpecError(f"--axis {axis}: it is what the rows of table4 differ in; use --rows")
    studies = []
    # Of all rows that share it, so that a study is the same whichever of them are wanted.
    for group in _sharing(rows):
        numbered = "-".join(str(row.number) for row in group)
        name = f"{prefix}-row{'' if len(group) == 1 else 's'}-{numbered}"
        spec = _spec(group, data, options, name=name)
        if answered := tuple(row for row in group if row.number in wanted):
            studies.append(RowStudy(spec, answered))
    return studies


def data_settings(study: _Mapping) -> dict[str, Any]:
    """What the study of a data set says of its data, as a mapping of settings.

    These are its labels and backbone, whether images may be flipped, and the first choice of each
    axis of the preprocessing.
    """
    settings: dict[str, Any] = {key: study[key] for key in _OF_THE_DATA if key in study}
    axes = study.get("space", {}).get(PREPROCESSING, {})
    settings["space"] = {PREPROCESSING: {axis: choices[:1] for axis, choices in axes.items()}}
    settings["training"] = {"flips": study.get("training", {}).get("flips", False)}
    return settings


def _spec(
    rows: Sequence[AblationRow], data: _Mapping, options: _Mapping, *, name: str
) -> StudySpec:
    settings = merged(merged(data_settings(data), _common()), options)
    row, asked = rows[0], options.get("space", {}).get(_DETECTOR, {})
    # The common choices, the row's, the user's, and what is fixed.
    axes = {**_common()["space"][_DETECTOR], **row.space}
    of_other_rows = {axis for other in table4_rows() for axis in other.space} - axes.keys()
    axes |= {axis: choices for axis, choices in asked.items() if axis not in of_other_rows}
    axes |= {axis: [value] for axis, value in row.fixed.items()}
    named = {"study_name": name, "search": {"criterion": rows[-1].criterion}}
    space = settings["space"] | {_DETECTOR: axes}
    return lengthened(build_spec(settings | {"space": space}, named))


def _sharing(rows: Iterable[AblationRow]) -> list[list[AblationRow]]:
    groups: list[list[AblationRow]] = []
    for row in rows:
        for group in groups:
            if row.shares_trainings_with(group[0]):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups
