"""Requests of the contract, made from what Python people have: dicts, texts, paths, `timedelta`s."""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ._bases import ConfigurationError
from ._types import ToolCall
from .auth.v1 import accounts_pb2 as auth
from .inference.v1 import inference_pb2 as inference

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class GenerationOptions(TypedDict, total=False):
        """What `chat` and `generate` take beside the model and the prompt. What isn't given is as the model and the server have it."""

        #: What the model is told beforehand.
        system: Optional[str]
        #: The most tokens to generate. What the credits pay for may be less, unless `require_full`.
        max_tokens: Optional[int]
        #: Refuse when the credits can't pay for all of `max_tokens`.
        require_full: bool
        temperature: Optional[float]
        top_p: Optional[float]
        min_p: Optional[float]
        top_k: Optional[int]
        typical_p: Optional[float]
        repeat_penalty: Optional[float]
        repeat_last_n: Optional[int]
        presence_penalty: Optional[float]
        frequency_penalty: Optional[float]
        #: The same seed and request give the same answer on the same machine.
        seed: Optional[int]
        #: Tokens of context.
        num_ctx: Optional[int]
        #: Sequences that end the answer.
        stop: Union[str, Sequence[str], None]
        #: "json", or a JSON schema as a mapping.
        format: Union[str, Mapping[str, Any], None]
        #: True, False, or off, on, low, medium, high, max.
        think: Union[bool, str, None]
        #: Log probabilities: of the chosen tokens (0), and of so many alternatives each.
        top_logprobs: Optional[int]
        #: Refuse a conversation longer than the context (False) instead of dropping its oldest messages.
        truncate: Optional[bool]
        #: How long the model stays loaded afterwards, in seconds.
        keep_alive: Union[float, timedelta, None]
        #: Names the call: repeated under the same id, it is charged once. Else one is made.
        request_id: Optional[str]

    class ChatOptions(GenerationOptions, total=False):
        """What `chat` takes beside the model and the messages."""

        #: What the model may ask to be called: `{"name": …, "description": …, "parameters": {…}}`, or OpenAI's form of it.
        tools: Iterable[Mapping[str, Any]]

    class GenerateOptions(GenerationOptions, total=False):
        """What `generate` takes beside the model and the prompt."""

        #: What comes after the gap, for models that can fill in.
        suffix: str
        #: Images, as bytes or paths, for models with vision.
        images: Iterable[Union[bytes, "os.PathLike[str]"]]
        #: The prompt goes to the model as it is, without a template.
        raw: bool


#: A conversation: one text, or its messages, oldest first. `{"role": "user", "content": …, "images": [bytes or paths]}`
Messages = Union[str, Sequence[Union[Mapping[str, Any], inference.Message]]]

SAMPLING = (
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "num_ctx",
)
COMMON = frozenset(
    [
        *SAMPLING,
        "system",
        "max_tokens",
        "require_full",
        "stop",
        "format",
        "think",
        "top_logprobs",
        "truncate",
        "keep_alive",
        "request_id",
    ]
)
OF_CHAT = COMMON | {"tools"}
OF_GENERATE = COMMON | {"suffix", "images", "raw"}


def new_request_id() -> str:
    return str(uuid.uuid4())


def chat_request(model: Optional[str], messages: Messages, options: Mapping[str, Any]) -> inference.ChatRequest:
    given = known("chat", options, OF_CHAT)
    turns = [inference.Message(role="user", content=messages)] if isinstance(messages, str) else [message_of(each) for each in messages]
    system = given.pop("system", None)
    if system is not None:
        turns.insert(0, inference.Message(role="system", content=system))
    tools = [tool_of(each) for each in given.pop("tools", None) or ()]
    return inference.ChatRequest(model=named(model), messages=turns, tools=tools, **common(given))


def generate_request(model: Optional[str], prompt: str, options: Mapping[str, Any]) -> inference.GenerateRequest:
    given = known("generate", options, OF_GENERATE)
    own = {name: given.pop(name) for name in ("system", "suffix", "raw") if given.get(name) is not None}
    images = images_of(given.pop("images", None))
    return inference.GenerateRequest(model=named(model), prompt=prompt, images=images, **own, **common(given))


def embed_request(
    model: Optional[str],
    inputs: Union[str, Sequence[str]],
    dimensions: Optional[int],
    truncate: Optional[bool],
    keep_alive: Union[float, timedelta, None],
    num_ctx: Optional[int],
    request_id: Optional[str],
) -> inference.EmbedRequest:
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    return inference.EmbedRequest(
        model=named(model),
        inputs=texts,
        request_id=request_id or new_request_id(),
        truncate=truncate,
        dimensions=dimensions,
        keep_alive=duration(keep_alive),
        num_ctx=num_ctx,
    )


def named(model: Optional[str]) -> str:
    if not model:
        raise ConfigurationError("name a model: in the call, as Tollgate(model=…), in TOLLGATE_MODEL or in the profile")
    return model


def known(method: str, options: Mapping[str, Any], names: frozenset[str]) -> Dict[str, Any]:
    """A copy of the options. Refused when one isn't known, as any keyword argument is."""
    wrong = sorted(set(options) - names)
    if wrong:
        raise TypeError(f"{method}() got an unexpected keyword argument {wrong[0]!r}; known: {', '.join(sorted(names))}")
    return dict(options)


def common(given: Mapping[str, Any]) -> Dict[str, Any]:
    """What both requests have under the same names."""
    sampling = {name: given[name] for name in SAMPLING if given.get(name) is not None}
    stop = given.get("stop")
    if stop:
        sampling["stop"] = [stop] if isinstance(stop, str) else list(stop)
    think = given.get("think")
    return {
        "max_output_tokens": given.get("max_tokens"),
        "options": inference.Options(**sampling) if sampling else None,
        "format": format_of(given.get("format")),
        "think": ("on" if think else "off") if isinstance(think, bool) else think,
        "top_logprobs": given.get("top_logprobs"),
        "request_id": given.get("request_id") or new_request_id(),
        "require_full": bool(given.get("require_full")),
        "truncate": given.get("truncate"),
        "keep_alive": duration(given.get("keep_alive")),
    }


def format_of(given: Union[str, Mapping[str, Any], None]) -> Optional[inference.Format]:
    if given is None:
        return None
    if given == "json":
        return inference.Format(json=True)
    return inference.Format(json_schema=given if isinstance(given, str) else json.dumps(given))


def message_of(given: Any) -> inference.Message:
    if isinstance(given, inference.Message):
        return given
    if not isinstance(given, Mapping):
        example = "{'role': 'user', 'content': '…'}"
        raise TypeError(f"messages: a text, or a list of mappings such as {example}; one of them is of type {type(given).__name__}")
    known_fields = {"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"}
    wrong = sorted(set(given) - known_fields)
    if wrong:
        raise TypeError(f"a message has no field {wrong[0]!r}; known: {', '.join(sorted(known_fields))}")
    return inference.Message(
        role=given["role"],
        content=given.get("content") or "",
        thinking=given.get("thinking") or "",
        images=images_of(given.get("images")),
        tool_calls=[tool_call_of(each) for each in given.get("tool_calls") or ()],
        tool_name=given.get("tool_name") or "",
        tool_call_id=given.get("tool_call_id") or "",
    )


def images_of(given: Any) -> List[bytes]:
    if isinstance(given, (bytes, str, os.PathLike)):
        raise TypeError("images: a list of bytes or paths; put a single one into a list")
    return [image_of(each) for each in given or ()]


def image_of(given: Union[bytes, str, os.PathLike[str]]) -> bytes:
    return given if isinstance(given, bytes) else Path(given).read_bytes()


def tool_call_of(given: Union[ToolCall, Mapping[str, Any]]) -> inference.ToolCall:
    if isinstance(given, ToolCall):
        return inference.ToolCall(id=given.id, name=given.name, arguments_json=given.arguments_json)
    function = given.get("function") or given
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return inference.ToolCall(id=given.get("id") or "", name=function["name"], arguments_json=text)


def tool_of(given: Mapping[str, Any]) -> inference.Tool:
    function = given.get("function") or given
    parameters = function.get("parameters")
    return inference.Tool(
        name=function["name"],
        description=function.get("description") or "",
        parameters_json=json.dumps(parameters) if parameters is not None else "",
    )


def duration(given: Union[float, timedelta, None]) -> Optional[Duration]:
    if given is None:
        return None
    made = Duration()
    made.FromTimedelta(given if isinstance(given, timedelta) else timedelta(seconds=given))
    return made


def create_key_request(
    name: str,
    scopes: Iterable[str],
    models: Iterable[str],
    networks: Iterable[str],
    expires_at: Optional[datetime],
    lifetime: Optional[timedelta],
    request_id: Optional[str],
    service_account: Optional[str],
) -> auth.CreateApiKeyRequest:
    stamp = None
    if expires_at is not None:
        if expires_at.tzinfo is None:
            raise ValueError("expires_at must have a time zone")
        stamp = Timestamp()
        stamp.FromDatetime(expires_at)
    lists: Dict[str, List[str]] = {"scopes": list(scopes), "models": list(models), "networks": list(networks)}
    return auth.CreateApiKeyRequest(
        name=name,
        **lists,
        expires_at=stamp,
        lifetime=duration(lifetime),
        request_id=request_id or new_request_id(),
        service_account_id=service_account or "",
    )
