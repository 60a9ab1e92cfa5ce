"""The program that becomes a worker for one branch of a sweep at a time, once `flows.worker` has told the server of its pool."""

import sys
from datetime import datetime
from socket import gethostname

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from flows.servers import BRANCH_POOL
from flows.worker import become_worker, wait

BEGINNING = "1970-01-01T00:00:00+00:00"


def main(number: str, since: str = BEGINNING) -> None:
    """Wait until the deployments have been applied, after the time `since` if one is given, and replace this process."""
    with get_client(sync_client=True) as client:
        wait(lambda: _is_applied(client, datetime.fromisoformat(since)), f"{client.api_url} has no work pool {BRANCH_POOL}")
    become_worker(BRANCH_POOL, f"{gethostname()}-{number}", "--limit", "1")


def _is_applied(client: SyncPrefectClient, since: datetime) -> bool:
    if client.api_healthcheck():
        return False
    try:
        updated = client.read_work_pool(BRANCH_POOL).updated
    except ObjectNotFound:
        return False
    return updated is not None and updated >= since


if __name__ == "__main__":
    main(*sys.argv[1:])
