"""The logins of both servers, which they have where other machines can reach them."""

import os
import secrets
from pathlib import Path

from pipeline.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost")
PREFECT = "PREFECT_SERVER_API_AUTH_STRING"  # user:password
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"  # names


def check_logins(host: str) -> None:
    """Raises InputError unless only this machine reaches `host`, or the environment has a login for each server."""
    missing = [name for name in (PREFECT, USER, PASSWORD) if not os.environ.get(name)]
    if host in LOOPBACK:
        return
    if missing:
        raise InputError(
            f"--host {host} lets other machines in, and whoever reaches Prefect can run anything here: set a login for both "
            f"servers, {PREFECT}=user:password, {USER} and {PASSWORD} ({', '.join(missing)} not set), or keep {LOOPBACK[0]} and "
            "go through `ssh -L`"
        )
    if ":" not in os.environ[PREFECT]:
        raise InputError(f"{PREFECT} holds no colon; expected user:password")


def ask_login(folder: Path) -> dict[str, str]:
    """Settings by which MLflow's server asks for the login in the environment; its users are kept in `folder`."""
    users = f"sqlite:///{folder / 'mlflow-users.db'}".replace("%", "%%")  # % has a meaning in such a file
    settings = folder / "mlflow-auth.ini"
    settings.write_text(f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {users}\n")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": os.environ[USER],
        "MLFLOW_AUTH_ADMIN_PASSWORD": os.environ[PASSWORD],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }
