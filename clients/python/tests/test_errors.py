"""Errors: a class for each reason, what they carry, and what is sent again."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
import tollgate
from conftest import ROOT, SECONDS, Stack, started, until
from google.protobuf.duration_pb2 import Duration
from scripted import Scripted, answer, balance, bare, refuse
from tollgate import errors
from tollgate.auth.v1 import accounts_pb2 as auth
from tollgate.error.v1 import error_reason_pb2
from tollgate.inference.v1 import inference_pb2 as inference
from tollgate.rpc.v1 import status_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
BASES = {
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.RequestError,
    errors.ExhaustedError,
    errors.UnavailableError,
    errors.AbortedError,
    errors.ServerError,
}


def retry_in(seconds: float) -> dict[str, Any]:
    delay = Duration()
    delay.FromMilliseconds(int(seconds * 1000))
    return {"google.rpc.RetryInfo": status_pb2.RetryInfo(retry_delay=delay)}


def test_every_reason_of_the_contract_has_a_class_of_its_own_below_one_of_few_bases() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}
    classes = {each.REASON: each for each in vars(errors).values() if isinstance(each, type) and getattr(each, "REASON", "")}
    assert set(classes) == reasons
    for reason, each in classes.items():
        assert each.__name__.lower() == reason.replace("_", "").lower() and each.__doc__
        assert each.__bases__[0] in BASES and issubclass(each, tollgate.Refused) and getattr(tollgate, each.__name__) is each
    assert issubclass(errors.InsufficientCredits, errors.ExhaustedError)
    assert issubclass(errors.CredentialRevoked, errors.AuthenticationError)
    assert issubclass(errors.UserDisabled, errors.PermissionDeniedError)
    assert issubclass(errors.StoreFull, errors.UnavailableError)


def test_credits_that_are_gone_are_an_error_of_their_own_before_anything_is_read(stack: Stack, client_class: Any) -> None:
    person = stack.person(0)
    with client_class(person.key(), **person.at) as client:
        with pytest.raises(tollgate.InsufficientCredits) as refused:
            client.chat("stand-in", "Hi.", stream=False)
        error = refused.value
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "INSUFFICIENT_CREDITS") and error.quotas and error.request_id
        assert error.message in str(error) and str(error).endswith("(INSUFFICIENT_CREDITS)")


def test_a_refused_key_a_forbidden_model_and_a_missing_one_are_told_apart(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with person.client() as signed_in:
        made = signed_in.keys.create("limited", models=["stand-in"])
        with client_class(made.key, **person.at) as client:
            with pytest.raises(tollgate.ModelNotAllowed):
                client.chat("slow", "Hi.").text
            with pytest.raises(tollgate.AccessTokenRequired):
                client.keys.list()
            signed_in.keys.revoke(made.api_key.id)
            with pytest.raises(tollgate.CredentialRevoked) as refused:
                client.balance()
            assert isinstance(refused.value, tollgate.AuthenticationError)
    with client_class(person.key(), **person.at) as client:
        with pytest.raises(tollgate.ModelNotFound):
            client.chat("nobody", "Hi.").text
    with client_class("tg_mistyped", **person.at) as client:
        with pytest.raises(tollgate.CredentialInvalid):
            client.balance()
    with client_class(**person.at) as client:
        with pytest.raises(tollgate.CredentialMissing):
            client.balance()


def test_every_field_that_cannot_be_taken_is_named(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class(person.key(), **person.at) as client:
        with pytest.raises(tollgate.InvalidArgument) as refused:
            client.chat("stand-in", "Hi.", temperature=-1, top_p=7).text
        fields = {each.field: each.description for each in refused.value.field_violations}
        assert any("temperature" in field for field in fields) and any("top_p" in field for field in fields) and all(fields.values())


def test_a_reason_that_is_newer_than_this_library_is_typed_by_its_code(client_class: Any) -> None:
    newer = refuse(grpc.StatusCode.PERMISSION_DENIED, "MOON_IS_FULL", "not tonight", phase="full")
    with Scripted(newer, bare(grpc.StatusCode.NOT_FOUND, "a proxy"), bare(grpc.StatusCode.DATA_LOSS, "oops")) as server:
        with client_class("k", **server.at) as client:
            with pytest.raises(tollgate.PermissionDeniedError) as refused:
                client.balance()
            error = refused.value
            assert type(error) is tollgate.PermissionDeniedError and error.reason == "MOON_IS_FULL"
            assert error.metadata == {"phase": "full"} and str(error) == "not tonight (MOON_IS_FULL)"
            with pytest.raises(tollgate.RequestError) as foreign:
                client.balance()
            assert (foreign.value.reason, foreign.value.code) == (None, "NOT_FOUND")
            with pytest.raises(tollgate.ServerError):
                client.balance()


def test_nobody_there_is_unreachable_and_says_where(client_class: Any) -> None:
    with client_class("k", url="http://127.0.0.1:1", auth_url="http://127.0.0.1:1", max_retries=0) as client:
        with pytest.raises(tollgate.Unreachable, match="auth-service can't be reached at http://127.0.0.1:1: "):
            client.balance()
        with pytest.raises(tollgate.Unreachable, match="inference-service can't be reached") as refused:
            client.chat("stand-in", "Hi.").text
        assert refused.value.request_id


def test_a_host_without_an_address_is_unreachable_and_not_an_answer_that_was_lost(client_class: Any) -> None:
    with client_class("k", url="https://nope.invalid:5", auth_url="https://nope.invalid:5", max_retries=0) as client:
        with pytest.raises(tollgate.Unreachable, match="can't be reached"):
            client.balance()


def test_a_time_limit_beyond_all_years_is_none(stack: Stack, client_class: Any) -> None:
    person = stack.person(10)
    for seconds in (1e10, float("inf")):
        with client_class(person.key(), **person.at, timeout=seconds) as client:
            assert client.balance().available == 10


def test_what_is_no_message_and_a_picture_outside_a_list_is_named(client_class: Any) -> None:
    with client_class("k", url="http://127.0.0.1:1", auth_url="http://127.0.0.1:1") as client:
        for messages in ({"role": "user", "content": "Hi."}, [("user", "Hi.")], ["Hi."]):
            with pytest.raises(TypeError, match="messages: a text, or a list of mappings"):
                client.chat("m", messages).text
        for picture in ("cat.png", b"GIF"):
            with pytest.raises(TypeError, match="images: a list"):
                client.chat("m", [{"role": "user", "content": "?", "images": picture}]).text


def test_unavailable_is_sent_again_after_the_pause_that_was_asked_for_under_the_same_request_id(client_class: Any) -> None:
    busy = refuse(UNAVAILABLE, "UPSTREAM_BUSY", details=retry_in(0.9))
    with Scripted(busy, answer(finish=False, then=refuse(UNAVAILABLE, "UPSTREAM_UNAVAILABLE")), answer("a", "b")) as server:
        with client_class("k", **server.at) as client:
            found = client.chat("m", "Hi.")
            assert found.text == "ab" and found.receipt.cost == 3
        assert {each.request_id for each in server.requests} == {found.request_id} and len(server.requests) == 3
        assert server.times[1] - server.times[0] >= 0.9


def test_what_was_delivered_in_part_is_never_sent_again(client_class: Any) -> None:
    with Scripted(answer("a", finish=False, then=refuse(UNAVAILABLE, "UPSTREAM_UNAVAILABLE")), answer("b")) as server:
        with client_class("k", **server.at) as client:
            found = client.chat("m", "Hi.")
            with pytest.raises(tollgate.UpstreamUnavailable):
                found.text
            assert found.so_far == "a" and len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
        (grpc.StatusCode.INTERNAL, "INTERNAL"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
    ],
)
def test_other_refusals_are_the_callers_with_the_pause_that_was_asked_for(client_class: Any, code: Any, reason: str) -> None:
    with Scripted(refuse(code, reason, details=retry_in(0.01)), answer("a")) as server:
        with client_class("k", **server.at) as client:
            with pytest.raises(tollgate.Refused) as refused:
                client.chat("m", "Hi.").text
        assert refused.value.retry_after == pytest.approx(0.01) and len(server.requests) == 1


def test_retries_are_bounded_by_their_number_by_the_time_limit_and_by_what_is_worth_waiting_for(client_class: Any) -> None:
    away = refuse(UNAVAILABLE, "UPSTREAM_BUSY", details=retry_in(0.01))
    for retries in (0, 2):
        with Scripted(*[away] * 5) as server, client_class("k", max_retries=retries, **server.at) as client:
            with pytest.raises(tollgate.UpstreamBusy):
                client.chat("m", "Hi.").text
            assert len(server.requests) == retries + 1
    for longer in (20.0, 3600.0):
        with Scripted(refuse(UNAVAILABLE, "UPSTREAM_BUSY", details=retry_in(longer))) as server:
            with client_class("k", timeout=5, **server.at) as client:
                with pytest.raises(tollgate.UpstreamBusy):
                    client.chat("m", "Hi.", timeout=5).text
                assert len(server.requests) == 1


def test_an_answer_that_was_made_and_lost_is_an_error_with_its_receipt_and_not_an_empty_text(client_class: Any) -> None:
    lost = bare(UNAVAILABLE, "Connection reset by peer")
    running = refuse(grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS", details=retry_in(0.01))
    with Scripted(lost, running, answer(replayed=True)) as server, client_class("k", **server.at) as client:
        with pytest.raises(tollgate.Interrupted, match="lost on its way, and is charged") as broken:
            client.chat("m", "Hi.").text
        assert broken.value.receipt and broken.value.receipt.cost == 3 and broken.value.request_id


def test_vectors_that_were_made_and_lost_are_an_error_too(client_class: Any) -> None:
    charge = inference.Receipt(charged_credits=3, remaining_credits=4)
    again = inference.EmbedResponse(replayed=True, receipt=charge)
    with Scripted(bare(UNAVAILABLE, "Connection reset by peer"), lambda _request, _context: again) as server:
        with client_class("k", **server.at) as client:
            with pytest.raises(tollgate.Interrupted, match="is charged") as broken:
                client.embed("m", "a text")
            assert broken.value.receipt and broken.value.receipt.cost == 3 and broken.value.request_id == server.requests[1].request_id
            with pytest.raises(TypeError, match="must be a str, not bytes"):
                client_class(b"canary", **server.at)


def test_a_stream_without_its_last_event_is_no_whole_answer(client_class: Any) -> None:
    with Scripted(answer("a", finish=False)) as server, client_class("k", **server.at) as client:
        with pytest.raises(tollgate.Interrupted, match="without its last event"):
            client.chat("m", "Hi.").text


def test_calls_that_change_nothing_and_keys_with_a_request_id_are_sent_again_and_a_login_is_not(client_class: Any) -> None:
    away = bare(UNAVAILABLE, "Connection reset by peer")
    made = auth.CreateApiKeyResponse(key="tg_k")
    with Scripted(away, balance(7), away, lambda _request, _context: made) as server, client_class("k", **server.at) as client:
        assert client.balance().available == 7
        assert client.keys.create("a").key == "tg_k"
        assert server.requests[2].request_id == server.requests[3].request_id != ""
    with Scripted(away) as server:
        with pytest.raises(tollgate.Interrupted):
            client_class.login("ada", "a password", **server.at)
        assert len(server.requests) == 1


def test_a_call_waits_for_a_service_that_comes_back_and_is_charged_once(
    upstream: str, tmp_path: Path, client_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from threading import Thread

    with started(tmp_path / "back", upstream) as stack:
        person = stack.person(5)
        key = person.key()
        stack.inference.stop(20)

        def start_again() -> None:
            until("it is sent again", lambda: "sent again" in caplog.text)
            stack.inference.start()

        with caplog.at_level("DEBUG", "tollgate"), client_class(key, max_retries=20, **person.at) as client:
            starter = Thread(target=start_again)
            starter.start()
            assert client.chat("stand-in", "Hi.", max_tokens=3).text == "word0 word1 word2 "
            starter.join(SECONDS)
        assert person.settled().available == 4


def test_errors_survive_pickling_and_copying_with_all_that_they_carry(stack: Stack) -> None:
    person = stack.person(0)
    with tollgate.Tollgate(person.key(), **person.at) as client:
        with pytest.raises(tollgate.InsufficientCredits) as refused:
            client.chat("stand-in", "Hi.")
    for again in (pickle.loads(pickle.dumps(refused.value)), copy.copy(refused.value)):
        assert type(again) is tollgate.InsufficientCredits and str(again) == str(refused.value)
        assert vars(again) == vars(refused.value) and again.request_id


def test_receipts_say_what_they_know() -> None:
    of_end = tollgate.Receipt.of_end
    assert str(of_end(inference.Finished(), "r1")) == "not charged yet; request r1"
    charge = inference.Receipt(charged_credits=1, remaining_credits=9)
    usage = inference.Usage(input_tokens=31, output_tokens=64, estimated=True)
    told = str(of_end(inference.Finished(usage=usage, receipt=charge), "r1"))
    assert told == "1 credit charged, 9 left; 31 tokens in, 64 out (estimated); request r1"
    replayed = str(of_end(inference.Finished(receipt=charge, replayed=True), "r1"))
    assert replayed.startswith("answered before, nothing is charged now; 1 credit charged")


def test_the_version_is_that_of_the_workspace() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    package = re.search(r'^version = "([^"]+)"', (ROOT / "clients/python/pyproject.toml").read_text(), re.MULTILINE)
    assert version and package and version[1] == package[1] == tollgate.__version__
