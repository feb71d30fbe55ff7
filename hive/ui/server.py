"""Listening: on loopback alone, in the foreground, until Ctrl-C."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import uvicorn

from hive.errors import AccessError, ConflictError
from hive.ui.application import create_app
from hive.ui.connections import ACCEPTED_AT_ONCE, Connection
from hive.ui.guard import ENTRY, Keys
from hive.ui.site import Site

__all__ = ["Address", "listen", "serve"]

LOOPBACK: Final = "127.0.0.1"
_LAST_SECONDS: Final = 2
"""How long answers under way may take once it is stopped."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the pages are: ``link`` opens them any number of times, ``ticket`` once."""

    port: int
    link: str
    ticket: str


def listen(port: int) -> socket.socket:
    """Return a socket that listens at a port of the loopback address; 0 takes any free one.

    Raises:
        ConflictError: Another program listens there.
        AccessError: This user may not listen there.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except PermissionError as error:
        listener.close()
        raise AccessError(f"this user may not listen at port {port}; take one over 1023") from error
    except OSError as error:
        listener.close()
        raise ConflictError(
            f"another program listens at port {port}; choose another, or none for any free one"
        ) from error
    return listener


def serve(site: Site, listener: socket.socket, ready: Callable[[Address], None]) -> None:
    """Serve a site until SIGINT or SIGTERM; ``ready`` is told where, once that can be opened.

    A second SIGINT ends it without waiting for answers under way.
    """
    port = listener.getsockname()[1]
    keys = Keys()
    base = f"http://{LOOPBACK}:{port}{ENTRY}?token="
    address = Address(port, base + keys.token, base + keys.ticket())
    config = uvicorn.Config(
        create_app(site, keys, port=port),
        http=Connection,
        backlog=ACCEPTED_AT_ONCE,
        # No access log: the first line of a session holds the token.
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    try:
        _Server(config, lambda: ready(address)).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # how it is meant to be stopped; uvicorn raises it again when all is shut down
    finally:
        listener.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
