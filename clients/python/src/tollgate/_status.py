"""What a failed call of gRPC means, as one of our errors."""

from __future__ import annotations

from typing import Any, Optional, Type, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from ._bases import BY_CODE, FieldViolation, Interrupted, Refused, ServerError, TimedOut, TollgateError, Unreachable
from ._reasons import BY_REASON
from ._types import Receipt
from .inference.v1 import inference_pb2
from .rpc.v1 import status_pb2

#: The domain of Tollgate's reasons.
DOMAIN = "tollgate"
# How gRPC's own word begins when no connection came about.
NOT_CONNECTED = (
    "failed to connect",
    "connections to all backends failing",
    "DNS resolution failed",
    "errors resolving",
    "Could not resolve",
    "empty address list",
)

M = TypeVar("M", bound=Message)


def error_of(failure: Any, service: str, url: str, request_id: Optional[str]) -> TollgateError:
    """The error that a failed call stands for. It holds on to nothing of the call: gRPC's own error leads to what was sent."""
    code: str = failure.code().name
    said: str = failure.details() or ""
    status = details_of(failure)
    if status is None:
        error = without_details(code, said, service, url)
    else:
        error = refusal_of(status, code, said, request_id)
    error.request_id = request_id
    return error


def without_details(code: str, said: str, service: str, url: str) -> TollgateError:
    """Of gRPC itself, or of somebody between it and the service."""
    if code == "DEADLINE_EXCEEDED":
        return TimedOut(f"{service} had not answered when the time limit passed")
    if code == "UNAVAILABLE" and said.startswith(NOT_CONNECTED):
        return Unreachable(f"{service} can't be reached at {url}: {said}")
    if code == "UNAVAILABLE":
        return Interrupted(f"the connection to {service} broke: {said}")
    return refused(BY_CODE.get(code, ServerError), code, None, said)


def details_of(failure: Any) -> Optional[status_pb2.Status]:
    for key, value in failure.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return read(status_pb2.Status, value)
    return None


def refusal_of(status: status_pb2.Status, code: str, said: str, request_id: Optional[str]) -> Refused:
    info = detail(status, "google.rpc.ErrorInfo", status_pb2.ErrorInfo)
    reason = info.reason if info and info.domain == DOMAIN else None
    error = refused(BY_REASON.get(reason or "", BY_CODE.get(code, ServerError)), code, reason, said)
    if info:
        error.metadata = dict(info.metadata)
    retry = detail(status, "google.rpc.RetryInfo", status_pb2.RetryInfo)
    if retry and retry.HasField("retry_delay"):
        error.retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    wrong = detail(status, "google.rpc.BadRequest", status_pb2.BadRequest)
    if wrong:
        error.field_violations = tuple(FieldViolation(each.field, each.description) for each in wrong.field_violations)
    quota = detail(status, "google.rpc.QuotaFailure", status_pb2.QuotaFailure)
    if quota:
        error.quotas = tuple((each.subject, each.description) for each in quota.violations)
    receipt = detail(status, "tollgate.inference.v1.Receipt", inference_pb2.Receipt)
    if receipt:
        error.receipt = Receipt.of_charge(receipt, request_id or "")
    return error


def refused(kind: Type[Refused], code: str, reason: Optional[str], said: str) -> Refused:
    error = kind(f"{said} ({reason or code})")
    error.code, error.reason, error.message = code, reason, said
    return error


def detail(status: status_pb2.Status, name: str, kind: Type[M]) -> Optional[M]:
    for each in status.details:
        if each.type_url.rpartition("/")[2] == name:
            return read(kind, each.value)
    return None


def read(kind: Type[M], data: bytes) -> Optional[M]:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message


def is_call_error(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError)
