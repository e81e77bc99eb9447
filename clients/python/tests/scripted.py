"""A server that answers by a script, call after call: for what real services won't do on command. It speaks real gRPC on a real socket."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, List, Optional

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from tollgate.auth.v1 import accounts_pb2 as auth
from tollgate.auth.v1 import accounts_pb2_grpc
from tollgate.auth.v1 import sign_in_pb2 as sign_in
from tollgate.inference.v1 import inference_pb2 as inference
from tollgate.inference.v1 import inference_pb2_grpc
from tollgate.rpc.v1 import status_pb2

Step = Callable[[Any, grpc.ServicerContext], Any]


def refuse(code: grpc.StatusCode, reason: str, text: str = "no", details: Optional[dict[str, Message]] = None, **metadata: str) -> Step:
    """A refusal as the services send it."""

    def step(_request: Any, context: grpc.ServicerContext) -> Any:
        info = status_pb2.ErrorInfo(reason=reason, domain="tollgate", metadata=metadata)
        found = {"google.rpc.ErrorInfo": info, **(details or {})}
        packed = [AnyMessage(type_url=f"type.googleapis.com/{name}", value=each.SerializeToString()) for name, each in found.items()]
        status = status_pb2.Status(code=code.value[0], message=text, details=packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, text)

    return step


def bare(code: grpc.StatusCode, text: str) -> Step:
    """A refusal of somebody between, without details."""
    return lambda _request, context: context.abort(code, text)


def answer(*texts: str, replayed: bool = False, then: Optional[Step] = None, finish: bool = True) -> Step:
    """A stream: started, a piece for each text, finished; or what comes in its place."""

    def step(request: Any, context: grpc.ServicerContext) -> Iterator[inference.ChatEvent]:
        yield inference.ChatEvent(started=inference.Started(request_id=request.request_id, model=request.model))
        for text in texts:
            yield inference.ChatEvent(delta=inference.Delta(content=text))
        if then:
            then(request, context)
        if finish:
            charge = inference.Receipt(charged_credits=3, remaining_credits=4)
            yield inference.ChatEvent(finished=inference.Finished(replayed=replayed, receipt=charge))

    return step


class Scripted(accounts_pb2_grpc.AccountsServicer, inference_pb2_grpc.InferenceServicer):
    """Chat, Embed, CreateApiKey, GetBalance, Login and the sign-in of a device answer by the script, one step a call."""

    def __init__(self, *steps: Step) -> None:
        self.steps: List[Step] = list(steps)
        self.requests: List[Any] = []
        self.times: List[float] = []
        self.server = grpc.server(ThreadPoolExecutor(8))
        accounts_pb2_grpc.add_AccountsServicer_to_server(self, self.server)
        inference_pb2_grpc.add_InferenceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def step(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.times.append(time.monotonic())
        return self.steps.pop(0)(request, context)

    def Chat(self, request: Any, context: Any) -> Any:
        yield from self.step(request, context) or ()

    def GetBalance(self, request: Any, context: Any) -> Any:
        return self.step(request, context)

    def CreateApiKey(self, request: Any, context: Any) -> Any:
        return self.step(request, context)

    def Embed(self, request: Any, context: Any) -> Any:
        return self.step(request, context)

    def Login(self, request: Any, context: Any) -> Any:
        return self.step(request, context)

    def BeginDeviceSignIn(self, request: Any, context: Any) -> Any:
        return self.step(request, context)

    def ExchangeDeviceCode(self, request: Any, context: Any) -> Any:
        return self.step(request, context)

    @property
    def at(self) -> dict[str, Any]:
        return {"url": f"http://127.0.0.1:{self.port}", "auth_url": f"http://127.0.0.1:{self.port}"}

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.stop(None).wait()


def balance(available: int) -> Step:
    found = auth.Balance(available_credits=available)
    return lambda _request, _context: auth.GetBalanceResponse(account_id="a", balance=found)


def begun(interval: float = 0.05, address: str = "http://gate.example/device") -> Step:
    """The sign-in of a device, to be asked about so often."""
    made = sign_in.BeginDeviceSignInResponse(
        device_code="tgd_canary-device-code",
        user_code="BCDF-GHJK",
        verification_uri=address,
        verification_uri_complete=f"{address}?user_code=BCDF-GHJK",
    )
    made.interval.FromMicroseconds(round(interval * 1e6))
    return lambda _request, _context: made


def approved(name: str = "ada") -> Step:
    made = sign_in.ExchangeDeviceCodeResponse(access_token="canary-access", refresh_token="canary-refresh", session_id="s", user_name=name)
    made.expires_at.GetCurrentTime()
    made.expires_at.seconds += 1800
    return lambda _request, _context: made
