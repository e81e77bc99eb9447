"""Organizations as an owner and a member use them, with real services."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import tollgate
from conftest import Stack, operators_stub, until_the_month_goes_on


def test_an_invitation_makes_a_member_who_spends_the_organizations_credits_within_a_cap(stack: Stack, client_class: Any) -> None:
    until_the_month_goes_on()
    owner, guest = stack.person(0), stack.person(0)
    login = client_class.login
    with login(owner.name, owner.password, **owner.at) as ada, login(guest.name, guest.password, **guest.at) as bea:
        physics = ada.organizations.create("physics")
        operators_stub(stack).grant(physics.account_id, 100)
        made = ada.organizations.invite(physics, monthly_cap=2, lifetime=timedelta(hours=1), note="for Bea")
        assert made.code.startswith("tgi_") and made.code not in repr(made) and made.invitation.monthly_cap == 2
        assert [each.note for each in ada.organizations.invitations(physics)] == ["for Bea"]
        assert bea.organizations.invitation(made.code).organization_name == "physics"
        assert bea.organizations.accept(made.code).account_id == physics.account_id
        with pytest.raises(tollgate.InvitationInvalid):
            bea.organizations.accept(made.code)
        [mine] = bea.organizations.list()
        assert (mine.name, mine.me.role, mine.me.monthly_cap) == ("physics", "member", 2)
        with client_class.login(guest.name, guest.password, account=physics.account_id, **guest.at) as spender:
            assert spender.me().organization.name == "physics" and spender.balance().available == 100
            assert [spender.chat("stand-in", "Hi.", max_tokens=1).receipt.cost for _ in range(2)] == [1, 1]
            with pytest.raises(tollgate.MemberCapReached):
                spender.chat("stand-in", "Hi.", max_tokens=1).text
            ada.organizations.set_cap(guest_of(ada, physics, guest), 3, physics)
            assert spender.chat("stand-in", "Hi.", max_tokens=1).text
            with pytest.raises(tollgate.OwnerRequired):
                spender.organizations.invite()
            # A key of a member is a key of the account, and dies with the membership.
            key = spender.keys.create("laptop").key
        seen = guest_of(ada, physics, guest)
        assert (seen.spent_this_month, seen.monthly_cap, seen.disabled) == (3, 3, False)
        ada.organizations.remove(seen, physics)
        with client_class(key, **guest.at) as keyed, pytest.raises(tollgate.AuthenticationError):
            keyed.balance()
        assert bea.organizations.list() == []


def guest_of(client: Any, organization: Any, person: Any) -> Any:
    [found] = [each for each in client.organizations.members(organization) if each.name == person.name]
    return found


def test_the_last_owner_stays_until_another_is_made_one(stack: Stack, client_class: Any) -> None:
    owner, other = stack.person(), stack.person()
    with client_class.login(owner.name, owner.password, **owner.at) as ada:
        physics = ada.organizations.create("physics")
        with pytest.raises(tollgate.NameTaken):
            ada.organizations.create("physics")
        with pytest.raises(tollgate.LastOwner):
            ada.organizations.leave(physics)
        added = ada.organizations.add(other.name, physics)
        assert added.role == "member" and ada.organizations.set_role(added, "owner", physics).role == "owner"
        ada.organizations.leave(physics)
        assert ada.organizations.list() == []
        with pytest.raises(tollgate.OrganizationNotFound):
            ada.organizations.members(physics)
        with pytest.raises(tollgate.ConfigurationError, match="a role is member or owner"):
            ada.organizations.invite(physics, role="king")
        with pytest.raises(tollgate.ConfigurationError, match="name an organization"):
            ada.organizations.members()


def test_a_service_account_has_keys_and_a_cap_and_its_maker_may_be_disabled(stack: Stack, client_class: Any) -> None:
    until_the_month_goes_on()
    owner, other = stack.person(), stack.person()
    with client_class.login(owner.name, owner.password, **owner.at) as ada:
        physics = ada.organizations.create("physics")
    operators_stub(stack).grant(physics.account_id, 100)
    with client_class.login(owner.name, owner.password, account=physics.account_id, **owner.at) as ada:
        ada.organizations.set_role(ada.organizations.add(other.name), "owner")
        bot = ada.organizations.create_service_account("bot", monthly_cap=5)
        key = ada.keys.create("for bot", service_account=bot)
        assert key.api_key.user_id == bot.id
        with client_class(key.key, **owner.at) as program:
            assert program.me().service_account.name == "bot" and program.me().name == ""
            assert program.chat("stand-in", "Hi.", max_tokens=1).receipt.cost == 1
            [spent] = program.history(limit=1)
            assert spent.user_id == bot.id and [each.user_id for each in ada.history(user_id=bot.id)] == [bot.id]
            assert [row.charged for row in ada.usage(user_id=bot.id)] == [1]
            operators_stub(stack).disable(owner.name)
            assert program.chat("stand-in", "Hi.", max_tokens=1).receipt.cost == 1
    with client_class.login(other.name, other.password, account=physics.account_id, **other.at) as bea:
        [seen] = bea.organizations.service_accounts()
        assert (seen.spent_this_month, seen.monthly_cap, seen.created_by != "") == (2, 5, True)
        assert bea.organizations.set_cap(seen, None).monthly_cap is None
        bea.organizations.remove_service_account(seen)
        with client_class(key.key, **owner.at) as program, pytest.raises(tollgate.AuthenticationError):
            program.balance()
