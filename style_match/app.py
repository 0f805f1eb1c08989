"""`python -m style_match.app`: a web page on this machine for matches, text search and a map of the profiles."""

import os
import socket

from omegaconf import DictConfig

from style_match.cli import main
from style_match.utils.errors import UserError

PASSWORD = "STYLE_MATCH_APP_PASSWORD"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run(cfg: DictConfig) -> None:
    """Serve until Ctrl-C.

    Raises:
        UserError: The host is not this machine and there is no password, the port is in use, an extra is missing, or
            a fault of the matcher folder, dataset folder or index.
    """
    app = cfg.app
    password = os.environ.get(PASSWORD)
    if app.host not in LOOPBACK and not password:
        raise UserError(
            f"app.host={app.host} can be reached by other machines and needs a password. Set the environment variable "
            f"{PASSWORD}, or drop app.host."
        )
    from style_match.serving.matcher_folder import matcher_of

    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'style_match[app]'.") from error
    _refuse_taken_port(app.host, app.port)
    folder = matcher_of(cfg)  # report faults of the folder before torch is imported

    from style_match.serving.web.catalogue import open_live
    from style_match.serving.web.running import registered
    from style_match.serving.web.server import make_server, serve

    live = open_live(cfg, folder)
    hosts = None if password else LOOPBACK
    server = make_server(live, hosts=hosts, password=password, max_upload_mb=app.max_upload_mb)
    address = f"http://{f'[{app.host}]' if ':' in app.host else app.host}:{app.port}"
    with registered(address, live.root):
        live.current()
        line = f"{address}{' (password needed)' if password else ''} - press Ctrl-C to stop"
        options = {"log_level": "warning", "access_log": False, "server_header": False}
        serve(server, line, host=app.host, port=app.port, **options)


def _refuse_taken_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"app.host={host} app.port={port} cannot be used: {error.strerror}. Set another app.port."
            ) from error


if __name__ == "__main__":
    main.main("app", run)
