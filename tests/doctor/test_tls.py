"""Certificates as a client meets them; the environment of the command says which it trusts."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.doctor.edges import edge, rpc
from tests.doctor.test_public import run

WELL = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "other"}}}
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


async def serve(request: web.Request) -> web.Response:
    return rpc(result=WELL)


def certificate(folder: Path, *, begins: int = -9, ends: int = 9, name: str = "127.0.0.1") -> Path:
    """A certificate that signed itself, and its key, in one file; days count from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "doctor")])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW + begins * DAY)
        .not_valid_after(NOW + ends * DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


async def told(path: Path, *, trusted: bool = True) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    env = {"SSL_CERT_FILE": str(path)} if trusted else {}
    async with edge(serve, context) as url:
        _, text = await asyncio.to_thread(run, "--public", url, env=env)
    return text


async def test_a_good_certificate_is_no_matter(tmp_path: Path) -> None:
    text = await told(await asyncio.to_thread(certificate, tmp_path))
    assert text.startswith("ok    reach")


@pytest.mark.parametrize(
    ("days", "says"),
    [((-9, -1), "its certificate has expired"), ((2, 9), "its certificate is not valid yet")],
)
async def test_a_certificate_out_of_its_time_is_said_plainly(
    tmp_path: Path, days: tuple[int, int], says: str
) -> None:
    begins, ends = days
    assert says in await told(certificate(tmp_path, begins=begins, ends=ends))


async def test_a_certificate_that_nobody_vouches_for_is_said_plainly(tmp_path: Path) -> None:
    text = await told(certificate(tmp_path), trusted=False)
    assert "not trusted: it signed itself" in text


async def test_a_certificate_of_somebody_else_is_said_plainly(tmp_path: Path) -> None:
    assert "for another address" in await told(certificate(tmp_path, name="192.0.2.1"))


async def test_https_at_a_port_of_http_is_said_plainly() -> None:
    async with edge(serve) as url:
        _, text = await asyncio.to_thread(run, "--public", url.replace("http:", "https:"))
    assert "it does not speak TLS" in text
