"""Certificates as PEM."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key() -> rsa.RSAPrivateKey:
    """A key that SRS accepts."""
    return rsa.generate_private_key(65537, 2048)


def authority(key: Key) -> str:
    """The certificate of an authority with this key."""
    return _sign(_AUTHORITY, key, key, x509.BasicConstraints(ca=True, path_length=None))


def certificate(key: Key, issuer: Key | None = None) -> str:
    """A certificate of this key for 127.0.0.1. issuer: the key of the authority; default: a self-signed certificate."""
    name = _AUTHORITY if issuer else "live.example.com"
    return _sign(name, key, issuer or key, x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]))


_AUTHORITY = "authority of the tests"


def _sign(issuer: str, key: Key, issuer_key: Key, extension: x509.ExtensionType) -> str:
    is_authority = isinstance(extension, x509.BasicConstraints)
    subject = _name(issuer if is_authority else "live.example.com")
    builder = x509.CertificateBuilder(_name(issuer), subject, key.public_key(), x509.random_serial_number())
    start = datetime.now(UTC) - timedelta(days=1)
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=90))
    signed = builder.add_extension(extension, critical=is_authority).sign(issuer_key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def private_key(key: Key) -> str:
    """The key itself, in the format that cert-manager writes."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
