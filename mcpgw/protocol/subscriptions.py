"""What clients want to hear of, and which notification is for whom.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
"""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Raw, Struct

from mcpgw.protocol.messages import Notification
from mcpgw.protocol.meta import SUBSCRIPTION_ID
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_any,
    decode_text,
    encode,
    object_or_empty,
)

UPDATED: Final = "notifications/resources/updated"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

_LISTS: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}

MOST_URIS: Final = 1000
"""How many resources one client may subscribe to."""


class Filter(Struct, frozen=True):
    """What somebody wants to hear of."""

    lists: frozenset[str] = frozenset()
    """Lists whose changes are wanted: `tools`, `prompts`, `resources`."""
    uris: frozenset[str] = frozenset()
    """Resources whose updates are wanted."""

    def __and__(self, other: "Filter") -> "Filter":
        """What both want."""
        return Filter(self.lists & other.lists, self.uris & other.uris)

    def wants(self, notification: Notification) -> bool:
        """Whether a notification is for whoever wants this.

        An update may name a part of a resource that was subscribed to.
        """
        if notification.method != UPDATED:
            return any(_LISTS[name] == notification.method for name in self.lists)
        raw = object_or_empty(notification.params).get("uri")
        uri = decode_text(raw) if raw is not None else None
        return uri is not None and (uri in self.uris or any(_holds(u, uri) for u in self.uris))


NOTHING: Final = Filter()
EVERY_LIST: Final = Filter(frozenset(_LISTS))


def union(filters: Iterable[Filter]) -> Filter:
    """What any of them wants."""
    lists: set[str] = set()
    uris: set[str] = set()
    for one in filters:
        lists |= one.lists
        uris |= one.uris
    return Filter(frozenset(lists), frozenset(uris))


def offered(capabilities: Fields) -> Filter:
    """The lists whose changes a legacy server says that it tells of."""
    told = (object_or_empty(capabilities.get(name)).get("listChanged") for name in _LISTS)
    return Filter(frozenset(n for n, raw in zip(_LISTS, told, strict=True) if raw == Raw(b"true")))


def read_filter(params: Fields, *, most: int | None = MOST_URIS) -> Filter:
    """The filter in the parameters of a listen request or of its acknowledgement.

    `most` is how many resources it may name; None for any number.

    Raises:
        ValueError: It is not one, or names too many resources.
    """
    try:
        told: Any = decode_any(params["notifications"])
    except (KeyError, NotJson):
        raise ValueError("params.notifications must be an object") from None
    if not isinstance(told, dict):
        raise ValueError("params.notifications must be an object")
    uris = told.get("resourceSubscriptions") or []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise ValueError("params.notifications.resourceSubscriptions must be a list of URIs")
    if most is not None and len(uris) > most:
        raise ValueError(f"at most {most} resources can be subscribed to at once")
    lists = frozenset(name for name in _LISTS if told.get(f"{name}ListChanged") is True)
    return Filter(lists, frozenset(uris))


def write_filter(filter: Filter) -> Raw:
    """The same as a value of `notifications`."""
    told: dict[str, Any] = {f"{name}ListChanged": True for name in sorted(filter.lists)}
    if filter.uris:
        told["resourceSubscriptions"] = sorted(filter.uris)
    return encode(told)


def tagged(notification: Notification, id: Raw) -> Notification:
    """A notification as part of the subscription that the request of that id opened (MUST)."""
    fields = dict(object_or_empty(notification.params))
    meta = {**object_or_empty(fields.get("_meta")), SUBSCRIPTION_ID: id}
    return Notification(notification.method, encode({**fields, "_meta": encode(meta)}))


def untagged(notification: Notification) -> Notification:
    """A notification without the subscription it was part of."""
    fields = dict(object_or_empty(notification.params))
    meta = dict(object_or_empty(fields.pop("_meta", None)))
    meta.pop(SUBSCRIPTION_ID, None)
    if meta:
        fields["_meta"] = encode(meta)
    return Notification(notification.method, encode(fields) if fields else None)


def _holds(whole: str, part: str) -> bool:
    return part.startswith(whole if whole.endswith("/") else whole + "/")
