"""A registry of images, as small as `docker pull` lets it be."""

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from tests.testbed.images import Image

_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"


class Registry:
    """Serves one image under any name; `held` keeps back the second half of its layers."""

    def __init__(self, image: Image, *, denies: bool = False) -> None:
        _, archive = image.archive()
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = {m.name: f.read() for m in tar if (f := tar.extractfile(m)) is not None}
        [entry] = json.loads(files["manifest.json"])
        self._blobs = {_digest(data): data for data in files.values()}
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _described(_CONFIG, files[entry["Config"]]),
                "layers": [_described(_LAYER, files[name]) for name in entry["Layers"]],
            }
        ).encode()
        self._denies = denies
        self.released = asyncio.Event()
        self.released.set()
        self.pulls = 0
        self.port = 0

    def name(self, image: str) -> str:
        return f"127.0.0.1:{self.port}/{image}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if self._denies:
            error = {"errors": [{"code": "DENIED", "message": "requested access is denied"}]}
            return web.json_response(error, status=403)
        if path == "/v2/":
            return web.json_response({})
        if path.endswith("/manifests/gone"):
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return web.json_response(error, status=404)
        if "/manifests/" in path:
            self.pulls += request.method == "HEAD"  # what every pull begins with
            headers = {"Docker-Content-Digest": _digest(self._manifest)}
            return web.Response(body=self._manifest, content_type=_MANIFEST, headers=headers)
        return await self._blob(request, self._blobs[path.rpartition("/")[2]])

    async def _blob(self, request: web.Request, data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        half = len(data) // 2
        await response.write(data[:half])
        await self.released.wait()
        await response.write(data[half:])
        return response


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _described(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(data), "digest": _digest(data)}


@asynccontextmanager
async def running_registry(image: Image, *, denies: bool = False) -> AsyncIterator[Registry]:
    """A registry, for the length of the block."""
    registry = Registry(image, denies=denies)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        registry.port = runner.addresses[0][1]
        yield registry
    finally:
        await runner.cleanup()
