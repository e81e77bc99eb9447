"""Asks a model through the generated stubs alone, and prints its answer as it comes, and what it cost.

    pip install grpcio-tools
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(cd proto && find tollgate -name '*.proto')
    TOLLGATE_API_KEY=tg_… python examples/python/stubs.py llama3.2 "Why is the sky blue?"
"""

import os
import sys

import grpc
from tollgate.auth.v1 import accounts_pb2, accounts_pb2_grpc
from tollgate.inference.v1 import inference_pb2, inference_pb2_grpc


def channel(variable: str, default: str) -> grpc.Channel:
    url = os.environ.get(variable, default)
    scheme, _, address = url.rstrip("/").rpartition("://")
    return grpc.secure_channel(address, grpc.ssl_channel_credentials()) if scheme == "https" else grpc.insecure_channel(address)


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
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
