"""What the services answer, as plain values. Credits are whole numbers, times are aware `datetime`s in UTC."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from google.protobuf.timestamp_pb2 import Timestamp

from .auth.v1 import accounts_pb2 as auth
from .auth.v1 import organizations_pb2 as organizations
from .inference.v1 import inference_pb2 as inference


def time_of(message: Any, name: str) -> Optional[datetime]:
    """A timestamp of a message; None when it is unset."""
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=timezone.utc)


def number_of(message: Any, name: str) -> Optional[int]:
    """A number of a message; None when it is unset."""
    return int(getattr(message, name)) if message.HasField(name) else None


def day_of(text: str) -> date:
    """A day as the contract writes it: `2026-11-29`."""
    return date.fromisoformat(text)


def credits_of(count: int) -> str:
    return f"{count} credit" if count == 1 else f"{count} credits"


@dataclass(frozen=True)
class Receipt:
    """What a call cost, and used."""

    #: The request's id: a repetition under it is charged once.
    request_id: str
    #: Credits charged. None: the charge could not be recorded in time; `client.receipt(request_id)` has it later.
    cost: Optional[int] = None
    #: Credits available right after.
    left: Optional[int] = None
    #: Tokens of the prompt.
    input_tokens: Optional[int] = None
    #: Tokens generated, thinking included.
    output_tokens: Optional[int] = None
    #: Whether the tokens were estimated, because the model server gave no counts that can be.
    estimated: bool = False
    #: Of the account's ledger; empty when nothing was charged.
    ledger_entry_id: str = ""
    #: Whether the request had been resolved before: nothing was generated or charged now.
    replayed: bool = False

    @classmethod
    def of_charge(cls, charge: inference.Receipt, request_id: str) -> Receipt:
        return cls(
            request_id=request_id,
            cost=number_of(charge, "charged_credits"),
            left=number_of(charge, "remaining_credits"),
            ledger_entry_id=charge.ledger_entry_id,
        )

    @classmethod
    def of_end(cls, end: Any, request_id: str) -> Receipt:
        """Of the last event of an answer, or of embeddings."""
        usage, charge = end.usage, end.receipt
        return cls(
            request_id=request_id,
            cost=number_of(charge, "charged_credits") if end.HasField("receipt") else None,
            left=number_of(charge, "remaining_credits") if end.HasField("receipt") else None,
            input_tokens=number_of(usage, "input_tokens"),
            output_tokens=number_of(usage, "output_tokens"),
            estimated=usage.estimated,
            ledger_entry_id=charge.ledger_entry_id,
            replayed=end.replayed,
        )

    @classmethod
    def of_past(cls, answer: auth.GetReceiptResponse, request_id: str) -> Receipt:
        usage, charge = answer.receipt.usage, answer.receipt
        return cls(
            request_id=request_id,
            cost=number_of(charge, "charged_credits"),
            left=number_of(charge, "remaining_credits"),
            input_tokens=number_of(usage, "input_tokens"),
            output_tokens=number_of(usage, "output_tokens"),
            estimated=usage.estimated,
            ledger_entry_id=charge.ledger_entry_id,
        )

    def __str__(self) -> str:
        if self.cost is None:
            parts = ["not charged yet"]
        else:
            parts = [f"{credits_of(self.cost)} charged" + ("" if self.left is None else f", {self.left} left")]
        if self.replayed:
            parts.insert(0, "answered before, nothing is charged now")
        if self.input_tokens is not None or self.output_tokens is not None:
            read, made = ("?" if count is None else count for count in (self.input_tokens, self.output_tokens))
            parts.append(f"{read} tokens in, {made} out" + (" (estimated)" if self.estimated else ""))
        return "; ".join([*parts, f"request {self.request_id}"])


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for."""

    id: str
    name: str
    #: A JSON object, as text, with the keys in the order the model gave.
    arguments_json: str

    @property
    def arguments(self) -> Dict[str, Any]:
        """The arguments themselves."""
        found: Dict[str, Any] = json.loads(self.arguments_json or "{}")
        return found


@dataclass(frozen=True)
class Logprob:
    """A token, how likely it was, and what was likely in its place."""

    token: str
    logprob: float
    token_bytes: bytes
    top: Tuple[Logprob, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A piece of an answer. Not every piece is one token."""

    text: str = field(repr=False)
    thinking: str = field(default="", repr=False)
    tool_calls: Tuple[ToolCall, ...] = field(default=(), repr=False)
    logprobs: Tuple[Logprob, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, delta: inference.Delta) -> Piece:
        calls = tuple(ToolCall(each.id, each.name, each.arguments_json) for each in delta.tool_calls)
        return cls(delta.content, delta.thinking, calls, tuple(logprob_of(each) for each in delta.logprobs))


def logprob_of(of: inference.Logprob) -> Logprob:
    top = tuple(Logprob(each.token, each.logprob, each.token_bytes) for each in of.top_logprobs)
    return Logprob(of.token, of.logprob, of.token_bytes, top)


@dataclass(frozen=True)
class Embeddings(Sequence[List[float]]):
    """Vectors in the order of the inputs."""

    vectors: List[List[float]] = field(repr=False)
    receipt: Receipt

    @classmethod
    def of(cls, answer: inference.EmbedResponse) -> Embeddings:
        return cls([list(each.values) for each in answer.embeddings], Receipt.of_end(answer, answer.request_id))

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: Any) -> Any:
        return self.vectors[index]

    def __iter__(self) -> Iterator[List[float]]:
        return iter(self.vectors)


@dataclass(frozen=True)
class Model:
    """A model that can be named in a request."""

    name: str
    size_bytes: int
    family: str
    parameter_size: str
    quantization_level: str
    modified_at: Optional[datetime]

    @classmethod
    def of(cls, of: inference.Model) -> Model:
        details = of.details
        return cls(
            of.name, of.size_bytes, details.family, details.parameter_size, details.quantization_level, time_of(of, "modified_at")
        )


@dataclass(frozen=True)
class ModelDetails:
    """A model's details, and what it can do."""

    name: str
    family: str
    parameter_size: str
    quantization_level: str
    #: For example completion, tools, thinking, vision.
    capabilities: Tuple[str, ...]
    #: Tokens; 0 when unknown.
    context_length: int

    @classmethod
    def of(cls, of: inference.ShowModelResponse, name: str) -> ModelDetails:
        details = of.details
        facts = (details.family, details.parameter_size, details.quantization_level)
        return cls(name, *facts, tuple(of.capabilities), of.context_length)


@dataclass(frozen=True)
class Balance:
    """An account's credits. granted = available + held + spent + lapsed, always."""

    account_id: str
    available: int
    held: int
    spent: int
    lapsed: int
    granted: int

    @classmethod
    def of(cls, of: auth.GetBalanceResponse) -> Balance:
        names = ("available", "held", "spent", "lapsed", "granted")
        return cls(of.account_id, *(int(getattr(of.balance, f"{name}_credits")) for name in names))


@dataclass(frozen=True)
class LedgerEntry:
    """One change of an account's credits."""

    id: str
    #: grant, settle, refund, expire, settle_late or checkpoint.
    kind: str
    #: Granted (positive) or charged (negative).
    credits: int
    #: Available right after it.
    available: int
    request_id: str
    model: str
    api_key_id: str
    input_tokens: Optional[int]
    output_tokens: Optional[int]
    created_at: Optional[datetime]
    note: str
    #: Who spent, or granted: a user's or service account's id.
    user_id: str

    @classmethod
    def of(cls, of: auth.LedgerEntry) -> LedgerEntry:
        return cls(
            id=of.ledger_entry_id,
            kind=auth.LedgerEntryKind.Name(of.kind).replace("LEDGER_ENTRY_KIND_", "", 1).lower(),
            credits=of.credits,
            available=of.available_credits,
            request_id=of.request_id,
            model=of.model,
            api_key_id=of.api_key_id,
            input_tokens=number_of(of.usage, "input_tokens"),
            output_tokens=number_of(of.usage, "output_tokens"),
            created_at=time_of(of, "created_at"),
            note=of.note,
            user_id=of.user_id,
        )


@dataclass(frozen=True)
class UsageRow:
    """What calls of one model used in one day. A call counts for the day on which it was charged."""

    day: date
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    #: Credits.
    charged: int


@dataclass(frozen=True)
class Usage:
    """What an account's calls used, by day and model; its rows when it is iterated. Days are UTC's."""

    first_day: date
    last_day: date
    #: From this day on the figures are whole. A later one than `first_day`: older entries were folded by an export, or there are too many.
    complete_from: date
    #: By day, then by model. Where nothing was used there is none.
    rows: Tuple[UsageRow, ...]

    @classmethod
    def of(cls, of: auth.GetUsageResponse) -> Usage:
        rows = tuple(
            UsageRow(day_of(each.day), each.model, each.calls, each.input_tokens, each.output_tokens, each.charged_credits)
            for each in of.rows
        )
        return cls(day_of(of.first_day), day_of(of.last_day), day_of(of.complete_from_day), rows)

    def __iter__(self) -> Iterator[UsageRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def role_of(role: int) -> str:
    """member or owner."""
    return "owner" if role == organizations.MEMBER_ROLE_OWNER else "member"


@dataclass(frozen=True)
class Member:
    """A user's place in an organization."""

    user_id: str
    name: str
    #: member or owner.
    role: str
    added_at: Optional[datetime]
    #: Credits that they may spend in a calendar month (UTC). None: no bound of their own, or none of the caller's business.
    monthly_cap: Optional[int]
    #: Credits that they spent this month, those held for calls that run included. None: none of the caller's business.
    spent_this_month: Optional[int]
    #: Whether an operator disabled the user; told to owners.
    disabled: bool

    @classmethod
    def of(cls, of: organizations.Member) -> Member:
        cap, spent = number_of(of, "monthly_cap_credits"), number_of(of, "spent_this_month_credits")
        return cls(of.user_id, of.user_name, role_of(of.role), time_of(of, "added_at"), cap, spent, of.disabled)


@dataclass(frozen=True)
class Organization:
    """An account that several users share."""

    #: What `Tollgate(account=…)` takes.
    account_id: str
    name: str
    created_at: Optional[datetime]
    #: The caller's own place; None for an operator who is no member.
    me: Optional[Member]

    @classmethod
    def of(cls, of: organizations.Organization) -> Organization:
        return cls(of.account_id, of.name, time_of(of, "created_at"), Member.of(of.me) if of.HasField("me") else None)


@dataclass(frozen=True)
class ServiceAccount:
    """A program that belongs to an organization, and stays when people leave."""

    id: str
    account_id: str
    name: str
    created_at: Optional[datetime]
    #: Who made it: a user's id. They may have left since.
    created_by: str
    #: As in Member.
    monthly_cap: Optional[int]
    #: As in Member.
    spent_this_month: Optional[int]

    @classmethod
    def of(cls, of: organizations.ServiceAccount) -> ServiceAccount:
        cap, spent = number_of(of, "monthly_cap_credits"), number_of(of, "spent_this_month_credits")
        return cls(of.service_account_id, of.account_id, of.name, time_of(of, "created_at"), of.created_by, cap, spent)


@dataclass(frozen=True)
class User:
    """Who a credential belongs to."""

    #: Empty for a service account's, as all that describes a person is.
    user_id: str
    name: str
    full_name: str
    email: str
    #: user or admin.
    role: str
    #: Who pays.
    account_id: str
    #: The API key's id; empty for an access token.
    api_key_id: str
    #: Whose account it is, if it isn't the user's own.
    organization: Optional[Organization]
    #: Set where the credential is a service account's.
    service_account: Optional[ServiceAccount]

    @classmethod
    def of(cls, of: auth.GetMeResponse) -> User:
        user = of.user
        return cls(
            user_id=user.user_id,
            name=user.user_name,
            full_name=user.full_name,
            email=user.email,
            role="admin" if user.role == auth.ROLE_ADMIN else "user",
            account_id=of.account_id,
            api_key_id=of.api_key_id,
            organization=Organization.of(of.organization) if of.HasField("organization") else None,
            service_account=ServiceAccount.of(of.service_account) if of.HasField("service_account") else None,
        )


@dataclass(frozen=True)
class KeySecret:
    """One of a key's secrets, without the secret itself."""

    number: int
    #: Its first characters, then an ellipsis and its last four.
    hint: str
    created_at: Optional[datetime]
    expires_at: Optional[datetime]
    revoked_at: Optional[datetime]
    last_used_at: Optional[datetime]

    @classmethod
    def of(cls, of: auth.ApiKeySecret) -> KeySecret:
        created, expires, revoked, used = (time_of(of, name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at"))
        return cls(of.number, of.hint, created, expires, revoked, used)


@dataclass(frozen=True)
class ApiKey:
    """An API key, without its secrets."""

    id: str
    name: str
    hint: str
    scopes: Tuple[str, ...]
    models: Tuple[str, ...]
    networks: Tuple[str, ...]
    created_at: Optional[datetime]
    expires_at: Optional[datetime]
    revoked_at: Optional[datetime]
    last_used_at: Optional[datetime]
    secrets: Tuple[KeySecret, ...]
    #: Who acts when it is used: a user's or service account's id.
    user_id: str

    @classmethod
    def of(cls, of: auth.ApiKey) -> ApiKey:
        return cls(
            id=of.api_key_id,
            name=of.name,
            hint=of.hint,
            scopes=tuple(of.scopes),
            models=tuple(of.models),
            networks=tuple(of.networks),
            created_at=time_of(of, "created_at"),
            expires_at=time_of(of, "expires_at"),
            revoked_at=time_of(of, "revoked_at"),
            last_used_at=time_of(of, "last_used_at"),
            secrets=tuple(KeySecret.of(each) for each in of.secrets),
            user_id=of.user_id,
        )


@dataclass(frozen=True)
class NewKey:
    """A key, or a new secret of one, with the secret: it can't be had again. `repr` doesn't show it; print `.key` itself."""

    key: str = field(repr=False)
    api_key: ApiKey

    @classmethod
    def of(cls, of: Any) -> NewKey:
        return cls(of.key, ApiKey.of(of.api_key))


@dataclass(frozen=True)
class Session:
    """A place where the user is signed in."""

    id: str
    client: str
    address: str
    created_at: Optional[datetime]
    last_used_at: Optional[datetime]
    #: Until when it must be refreshed again.
    refresh_by: Optional[datetime]
    #: When it ends, however often it is refreshed.
    ends_at: Optional[datetime]
    #: Whether it is this client's own.
    current: bool
    #: How it began: password, issuer or device.
    method: str
    #: What its access tokens may be used for; empty: all that the user may do.
    scopes: Tuple[str, ...]
    #: When the second factor was last proved in it.
    second_factor_at: Optional[datetime]

    @classmethod
    def of(cls, of: auth.Session) -> Session:
        return cls(
            id=of.session_id,
            client=of.client,
            address=of.address,
            created_at=time_of(of, "created_at"),
            last_used_at=time_of(of, "last_used_at"),
            refresh_by=time_of(of, "refresh_expires_at"),
            ends_at=time_of(of, "ends_at"),
            current=of.current,
            method=auth.SignInMethod.Name(of.method).replace("SIGN_IN_METHOD_", "", 1).lower(),
            scopes=tuple(of.scopes),
            second_factor_at=time_of(of, "second_factor_at"),
        )
