"""kill -9 of `hpsearch` and all its processes, again and again, and the same command each time.

    python tests/faults/kills.py --studies 200 --commands 60 --seed 0

Half of the kills come at the n-th file system event in the folder of the command, half at a random
time. Each command is first run once without a kill; what the killed ones leave behind in the end
must be the same. The last line counts what was lost, done again, left behind or came out otherwise.
"""

import argparse
import json
import os
import random
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from watch import watching

ROOT = Path(__file__).parents[2]
HPSEARCH = [sys.executable, "-c", "from hpsearch.cli.main import main; main()"]
PATIENCE = 300  # s, of a command that nobody kills
SHARE = 3  # a kill comes in the first third of what a whole run takes, so that more come in a chain
SIDE = 16
STUDY = {
    "study_name": "killed",
    "dataset": {"name": "data/data.csv"},
    "labels": {"n_anomaly_types": 1, "n_examples": 4},
    "backbone": {"name": "vgg-mini"},
    "training": {"max_steps": 6, "batch_size": 8, "check_every": 2},
    "search": {"n_folds": 2},
    "final": {"false_positive_rate": 0.2},
}
FEATURES = {"kind": ["mahalanobis", "knn"], "layer": ["colour", "r12"]}
SPACES: dict[str, dict[str, Any]] = {
    "features": {"detector": "features", "space": {"features": FEATURES}},
    "dpa": {
        "detector": "dpa",
        "space": {"dpa": {"latent_dim": [2, 3], "latent_res": [4], "layers": ["r12"]}},
    },
    "tpe": {
        "detector": "features",
        "space": {
            "features": FEATURES | {"layer": ["colour", "r12", "r22"]},
            "preprocessing": {"greyscale": [False, True]},
        },
        "search": {"n_folds": 2, "sampler": "tpe", "n_trials": 5},
    },
}


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        name: what the summary calls it.
        arguments: of `hpsearch`, in a folder of its own.
        start: what lies in that folder before.
        outcome: what the command has made there, to be the same with and without kills.
    """

    name: str
    arguments: Sequence[str]
    start: Path
    outcome: Callable[[Path], Any]


@dataclass
class Tally:
    """What was counted, over all chains of a case."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def fault(self, kind: str, what: str) -> None:
        self.faults[kind] += 1
        self.told.append(f"{kind}: {what}")

    def add(self, other: "Tally") -> None:
        self.kills += other.kills
        self.faults += other.faults
        self.told += other.told


def draw_images(folder: Path) -> None:
    """Normals, striped and spotted images, with a manifest."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["image_path,label_index,split,anomaly_type,group"]
    for split, counts in {"train": (16, 4, 4), "test": (8, 3, 3)}.items():
        for kind, count in zip(("", "stripes", "spots"), counts, strict=True):
            for number in range(count):
                pixels = rng.normal(120, 12, (SIDE, SIDE, 3))
                if kind == "stripes":
                    pixels[::4] += 60
                if kind == "spots":
                    pixels[4:9, 4:9] += 70
                name = f"{split}-{kind or 'normal'}-{number}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
                lines.append(f"{name},{int(bool(kind))},{split},{kind},{split}{kind}{number // 2}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")


def start(case: Case, folder: Path) -> "subprocess.Popen[bytes]":
    """The command in a session of its own, with everything that it keeps in its folder."""
    own = {
        "HPSEARCH_CACHE": str(folder / "cache"),
        "HPSEARCH_RUNS": "runs",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LOKY_MAX_CPU_COUNT": "1",  # one thread a worker, whatever the machine has
    }
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [*HPSEARCH, *case.arguments],
            cwd=folder,
            env=os.environ | own,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def whole_run(case: Case, folder: Path) -> tuple[int, float, float]:
    """Run to the end: events, seconds until the first of them, and seconds in all."""
    shutil.copytree(case.start, folder)
    with watching(folder) as watch:
        began = time.monotonic()
        process = start(case, folder)
        watch.until(2, PATIENCE)  # the first is of the output's file
        first = time.monotonic() - began
        while process.poll() is None:
            watch.until(1 << 60, 0.05)
        check_ended(case, folder, process.returncode)
        return watch.count, first, time.monotonic() - began


def check_ended(case: Case, folder: Path, code: int) -> None:
    if code != 0:
        output = (folder / "output.txt").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{case.name}: ended with {code}:\n{output}")


def finished(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every result that is on disk."""
    found = [*folder.glob("runs/*/tasks/[0-9a-f]*/result.json"), *folder.glob("out/**/slide.json")]
    facts = {str(path.relative_to(folder)): path.stat() for path in found}
    return {name: (fact.st_ino, fact.st_mtime_ns) for name, fact in facts.items()}


def chain(
    case: Case, folder: Path, measured: tuple[int, float, float], quota: int, rng: random.Random
) -> Tally:
    """Kill the command up to `quota` times, let it end, and compare."""
    shutil.copytree(case.start, folder)
    tally, seen = Tally(), finished(folder)
    while sum(tally.kills.values()) < quota:
        how = rng.choice(("event", "time"))
        if not killed(case, folder, how, measured, rng):
            break
        tally.kills[how] += 1
        now = finished(folder)
        for name in seen:
            if name not in now:
                tally.fault("lost", f"{case.name}: {name}")
            elif now[name] != seen[name]:
                tally.fault("repeated", f"{case.name}: {name}")
        seen = now
    process = start(case, folder)
    code = process.wait(timeout=PATIENCE)
    if code != 0:
        output = (folder / "output.txt").read_text(errors="replace")[-1500:]
        tally.fault("broken", f"{case.name}: ended with {code}: {output}")
        return tally
    now = finished(folder)
    for name in seen:
        if now.get(name) != seen[name]:
            tally.fault("repeated" if name in now else "lost", f"{case.name}: {name}")
    for left in leftovers(folder):
        tally.fault("leftover", f"{case.name}: {left}")
    return tally


def killed(
    case: Case,
    folder: Path,
    how: str,
    measured: tuple[int, float, float],
    rng: random.Random,
) -> bool:
    """Start the command and kill it; whether it was still running."""
    events, first, seconds = measured
    with watching(folder) as watch:
        process = start(case, folder)
        try:
            if how == "event":
                at = rng.randint(2, max(3, events // SHARE))
                while watch.count < at and process.poll() is None:
                    watch.until(at, 0.2)
            else:
                time.sleep(first + rng.uniform(-0.2 * first, (seconds - first) / SHARE))
            alive = process.poll() is None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                alive = False
            process.wait()
    return alive


def leftovers(folder: Path) -> list[str]:
    patterns = (".tmp-*", ".checkpoints-*", "*-journal", "*-wal")
    found = (path for pattern in patterns for path in folder.rglob(pattern))
    return sorted(str(path.relative_to(folder)) for path in found)


def study_outcome(folder: Path) -> Any:
    """Trials, folds, scores and choice of the study."""
    run = folder / "runs" / "killed"
    database = sqlite3.connect(run / "study.db")
    states = "SELECT number, state FROM trials ORDER BY number"
    values = "SELECT trial_id, value FROM trial_values ORDER BY trial_id"
    params = "SELECT trial_id, param_name, param_value FROM trial_params ORDER BY 1, 2"
    folds = "SELECT trial, fold, task, weak FROM fold_results ORDER BY trial, fold"
    rows = [database.execute(query).fetchall() for query in (states, values, params, folds)]
    whole = database.execute("PRAGMA integrity_check").fetchall()
    database.close()
    scores = {path.parent.name: path.read_bytes() for path in run.glob("tasks/*/scores.csv")}
    winner = (run / "winner.txt").read_text() if (run / "winner.txt").exists() else None
    finals = {
        path.parent.name: json.loads(path.read_text()) for path in run.glob("final/*/result.json")
    }
    return rows, whole, scores, winner, finals


def files_outcome(*patterns: str) -> Callable[[Path], Any]:
    """The bytes of files."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def names_outcome(pattern: str) -> Callable[[Path], Any]:
    """The names of files whose bytes hold the time at which they were made."""
    return lambda folder: sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))


def study_cases(work: Path) -> Iterator[Case]:
    for name, space in SPACES.items():
        start_folder = work / "start" / name
        draw_images(start_folder / "data")
        study = STUDY | space
        study["space"] = study["space"] | {
            "preprocessing": {"resolution": [SIDE]} | study["space"].get("preprocessing", {})
        }
        (start_folder / "study.yaml").write_text(json.dumps(study))  # JSON is YAML
        arguments = ["run", "--study", "study.yaml", "--device", "cpu", "--workers", "1"]
        yield Case(name, arguments, start_folder, study_outcome)


def command_cases(work: Path, study: Path) -> Iterator[Case]:
    """Every other command, on a finished study."""
    shutil.rmtree(study / "cache")

    def case(name: str, outcome: Callable[[Path], Any], *arguments: str) -> Case:
        return Case(name, [name, *arguments], study, outcome)

    yield case("report", names_outcome("runs/killed/report/*"), "killed", "--device", "cpu")
    predict = ("killed", "data", "--out", "p.csv", "--batch-size", "4", "--workers", "1")
    yield case("predict", files_outcome("p.csv"), *predict, "--device", "cpu")
    yield case("export", names_outcome("graph/*"), "killed", "--out", "graph")
    budget = ("killed", "--device", "cpu", "--workers", "1", "--examples", "2,4")
    yield case("label-budget", study_outcome, *budget)
    check = ("--dataset", "data/data.csv", "--n-examples", "4", "--report", "found.json")
    yield case("check", files_outcome("found.json"), *check)
    broken = work / "start" / "recover"
    shutil.copytree(study, broken)
    os.truncate(broken / "runs" / "killed" / "study.db", 5000)
    yield Case("recover", ["recover", "killed"], broken, study_outcome)
    slides = work / "start" / "prepare"
    build = runpy.run_path(str(ROOT / "tests/hpsearch/datasets/prepare/conftest.py"))["_build"]
    build(slides / "slides")
    options = ("--stain", "none", "--tile-size", "96", "--tiles-per-slide", "6", "--workers", "1")
    where = ("camelyon16", "--slides", "slides", "--out", "out")
    outcome = files_outcome("out/**/*")
    yield Case("prepare", ["prepare", *where, *options], slides, outcome)


def run_case(case: Case, work: Path, quota: int, seed: int) -> Tally:
    """Chains of a case until it was killed often enough."""
    rng = random.Random(f"{seed} {case.name}")
    calm = work / "calm" / case.name
    measured = whole_run(case, calm)
    expected = case.outcome(calm)
    tally, number = Tally(), 0
    while (left := quota - sum(tally.kills.values())) > 0:
        folder = work / "killed" / f"{case.name}-{number}"
        found = chain(case, folder, measured, left, rng)
        if not found.faults["broken"] and case.outcome(folder) != expected:
            found.fault("other", f"{case.name}: {folder}")
        tally.add(found)
        number += 1
        if not found.faults:
            shutil.rmtree(folder)
        if number > 3 * quota + 3:
            raise RuntimeError(f"{case.name}: ends before it can be killed")
    print(f"{case.name}: {dict(tally.kills)} kills in {number} chains", flush=True)
    return tally


def shares(total: int, parts: int) -> list[int]:
    return [total // parts + (number < total % parts) for number in range(parts)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200, help="kills of `hpsearch run`")
    parser.add_argument("--commands", type=int, default=60, help="kills of the other commands")
    parser.add_argument("--only", nargs="*", help="names of cases, all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="cases side by side")
    parser.add_argument("--work", type=Path, help="a new folder, kept; a temporary one by default")
    given = parser.parse_args(arguments)
    work = given.work or Path(tempfile.mkdtemp(prefix="kills-"))
    began, total = time.monotonic(), Tally()

    def asked(cases: Iterator[Case]) -> list[Case]:
        return [case for case in cases if not given.only or case.name in given.only]

    def run_all(cases: list[Case], kills: int) -> None:
        with ThreadPoolExecutor(given.jobs) as pool:
            quotas = shares(kills, len(cases))
            done = [
                pool.submit(run_case, case, work, quota, given.seed)
                for case, quota in zip(cases, quotas, strict=True)
            ]
            for one in done:
                total.add(one.result())

    if given.studies:
        run_all(asked(study_cases(work)), given.studies)
    if given.commands:
        finished_study = work / "finished"
        (features, *_) = study_cases(work / "for-commands")
        whole_run(features, finished_study)
        run_all(asked(command_cases(work, finished_study)), given.commands)
    for line in total.told:
        print(line)
    counts = ", ".join(
        f"{kind} {total.faults[kind]}"
        for kind in ("lost", "repeated", "leftover", "other", "broken")
    )
    kills = f"{sum(total.kills.values())} kills ({total.kills['event']} at an event)"
    print(f"{kills} in {time.monotonic() - began:.0f} s, seed {given.seed}: {counts}")
    if not given.work and not total.faults:
        shutil.rmtree(work)
    return int(bool(total.faults))


if __name__ == "__main__":
    sys.exit(main())
