"""Do the tests notice a wrong operator, number or argument in `lightning_losses/functional/`?

mutmut's mutants, one at a time, each against the tests that reach the changed line until one fails. mutmut's own runner
puts a switch into every function, on which `torch.compile(fullgraph=True)` breaks; here a mutant is new code for a
function, put in place in a forked process when everything is imported and collected. Left out, besides what mutmut
leaves out (decorated functions, annotations, what is not in a function): what a `raise` says, and strings with a space.
Writes `results/mutation.json`; fails if fewer than 95 % are noticed. Survivors that change nothing stand in
`equivalent_mutants.json` below the reason; they are tried last, and count as survivors all the same.

    python benchmarks/mutation.py [classification.py ...] [--jobs 2] [--minutes 60] [--again [--tests tests/new.py ...]]

`--again` tries what survived the last run without a reason, what that run did not come to, and what is in functions
that have changed since: the rest needs no second look while tests are only added. `--tests` tries only what survived,
on these tests alone.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import libcst as cst
import pytest
import torch
from _pytest.runner import runtestprotocol
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import create_mutations

import lightning_losses.functional

SOURCE = Path(lightning_losses.functional.__file__).parent
ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "mutation.json"
EQUIVALENT = Path(__file__).parent / "equivalent_mutants.json"
FILES = (  # all but _sharding.py, whose tests run in processes of their own
    "classification.py",
    "_options.py",
    "_class_factors.py",
    "_formula.py",
    "_inputs.py",
    "_targets.py",
    "_rows.py",
    "_pipeline.py",
    "_phi.py",
    "_posterior.py",
    "_prior.py",
    "class_weights.py",
    "logit_adjustment.py",
    "regression.py",
    "extra.py",
    "linear.py",
    "penalties.py",
    "projections.py",
)
TESTS = (
    "tests/functional",
    "tests/losses",
    "tests/test_reference_cases.py",
    "tests/test_objective.py",
    "tests/regularizers",
    "tests/test_constraints.py",
    "tests/kernels/test_linear.py",
    "lightning_losses/functional",
    "lightning_losses/losses",
)
QUICK = "not compile and not ranks"  # the compiler's run takes seconds and runs no line of ours
LEAST = 0.95
SECONDS = 120  # of processor time beyond what the tests take without a mutant: those that hang have noticed it


class Mutant(NamedTuple):
    """A change of one function, and the lines whose tests can notice it.

    Attributes:
        file: Where the function is.
        function: Its name.
        change: What is changed, and the how manieth of equal changes of the function it is.
        lines: Which lines the change can reach.
        digest: Tells whether the function is still what it was.
        code: Makes the changed module.
    """

    file: str
    function: str
    change: str
    lines: frozenset[int]
    digest: str
    code: Callable[[], str]

    @property
    def place(self) -> str:
        return f"{self.file}: {self.function}"

    def __str__(self) -> str:
        return f"{self.place}: {self.change}"


def mutants(file: str) -> list[Mutant]:
    """Return the mutants of a file."""
    path = SOURCE / file
    module, mutations, _, _ = create_mutations(str(path), path.read_text())
    metadata = MetadataWrapper(module, unsafe_skip_copy=True).resolve_many([PositionProvider, ParentNodeProvider])
    position, parent = metadata[PositionProvider], metadata[ParentNodeProvider]

    def above(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        while not isinstance(node, cst.Module):
            yield node
            node = parent[node]

    result = []
    equal: Counter[tuple[str, str]] = Counter()
    for mutation in mutations:
        node, function = mutation.original_node, mutation.contained_by_top_level_function
        around = list(above(node))
        if (
            not isinstance(function, cst.FunctionDef)
            or any(isinstance(n, cst.Raise) for n in around)
            or _is_prose(node)
        ):
            continue
        kinds = cst.SimpleStatementLine | cst.Param
        statement = next((n for n in around if isinstance(n, kinds)), next(n for n in around if n in position))
        span = position[function.body if isinstance(statement, cst.Param) else statement]
        classes = [n.name.value for n in around if isinstance(n, cst.ClassDef)]
        name = ".".join([*classes, function.name.value])
        change = " -> ".join(" ".join(module.code_for_node(n).split()) for n in (node, mutation.mutated_node))
        equal[name, change] += 1
        result.append(
            Mutant(
                file,
                name,
                change + (f" #{equal[name, change]}" if equal[name, change] > 1 else ""),
                frozenset(range(span.start.line, span.end.line + 1)),
                hashlib.sha256(module.code_for_node(function).encode()).hexdigest()[:12],
                lambda m=mutation: module.deep_replace(m.original_node, m.mutated_node).code,
            )
        )
    return result


def _is_prose(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleString) and " " in node.value


def put_in_place(mutant: Mutant) -> None:
    """Give the function its new code and defaults; whoever imported it has the same object."""
    module = vars(sys.modules[f"lightning_losses.functional.{mutant.file.removesuffix('.py')}"])
    changed = dict(module)
    exec(compile(mutant.code(), str(SOURCE / mutant.file), "exec", dont_inherit=True), changed)
    *owner, name = mutant.function.split(".")
    old, new = ((vars(names[owner[0]]) if owner else names)[name] for names in (module, changed))
    old, new = getattr(old, "__func__", old), getattr(new, "__func__", new)
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def first_failure(items: Sequence[pytest.Item]) -> str | None:
    for item, after in itertools.zip_longest(items, items[1:]):
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=after)):
            return item.nodeid
    return None


def noticed_by(mutant: Mutant, items: Sequence[pytest.Item], seconds: float) -> str | None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        put_in_place(mutant)
    except Exception as error:  # so does every import
        return repr(error)
    return first_failure(items)


class Forked:
    """Work in a forked process, whose result is pickled into a file."""

    def __init__(self, work: Callable[[], Any]) -> None:
        handle, name = tempfile.mkstemp()
        self.path, self.pid = Path(name), os.fork()
        if self.pid:
            os.close(handle)
            return
        status = 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            self.path.write_bytes(pickle.dumps(work()))
        except BaseException:  # nothing may reach the parent's code
            self.path.write_text(traceback.format_exc())
            status = 1
        finally:
            os._exit(status)

    def result(self, status: int) -> Any:
        """Return what the work returned, or the name of the signal that ended it."""
        content = self.path.read_bytes()
        self.path.unlink()
        if os.WIFSIGNALED(status):
            return signal.Signals(os.WTERMSIG(status)).name
        if status:
            raise RuntimeError(content.decode())
        return pickle.loads(content)


class Test(NamedTuple):
    """What a test takes and which lines it runs."""

    seconds: float
    lines: frozenset[tuple[str, int]]


def run_all(items: Sequence[pytest.Item]) -> dict[str, Test]:
    folder = str(SOURCE) + os.sep
    lines: set[tuple[str, int]] = set()

    def in_function(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename.removeprefix(folder), frame.f_lineno))
        return in_function

    def trace(frame: FrameType, *_: Any) -> Any:
        return in_function if frame.f_code.co_filename.startswith(folder) else None

    tests = {}
    for item in items:
        lines.clear()
        start = time.perf_counter()
        sys.settrace(trace)
        failed = first_failure([item])
        sys.settrace(None)
        if failed:
            raise RuntimeError(f"{failed} fails without a mutant")
        tests[item.nodeid] = Test(time.perf_counter() - start, frozenset(lines))
    return tests


def in_turns(items: Sequence[pytest.Item], tests: dict[str, Test]) -> list[pytest.Item]:
    """Return the items in an order in which every test function has its quickest case early."""
    turn: Counter[str] = Counter()
    keys = {}
    for item in sorted(items, key=lambda item: tests[item.nodeid].seconds):
        function = item.nodeid.partition("[")[0]
        keys[item] = turn[function]
        turn[function] += 1
    return sorted(keys, key=keys.__getitem__)


def verdicts(last: dict[str, Any], mutants: Sequence[Mutant]) -> dict[Mutant, str | None]:
    """Return what the last run found for the functions that are still what they were, None for survivors."""
    survivors = {*last.get("survivors", ()), *itertools.chain(*last.get("equivalent", {}).values())}
    tried = [
        mutant
        for mutant in mutants
        if last.get("functions", {}).get(mutant.place) == mutant.digest and str(mutant) not in last["not tried"]
    ]
    return {mutant: None if str(mutant) in survivors else "the last run" for mutant in tried}


class Mutation:
    """The plugin that runs the mutants in the place of the tests."""

    def __init__(
        self, files: Sequence[str], jobs: int, minutes: float, last: dict[str, Any], only_survivors: bool
    ) -> None:
        self.jobs, self.minutes = jobs, minutes
        self.mutants = [mutant for file in files for mutant in mutants(file)]
        random.Random(0).shuffle(self.mutants)  # a run that is cut short has tried a fair sample
        self.equivalent: dict[str, list[str]] = json.loads(EQUIVALENT.read_text())
        self.explained = {*itertools.chain(*self.equivalent.values())}
        self.killers = verdicts(last, self.mutants)
        settled = {*filter(self.killers.get, self.mutants), *(m for m in self.killers if str(m) in self.explained)}
        self.open = [m for m in (self.killers if only_survivors else self.mutants) if m not in settled]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        torch.set_num_threads(1)
        end = time.monotonic() + 60 * self.minutes
        work = Forked(lambda: run_all(session.items))
        tests = work.result(os.waitpid(work.pid, 0)[1])
        items = in_turns(session.items, tests)
        running: dict[int, tuple[Mutant, Forked]] = {}
        for mutant in [*self.open, *(m for m in self.open if str(m) in self.explained)]:
            if str(mutant) in self.explained and mutant not in self.killers:
                self.killers[mutant] = None  # to be tried when all others are
                continue
            if len(running) == self.jobs:
                self.collect(running)
            if time.monotonic() > end:
                break
            reached = {(mutant.file, line) for line in mutant.lines}
            chosen = [item for item in items if tests[item.nodeid].lines & reached]
            noticed = Counter(self.killers.values())
            chosen.sort(key=lambda item: -noticed[item.nodeid])  # what noticed others is likely to notice this one
            seconds = SECONDS + sum(tests[item.nodeid].seconds for item in chosen)
            work = Forked(lambda mutant=mutant, chosen=chosen, seconds=seconds: noticed_by(mutant, chosen, seconds))
            running[work.pid] = mutant, work
        while running:
            self.collect(running)
        return True

    def collect(self, running: dict[int, tuple[Mutant, Forked]]) -> None:
        pid, status = os.wait()
        mutant, work = running.pop(pid)
        self.killers[mutant] = work.result(status)
        if self.killers[mutant] is None:
            print(f"survived: {mutant}", flush=True)

    def summary(self) -> dict[str, Any]:
        made = Counter(mutant.file for mutant in self.mutants)
        killed = Counter(mutant.file for mutant, killer in self.killers.items() if killer)
        survivors = [mutant for mutant, killer in self.killers.items() if not killer]
        survived = Counter(mutant.file for mutant in survivors)
        names = sorted(map(str, survivors))
        reasons = {why: [name for name in names if name in some] for why, some in self.equivalent.items()}
        return {
            "mutmut": version("mutmut"),
            "torch": version("torch"),
            "files": {
                file: {
                    "mutants": n,
                    "killed": killed[file],
                    "survived": survived[file],
                    "not tried": n - killed[file] - survived[file],
                }
                for file, n in made.items()
            },
            "killed": sum(killed.values()) / max(len(self.killers), 1),
            "equivalent": {reason: some for reason, some in reasons.items() if some},
            "survivors": [name for name in names if name not in self.explained],
            "not tried": sorted(str(mutant) for mutant in self.mutants if mutant not in self.killers),
            "functions": dict(sorted((mutant.place, mutant.digest) for mutant in self.mutants)),
        }

    def stale(self) -> list[str]:
        """Return the equivalent mutants that there are no more, or that a test has noticed after all."""
        made = {str(mutant): mutant for mutant in self.mutants}
        files = {mutant.file for mutant in self.mutants}
        names = sorted(name for name in self.explained if name.split(":")[0] in files)
        return [name for name in names if name not in made or self.killers.get(made[name])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=120, help="start no mutant after that; the rest is not tried")
    parser.add_argument("--again", action="store_true", help="go on from the last result")
    parser.add_argument("--tests", nargs="+", help="try only what survived, on these tests")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    last = json.loads(arguments.out.read_text()) if arguments.again else {}
    mutation = Mutation(arguments.files, arguments.jobs, arguments.minutes, last, bool(arguments.tests))
    tests = arguments.tests or TESTS
    status = pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not long", "-k", QUICK, *tests], plugins=[mutation])
    if status:
        sys.exit(status)
    summary = mutation.summary()
    arguments.out.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps({key: summary[key] for key in ("files", "killed", "survivors")}, indent=2))
    for name in mutation.stale():
        print(f"no survivor, to be taken out of {EQUIVALENT.name}: {name}")
    sys.exit(summary["killed"] < LEAST)


if __name__ == "__main__":
    main()
