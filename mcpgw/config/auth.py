"""Who may use the gateway."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from mcpgw.config.references import parse_template
from mcpgw.config.values import Frozen

_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9@._+-]{0,63}$", re.ASCII)


def principal_name(value: str) -> str:
    """Check the name of somebody, or of a group."""
    if not _NAME.match(value):
        raise ValueError('expected a name of letters, digits, "@", "_", ".", "+" and "-"')
    return value


def _reference(value: str) -> str:
    parse_template(value)
    if "${" not in value and not value.startswith(("sha256:", "file:")):
        raise ValueError(
            'expected "sha256:..." as `mcpgw key new NAME` prints it, "file:/path" or '
            '"${VARIABLE}"; a key itself does not belong into this file'
        )
    return value


def _instant(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError('expected a date, such as "2027-12-31", or a date and time') from None
    return value


Name = Annotated[str, AfterValidator(principal_name)]


class ApiKey(Frozen):
    """One key that is accepted."""

    name: Name
    """Who shows it. Several keys of one name are for one principal: that is how to replace one."""

    key: Annotated[str, AfterValidator(_reference), Field(repr=False)]
    """`sha256:` and its digest, as `mcpgw key new NAME` prints it. `${VAR}` and `file:/path`
    lead to that, or to the key itself."""

    groups: tuple[Name, ...] = ()
    """Which groups of `allow` they are in."""

    expires: Annotated[str, AfterValidator(_instant)] | None = None
    """From when on it is refused, such as 2027-12-31 (in UTC)."""

    @property
    def until(self) -> datetime | None:
        """The same as an instant."""
        if self.expires is None:
            return None
        found = datetime.fromisoformat(self.expires)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


class Auth(Frozen):
    """How the gateway knows who is calling. With nothing here, nobody is asked."""

    keys: tuple[ApiKey, ...] = ()
    """API keys, shown as `Authorization: Bearer` or `X-API-Key`."""
