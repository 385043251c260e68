"""A certificate that signs itself, as operators make one for a trial."""

import subprocess
from pathlib import Path


def certificate(folder: Path) -> tuple[str, str]:
    """Files of a certificate for localhost and 127.0.0.1, and of its key."""
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = [*made.split(), "-subj", "/CN=localhost", "-addext", names]
    subprocess.run(
        [*command, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=30
    )
    return cert, key
