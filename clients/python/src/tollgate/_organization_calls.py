"""The calls about organizations, for both clients."""

from __future__ import annotations

from datetime import timedelta
from typing import List, Optional, Union

from ._bases import ConfigurationError
from ._calls import Call
from ._organization_types import Invitation, Member, NewInvitation, Organization, ServiceAccount, capped
from ._requests import duration
from ._secret import Secret
from .auth.v1 import organizations_pb2 as pb

ROLES = {"member": pb.MEMBER_ROLE_MEMBER, "owner": pb.MEMBER_ROLE_OWNER}
#: Seconds, or a time.
Time = Union[float, timedelta, None]
#: An organization, or its account's id.
Which = Union[Organization, str, None]
#: Who is meant, or their id.
Who = Union[Member, ServiceAccount, str]


def nothing(_answer: object) -> None:
    return None


def role_named(role: str) -> pb.MemberRole.ValueType:
    if role not in ROLES:
        raise ConfigurationError(f"a role is {' or '.join(ROLES)}, and not {role!r}")
    return ROLES[role]


def account_of(which: Which, clients: Optional[str]) -> str:
    """The organization that is named, or else the client's own."""
    named = which.account_id if isinstance(which, Organization) else which or clients
    if not named:
        raise ConfigurationError("name an organization: in the call, or as Tollgate(account=…)")
    return named


def id_of(who: Who) -> str:
    return who.user_id if isinstance(who, Member) else who.id if isinstance(who, ServiceAccount) else who


def create(name: str) -> Call[Organization]:
    # Not repeated by itself: each makes one.
    message = pb.CreateOrganizationRequest(name=name)
    return Call("accounts", "CreateOrganization", message, lambda answer: Organization.of(answer.organization), repeatable=False)


def list_all() -> Call[List[Organization]]:
    message = pb.ListOrganizationsRequest()
    return Call("accounts", "ListOrganizations", message, lambda answer: [Organization.of(each) for each in answer.organizations])


def invite(account: str, role: str, monthly_cap: Optional[int], lifetime: Time, note: str) -> Call[NewInvitation]:
    message = pb.InviteMemberRequest(
        account_id=account, role=role_named(role), monthly_cap_credits=monthly_cap, lifetime=duration(lifetime), note=note
    )
    return Call("accounts", "InviteMember", message, NewInvitation.of, repeatable=False)


def list_invitations(account: str) -> Call[List[Invitation]]:
    message = pb.ListInvitationsRequest(account_id=account)
    return Call("accounts", "ListInvitations", message, lambda answer: [Invitation.of(each) for each in answer.invitations])


def withdraw(account: str, invitation: Union[Invitation, str]) -> Call[None]:
    which = invitation.id if isinstance(invitation, Invitation) else invitation
    message = pb.WithdrawInvitationRequest(account_id=account, invitation_id=which)
    return Call("accounts", "WithdrawInvitation", message, nothing)


def look_at(code: Secret) -> Call[Invitation]:
    message = pb.GetInvitationRequest(invitation_code=code.expose())
    return Call("accounts", "GetInvitation", message, lambda answer: Invitation.of(answer.invitation))


def accept(code: Secret) -> Call[Organization]:
    # Good once: a repetition of what was done is refused.
    message = pb.AcceptInvitationRequest(invitation_code=code.expose())
    return Call("accounts", "AcceptInvitation", message, lambda answer: Organization.of(answer.organization), repeatable=False)


def list_members(account: str) -> Call[List[Member]]:
    message = pb.ListMembersRequest(account_id=account)
    return Call("accounts", "ListMembers", message, lambda answer: [Member.of(each) for each in answer.members])


def add_member(account: str, user: str, role: str, monthly_cap: Optional[int]) -> Call[Member]:
    message = pb.AddMemberRequest(account_id=account, user_name=user, role=role_named(role), monthly_cap_credits=monthly_cap)
    return Call("accounts", "AddMember", message, lambda answer: Member.of(answer.member), repeatable=False)


def remove_member(account: str, who: str) -> Call[None]:
    return Call("accounts", "RemoveMember", pb.RemoveMemberRequest(account_id=account, user_id=who), nothing, repeatable=False)


def set_role(account: str, who: str, role: str) -> Call[Member]:
    message = pb.SetMemberRoleRequest(account_id=account, user_id=who, role=role_named(role))
    return Call("accounts", "SetMemberRole", message, lambda answer: Member.of(answer.member))


def set_cap(account: str, who: str, monthly_cap: Optional[int]) -> Call[Union[Member, ServiceAccount]]:
    message = pb.SetMemberCapRequest(account_id=account, user_id=who, monthly_cap_credits=monthly_cap)
    return Call("accounts", "SetMemberCap", message, capped)


def create_service_account(account: str, name: str, monthly_cap: Optional[int]) -> Call[ServiceAccount]:
    message = pb.CreateServiceAccountRequest(account_id=account, name=name, monthly_cap_credits=monthly_cap)
    return Call("accounts", "CreateServiceAccount", message, lambda answer: ServiceAccount.of(answer.service_account), repeatable=False)


def list_service_accounts(account: str) -> Call[List[ServiceAccount]]:
    message = pb.ListServiceAccountsRequest(account_id=account)
    return Call("accounts", "ListServiceAccounts", message, lambda answer: [ServiceAccount.of(each) for each in answer.service_accounts])


def remove_service_account(account: str, who: str) -> Call[None]:
    message = pb.RemoveServiceAccountRequest(account_id=account, service_account_id=who)
    return Call("accounts", "RemoveServiceAccount", message, nothing, repeatable=False)
