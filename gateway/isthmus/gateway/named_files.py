"""What is wrong with the files that a configuration names: found before a start, with nothing written."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from isthmus.gateway.authn.configured_issuers import issuer_key_problems
from isthmus.gateway.authn.development import DEVELOPMENT_KEY_FILE
from isthmus.gateway.config.problem import Problem
from isthmus.gateway.config.settings import GatewayConfig, ListenSettings
from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.key_file import read_key
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE
from isthmus.gateway.store.database_file import check_file


def file_problems(config: GatewayConfig, now: datetime) -> Iterator[Problem]:
    """Yield what would stop a gateway, or keep its clients away, though each option alone is fine.

    Args:
        config: without problems of its own.
        now: for the validity of certificates.
    """
    yield from issuer_key_problems(config)
    yield from _tls_problems(config.listen, now)
    yield from _own_key_problems(config.data_dir)
    yield from _folder_problems("data_dir", config.data_dir)
    if config.database is not None and not config.database.parent.is_dir():
        yield Problem(
            option="database",
            message=f"{config.database.parent} is no directory",
            fix="Make it, for the user that runs the gateway only.",
        )
        return
    if not config.store.is_postgresql:
        yield from _database_problems(config.database_file)


def _tls_problems(listen: ListenSettings, now: datetime) -> Iterator[Problem]:
    certificate_file, key_file = listen.tls_certificate_file, listen.tls_key_file
    if certificate_file is None or key_file is None:
        return
    try:
        certificate = x509.load_pem_x509_certificates(certificate_file.read_bytes())[0]
    except (OSError, ValueError) as error:
        yield _unusable("listen.tls_certificate_file", certificate_file, error, "a PEM certificate chain")
        return
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        yield _unusable("listen.tls_key_file", key_file, error, "a PEM private key without a passphrase")
        return
    if _spelled(certificate.public_key()) != _spelled(key.public_key()):
        yield Problem(
            option="listen",
            message=f"{key_file} is not the key of the first certificate of {certificate_file}",
            fix="Put the certificate of the gateway first, those of its issuers after it.",
        )
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        yield Problem(
            option="listen.tls_certificate_file",
            message=f"it is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, which is not now",
            fix="Renew the certificate: no client connects. If it is valid, mend the clock.",
        )


def _spelled(key: PublicKeyTypes | CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _unusable(option: str, path: Path, error: Exception, wanted: str) -> Problem:
    why = error.strerror if isinstance(error, OSError) and error.strerror else f"it holds no {wanted[2:]}"
    return Problem(option=option, message=f"{path} cannot be used: {why}", fix=f"Put {wanted} there.")


def _own_key_problems(data_dir: Path) -> Iterator[Problem]:
    for name in (STATEMENT_KEY_FILE, DEVELOPMENT_KEY_FILE):
        path = data_dir / name
        if not path.exists():
            continue  # it is made at the first start
        try:
            read_key(path)
        except ConfigurationError as error:
            yield Problem(option="data_dir", message=error.message, fix=error.fix)
        except OSError as error:
            yield Problem(
                option="data_dir",
                message=f"{path} cannot be read: {error.strerror}",
                fix="It belongs to the user that runs the gateway.",
            )


def _folder_problems(option: str, folder: Path) -> Iterator[Problem]:
    # It is made at the first start, and what is above it, too.
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Problem(
            option=option,
            message=f"nothing can be written in {folder}",
            fix="Give it to the user that runs the gateway.",
        )


def _database_problems(path: Path) -> Iterator[Problem]:
    try:
        check_file(path)
    except ConfigurationError as error:
        yield Problem(option="database", message=error.message, fix=error.fix)
    if path.is_dir():
        yield Problem(option="database", message=f"{path} is a directory", fix="Name a file in it.")
    elif path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield Problem(
            option="database",
            message=f"{path} cannot be read and written",
            fix="Give it to the user that runs the gateway.",
        )
