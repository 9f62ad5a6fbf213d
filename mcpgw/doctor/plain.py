"""Whether a tool is served without encryption."""

from typing import Final

from mcpgw.doctor.answers import Answer
from mcpgw.doctor.client import Outsider, Unreachable
from mcpgw.doctor.findings import Finding, ok, problem, skipped, warning

_CHECK: Final = "plain http"
_FIX: Final = "redirect http to https in the proxy, or close port 80"


async def plain_http(client: Outsider) -> Finding:
    """Ask the same of port 80, without encryption and credentials."""
    if client.is_local:
        return skipped(_CHECK, "only for another machine")
    if client.url.scheme == "http":
        return problem(
            _CHECK, "everybody on the way can read along, keys included", "publish it with https"
        )
    url = client.url.with_scheme("http").with_port(80)
    try:
        answer = await client.at(url).stranger().ask("server/discover")
    except Unreachable:
        return ok(_CHECK, "nobody answers")
    return _judged(answer)


def _judged(answer: Answer) -> Finding:
    if answer.message is not None:  # a refusal as well: whoever shows a key shows it to all
        return problem(_CHECK, "it is served without encryption", _FIX)
    if answer.status == 401:
        return problem(_CHECK, "it asks for credentials without encryption", _FIX)
    if 300 <= answer.status < 400:
        if answer.headers.get("location", "").lower().startswith("https:"):
            return ok(_CHECK, "sent on to https")
        return warning(_CHECK, "it redirects, but not to https", _FIX)
    return ok(_CHECK, f"answered {answer.status}, not with MCP")
