"""The cluster's private certificate authority."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from distributed.security import Security

from dask_gridengine.bootstrap.certificates import ROLES, new_security, worker_identity
from dask_gridengine.errors import OptionError


def test_each_role_has_its_own_key() -> None:
    """A worker's key is of no use for another role."""
    security = new_security("dask-x")
    keys = {getattr(security, f"tls_{role}_key") for role in ROLES}
    assert len(keys) == len(ROLES)


def test_certificates_are_valid_from_yesterday() -> None:
    """A node whose clock lags by hours accepts them."""
    security = new_security("dask-x")
    now = datetime.datetime.now(datetime.timezone.utc)
    for role in ROLES:
        pem = getattr(security, f"tls_{role}_cert").encode()
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.not_valid_before_utc < now - datetime.timedelta(hours=23)
        assert certificate.not_valid_after_utc > now + datetime.timedelta(days=300)


def test_the_ca_signed_them_and_its_key_is_gone() -> None:
    """No other certificate can be made for this cluster."""
    security = new_security("dask-x")
    ca = x509.load_pem_x509_certificate(security.tls_ca_file.encode())
    for role in ROLES:
        pem = getattr(security, f"tls_{role}_cert").encode()
        x509.load_pem_x509_certificate(pem).verify_directly_issued_by(ca)
    assert "PRIVATE KEY" not in security.tls_ca_file


def test_a_worker_gets_its_own_keys_only() -> None:
    """The scheduler's and the client's keys never leave the cluster."""
    security = new_security("dask-x")
    identity = worker_identity(security)
    assert identity is not None
    assert identity.key == security.tls_worker_key
    sent = identity.ca + identity.certificate + identity.key
    assert security.tls_scheduler_key not in sent
    assert identity.key not in repr(identity)


def test_a_users_own_files_are_sent_as_text(tmp_path: Path) -> None:
    """Nodes need not see the files a user's Security names."""
    made = new_security("dask-x")
    for part in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
        (tmp_path / part).write_text(getattr(made, part))
    own = Security(
        require_encryption=True,
        **{part.name: str(part) for part in tmp_path.iterdir()},
    )
    assert worker_identity(own) == worker_identity(made)


def test_half_a_security_is_refused() -> None:
    """A Security without the worker's certificate is refused at once."""
    with pytest.raises(OptionError, match="no certificate and no key"):
        worker_identity(Security(require_encryption=True, tls_ca_file="x\ny"))
