"""The ceiling of gRPC in Python: grpc.aio answers each ModelInfer with a constant."""

import asyncio
import sys
from pathlib import Path

import uvloop

try:
    import grpc
except ModuleNotFoundError:
    sys.exit("this server needs the package grpcio; install it: pip install grpcio")

SERVICE = "inference.GRPCInferenceService"
ANSWER = Path(sys.argv[1]).read_bytes()


async def infer(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
    """The constant; without (de)serialisers messages stay bytes."""
    return ANSWER


async def main() -> None:
    """Listen until the process is ended."""
    server = grpc.aio.server()
    methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
    await server.start()
    await server.wait_for_termination()


asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.run(main())
