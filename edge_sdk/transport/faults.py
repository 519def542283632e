"""What kept an answer from coming, in words."""

import os
import ssl

import aiohttp


def sentence(error: Exception) -> str:
    """What kept an answer from coming, in words for whoever runs the device."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            words = "no address is known for this name (is there a network?)"
        case aiohttp.ClientConnectorCertificateError():
            why = _plain(error.certificate_error)
            words = f"its certificate is not trusted: {why} (is the authority's file given as ca?)"
        case aiohttp.ClientConnectorSSLError():
            words = f"no TLS connection (is it an http:// address?): {_plain(error.os_error)}"
        case aiohttp.ClientConnectorError():
            words = f"cannot connect: {_plain(error.os_error)}"
        case TimeoutError():  # aiohttp's time-outs are of this class too
            words = "no answer in time"
        case aiohttp.ServerDisconnectedError():
            words = "it closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            words = "the connection broke in the middle of the answer"
        case _:
            words = f"the connection broke: {_plain(error)}"
    return words


def _plain(error: Exception) -> str:
    """The system's own words, without error numbers and addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)  # asyncio's own text repeats the call's arguments
    return str(error) or type(error).__name__
