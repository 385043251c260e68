"""The doors, each by its name."""

from tests.fuzz.case import Door
from tests.fuzz.doors.bus import Commands, Requests, Sql, Streams
from tests.fuzz.doors.child import Onnx, Specs
from tests.fuzz.doors.console import Console
from tests.fuzz.doors.grpc import GrpcCalls, GrpcFrames
from tests.fuzz.doors.heads import Heads
from tests.fuzz.doors.ingest import Ingest
from tests.fuzz.doors.predict import Predict
from tests.fuzz.doors.v2 import V2

DOORS: tuple[type[Door], ...] = (
    Ingest,
    Predict,
    V2,
    Heads,
    Console,
    GrpcCalls,
    GrpcFrames,
    Requests,
    Commands,
    Sql,
    Streams,
    Specs,
    Onnx,
)
