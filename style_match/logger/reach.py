"""Whether a server can be reached."""

import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def answers(server: str, timeout_s: float) -> bool:
    """Whether a connection to the URL `server`, or to the proxy that leads there, is made in time.

    Looking up its name counts too, which a socket's own timeout does not bound.
    """
    url = urlsplit(server)
    proxy = getproxies().get(url.scheme)
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    reached = threading.Event()

    def connect() -> None:
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname or "", port), timeout_s).close()
        except OSError:
            return
        reached.set()

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout_s)
    return reached.is_set()
