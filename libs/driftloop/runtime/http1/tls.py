"""TLS for the HTTP server."""

import ssl


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """A server context from a certificate chain and its private key, both PEM files.

    TLS 1.2 or newer; the server picks the cipher. Raises `OSError` naming the files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise OSError(f"cannot use certificate {cert} with key {key}: {error}") from error
    return context
