"""How long does it take until one can begin: the import beyond torch's own, and the command's `--help`?

Medians over fresh processes, with the bytecode that an installation compiles. Writes `results/startup.json`.

    python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import harness

IMPORTS = """
import time
begin = time.perf_counter()
import torch
middle = time.perf_counter()
import lightning_losses
print(middle - begin, time.perf_counter() - middle)
"""
HELP = [sys.executable, "-m", "lightning_losses", "--help"]


def run(command: list[str]) -> tuple[str, float]:
    """Return what a command prints, and its seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - begin


def measure(processes: int) -> dict[str, dict[str, float]]:
    run([sys.executable, "-c", IMPORTS]), run(HELP)  # compile
    imports = [[float(s) for s in run([sys.executable, "-c", IMPORTS])[0].split()] for _ in range(processes)]
    torch_seconds, ours = (statistics.median(column) for column in zip(*imports, strict=True))
    help_seconds = statistics.median(run(HELP)[1] for _ in range(processes))
    return {
        "import torch": {"seconds": torch_seconds},
        "import lightning_losses, after it": {"seconds": ours, "share of torch's": ours / torch_seconds},
        "lightning-losses --help": {"seconds": help_seconds, "share of torch's": help_seconds / torch_seconds},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=9)
    arguments = parser.parse_args()
    harness.write(
        "startup", __doc__.splitlines()[0], os.cpu_count(), measure(arguments.processes), "what", arguments.processes
    )


if __name__ == "__main__":
    main()
