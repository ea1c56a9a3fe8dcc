"""A self-signed TLS certificate for localhost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a key and a self-signed certificate for localhost."""
    return create_certificate(tmp_path_factory.mktemp("tls"))


def create_certificate(folder: Path) -> str:
    """Create a file with a key and a self-signed certificate for localhost in `folder`, and return its path."""
    path = folder / "localhost.pem"
    key = path.with_suffix(".key")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", names, "-keyout", str(key), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + key.read_text())
    return str(path)
