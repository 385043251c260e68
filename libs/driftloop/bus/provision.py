"""Streams, buckets and the artifact store: made where missing, brought up to date where not."""

import asyncio
from typing import Final

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError

from driftloop.bus import lease
from driftloop.contracts.state import (
    MODELS_BUCKET,
    MONITORS_BUCKET,
    NOTICES_BUCKET,
    SPECS_BUCKET,
    TOKENS_BUCKET,
)
from driftloop.contracts.subjects import STREAMS, Stream

ARTIFACTS_BUCKET: Final = "ARTIFACTS"
DEDUPLICATION_SECONDS: Final = 600.0
NO_ROOM: Final = 10047
ATTEMPTS: Final = 6


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How the streams are kept: replicas of each, and GiB for all of them together."""

    replicas: int = 1
    log_gb: float = 30.0


async def provision(js: JetStreamContext, layout: Layout) -> None:
    """Make all streams and buckets; safe to run from every service at once."""
    replicas = layout.replicas
    share = layout.log_gb * 2**30 / sum(stream.max_bytes for stream in STREAMS)
    for stream in STREAMS:
        await _stream(js, stream, replicas, int(stream.max_bytes * share))
    kept = {
        MODELS_BUCKET: 16,
        SPECS_BUCKET: 16,
        MONITORS_BUCKET: 1,
        TOKENS_BUCKET: 16,
        NOTICES_BUCKET: 1,
    }
    for bucket, history in kept.items():
        await _once(
            js.create_key_value(
                api.KeyValueConfig(bucket=bucket, history=history, replicas=replicas)
            )
        )
    # In memory its revisions would begin anew with the server, and meet.
    leases = api.KeyValueConfig(bucket=lease.BUCKET, ttl=lease.LEASE_SECONDS, replicas=replicas)
    await _once(js.create_key_value(leases))
    await _once(js.create_object_store(ARTIFACTS_BUCKET, api.ObjectStoreConfig(replicas=replicas)))


async def provisioned(js: JetStreamContext) -> None:
    """Whether the last thing that `provision` makes is there; raises `ConnectionError`."""
    try:
        await js.stream_info(f"OBJ_{ARTIFACTS_BUCKET}")
    except NatsError as error:
        raise ConnectionError(
            "the streams of this NATS server are missing or out of reach "
            f"({error or type(error).__name__}); accepted: after `driftloop provision`"
        ) from error


async def _stream(js: JetStreamContext, stream: Stream, replicas: int, max_bytes: int) -> None:
    """Make one stream, or bring it up to date; its bound is never lowered, that would lose rows."""
    config = api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        max_age=stream.max_age,
        max_bytes=max_bytes,
        duplicate_window=DEDUPLICATION_SECONDS,
        storage=api.StorageType.FILE,
        num_replicas=replicas,
        discard=(api.DiscardPolicy.OLD if stream.discard == "oldest" else api.DiscardPolicy.NEW),
        allow_direct=True,
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            have = (await js.stream_info(stream.name)).config
        except NotFoundError:
            if await _added(js, config, last=attempt == ATTEMPTS):
                return
            await asyncio.sleep(0.1 * attempt)
            continue
        config.max_bytes = max(max_bytes, have.max_bytes or 0)
        wanted = (config.max_age, config.max_bytes, config.subjects, config.discard)
        if (have.max_age, have.max_bytes, have.subjects, have.discard) != wanted:
            await js.update_stream(config)
        return


async def _added(js: JetStreamContext, config: api.StreamConfig, *, last: bool) -> bool:
    """Make a stream. Several services making it at once count its room twice for a moment."""
    try:
        await _once(js.add_stream(config))
    except APIError as error:
        if error.err_code != NO_ROOM:
            raise
        if last:
            gib = (config.max_bytes or 0) / 2**30
            raise ConnectionError(
                f"stream {config.name}: the NATS server has no room for {gib:.1f} GiB; accepted: "
                "a smaller DRIFTLOOP_NATS_LOG_GB, or a larger max_file_store of the server"
            ) from error
        return False
    return True


async def _once(making: object) -> None:
    """Two services that start together may both make it: the second sees that it is there."""
    try:
        await making  # type: ignore[misc]  # an awaitable of whatever the bucket is
    except (APIError, BadRequestError) as error:
        if "already in use" not in str(error):
            raise
