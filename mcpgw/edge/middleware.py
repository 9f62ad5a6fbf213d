"""What happens to every request: it gets an id and a log line, is checked, and never crashes out.

The order is that of the list in `build_app`: outermost first.
"""

import itertools
import re
import secrets
import time
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from mcpgw.access.gate import API_KEY, AUTHORIZATION
from mcpgw.access.principal import ANYBODY
from mcpgw.edge.context import CONTEXT, PRINCIPAL, REQUEST_ID, SERVED, Served, is_local
from mcpgw.edge.origin import ALLOWED_HEADERS, ALLOWED_METHODS, EXPOSED_HEADERS
from mcpgw.edge.reply import Settled, json_response
from mcpgw.edge.wire_errors import to_failure, to_wire
from mcpgw.errors import GatewayError, Unauthenticated
from mcpgw.protocol import codes
from mcpgw.protocol.messages import dump_response, failure

log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


_PROCESS: Final = secrets.token_hex(4)
_numbers: Final = itertools.count(1)


def _new_request_id() -> str:
    """A name for a request, unique among those of every gateway; not a secret."""
    return f"{_PROCESS}-{next(_numbers):x}"


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and a log line when it is done."""
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if given and _REQUEST_ID.fullmatch(given) else _new_request_id()
    served = request[SERVED] = Served()
    started = time.perf_counter()
    status = 499  # nobody is left to read an answer
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        if request.app[CONTEXT].config.log.access:
            _log_access(request, served, status, time.perf_counter() - started)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer for failures outside any exchange: before its id is known, or a bug of ours."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge as exc:
        return _refusal(413, codes.INVALID_REQUEST, f"the body is too large: {exc.text}")
    except web.RequestPayloadError as exc:
        return _refusal(400, codes.PARSE_ERROR, f"the body cannot be read: {exc}")
    except web.HTTPException as exc:
        return _refusal(exc.status, codes.INVALID_REQUEST, exc.reason)
    except GatewayError as exc:
        row = to_wire(exc)
        error = to_failure(exc, local=is_local(request))
        settled = Settled(error, row.status, exc.retry_after)
        response = json_response(dump_response(None, error), settled)
        if isinstance(exc, Unauthenticated):
            response.headers["WWW-Authenticate"] = _challenge(exc)
        return response
    except Exception as exc:
        log.exception("http.crashed", request_id=request[REQUEST_ID])
        return json_response(
            dump_response(None, to_failure(exc, local=False)),
            Settled(to_failure(exc, local=False), 500),
        )


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse foreign names and foreign pages (MUST); answer CORS preflights."""
    policy = request.app[CONTEXT].policy
    host = request.headers.get("Host", "")
    if policy.refuses_host(host):
        text = f"Host {host[:100]!r} is not accepted here; see public_url and allowed_hosts"
        return _refusal(403, codes.INVALID_REQUEST, text)
    origin = request.headers.get("Origin")
    if origin is not None and policy.refuses_origin(origin):
        text = f"Origin {origin[:100]!r} is not accepted here; see allowed_origins"
        return _refusal(403, codes.INVALID_REQUEST, text)
    if request.method == "OPTIONS":
        return web.Response(status=204, headers={"Allow": ALLOWED_METHODS})
    return await handler(request)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who is calling, before anything else is looked at."""
    headers = request.headers
    request[PRINCIPAL] = request.app[CONTEXT].gate.identify(
        headers.getall(AUTHORIZATION, ()), headers.getall(API_KEY, ())
    )
    return await handler(request)


def _challenge(exc: Unauthenticated) -> str:
    """Say how to authenticate (RFC 6750 3)."""
    return 'Bearer realm="mcpgw"' + (', error="invalid_token"' if exc.shown else "")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Sign a response just before its headers go out."""
    if (request_id := request.get(REQUEST_ID)) is None:
        return
    context = request.app[CONTEXT]
    ours = {"X-Request-Id": request_id, "Server": "mcpgw"}
    if context.config.instance_headers:
        ours |= _instance_headers(request[SERVED])
    origin = request.headers.get("Origin")
    if origin is not None and not context.policy.refuses_origin(origin):
        ours |= _cors_headers(request, origin)
    response.headers.update(ours)


def _instance_headers(served: Served) -> dict[str, str]:
    if served.server is None:
        return {}
    if served.instance is None:
        return {"Mcpgw-Server": served.server}
    return {
        "Mcpgw-Server": served.server,
        "Mcpgw-Instance": served.instance,
        "Mcpgw-Queue-Ms": str(round(served.queued * 1000)),
    }


def _cors_headers(request: web.Request, origin: str) -> dict[str, str]:
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        "Vary": "Origin",
    }
    if request.method == "OPTIONS":
        headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
        headers["Access-Control-Allow-Headers"] = _allowed_headers(request)
        headers["Access-Control-Max-Age"] = "7200"
    return headers


def _allowed_headers(request: web.Request) -> str:
    """Our list, and any `Mcp-Param-*` asked for: their names are the servers' business."""
    asked = request.headers.get("Access-Control-Request-Headers", "")
    names = [name.strip() for name in asked.split(",")]
    params = [n for n in names if re.fullmatch(r"(?i)mcp-param-[a-z0-9!#$%&'*+.^_`|~-]{1,100}", n)]
    return ", ".join([ALLOWED_HEADERS, *params])


def _refusal(status: int, code: int, text: str) -> web.Response:
    error = failure(code, text)
    return json_response(dump_response(None, error), Settled(error, status))


def _known_id(request: web.Request) -> str | None:
    principal = request.get(PRINCIPAL)
    return None if principal is None or principal == ANYBODY else principal.id


def _log_access(request: web.Request, served: Served, status: int, seconds: float) -> None:
    known = (
        ("server", served.server),
        ("method", served.method),
        ("instance", served.instance),
        ("principal", _known_id(request)),
    )
    request.app[CONTEXT].log_answer(
        request_id=request[REQUEST_ID],
        http=request.method,
        status=status,
        **{name: value for name, value in known if value is not None},
        duration_ms=round(seconds * 1000, 2),
    )
