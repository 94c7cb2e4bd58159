"""The whole study as one checked value: defaults < study YAML < options.

Study files are found and read here too: those that ship with the project, and the user's own.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from hpsearch.datasets.window import Window, as_window
from hpsearch.errors import SpecError

AxisValue = bool | int | float | str
AxisChoices = tuple[AxisValue, ...]
"""Choices of an axis; in a study one may also be a mapping, see `schedule_text`."""

Criterion = Literal["weak", "unsupervised", "synthetic"]
"""By what a configuration is chosen; see `hpsearch.search.trial`."""
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
Values = Mapping[Criterion, float]

PickRule = Literal["best", "parsimonious"]
"""Which of the configurations that the labels cannot tell apart: the highest value, or the smallest
bottleneck; see `hpsearch.evaluation.selection`."""

FinalModel = Literal["auto", "single", "average"]
"""One detector, or the average of several; `auto` averages where one is trained on the labels."""

Protocol = Literal["clean", "official"]
"""Whose folds: drawn by group, or of published fold files; see `hpsearch.protocol.protocol`."""

BACKBONES = ("lite0", "lite1", "lite2", "vgg19", "vgg-mini")
_OF_A_LIBRARY = re.compile(r"(timm|torchvision):[A-Za-z0-9][A-Za-z0-9._-]*")

EXECUTION_FIELDS = frozenset(
    {
        "dataset.links",
        "labels.n_anomaly_types",
        "labels.n_examples",
        "labels.anomalies",
        "search.n_trials",
        "search.timeout",
        "search.fold_timeout",
        "search.allow_leak",
        "search.pick",
        "final.model",
        "final.n_runs",
        "final.false_positive_rate",
    }
)
"""What may change when a study goes on: how much is run, and what is concluded from it."""

PLACES = frozenset(
    {
        "dataset.name",
        "dataset.root",
        "backbone.weights",
        "backbone.statistics",
        "search.folds",
    }
)
"""Where a study's inputs lie: it goes on with the same content at another place, see `RunDir`."""


MAX_SEED = 2**32 - 1  # what numpy and scikit-learn take

_LARGEST = 64 * 1024  # bytes of a study file; a study is a page
_PACKAGE = "studies"
_DEPTH_OF_CHOICE = 5  # space, section, axis, position, and the type that pydantic tried first


def schedule_text(choice: Any) -> Any:
    """A choice by resolution such as `{16: "r22", 8: "r12"}` as one text, `8:r12 16:r22`.

    The keys are the sides in px from which on an entry holds (paper, section 3.2). Anything but a
    mapping comes back as it is.

    Raises:
        ValueError: a key that is no side, or a value that is no name.
    """
    if not isinstance(choice, Mapping):
        return choice
    if not choice:
        raise ValueError("a choice by resolution needs an entry, e.g. {8: r12, 16: r22}")
    for side, name in choice.items():
        if type(side) is not int or side < 1:
            raise ValueError(f"a choice by resolution has whole px as keys, not {side!r:.40}")
        if (
            not isinstance(name, str)
            or not name
            or {":", " "} & set(name)
            or not name.isprintable()
        ):
            raise ValueError(f"a choice by resolution has names without spaces, not {name!r:.40}")
    return " ".join(f"{side}:{choice[side]}" for side in sorted(choice))


_Choices = tuple[Annotated[AxisValue, BeforeValidator(schedule_text)], ...]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetSpec(_Model):
    """Which images: a registered name, a CSV manifest, or a folder (MVTec AD layout, classes)."""

    name: str = Field("synthetic-histology", min_length=1)
    root: Path | None = None
    normal_class: str | None = None
    seed: int = Field(0, ge=0, le=MAX_SEED)  # of what is generated or split at random
    window: Annotated[Window, BeforeValidator(as_window)] | None = None  # of more than 8 bits
    multi_label: Literal["pure", "first"] = "pure"  # X-rays of several findings: see datasets.nih
    links: Literal["follow", "refuse"] = "follow"  # from a manifest's root to outside


class LabelsSpec(_Model):
    """The labelled anomalies that the search may see (paper, section 3.3).

    In the official protocol nothing is drawn: a study that is run gets the counts of its files.
    """

    n_anomaly_types: int = Field(1, ge=1)
    n_examples: int = Field(20, ge=1)  # in all, spread over the types
    anomalies: Literal["shared", "partition"] = "shared"  # scored by every fold, or a third by each


def _backbone_name(name: str) -> str:
    """One of ours, or a name of timm or torchvision, whose own names are theirs to know."""
    if name not in BACKBONES and not _OF_A_LIBRARY.fullmatch(name):
        raise ValueError(
            f"must be one of {', '.join(BACKBONES)}, or timm:NAME, or torchvision:NAME"
        )
    return name


class BackboneSpec(_Model):
    """The frozen network whose features are compared."""

    name: Annotated[str, AfterValidator(_backbone_name)] = "lite0"
    weights: Path | None = None
    statistics: Path | None = None  # folder of natural images, for its channel statistics


class TrainingSpec(_Model):
    """How each fold is trained; a detector without gradient steps ignores it."""

    max_steps: int = Field(100_000, ge=1)
    batch_size: int | None = Field(None, ge=1)  # images a step; None: by the network
    check_every: int = Field(1_000, ge=1)  # steps between validations on held-out normals
    patience: int = Field(3, ge=1)  # validations without improvement that end a training
    min_improvement: float = Field(1e-3, ge=0)  # of the held-out loss
    learning_rate: float | None = Field(None, gt=0)  # None: by the network
    flips: bool = False  # random horizontal and vertical flips
    feature_cache_mb: int = Field(1024, ge=0)  # device memory for features of the input
    compile: bool = False  # torch.compile
    precision: Literal["float32", "bfloat16"] = "float32"  # of the frozen network while training


def _folds_fit(folds: Path | None, info: ValidationInfo) -> Path | None:
    """The folder of fold files, which the official protocol needs and no other reads."""
    official = info.data.get("protocol") == "official"
    if official and folds is None:
        raise ValueError("protocol official needs the folder of its fold files (--folds)")
    if folds is not None and not official:
        raise ValueError("only protocol official reads fold files, with --protocol official")
    return folds


def _official_only(allow_leak: bool, info: ValidationInfo) -> bool:
    if allow_leak and info.data.get("protocol") != "official":
        raise ValueError("only fold files of protocol official may leak")
    return allow_leak


def _clean_only(split_groups: bool, info: ValidationInfo) -> bool:
    if split_groups and info.data.get("protocol") == "official":
        raise ValueError("fold files of protocol official are taken as they are, nothing is split")
    return split_groups


class SearchSpec(_Model):
    """How configurations are chosen, and when the search ends."""

    sampler: Literal["auto", "grid", "tpe", "random"] = "auto"
    pruner: Literal["none", "median", "hyperband"] = "none"
    n_trials: int | None = Field(None, ge=1)  # None: the whole grid
    timeout: float | None = Field(None, gt=0)  # seconds after which no training is started
    fold_timeout: float | None = Field(None, gt=0)  # seconds that one training may take
    n_folds: int = Field(3, ge=2, le=10)
    criterion: Criterion = "weak"
    pick: PickRule = "parsimonious"  # by the criterion weak
    seed: int = Field(0, ge=0, le=MAX_SEED)
    protocol: Protocol = "clean"
    folds: Annotated[Path | None, AfterValidator(_folds_fit)] = Field(None, validate_default=True)
    allow_leak: Annotated[bool, AfterValidator(_official_only)] = False  # of the fold files
    split_groups: Annotated[bool, AfterValidator(_clean_only)] = False  # see protocol.folds


class FinalSpec(_Model):
    """Trainings of the winner on all normals, and when it calls an image anomalous."""

    model: FinalModel = "auto"
    n_runs: int = Field(1, ge=1)
    false_positive_rate: float = Field(0.05, gt=0, lt=1)  # share of normals that may be flagged


AUTO = "auto"
AUTO_DETECTORS = ("features", "patch", "few", "dpa")
"""What `--detector auto` searches: the cheap ones, then `TRAINED` with what time is left."""
TRAINED = "dpa"


def _names_of_detectors(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) < len(names) or (AUTO in names and len(names) > 1):
        raise ValueError("name a detector, several different ones with commas, or auto")
    return ",".join(names)


class StudySpec(_Model):
    """Everything that decides a study's results."""

    study_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    dataset: DatasetSpec = DatasetSpec()
    labels: LabelsSpec = LabelsSpec()
    detector: Annotated[str, AfterValidator(_names_of_detectors)] = "dpa"  # names, or `auto`
    backbone: BackboneSpec = BackboneSpec()
    space: dict[str, dict[str, _Choices]] = {}  # per detector, and under `preprocessing`
    training: TrainingSpec = TrainingSpec()
    search: SearchSpec = SearchSpec()
    final: FinalSpec = FinalSpec()

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors that are searched, in the order in which they are tried."""
        return AUTO_DETECTORS if self.detector == AUTO else tuple(self.detector.split(","))

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Those that compare its configurations: several detectors score on different scales."""
        if len(self.detectors) == 1:
            return CRITERIA
        return tuple(criterion for criterion in CRITERIA if criterion != "unsupervised")


def build_spec(study: Mapping[str, Any], options: Mapping[str, Any]) -> StudySpec:
    """Lay `options` over the mapping of a study file and check the whole.

    Raises:
        SpecError: the first setting that breaks a rule, with the rule and the value received.
    """
    try:
        return StudySpec.model_validate(merged(study, options))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "study"
        text = first["msg"].removeprefix("Value error, ")
        rule = text[0].lower() + text[1:]
        if place.startswith("space.") and len(first["loc"]) == _DEPTH_OF_CHOICE:
            place = place.rsplit(".", 2)[0]
            rule = "a choice is true, false, a finite number or a name"
        received = "" if first["type"] == "missing" else f", got {first['input']!r:.60}"
        raise SpecError(f"{place}: {rule}{received}; mend it in the study or the option") from None


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base` with those of `over` laid on top, section by section."""
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result


def first_difference(old: StudySpec, new: StudySpec) -> str | None:
    """The first setting by which two studies differ in what they compute, in words.

    Two places may hold the same content, which these settings cannot tell.
    """
    before, after = (dict(_flatten(spec.model_dump(mode="json"))) for spec in (old, new))
    sections = list(StudySpec.model_fields)

    def in_order(key: str) -> tuple[int, str]:
        return sections.index(key.split(".")[0]), key

    for key in sorted(before.keys() | after.keys(), key=in_order):
        value, now = before.get(key), after.get(key)
        if key in EXECUTION_FIELDS or value == now:
            continue
        # Two paths may be the same content, or a path and the usual place; a data set's own name
        # means its content.
        if key in PLACES and all(
            place is None or "/" in place or place.endswith(".csv") for place in (value, now)
        ):
            continue
        return f"{key} is {value!r} there and {now!r} now"
    return None


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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
