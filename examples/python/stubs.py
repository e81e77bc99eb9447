"""Asks a model through the generated stubs alone, and prints its answer as it comes, what it cost, or the reason why not.

    pip install grpcio-tools grpcio-status
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(cd proto && find tollgate -name '*.proto')
    TOLLGATE_API_KEY=tg_… python examples/python/stubs.py llama3.2 "Why is the sky blue?"
"""

import os
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tollgate.auth.v1 import accounts_pb2, accounts_pb2_grpc
from tollgate.error.v1 import error_reason_pb2
from tollgate.inference.v1 import inference_pb2, inference_pb2_grpc


def channel(variable: str, default: str) -> grpc.Channel:
    url = os.environ.get(variable, default)
    scheme, _, address = url.rstrip("/").rpartition("://")
    return grpc.secure_channel(address, grpc.ssl_channel_credentials()) if scheme == "https" else grpc.insecure_channel(address)


def reason(error: grpc.RpcError) -> int:
    details = getattr(rpc_status.from_call(error), "details", ())
    info = error_details_pb2.ErrorInfo()
    names = ["ERROR_REASON_" + info.reason for detail in details if detail.Unpack(info)]
    return error_reason_pb2.ErrorReason.Value(names[0]) if names else error_reason_pb2.ERROR_REASON_UNSPECIFIED


def main(model: str, question: str) -> int:
    bearer = (("authorization", "Bearer " + os.environ["TOLLGATE_API_KEY"]),)
    inference = inference_pb2_grpc.InferenceStub(channel("TOLLGATE_URL", "http://127.0.0.1:50052"))
    accounts = accounts_pb2_grpc.AccountsStub(channel("TOLLGATE_AUTH_URL", "http://127.0.0.1:50051"))
    asked = [inference_pb2.Message(role="user", content=question)]
    request = inference_pb2.ChatRequest(model=model, messages=asked, max_output_tokens=100)
    try:
        for event in inference.Chat(request, metadata=bearer):
            kind = event.WhichOneof("event")
            if kind == "started":
                print(f"{event.started.held_credits} credits held", file=sys.stderr)
            elif kind == "delta":
                print(event.delta.content, end="", flush=True)
            elif kind == "finished":
                receipt = event.finished.receipt
                print(f"\n{receipt.charged_credits} charged, {receipt.remaining_credits} left", file=sys.stderr)
        balance = accounts.GetBalance(accounts_pb2.GetBalanceRequest(), metadata=bearer).balance
        print(f"{balance.spent_credits} credits spent until now", file=sys.stderr)
    except grpc.RpcError as error:
        no_credits = reason(error) == error_reason_pb2.ERROR_REASON_INSUFFICIENT_CREDITS
        print("no credits left" if no_credits else f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 3 if no_credits else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
