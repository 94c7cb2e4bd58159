"""The import direction: studies -> hpsearch -> dpa_core -> torch, never upwards, and no cycles."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dpa_core", "hpsearch", "studies")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ABOVE_THE_CORE = {
    "hpsearch",
    "studies",
    "optuna",
    "pandas",
    "sklearn",
    "sqlalchemy",
    "plotly",
    "pydantic",
    "joblib",
}
CORE_ORDER = (
    "errors",
    ("features", "tensor_files"),
    ("config", "efficientnet_lite", "vgg"),
    ("growth", "batches", "learner"),
    ("autoencoder", "loss", "training_state"),
    ("critic", "score"),
    "fit",
)


FLOORS = (
    ("dpa_core",),
    ("hpsearch/io",),
    ("hpsearch/datasets/histology", "hpsearch/datasets/prepare/stains"),
    ("hpsearch/datasets",),
    ("hpsearch/config", "hpsearch/datasets/prepare"),
    ("hpsearch/protocol", "hpsearch/detectors/backbones"),
    ("hpsearch/protocol/audit", "hpsearch/detectors", "hpsearch/storage"),
    ("hpsearch/evaluation",),
    ("hpsearch/evaluation/label_budget", "hpsearch/search"),
    ("hpsearch/model",),
    ("hpsearch/model/predict", "hpsearch/model/export", "hpsearch/study"),
    ("hpsearch/paper", "hpsearch/reports/examples", "hpsearch/reports/trackers"),
    ("hpsearch/reports",),
    ("hpsearch/reports/dashboard",),
    ("hpsearch/cli",),
)
"""The rooms from the ground up: a folder imports from folders that stand before it alone."""
GROUND = {"hpsearch", "hpsearch.errors"}  # what every room may import


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in FILES}


def _imports(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it, as full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            source = str(node.module)
            found |= {
                name if (name := f"{source}.{alias.name}") in MODULES else source
                for alias in node.names
            }
    return found


def _packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _under(module: str, *places: str) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("module", [name for name in MODULES if _under(name, "dpa_core")])
def test_the_core_knows_nothing_above_it(module: str) -> None:
    assert not _packages(MODULES[module]) & ABOVE_THE_CORE


def test_only_detectors_import_the_core() -> None:
    importers = {name for name, path in MODULES.items() if "dpa_core" in _packages(path)}
    outside = {
        name
        for name in importers
        if not _under(name, "dpa_core", "hpsearch.detectors", "hpsearch.detectors.backbones")
    }
    assert not outside


def test_only_rooms_that_train_import_torch() -> None:
    importers = {
        name for name, path in MODULES.items() if _packages(path) & {"torch", "torchvision"}
    }
    allowed = (
        "dpa_core",
        "hpsearch.detectors",
        "hpsearch.datasets.torchvision_sets",
        "hpsearch.datasets.prepare.stains",
        "hpsearch.search.engine",
        "hpsearch.search.task",
        "hpsearch.model.model",
        "hpsearch.model.export",
        "hpsearch.reports.trackers.logged",
    )
    assert not {name for name in importers if not _under(name, *allowed)}


def test_nothing_imports_the_command_line_but_itself() -> None:
    importers = {
        name
        for name, path in MODULES.items()
        if any(_under(imported, "hpsearch.cli") for imported in _imports(path))
    }
    assert all(_under(name, "hpsearch.cli") for name in importers)


def test_the_core_is_built_from_the_ground_up() -> None:
    height = {
        f"dpa_core.{name}": level
        for level, names in enumerate(CORE_ORDER)
        for name in ((names,) if isinstance(names, str) else names)
    }
    core = {name for name in MODULES if _under(name, "dpa_core")} - {"dpa_core"}
    assert core == set(height), "a file of the core has no place in its order"
    for module in core:
        for imported in _imports(MODULES[module]) & core:
            assert height[imported] < height[module], f"{module} imports {imported}"


def _room(module: str) -> str:
    return str(MODULES[module].parent.relative_to(ROOT))


ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def test_every_folder_of_code_has_a_floor() -> None:
    folders = {_room(name) for name in MODULES if not _under(name, "studies")} - {"hpsearch"}
    assert folders == set(ROOMS)
    assert {name for name in MODULES if _room(name) == "hpsearch"} == GROUND


def test_the_reading_order_names_every_room_from_the_ground_up() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert re.findall(r"^\| `([a-z_0-9/]+)` \|", text, re.MULTILINE) == list(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_lower_floors_alone(room: str) -> None:
    for module in (name for name in MODULES if _room(name) == room):
        for imported in (_imports(MODULES[module]) & MODULES.keys()) - GROUND:
            where = _room(imported)
            assert where == room or ROOMS[where] < ROOMS[room], f"{module} imports {imported}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_face_names_what_other_rooms_use_and_nothing_else(room: str) -> None:
    face = room.replace("/", ".")
    tree = ast.parse(MODULES[face].read_text())
    assert "Answers: " in str(ast.get_docstring(tree))
    offered = {f"{face}.{name}" for name in importlib.import_module(face).__all__}
    used = {
        imported
        for module in MODULES
        if _room(module) != room
        for imported in _imports(MODULES[module]) & MODULES.keys()
        if _room(imported) == room
    }
    assert used | PUBLIC.get(room, set()) == offered


PUBLIC = {
    "hpsearch/cli": {"hpsearch.cli.main"},  # the command
    "hpsearch/model": {"hpsearch.model.estimator"},  # for scikit-learn
}
"""What users and entry points import, and no other room."""


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "optuna", "numpy", "sklearn", "pydantic", "PIL"}
    code = "import sys, hpsearch; print(*(name.split('.')[0] for name in sys.modules))"
    command = [sys.executable, "-c", code]
    imported = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert not heavy & set(imported.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_no_cycles(package: str) -> None:
    graph = {
        name: {other for other in _imports(path) if _under(other, package)} - {name}
        for name, path in MODULES.items()
        if _under(name, package)
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {error.args[1]}")


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_prints(module: str) -> None:
    if _under(module, "hpsearch.cli"):
        return
    tree = ast.parse(MODULES[module].read_text())
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in calls
    assert not {"rich", "typer", "click"} & _packages(MODULES[module])


def test_studies_holds_no_code() -> None:
    assert [name for name in MODULES if _under(name, "studies")] == ["studies"]
    body = ast.parse(MODULES["studies"].read_text()).body
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def test_a_worker_does_not_wait_for_what_it_does_not_use() -> None:
    """Each is a second or more of every process that trains."""
    names = {"optuna", "sqlalchemy", "plotly", "torchvision", "torch._dynamo"}
    program = f"import sys, hpsearch.search.task; print({names} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("set()\n", "")
