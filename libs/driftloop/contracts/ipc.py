"""A look into Arrow IPC before it is decoded: kilobytes of compressed zeros unpack to gigabytes.

pyarrow cannot bound what it unpacks, so the flag is read from the flatbuffers of the messages
(https://arrow.apache.org/docs/format/Columnar.html, `Message.fbs`).
"""

import struct
from typing import Final

import pyarrow as pa

from driftloop.contracts.errors import Reject

_DICTIONARY: Final = 2
_RECORD_BATCH: Final = 3


def refuse_compressed(payload: bytes) -> None:
    """Raise `Reject` unless `payload` is an Arrow IPC stream without compressed buffers."""
    accepted = "accepted: one Arrow IPC stream, uncompressed"
    try:
        messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(payload))
        found = any(is_compressed(message.metadata.to_pybytes()) for message in messages)
    except (pa.ArrowException, OSError, EOFError, IndexError, struct.error) as error:
        raise Reject(f"payload: not an Arrow IPC stream ({error}); {accepted}") from error
    if found:
        raise Reject(f"payload: its buffers are compressed; {accepted}")


def is_compressed(message: bytes) -> bool:
    """Whether the buffers of a message are compressed, by its metadata.

    Raises `IndexError` or `struct.error` for what is no metadata.
    """
    table = struct.unpack_from("<I", message)[0]
    kind = message[_field(message, table, 1)]
    if kind not in (_DICTIONARY, _RECORD_BATCH):
        return False
    header = _follow(message, _field(message, table, 2))
    batch = _follow(message, _field(message, header, 1)) if kind == _DICTIONARY else header
    return _field(message, batch, 3) != 0


def _field(message: bytes, table: int, number: int) -> int:
    """Where field `number` of the table at `table` lies; 0 when the table has none."""
    fields = table - struct.unpack_from("<i", message, table)[0]
    entry = 4 + 2 * number
    if entry >= struct.unpack_from("<H", message, fields)[0]:
        return 0
    offset = int(struct.unpack_from("<H", message, fields + entry)[0])
    return table + offset if offset else 0


def _follow(message: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", message, at)[0])
