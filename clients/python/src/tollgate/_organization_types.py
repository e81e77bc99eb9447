"""Organizations, as plain values. Credits are whole numbers, times are aware `datetime`s in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional, Union

from ._types import Member, Organization, ServiceAccount, number_of, role_of, time_of
from .auth.v1 import organizations_pb2 as pb


@dataclass(frozen=True)
class Invitation:
    """An invitation to an organization, without its code."""

    id: str
    account_id: str
    organization_name: str
    #: What whoever accepts it becomes: member or owner.
    role: str
    #: Credits a calendar month; None: no bound.
    monthly_cap: Optional[int]
    note: str
    created_by: str
    created_by_name: str
    created_at: Optional[datetime]
    expires_at: Optional[datetime]

    @classmethod
    def of(cls, of: pb.Invitation) -> Invitation:
        return cls(
            id=of.invitation_id,
            account_id=of.account_id,
            organization_name=of.organization_name,
            role=role_of(of.role),
            monthly_cap=number_of(of, "monthly_cap_credits"),
            note=of.note,
            created_by=of.created_by,
            created_by_name=of.created_by_name,
            created_at=time_of(of, "created_at"),
            expires_at=time_of(of, "expires_at"),
        )


@dataclass(frozen=True)
class NewInvitation:
    """An invitation with its code, which can't be had again. `repr` doesn't show it; print `.code` itself."""

    code: str = field(repr=False)
    invitation: Invitation

    @classmethod
    def of(cls, of: Any) -> NewInvitation:
        return cls(of.invitation_code, Invitation.of(of.invitation))


def capped(of: pb.SetMemberCapResponse) -> Union[Member, ServiceAccount]:
    """Whose cap was set."""
    return ServiceAccount.of(of.service_account) if of.HasField("service_account") else Member.of(of.member)


__all__ = ["Invitation", "Member", "NewInvitation", "Organization", "ServiceAccount", "capped"]
