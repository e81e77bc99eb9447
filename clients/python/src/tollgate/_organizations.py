"""Organizations, members, invitations and service accounts, for threads and plain programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Union

from . import _organization_calls as calls
from ._organization_calls import Time, Which, Who, id_of
from ._organization_types import Invitation, Member, NewInvitation, Organization, ServiceAccount
from ._secret import Secret

if TYPE_CHECKING:
    from .client import Tollgate


class Organizations:
    """Accounts that several users share. `which` is an organization or its account's id; without it, the client's `account` is meant.
    Changes need a sign-in, and most of them an owner."""

    def __init__(self, client: Tollgate) -> None:
        self._client = client

    def _account(self, which: Which) -> str:
        return calls.account_of(which, self._client._settings.account)

    def create(self, name: str) -> Organization:
        """Makes one, whose first owner is the caller. It has no credits until an operator grants it some."""
        return self._client._run(lambda: calls.create(name))

    def list(self) -> List[Organization]:
        """Those that the caller is a member of."""
        return self._client._run(lambda: calls.list_all())

    def invite(
        self, which: Which = None, *, role: str = "member", monthly_cap: Optional[int] = None, lifetime: Time = None, note: str = ""
    ) -> NewInvitation:
        """Makes an invitation for one person: `.code` is to be given to them, and can't be had again. It is good for `lifetime`
        (seconds, or a timedelta), 7 days by default."""
        return self._client._run(lambda: calls.invite(self._account(which), role, monthly_cap, lifetime, note))

    def invitations(self, which: Which = None) -> List[Invitation]:
        """Those that are open, newest first."""
        return self._client._run(lambda: calls.list_invitations(self._account(which)))

    def withdraw(self, invitation: Union[Invitation, str], which: Which = None) -> None:
        """Takes an invitation back."""
        self._client._run(
            lambda: calls.withdraw(self._account(invitation.account_id if isinstance(invitation, Invitation) else which), invitation)
        )

    def invitation(self, code: str) -> Invitation:
        """What a code is an invitation to."""
        secret, code = Secret(code), ""
        return self._client._run(lambda: calls.look_at(secret))

    def accept(self, code: str) -> Organization:
        """Makes the caller a member by an invitation's code."""
        secret, code = Secret(code), ""
        return self._client._run(lambda: calls.accept(secret))

    def members(self, which: Which = None) -> List[Member]:
        """All of them, oldest first. What each may spend and has spent is told to owners, and to oneself."""
        return self._client._run(lambda: calls.list_members(self._account(which)))

    def add(self, user: str, which: Which = None, *, role: str = "member", monthly_cap: Optional[int] = None) -> Member:
        """Makes a user a member, by name."""
        return self._client._run(lambda: calls.add_member(self._account(which), user, role, monthly_cap))

    def remove(self, who: Union[Member, str], which: Which = None) -> None:
        """Ends a membership, by the user's id: their keys of this account are revoked, and answers that run end."""
        self._client._run(lambda: calls.remove_member(self._account(which), id_of(who)))

    def leave(self, which: Which = None) -> None:
        """Ends one's own. The last owner can't."""
        self._client._run(lambda: calls.remove_member(self._account(which), ""))

    def set_role(self, who: Union[Member, str], role: str, which: Which = None) -> Member:
        """Makes a member an owner, or an owner a member."""
        return self._client._run(lambda: calls.set_role(self._account(which), id_of(who), role))

    def set_cap(self, who: Who, monthly_cap: Optional[int], which: Which = None) -> Union[Member, ServiceAccount]:
        """Bounds what a member or service account spends in a calendar month (UTC). None: no bound."""
        return self._client._run(lambda: calls.set_cap(self._account(which), id_of(who), monthly_cap))

    def create_service_account(self, name: str, which: Which = None, *, monthly_cap: Optional[int] = None) -> ServiceAccount:
        """Makes a program's place in it. `keys.create(service_account=…)` makes its keys, by a client whose `account` is the
        organization."""
        return self._client._run(lambda: calls.create_service_account(self._account(which), name, monthly_cap))

    def service_accounts(self, which: Which = None) -> List[ServiceAccount]:
        """Oldest first."""
        return self._client._run(lambda: calls.list_service_accounts(self._account(which)))

    def remove_service_account(self, who: Union[ServiceAccount, str], which: Which = None) -> None:
        """Removes one: its keys are revoked, and answers that run end."""
        self._client._run(lambda: calls.remove_service_account(self._account(which), id_of(who)))
