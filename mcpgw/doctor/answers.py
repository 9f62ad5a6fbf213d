"""What an unexpected answer of a published gateway means. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_INFO: Final = "io.modelcontextprotocol/serverInfo"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    text: str

    @property
    def message(self) -> dict[str, Any] | None:
        """The JSON-RPC message in it, if there is one: the last, of an event stream."""
        text = self.text
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            data = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
            text = data[-1] if data else ""
        try:
            found = json.loads(text)
        except ValueError:
            return None
        return found if isinstance(found, dict) and found.get("jsonrpc") == "2.0" else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The result in it, if it is one that MCP has."""
        found = (self.message or {}).get("result")
        return found if isinstance(found, dict) else None

    @property
    def complaint(self) -> str | None:
        """What the error in it says, if it is one of JSON-RPC."""
        error = (self.message or {}).get("error")
        if error is None:
            return None
        return str(error.get("message", "an error")) if isinstance(error, dict) else str(error)

    @property
    def server(self) -> str:
        """What the server calls itself."""
        result = self.result or {}
        meta = result.get("_meta")
        told = meta.get(_INFO) if isinstance(meta, dict) else None
        info = told or result.get("serverInfo")
        return str(info.get("name", "a server")) if isinstance(info, dict) else "a server"

    @property
    def is_refusal(self) -> bool:
        """Whether somebody without credentials was turned away."""
        return self.status in (401, 403) or self.is_login

    @property
    def is_login(self) -> bool:
        """Whether a page to log in was offered instead of an answer."""
        location = self.headers.get("location", "")
        return 300 <= self.status < 400 and (
            "cloudflareaccess.com" in location or "login" in location
        )


Explanation = tuple[str, str]
"""What it is, and what to do."""


def explain(answer: Answer) -> Explanation:
    """Say what an answer means that is not one of MCP's."""
    if answer.is_login:
        return (
            "it sends clients to a page to log in",
            "MCP clients cannot use that page: turn on Managed OAuth in the Access application, "
            "or give clients a service token (docs/cloudflare.md)",
        )
    if 300 <= answer.status < 400:
        return f"it redirects to {answer.headers.get('location', '?')}", "use that URL"
    if answer.complaint is not None and answer.status not in (401, 404):
        return f"it answers: {answer.complaint}", "look at the gateway's log"
    if answer.status == 403 and _is_cloudflare(answer):
        return (
            "Cloudflare turns the request away",
            "look at the policies of the Access application, and at Security > Bots: "
            '"Block AI bots" and AI Crawl Control block MCP clients as well',
        )
    if answer.status in _TUNNEL:
        return _TUNNEL[answer.status]
    if answer.status in (401, 403):
        challenge = "www-authenticate" in answer.headers
        return (
            "it wants credentials",
            "give them with --header 'Authorization: Bearer …'"
            if challenge
            else "give them with --header",
        )
    if answer.status == 404:
        return "there is nothing at that URL", "check the name of the tool; it is /mcp/<tool>"
    if "text/html" in answer.headers.get("content-type", ""):
        return "it answers with a web page", "something else answers at that URL"
    return f"it answers {answer.status}, which is not MCP", "look at the logs of the proxy"


def _is_cloudflare(answer: Answer) -> bool:
    return "cf-mitigated" in answer.headers or "cf-ray" in answer.headers


_TUNNEL: Mapping[int, Explanation] = {
    502: ("the proxy does not reach the gateway", "is it running, and is the upstream right?"),
    503: ("the gateway, or the proxy, is overloaded or stops", "look at its log"),
    504: ("the proxy waited too long for the gateway", "look at the gateway's log"),
    521: ("Cloudflare does not reach the server", "is cloudflared, or the server, running?"),
    522: ("Cloudflare does not reach the server", "is cloudflared, or the server, running?"),
    524: ("Cloudflare waited too long for an answer", "keep_alive must be well below 100 s"),
    530: ("the tunnel is down", "is cloudflared running? see docker compose logs cloudflared"),
}
