"""What Prefect and MLflow cost: python tests/benchmarks/orchestration.py [--config FILE.yaml] [--set a.b=value]

In an empty folder: `fair-pruner up` until both pages answer; the sweep of a config (default: digits) with its stages called as
functions, in a process of their own; the same through the warm server, from the moment somebody starts it to its end; and that
once more, when everything but the latency, which is never cached, comes from the cache. Both log to MLflow. What the measurement
took is told apart. Needs a machine with nothing else to do.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flows.environment import prepare_environment

prepare_environment()

from prefect.client.orchestration import get_client  # noqa: E402
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402

from flows import sweep as module  # noqa: E402
from flows.tasks import DirectRunner  # noqa: E402
from pipeline.config import RunConfig, load_config  # noqa: E402
from pipeline.measurements import RunReport  # noqa: E402

DIGITS = Path(__file__).resolve().parents[2] / "deploy" / "configs" / "digits.yaml"
READY = "Ctrl-C ends everything"


def stages_alone(config: RunConfig) -> None:
    """The flow's own function with its tasks as functions: no run, no server, no artifacts."""
    changes: dict[str, Any] = {"FlowRunner": DirectRunner, "show": lambda *_: None, "flow_run_url": lambda: ""}
    vars(module).update(changes)
    module.swept.__wrapped__(config)  # without the lines of log, which belong to a run


def start_servers(output: Path, workers: int = 0) -> tuple["subprocess.Popen[str]", str, float]:
    """The process of `fair-pruner up`, the address of Prefect, and seconds until both pages answered."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "flows", "up", "--output", str(output), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = ""
    for line in process.stdout:
        if line.startswith("Prefect  "):
            address = line.split()[1]
        if READY in line:
            return process, address, time.perf_counter() - start
    sys.exit("fair-pruner up has ended")


def run_through(address: str, config: RunConfig) -> float:
    """Seconds from starting a run of the deployment `sweep` to its end."""
    with temporary_settings({PREFECT_API_URL: f"{address}/api"}), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("sweep/sweep").id
        start = time.perf_counter()
        run = client.create_flow_run_from_deployment(deployment, parameters={"config": config.model_dump(mode="json")}).id
        while True:
            state = client.read_flow_run(run).state
            if state and state.is_final():
                break
            time.sleep(0.2)
        if not state.is_completed():
            sys.exit(f"the run has ended as {state.name}: {state.message}")
        return time.perf_counter() - start


def measuring_seconds(config: RunConfig) -> float:
    report = RunReport.model_validate_json((config.output / config.name / "report.json").read_bytes())
    return report.latency.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=DIGITS)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--stages-alone", type=Path, metavar="FOLDER", help="only that, with its output there")
    arguments = parser.parse_args()

    def config(output: Path) -> RunConfig:
        return load_config(arguments.config, (*arguments.changes, f"output={output}"))

    if arguments.stages_alone:
        stages_alone(config(arguments.stages_alone))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone, served = config(folder / "alone"), config(folder / "served")
        start = time.perf_counter()
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--stages-alone", str(alone.output)], check=True)
        seconds = {"stages alone": (time.perf_counter() - start, measuring_seconds(alone))}
        process, address, ready = start_servers(served.output)
        try:
            seconds["through the server"] = run_through(address, served), measuring_seconds(served)
            seconds["again, cached"] = run_through(address, served), measuring_seconds(served)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        again, _, second = start_servers(served.output)
        again.send_signal(signal.SIGINT)
        again.wait(60)
    print(f"up: {ready:.1f} s in an empty folder, {second:.1f} s the second time")  # noqa: T201
    for what, (total, measuring) in seconds.items():
        print(f"{what}: {total:.1f} s, of which {measuring:.1f} s measuring latency")  # noqa: T201


if __name__ == "__main__":
    main()
