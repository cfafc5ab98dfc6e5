"""What tenants see of each other: nothing. Ids, lists and request ids of messages, as they are for one tenant."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import reduce
from typing import Any

from google.protobuf.message import Message

from keepworld_runtime.serving.keys import Key, Scope
from keepworld_runtime.serving.owners import Owners
from keepworld_runtime.serving.rules import Rule, owned_fields

_NOBODYS = "-"  # an id that nothing has: what is another's is answered as what never was
_REQUESTS = uuid.UUID("5b1f5d0c-6a5e-4a0f-9d0e-0a2f3f1c7e11")


class Tenancy:
    """Keeps tenants apart, by who owns what."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    def translate(self, request: Message, key: Key) -> None:
        """Take from a request what names another tenant's things, and make its request id the tenant's own."""
        for place, name in _named(request):
            if self._owners.tenant(getattr(place, name)) != key.tenant:
                setattr(place, name, _NOBODYS)
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            message: Any = request
            message.request_id = _own_request_id(message.request_id, key.tenant)

    def claim(self, answer: Message, rule: Rule, key: Key) -> None:
        """Give the tenant what was made, and take out of a list what is not theirs."""
        made: Any = reduce(getattr, rule.makes, answer) if rule.makes else ""
        if made:
            self._owners.give(made, key)
        if rule.lists and not key.has(Scope.ADMIN):
            listed = getattr(answer, rule.lists)
            theirs = [each for each in listed if any(not self._is_own(*named, key) for named in _named(each))]
            for each in theirs:
                listed.remove(each)

    def _is_own(self, place: Message, name: str, key: Key) -> bool:
        return self._owners.tenant(getattr(place, name)) == key.tenant


def _named(message: Message) -> Iterator[tuple[Message, str]]:
    """The fields that are set and name something of a tenant, each with the message it is in."""
    for *inner, name in owned_fields(message.DESCRIPTOR):
        place = message
        for step in inner:
            if not place.HasField(step):
                break
            place = getattr(place, step)
        else:
            if getattr(place, name):
                yield place, name


def _own_request_id(request_id: str, tenant: str) -> str:
    """Another id for each tenant, so that nobody has another's answer; what is no UUID is left to be refused."""
    try:
        uuid.UUID(request_id)
    except ValueError:
        return request_id
    return str(uuid.uuid5(_REQUESTS, f"{tenant}\n{request_id}"))
