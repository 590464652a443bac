"""The cluster's private certificate authority, which exists only in memory.

`distributed.Security.temporary` uses one key for all roles and is valid from *now*, so
a node whose clock lags refuses it. Here each role has its own, valid from yesterday.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from distributed.security import Security

from dask_gridengine.bootstrap.messages import TLSIdentity
from dask_gridengine.errors import OptionError
from dask_gridengine.net.isolated_tls import isolated

ROLES = ("scheduler", "worker", "client")
BACKDATED = datetime.timedelta(days=1)  # a node's clock may lag by this much
VALID = datetime.timedelta(days=366)  # no cluster lives longer


def new_security(cluster: str) -> Security:
    """Make a `Security` with a new CA and one certificate per role, all as PEM text."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name(cluster, "CA")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    options: dict[str, str] = {"tls_ca_file": _pem(ca)}
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(cluster, role), ca_name, key.public_key())
            .add_extension(
                # Every Dask role listens and connects.
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        options[f"tls_{role}_cert"] = _pem(certificate)
        options[f"tls_{role}_key"] = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    return isolated(Security(require_encryption=True, **options))


def security_of(option: Security | bool, cluster: str) -> Security:
    """Return the `Security` of the option: the user's, a new private one, or none."""
    if isinstance(option, Security):
        return isolated(option)
    if option is True:
        return new_security(cluster)
    if option is False:
        return isolated(Security())
    raise OptionError(
        f"security={option!r} is invalid",
        hint="set it to True, False or a distributed.Security",
    )


def worker_identity(security: Security) -> TLSIdentity | None:
    """Return a worker's certificates; None if the `Security` does not encrypt."""
    return _identity(security, "worker")


def client_identity(security: Security) -> TLSIdentity | None:
    """Return a client's certificates; None if the `Security` does not encrypt."""
    return _identity(security, "client")


def _identity(security: Security, role: str) -> TLSIdentity | None:
    if not security.require_encryption:
        return None
    certificate = getattr(security, f"tls_{role}_cert")
    parts = {
        "ca": security.tls_ca_file,
        "certificate": certificate,
        # Dask allows the key to be in the certificate's file.
        "key": getattr(security, f"tls_{role}_key") or certificate,
    }
    if missing := [part for part, value in parts.items() if not value]:
        raise OptionError(
            f"security= requires encryption but has no {' and no '.join(missing)} for"
            f" {role}s",
            hint=f"set tls_ca_file, tls_{role}_cert and tls_{role}_key, or leave"
            " security= out to get a private CA",
        )
    # Files are read here, so that the nodes need not see them.
    return TLSIdentity(**{part: _text(value) for part, value in parts.items()})


def _text(pem_or_path: str) -> str:
    return pem_or_path if "\n" in pem_or_path else Path(pem_or_path).read_text()


def _name(cluster: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dask-gridengine"),
            # 64 letters is X.509's limit for a common name.
            x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster} {role}"[:64]),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    start = datetime.datetime.now(datetime.timezone.utc) - BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALID)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
