"""The sign-in of a device with real services: what it gives, and what it doesn't."""

from __future__ import annotations

from typing import Any

import pytest
import tollgate
from conftest import Stack, operators_stub


def approving(person: Any, deny: bool = False) -> Any:
    return lambda sign_in: person.approve(sign_in.code, deny)


def test_a_device_that_was_approved_is_in_a_session_of_its_own_that_refreshes_and_does_no_more_than_was_asked_for(
    brief: Stack, client_class: Any
) -> None:
    person = brief.person(10)
    show = approving(person)
    with client_class.login(scopes=["inference", "account"], client="a notebook of mine", show=show, **person.at) as client:
        assert client.me().name == person.name
        client.refresh()
        assert client.chat("stand-in", "Hi.", max_tokens=1).receipt.cost == 1 and client.balance().available == 9
        [mine] = [each for each in person.here.sessions.list() if each.method == "device"]
        assert (mine.client, mine.scopes) == ("a notebook of mine", ("inference", "account"))
        with pytest.raises(tollgate.PermissionDeniedError):
            client.keys.create("more")
        client.logout()
        assert [each for each in person.here.sessions.list() if each.method == "device"] == []
        with pytest.raises(tollgate.SessionEnded):
            client.balance()


def test_a_device_that_was_denied_and_one_whose_approver_is_gone_get_nothing(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with pytest.raises(tollgate.DeviceSignInDenied):
        client_class.login(show=approving(person, deny=True), **person.at)

    def approved_and_disabled(sign_in: Any) -> None:
        person.approve(sign_in.code)
        operators_stub(stack).disable(person.name)

    with pytest.raises(tollgate.DeviceCodeExpired):
        client_class.login(show=approved_and_disabled, **person.at)
