"""A broker with keys and TLS: who is given a key gets in at once, who loses it is put out."""

import asyncio
import time
from pathlib import Path

import pytest
from nats.js.errors import APIError

from driftloop.bus import authorization
from driftloop.bus.bus import Bus
from driftloop.bus.kv import Entry
from driftloop.bus.rights import OPERATOR
from driftloop.client import Client, NotSent
from driftloop.contracts.state import ModelState
from driftloop.local.nats import binary
from driftloop.local.ports import free_port
from tests.support.certificates import certificate
from tests.support.secured import Secured, broker, refusal

__all__ = ["broker"]

DEADLINE = 10.0


async def test_a_caller_gets_in_with_a_key_of_its_own_and_is_put_out_without(
    broker: Secured,
) -> None:
    key = authorization.admit(Path(broker.keys), "shop", ["parcels"])
    deadline = time.monotonic() + DEADLINE
    broker.server.refresh()  # `driftloop up` looks several times a second
    while await refusal(broker.server.url, key):
        assert time.monotonic() < deadline
    async with Client(broker.server.url, key=key, timeout=0.3, deadline=0.3) as shop:
        with pytest.raises(NotSent, match="no service answers"):
            await shop.predict("parcels", [{"x": 1.0}])
        with pytest.raises(NotSent, match="no answer within"):  # the broker does not let it through
            await shop.predict("flights", [{"x": 1.0}])
    kept = key.read_bytes()
    authorization.expel(Path(broker.keys), "shop")
    key.write_bytes(kept)
    key.chmod(0o600)
    broker.server.refresh()
    while not await refusal(broker.server.url, key):
        assert time.monotonic() < deadline


async def test_state_that_the_registry_did_not_sign_is_not_believed(broker: Secured) -> None:
    good, forged = ModelState(model="m", champion=1), ModelState(model="m", champion=9)
    async with (
        broker.user("registry") as registry,
        broker.user("admin") as admin,
        broker.user("inference") as inference,
    ):
        changes = inference.models.changes()
        revision = await registry.models.write("m", good, 0)
        assert await changes.next() == {"m": good}
        # The admin may write there, but has another key; somebody who puts an old message there
        # again cannot, for it says what it follows.
        later = await admin.models.write("m", forged, revision)
        assert later > revision
        assert await changes.next() == {}
        assert (await inference.models.read("m")).value == good
        assert (await inference.models.changes().next()) == {"m": good}
        assert inference.connection.forged > 0
        entry = await registry.models.read("m")
        assert entry == Entry(good, later)
        healed = ModelState(model="m", champion=2)
        await registry.models.write("m", healed, entry.revision)
        assert (await inference.models.read("m")).value == healed
        old = await admin.connection.js.get_msg("KV_MODELS", seq=revision)
        with pytest.raises(APIError, match="wrong last sequence"):
            await admin.connection.js.publish("$KV.MODELS.m", old.data or b"", headers=old.headers)
        await registry.models.remove("m", (await registry.models.read("m")).revision)
        assert (await inference.models.read("m")).value is None


@pytest.fixture(scope="module", name="certificate")
def made_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


async def test_over_tls_with_the_right_authority_and_not_without(
    tmp_path: Path, certificate: tuple[str, str]
) -> None:
    """As on servers: a configuration that includes the keys' own part."""
    cert, key = certificate
    keys = tmp_path / "keys"
    authorization.prepare(keys)
    port = free_port()
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\n'
        f'jetstream {{ store_dir: "{tmp_path}/store" }}\n'
        f'tls {{ cert_file: "{cert}", key_file: "{key}" }}\n'
        "include keys/authorization.conf\n"
    )
    url = f"nats://127.0.0.1:{port}"
    with (tmp_path / "log").open("w") as out:
        process = await asyncio.create_subprocess_exec(
            binary(), "-c", str(config), stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + DEADLINE
        while "Server is ready" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        bus = await Bus.open(url, "cli", keys=str(keys), user=OPERATOR, ca=cert)
        assert bus.connection.nc._transport is not None
        await bus.close()
        assert await refusal(url, keys / "client.nk", cert) == ""
        assert "certificate verify failed" in await refusal(url, keys / "client.nk")
    finally:
        process.terminate()
        await process.wait()
