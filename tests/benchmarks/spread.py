"""What a second worker brings: python tests/benchmarks/spread.py [--config FILE.yaml] [--set a.b=value]

A sweep of eight tolerances (default: of the digits) whose branches one worker computes, and the same with two, each in a process
with one thread. The dense model is trained and scored before, and latency hardly measured: both are the same for any number of
workers. Needs a machine with nothing else to do, and two cores.
"""

import argparse
import os
import signal
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before anything counts the cores

from orchestration import DIGITS, run_through, start_servers
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.plan import plan_all
from pipeline.config import load_config

CHANGES = (
    "allocate.tolerances=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]",
    "quantize.precisions=[]",
    "benchmark={batch_sizes: [1], rounds: 5, min_runs: 50, min_seconds: 0.05, warmup_seconds: 0}",
    "track.enabled=false",
    "branches=deployment",
)


def branch_seconds(address: str) -> float:
    """From the start of the first branch to the end of the last."""
    with temporary_settings({PREFECT_API_URL: f"{address}/api"}), get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if run.name.startswith("branch")]
    begun, ended = [run.start_time for run in runs if run.start_time], [run.end_time for run in runs if run.end_time]
    return (max(ended) - min(begun)).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=DIGITS)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    seconds = dict[int, tuple[float, float]]()
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as name:
            config = load_config(arguments.config, (*CHANGES, *arguments.changes, f"output={name}"))
            plan_all(config)
            process, address, _ = start_servers(config.output, workers)
            try:
                seconds[workers] = run_through(address, config), branch_seconds(address)
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)
    for workers, (total, branches) in seconds.items():
        print(f"workers: {workers}, sweep {total:.1f} s, of which its branches {branches:.1f} s")  # noqa: T201
    (total, branches), (other_total, other_branches) = seconds[1], seconds[2]
    print(f"two are {total / other_total:.2f} times as fast, in the branches {branches / other_branches:.2f} times")  # noqa: T201


if __name__ == "__main__":
    main()
