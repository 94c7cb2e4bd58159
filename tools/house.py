"""How easy the code is to follow, in figures.

    python tools/house.py [CHECKOUT]

Counts what a reader meets: files and their lengths, private functions that are read away from
their only use, files that a single other one imports, folders that import each other, and the
files in which a function runs while one image is scored and while a tiny study is run.
"""

import argparse
import ast
import contextlib
import importlib
import io
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

PACKAGES = ("dpa_core", "hpsearch")
SHORT = 60  # lines


def modules_of(root: Path) -> dict[str, Path]:
    """The files of both packages by the name that they are imported by."""
    found = {}
    for path in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Which modules each module imports, anywhere in it."""
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    names.add(inner if inner in modules else node.module)
        found[module] = (names & modules.keys()) - {module}
    return found


def room_of(root: Path, path: Path) -> str:
    """A folder is a room, and so is a file that lies loose in the package."""
    loose = path.parent == root / "hpsearch"
    return str((path if loose else path.parent).relative_to(root))


def room_circle(root: Path) -> list[str]:
    """Rooms that import each other in a circle, empty where none do."""
    modules = modules_of(root)
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, names in imported(modules).items():
        for name in names:
            importing, used = (room_of(root, modules[m]) for m in (module, name))
            if importing != used:
                rooms[importing].add(used)
    try:
        list(TopologicalSorter(rooms).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def functions(modules: dict[str, Path]) -> tuple[int, int]:
    """How many functions and methods there are, and how many are private and named once."""
    every, once = 0, 0
    for path in modules.values():
        tree = ast.parse(path.read_text())
        defined = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        defined = [name for name in defined if not name.endswith("__")]
        named = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        every += len(defined)
        once += sum(name.startswith("_") and named[name] == 1 for name in defined)
    return every, once


def describe(root: Path) -> Iterator[tuple[str, str]]:
    modules = modules_of(root)
    lengths = [len(path.read_text().splitlines()) for path in modules.values()]
    rooms = {room_of(root, path) for path in modules.values()}
    loose = [p.stem for p in (root / "hpsearch").glob("*.py") if p.stem != "__init__"]
    every, once = functions(modules)
    importers: dict[str, set[str]] = defaultdict(set)
    for module, names in imported(modules).items():
        if modules[module].name != "__init__.py":
            for name in names:
                importers[name].add(module)
    single = [m for m in modules if len(importers[m]) == 1]
    yield "loose files in hpsearch", str(len(loose))
    yield "rooms (folders, and loose files)", str(len(rooms))
    yield "files", str(len(modules))
    yield "median lines of a file", f"{statistics.median(lengths):.0f}"
    short = sum(length < SHORT for length in lengths)
    yield f"files under {SHORT} lines", f"{short / len(modules):.0%}"
    yield "private functions used once", f"{once} of {every} ({once / every:.0%})"
    yield "modules that one file imports", f"{len(single)} of {len(modules)}"
    yield "circle of rooms", " -> ".join(room_circle(root)) or "none"
    for trip in TRIPS:
        command = [sys.executable, __file__, str(root), "--trip", trip]
        opened = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        yield f"files in which a function runs, {trip}", str(len(opened))


def files_that_run(root: Path, work: Callable[[], Any]) -> list[str]:
    """Files of the packages in which a function is called while `work` runs, in any thread."""
    found = set()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            found.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    inside = [str(root / package) for package in PACKAGES]
    return sorted(name for name in found if name.startswith(tuple(inside)))


class InlineEngine:
    """Runs tasks in this process, where they can be followed."""

    def __init__(self, context: Any, *args: Any, **kwargs: Any) -> None:
        self._context, self._finished = context, list[Any]()

    @property
    def idle(self) -> int:
        return 1 - len(self._finished)

    def submit(self, task: Any) -> None:
        engine = sys.modules[ENGINE]
        task_module = sys.modules[type(task).__module__]
        self._finished.append(engine.Finished(task, task_module.run_task(task, self._context)))  # type: ignore[attr-defined]

    def wait(self, timeout: float | None = None) -> list[Any]:
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        pass


ENGINE = ""


def run_tiny_study(folder: Path) -> Callable[[], Any]:
    """A study of one configuration on 48 drawn images."""
    global ENGINE
    random = np.random.default_rng(0)
    for split, label, count in (("train", "good", 24), ("test", "good", 12), ("test", "spot", 12)):
        (folder / "data" / split / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(90, 110, (32, 32, 3), dtype=np.uint8)
            if label == "spot":
                pixels[8:16, 8:16] = 250
            Image.fromarray(pixels).save(folder / "data" / split / label / f"{number}.png")
    for module in [m for m in sys.modules.values() if hasattr(m, "LocalEngine")]:
        if module.LocalEngine.__module__ == module.__name__:
            ENGINE = module.__name__
        module.LocalEngine = InlineEngine  # type: ignore[attr-defined]
    study = {
        "study_name": "tiny",
        "dataset": {"name": str(folder / "data")},
        "labels": {"n_examples": 6},
        "detector": "features",
        "backbone": {"name": "vgg-mini"},
        "space": {
            "features": {"kind": ["mahalanobis"], "layer": ["r22"]},
            "preprocessing": {"resolution": [32]},
        },
    }
    spec = attribute("build_spec")(study, {})
    return lambda: attribute("run_study")(
        spec,
        runs=folder / "runs",
        cache_dir=folder / "cache",
        listener=attribute("SilentListener")(),
        device="cpu",
        workers=1,
    )


def score_an_image(folder: Path) -> Callable[[], Any]:
    """A model in memory that scores one PNG."""
    run_tiny_study(folder)()
    model = sys.modules["hpsearch"].load(folder / "runs" / "tiny", device="cpu")
    return lambda: model.score([str(folder / "data/test/spot/0.png")])


TRIPS = {"PNG to score": score_an_image, "tiny study": run_tiny_study}


def attribute(name: str) -> Any:
    """The function or class of that name, wherever in hpsearch it is defined."""
    for module in list(sys.modules.values()):
        if getattr(getattr(module, name, None), "__module__", "") == module.__name__:
            return getattr(module, name)
    raise LookupError(name)


def print_trip(root: Path, trip: str) -> None:
    sys.path.insert(0, str(root))
    for package in PACKAGES:
        for info in pkgutil.walk_packages([str(root / package)], f"{package}."):
            if not info.name.endswith("__main__"):
                importlib.import_module(info.name)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        files = files_that_run(root, TRIPS[trip](Path(folder)))
    print(*(Path(name).relative_to(root) for name in files), sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--trip", choices=TRIPS, help="list the files of that trip")
    chosen = parser.parse_args()
    root = chosen.checkout.resolve()
    if chosen.trip:
        print_trip(root, chosen.trip)
    else:
        for name, figure in describe(root):
            print(f"{name:50} {figure}")
