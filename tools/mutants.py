"""Whether a test notices when a rule is broken.

    python tools/mutants.py [NUMBER ...]

Breaks one rule at a time in a temporary copy of the checkout, by one replacement of text, and runs
the test that states the rule: `killed` where it fails, `survived` where it does not. A text must
stand in the packages exactly once and a test in the suite exactly once, so that code that was
moved or rewritten is noticed here. Exits with 1 where a mutant survived or could not be made.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dpa_core", "hpsearch")


@dataclass(frozen=True)
class Mutant:
    """A rule, one way to break it, and the test that must fail then.

    Attributes:
        rule: what the code promises.
        old, new: the text and what it is replaced by.
        test: name of the test function.
    """

    rule: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "the critic's part of the loss has the weight that was asked for",
        "total = loss + weight * self.adversary.loss(reconstruction, phase)",
        "total = loss + self.adversary.loss(reconstruction, phase)",
        "test_the_critic_has_the_weight_that_was_asked_for",
    ),
    Mutant(
        "the size of a bottleneck counts its positions in both directions",
        'int(params["latent_dim"]) * int(params["latent_res"]) ** 2',
        'int(params["latent_dim"]) * int(params["latent_res"])',
        "test_the_size_is_the_numbers_in_the_bottleneck",
    ),
    Mutant(
        "cached vectors belong to one network",
        'json.dumps([backbone.digest, layers, images.key, "float32"])',
        'json.dumps([layers, images.key, "float32"])',
        "test_vectors_of_another_network_are_not_taken_from_the_cache",
    ),
    Mutant(
        "a transaction begins by locking",
        'exec_driver_sql("BEGIN IMMEDIATE")',
        'exec_driver_sql("BEGIN")',
        "test_a_transaction_keeps_other_writers_out_from_its_beginning",
    ),
    Mutant(
        "configurations that meet the same images vary together",
        "variances + variances[configuration] - 2.0 * drawn.covariance[configuration]",
        "variances + variances[configuration]",
        "test_three_configurations_are_students_t_of_their_correlated_differences",
    ),
    Mutant(
        "the pruner is told the mean of the folds so far",
        "trial.trial.report(trial.value, step=step)",
        "trial.trial.report(values[self.plan.criterion], step=step)",
        "test_the_pruner_is_told_the_mean_of_the_folds_so_far",
    ),
    Mutant(
        "a validation counts only once a step at full size was taken",
        "full_size = stop_at > trainer.schedule.growth_steps",
        "full_size = stop_at >= trainer.schedule.growth_steps",
        "test_a_validation_at_the_end_of_growing_is_not_one_at_full_size",
    ),
    Mutant(
        "a validation is of the network of the step before it",
        "phase = phase_at(stop_at - 1, trainer.schedule)",
        "phase = phase_at(stop_at, trainer.schedule)",
        "test_a_validation_is_of_the_network_of_the_step_before_it",
    ),
    Mutant(
        "learning rates are interpolated in logarithms",
        "return float(np.exp(np.interp(math.log(network.latent_dim), widths, rates)))",
        "return float(np.interp(network.latent_dim, np.exp(widths), np.exp(rates)))",
        "test_half_way_between_two_widths_is_the_geometric_mean_of_their_rates",
    ),
    Mutant(
        "regret is measured from the best configuration of the same draw",
        "regret=float((np.nanmax(test, axis=0) - aurocs).mean())",
        "regret=float((np.nanmax(test) - aurocs).mean())",
        "test_regret_is_from_the_best_of_the_same_draw",
    ),
    Mutant(
        "a trial that equals the best so far is not called the best",
        "value > before.value for before in completed if before.value is not None",
        "value >= before.value for before in completed if before.value is not None",
        "test_a_tie_is_not_called_the_best",
    ),
)


def main() -> int:
    """Try the mutants whose numbers were given, or all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="from 1; else all")
    chosen = parser.parse_args().numbers or range(1, len(MUTANTS) + 1)
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        for name in filter(None, tracked):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        for number in chosen:
            verdict, detail = _try(MUTANTS[number - 1], copy)
            survived += verdict != "killed"
            print(f"{number:2} {verdict}: {MUTANTS[number - 1].rule}\n{detail}", flush=True)
    print(f"{survived} of {len(chosen)} were not killed" if survived else "all were killed")
    return int(survived > 0)


def _try(mutant: Mutant, copy: Path) -> tuple[str, str]:
    """What became of a mutant, and the test's own line."""
    try:
        source = _only(copy, PACKAGES, re.escape(mutant.old))
        test = _only(copy, ("tests",), rf"^def {mutant.test}\(")
    except LookupError as error:
        return "not made", f"   {error}"
    where = f"   {source.relative_to(copy)}\n     - {mutant.old}\n     + {mutant.new}\n"
    selected = f"{test.relative_to(copy)}::{mutant.test}"
    whole = source.read_text()
    # Another time of writing, or Python would take the bytecode of the unbroken file.
    source.write_text(whole.replace(mutant.old, mutant.new))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "--tb=short", selected]
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(
            [*command, "-p", "no:cacheprovider"],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        source.write_text(whole)
    if ran.returncode > 1:
        return "not made", f"{where}   {selected}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    lines = [line for line in ran.stdout.splitlines() if line.startswith("E  ")]
    said = f"   {selected}\n{lines[0] if lines else ''}"
    return ("killed" if ran.returncode == 1 else "survived"), where + said


def _only(copy: Path, folders: tuple[str, ...], pattern: str) -> Path:
    """The one file that holds the pattern, once.

    Raises:
        LookupError: there is none, or it stands several times.
    """
    compiled = re.compile(pattern, re.MULTILINE)
    files = [path for folder in folders for path in sorted((copy / folder).rglob("*.py"))]
    found = [path for path in files for _ in compiled.finditer(path.read_text())]
    if len(found) != 1:
        raise LookupError(f"stands {len(found)} times in {'/, '.join(folders)}/: {pattern}")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
