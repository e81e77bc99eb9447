"""The calls with a single answer, for both clients."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any, Iterable, List, Optional, Sequence, Tuple, Union

from ._calls import Call
from ._device import DeviceSignIn, exchanged
from ._requests import create_key_request, duration, embed_request, named, new_request_id
from ._secret import Secret
from ._session import Tokens
from ._types import ApiKey, Balance, Embeddings, LedgerEntry, Model, ModelDetails, NewKey, Receipt, ServiceAccount, Session, Usage, User
from .auth.v1 import accounts_pb2 as auth
from .auth.v1 import sign_in_pb2 as sign_in
from .inference.v1 import inference_pb2 as inference

#: Entries of a ledger that are asked for at a time, at most.
MOST_ENTRIES = 500


def login(user: str, password: Secret, code: Optional[Secret], client: str) -> Call[Tokens]:
    # Not repeated by itself: each makes a session.
    proof = code.expose() if code else ""
    message = auth.LoginRequest(user_name=user, password=password.expose(), second_factor_code=proof, client=client)
    return Call("accounts", "Login", message, Tokens.of, repeatable=False, anonymous=True)


def begin_device_sign_in(client: str, scopes: Iterable[str]) -> Call[DeviceSignIn]:
    message = sign_in.BeginDeviceSignInRequest(client=client, scopes=list(scopes))
    return Call("accounts", "BeginDeviceSignIn", message, DeviceSignIn.of, repeatable=False, anonymous=True)


def exchange_device_code(code: Secret) -> Call[Tuple[Tokens, str]]:
    # Asked again by whoever waits, and no sooner than the service allows.
    message = sign_in.ExchangeDeviceCodeRequest(device_code=code.expose())
    return Call("accounts", "ExchangeDeviceCode", message, exchanged, repeatable=False, anonymous=True)


def refresh(token: Secret) -> Call[Tokens]:
    return Call(
        "accounts", "Refresh", auth.RefreshRequest(refresh_token=token.expose()), Tokens.of, repeatable=False, anonymous=True
    )


def logout(everywhere: bool) -> Call[None]:
    message: Any = auth.LogoutEverywhereRequest() if everywhere else auth.LogoutRequest()
    return Call("accounts", "LogoutEverywhere" if everywhere else "Logout", message, nothing)


def revoke(credential: Secret) -> Call[None]:
    message = auth.RevokeCredentialRequest(credential=credential.expose())
    return Call("accounts", "RevokeCredential", message, nothing, anonymous=True)


def me() -> Call[User]:
    return Call("accounts", "GetMe", auth.GetMeRequest(), User.of)


def balance() -> Call[Balance]:
    return Call("accounts", "GetBalance", auth.GetBalanceRequest(), Balance.of)


def receipt(request_id: str) -> Call[Receipt]:
    message = auth.GetReceiptRequest(request_id=request_id)
    return Call("accounts", "GetReceipt", message, lambda answer: Receipt.of_past(answer, request_id), request_id=request_id)


def ledger_page(limit: Optional[int], token: str, user_id: Optional[str]) -> Call[Tuple[List[LedgerEntry], str]]:
    size = MOST_ENTRIES if limit is None else max(1, min(limit, MOST_ENTRIES))
    message = auth.ListLedgerEntriesRequest(page_size=size, page_token=token, user_id=user_id or "")

    def convert(answer: auth.ListLedgerEntriesResponse) -> Tuple[List[LedgerEntry], str]:
        return [LedgerEntry.of(each) for each in answer.entries], answer.next_page_token

    return Call("accounts", "ListLedgerEntries", message, convert)


def usage(first_day: Union[date, str, None], last_day: Union[date, str, None], user_id: Optional[str]) -> Call[Usage]:
    message = auth.GetUsageRequest(first_day=text_of(first_day), last_day=text_of(last_day), user_id=user_id or "")
    return Call("accounts", "GetUsage", message, Usage.of)


def text_of(day: Union[date, str, None]) -> str:
    """A day as the contract writes it. Of a time, its day in UTC."""
    if day is None or isinstance(day, str):
        return day or ""
    if isinstance(day, datetime):
        day = day.astimezone(timezone.utc).date()
    return day.isoformat()


def create_key(
    name: str,
    scopes: Iterable[str],
    models: Iterable[str],
    networks: Iterable[str],
    expires_at: Optional[datetime],
    lifetime: Optional[timedelta],
    request_id: Optional[str],
    service_account: Union[ServiceAccount, str, None],
) -> Call[NewKey]:
    owner = service_account.id if isinstance(service_account, ServiceAccount) else service_account
    message = create_key_request(name, scopes, models, networks, expires_at, lifetime, request_id, owner)
    return Call("accounts", "CreateApiKey", message, NewKey.of, request_id=message.request_id)


def list_keys() -> Call[List[ApiKey]]:
    return Call("accounts", "ListApiKeys", auth.ListApiKeysRequest(), lambda answer: [ApiKey.of(each) for each in answer.api_keys])


def rotate_key(key_id: str, grace: Union[float, timedelta, None], request_id: Optional[str]) -> Call[NewKey]:
    message = auth.RotateApiKeyRequest(api_key_id=key_id, grace_period=duration(grace), request_id=request_id or new_request_id())
    return Call("accounts", "RotateApiKey", message, NewKey.of, request_id=message.request_id)


def revoke_key(key_id: str, secret_number: Optional[int]) -> Call[ApiKey]:
    message = auth.RevokeApiKeyRequest(api_key_id=key_id, secret_number=secret_number)
    return Call("accounts", "RevokeApiKey", message, lambda answer: ApiKey.of(answer.api_key))


def list_sessions() -> Call[List[Session]]:
    return Call("accounts", "ListSessions", auth.ListSessionsRequest(), lambda answer: [Session.of(each) for each in answer.sessions])


def revoke_session(session_id: str) -> Call[None]:
    return Call("accounts", "RevokeSession", auth.RevokeSessionRequest(session_id=session_id), nothing)


def list_models() -> Call[List[Model]]:
    return Call("inference", "ListModels", inference.ListModelsRequest(), lambda answer: [Model.of(each) for each in answer.models])


def show_model(model: Optional[str]) -> Call[ModelDetails]:
    name = named(model)
    return Call("inference", "ShowModel", inference.ShowModelRequest(model=name), lambda answer: ModelDetails.of(answer, name))


def embed(
    model: Optional[str],
    inputs: Union[str, Sequence[str]],
    dimensions: Optional[int],
    truncate: Optional[bool],
    keep_alive: Union[float, timedelta, None],
    num_ctx: Optional[int],
    request_id: Optional[str],
) -> Call[Embeddings]:
    message = embed_request(model, inputs, dimensions, truncate, keep_alive, num_ctx, request_id)
    return Call("inference", "Embed", message, Embeddings.of, request_id=message.request_id)


def nothing(_answer: Any) -> None:
    return None
