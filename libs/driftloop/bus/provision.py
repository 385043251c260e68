"""Streams, buckets and the artifact store: made where missing, brought up to date where not."""

from typing import Final

from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError

from driftloop.contracts.state import MODELS_BUCKET, SPECS_BUCKET
from driftloop.contracts.subjects import STREAMS, Stream

ARTIFACTS_BUCKET: Final = "ARTIFACTS"
DEDUPLICATION_SECONDS: Final = 600.0


async def provision(js: JetStreamContext, replicas: int = 1) -> None:
    """Make all streams and buckets; safe to run from every service at once."""
    for stream in STREAMS:
        await _stream(js, stream, replicas)
    for bucket in (MODELS_BUCKET, SPECS_BUCKET):
        await _once(
            js.create_key_value(api.KeyValueConfig(bucket=bucket, history=16, replicas=replicas))
        )
    await _once(js.create_object_store(ARTIFACTS_BUCKET, api.ObjectStoreConfig(replicas=replicas)))


async def _stream(js: JetStreamContext, stream: Stream, replicas: int) -> None:
    config = api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        max_age=stream.max_age,
        max_bytes=stream.max_bytes,
        duplicate_window=DEDUPLICATION_SECONDS,
        storage=api.StorageType.FILE,
        num_replicas=replicas,
        discard=api.DiscardPolicy.OLD,
        allow_direct=True,
    )
    try:
        info = await js.stream_info(stream.name)
    except NotFoundError:
        await _once(js.add_stream(config))
        return
    have = info.config
    if (have.max_age, have.max_bytes, have.subjects) != (
        config.max_age,
        config.max_bytes,
        config.subjects,
    ):
        await js.update_stream(config)


async def _once(making: object) -> None:
    """Two services that start together may both make it: the second sees that it is there."""
    try:
        await making  # type: ignore[misc]  # an awaitable of whatever the bucket is
    except (APIError, BadRequestError) as error:
        if "already in use" not in str(error):
            raise
