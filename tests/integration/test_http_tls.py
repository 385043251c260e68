"""TLS by settings shared by all services: those of uvicorn, and those of our own server."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Final

import httpx
import pytest

from driftloop.bus.bus import Bus
from driftloop.local.nats import NatsServer
from tests.support.certificates import certificate
from tests.support.flows import Process

SECONDS: Final = 60.0


@pytest.fixture(scope="module", name="certificate")
def made_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("service", ["ingest", "console", "telemetry", "inference"])
async def test_every_door_speaks_tls_and_nothing_else(
    nats_server: NatsServer, bus: Bus, tmp_path: Path, certificate: tuple[str, str], service: str
) -> None:
    settings = {
        "DRIFTLOOP_TLS_CERT": certificate[0],
        "DRIFTLOOP_TLS_KEY": certificate[1],
        "DRIFTLOOP_TOKENS": "required",
        "DRIFTLOOP_TELEMETRY_PATH": str(tmp_path / "clickhouse"),
    }
    process = Process(service, nats_server.url, tmp_path / "log", settings)
    url = process.base.replace("http:", "https:")
    context = ssl.create_default_context(cafile=certificate[0])
    process.start()
    try:
        async with httpx.AsyncClient(verify=context) as http:
            await _ready(http, url)
            assert (await http.get(f"{url}/metrics")).status_code == 401
            if service == "console":
                login = await http.post(f"{url}/login", data={"token": "wrong"})
                assert login.status_code == 401
            with pytest.raises(httpx.HTTPError):
                await http.get(f"{process.base}/healthz")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(certificate[0])
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with httpx.AsyncClient(verify=old) as http:
            assert (await http.get(f"{url}/healthz")).status_code == 200
    finally:
        process.stop()


async def test_a_certificate_that_cannot_be_read_is_an_error_that_names_it(
    nats_server: NatsServer, bus: Bus, tmp_path: Path, certificate: tuple[str, str]
) -> None:
    settings = {
        "DRIFTLOOP_TLS_CERT": str(tmp_path / "none.pem"),
        "DRIFTLOOP_TLS_KEY": certificate[1],
    }
    process = Process("ingest", nats_server.url, tmp_path / "log", settings)
    process.start()
    deadline = time.monotonic() + SECONDS
    while process.running:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert process.exit_code == 1
    assert "none.pem" in (tmp_path / "log").read_text()


async def _ready(http: httpx.AsyncClient, url: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if (await http.get(f"{url}/readyz")).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, url
        await asyncio.sleep(0.05)
