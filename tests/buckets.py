"""An S3 server in this process, reached on loopback as any other is: through AWS_ENDPOINT_URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

SECRET = "not-to-be-told-to-anybody"  # noqa: S105  # of a server that asks for none
BUCKET = "bucket"


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """The URL of a bucket; the environment says how to reach it, and working folders lie in `folder`."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("FAIR_PRUNER_CACHE", str(folder))
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        forget = fsspec.get_filesystem_class("s3").clear_instance_cache  # each server has another port
        forget()
        try:
            yield f"s3://{BUCKET}"
        finally:
            client.close()
            server.stop()
            forget()
