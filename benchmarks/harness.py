"""What the speed benchmarks share: runs that take turns in several processes, ratios of them, and peak memory.

A machine's speed drifts, so the candidates of a comparison take turns and only ratios of their times are kept; memory
layout and scheduling differ between processes, so the figure is the median of the ratios of several processes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
Run = Callable[[], object]


def seconds_of(run: Run, repeats: int) -> float:
    """Return the mean seconds of a run, after one that finds memory as its own last run left it."""
    run()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def repeats_for(run: Run, least_seconds: float = 0.02) -> int:
    """Return how often to repeat a run so that the clock's resolution and its own overhead do not matter."""
    return max(1, int(least_seconds / max(seconds_of(run, 1), 1e-6)))


def take_turns(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Return the seconds of each run: the median over rounds in which all of them take turns.

    The order is another one in each round: what a run leaves in the allocator saves the next one page faults or costs
    it some, and would always be the same one's.
    """
    repeats = {name: repeats_for(run) for name, run in runs.items()}
    drawn = random.Random(0)
    orders = [drawn.sample(list(runs), len(runs)) for _ in range(rounds)]
    rows = [{name: seconds_of(runs[name], repeats[name]) for name in order} for order in orders]
    return {name: statistics.median(row[name] for row in rows) for name in runs}


def ratios(runs: Mapping[str, Run], base: str, rounds: int) -> dict[str, float]:
    """Return the time of each run over that of `base`, and the seconds of `base`."""
    seconds = take_turns(runs, rounds)
    return {"seconds": seconds[base], **{name: s / seconds[base] for name, s in seconds.items() if name != base}}


def peak_bytes(run: Run) -> int:
    """Return how much memory a run needs at its peak beyond what the process holds before it (on Linux)."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not serve the run unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def in_process(script: str, *arguments: str, threads: int) -> Any:
    """Run `script` with arguments in a fresh process and return the JSON that it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "ignore", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def median_of_processes(script: str, *arguments: str, processes: int, threads: int) -> dict[str, float]:
    """Return the median of each figure over fresh processes."""
    figures = [in_process(script, *arguments, threads=threads) for _ in range(processes)]
    return {name: statistics.median(f[name] for f in figures) for name in figures[0]}


def machine(threads: int, processes: int) -> dict[str, Any]:
    """Describe where the figures come from, and of how many processes they are the medians."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
        "processes": processes,
        "torch": torch.__version__,
        "python": platform.python_version(),
        **gpu,
    }


def table(rows: Mapping[str, Mapping[str, float]], corner: str) -> str:
    """Return a Markdown table of figures, one row for each entry."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["| " + " | ".join([corner, *columns]) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [_shown(row[column]) if column in row else "" for column in columns]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _shown(figure: float) -> str:
    return str(figure) if isinstance(figure, int) else f"{figure:.3g}"


def earlier(name: str) -> dict[str, dict[str, float]]:
    """Return the rows of `results/<name>.json`, none if there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


def write(
    name: str, question: str, threads: int, rows: Mapping[str, Mapping[str, float]], corner: str, processes: int = 1
) -> None:
    """Write `results/<name>.json`, and print the table, whose first column is named `corner`."""
    RESULTS.mkdir(exist_ok=True)
    result = {"question": question, "machine": machine(threads, processes), "results": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(rows, corner))


def measure_cases(
    script: str,
    doc: str,
    cases: Sequence[str],
    one_process: Callable[[str, int], dict[str, float]],
    *,
    corner: str,
    processes: int = 5,
    rounds: int = 5,
) -> None:
    """Be the whole of a script that measures its cases in fresh processes and writes a row for each.

    Args:
        script: The script's `__file__`.
        doc: Its docstring, whose first line is the question.
        cases: Names of the rows.
        one_process: Measures a case in so many rounds.
        corner: Name of the first column.
        processes: How many take the median.
        rounds: In each of them.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--processes", type=int, default=processes)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", choices=cases, help="measure this one in this process, for the benchmark itself")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(one_process(given.case, given.rounds)))
        return
    how_often = {"processes": given.processes, "threads": given.threads}
    rows = {c: median_of_processes(script, "--case", c, "--rounds", str(given.rounds), **how_often) for c in cases}
    write(Path(script).stem, doc.splitlines()[0], given.threads, rows, corner, given.processes)
