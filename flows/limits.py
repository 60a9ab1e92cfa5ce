"""The limits of a Prefect server that keep runs apart."""

import socket


def benchmark_limit_name() -> str:
    """The global concurrency limit that whoever measures latency on this machine holds, so that nobody else does meanwhile."""
    return f"benchmark-{socket.gethostname()}"
