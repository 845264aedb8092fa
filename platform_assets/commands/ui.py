"""`platform ui`: Dagster's UI behind the guard, with its daemon; or a view of it that a team shares.

Belongs here: in which order things start, and what is told. Elsewhere: who comes in (web), processes
(orchestration/runs/services.py). Light until the port and the home are ours: what is wrong is told at once.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from platform_assets.errors import ConfigurationError, PlatformError
from platform_assets.project.configured import audit_log, opened_settings
from platform_assets.settings import PROJECT, Settings, person
from platform_assets.web.door import Door, alone, opened, running
from platform_assets.web.logins import Logins
from platform_assets.web.users import Users

_HERE: Final = "127.0.0.1"


def open_ui(port: int, share: str | None, tell: Callable[[str], None]) -> None:
    """Serve the UI until it is told to end. share: the address of a read-only view; it starts no daemon."""
    settings = opened_settings(tell)
    users = Users(_web(settings)) if share is not None else None
    if users is not None and not (users.names() or settings.ui.proxy_header or settings.ui.token):
        raise ConfigurationError("--share", "nobody could log in", "Add a user first: platform ui user add NAME")
    with ExitStack() as stack:
        door = opened(share or _HERE, port, settings.ui, shared=users is not None)
        stack.callback(door.close)
        stack.enter_context(alone(_place(settings, shared=door.shared), door))
        _serve(settings, door, users, tell)


def _serve(settings: Settings, door: Door, users: Users | None, tell: Callable[[str], None]) -> None:
    from platform_assets.commands.setup import prepare_checkout, prepare_view
    from platform_assets.orchestration.runs.instance import open_instance
    from platform_assets.orchestration.runs.services import workspace
    from platform_assets.web.server import Server, guarded

    folder = _place(settings, shared=door.shared)
    logins = Logins(folder)
    logins.end_all()  # also of a UI that was killed
    server: list[Server] = []
    (prepare_view if door.shared else prepare_checkout)(tell)
    os.chdir(PROJECT)

    def ended() -> None:
        tell("Dagster's daemon has ended; the UI ends with it")
        for each in server:
            each.should_exit = True

    def ready() -> None:
        if door.shared:
            tell(f"{door.url}  (read-only; sensors and runs are the work of `platform ui`; Ctrl-C ends it)")
            return
        tell(f"{_login(door.url, logins)}  (opens once; another: platform ui --login; Ctrl-C ends it)")
        if door.name in door.url:
            tell(
                "where a browser does not find this name, and this machine is yours alone: the same link with 127.0.0.1"
            )
        if door.missing:
            tell(f"this machine has no {door.missing}: it listens at {door.address} alone")
        tell(f"copy a file into {settings.landing} and watch")

    # What died with its machine is settled before anything new is asked for; a view changes nothing.
    with open_instance(settings, settle=not door.shared) as instance:
        told = False
        with workspace(
            instance, folder / "workspace.yaml", read_only=door.shared, daemon_ended=None if door.shared else ended
        ) as shown:
            app = guarded(shown, door, logins, audit_log(settings.home).record, tell, users)
            server.append(Server(app, door, ready))
            try:
                told = server[0].serve_until_told()
            finally:
                logins.end_all()
    if not told:
        raise PlatformError(
            "The UI has ended by itself.",
            state="Runs under way go on; what was committed stands.",
            remedy="See above for why; start it again: platform ui",
        )


def login_link(tell: Callable[[str], None]) -> str:
    """A link that opens the running UI once."""
    settings = opened_settings(tell)
    place = _place(settings, shared=False)
    url = running(place)
    if url is None:
        raise ConfigurationError("--login", f"no UI runs on {settings.home}", "Start one: platform ui")
    audit_log(settings.home).record(person(), "login link", {"to": url})
    return _login(url, Logins(place))


def add_user(name: str, password: str, tell: Callable[[str], None]) -> None:
    """A user of the shared view, or another password of one."""
    settings = opened_settings(tell)
    with audit_log(settings.home).doing(person(), "user add", {"user": name}):
        Users(_web(settings)).add(name, password)


def remove_user(name: str, tell: Callable[[str], None]) -> None:
    """That user can log in no more, and is logged out."""
    settings = opened_settings(tell)
    with audit_log(settings.home).doing(person(), "user remove", {"user": name}):
        Users(_web(settings)).remove(name)


def user_names() -> list[str]:
    """Who can log in to the shared view."""
    return Users(_web(Settings.from_environment())).names()


def _login(url: str, logins: Logins) -> str:
    return f"{url}/login?code={logins.code()}"


def _web(settings: Settings) -> Path:
    return settings.home / "web"


def _place(settings: Settings, *, shared: bool) -> Path:
    return _web(settings) / ("share" if shared else "ui")
