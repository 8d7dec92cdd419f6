"""Whose certificates are believed: the operating system's, whatever the environment says.

``ssl.create_default_context`` would take another trust store from SSL_CERT_FILE and write the keys
of every connection to the file that SSLKEYLOGFILE names.
"""

import functools
import ssl
import sys
from pathlib import Path

_BUNDLES = (  # as Go looks for them, distribution by distribution
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the context of all fetches: certificate and host name checked, TLS 1.2 or newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Some builds of Python take a cut connection for its end: what came may lack a part.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if sys.platform == "win32":  # pragma: no cover
        for certificate, encoding, trusted in ssl.enum_certificates("ROOT"):
            if encoding == "x509_asn" and (
                trusted is True or ssl.Purpose.SERVER_AUTH.oid in trusted
            ):
                context.load_verify_locations(cadata=certificate)
        return context
    built_in = ssl.get_default_verify_paths()
    files = (built_in.openssl_cafile, *_BUNDLES)
    file = next((name for name in files if Path(name).is_file()), None)
    folder = built_in.openssl_capath if Path(built_in.openssl_capath).is_dir() else None
    if file or folder:
        context.load_verify_locations(file, folder)
    return context
