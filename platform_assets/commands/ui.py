"""`platform ui`: Dagster's UI behind the guard, with its daemon; or a view of it that a team shares.

Belongs here: in which order things start, and what is told. Elsewhere: who comes in (web), processes
(orchestration/runs/services.py). Light until the port and the home are ours: what is wrong is told at once.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platform_assets.errors import ConfigurationError, PlatformError
from platform_assets.project.configured import audit_log, opened_settings
from platform_assets.settings import PROJECT, Settings, person
from platform_assets.web.door import Door, alone, opened, port_of, running
from platform_assets.web.logins import Logins
from platform_assets.web.users import Users

if TYPE_CHECKING:
    from platform_assets.orchestration.runs.details import Details
    from platform_assets.orchestration.watch.happened import Happened

_LOG: Final = logging.getLogger(__name__)
_HERE: Final = "127.0.0.1"
_DAEMON_ENDS_WITHIN_S: Final = 40.0
_LOOK_S: Final = 3.0


def open_ui(port: str, share: str | None, tell: Callable[[str], None]) -> None:
    """Serve the UI until it is told to end. share: the address of a read-only view; it starts no daemon."""
    number = port_of(port)
    settings = opened_settings(tell)
    users = Users(_web(settings)) if share is not None else None
    if users is not None and not (users.names() or settings.ui.proxy_header or settings.ui.token):
        raise ConfigurationError("--share", "nobody could log in", "Add a user first: platform ui user add NAME")
    shared = users is not None
    with ExitStack() as stack:
        place = stack.enter_context(alone(_place(settings, shared=shared)))
        door = opened(share or _HERE, number, settings.ui, shared=shared)
        stack.callback(door.close)
        place.say(url=door.url)
        if not shared:
            _await_no_daemon(settings, tell)
        _serve(settings, door, users, tell)


def _await_no_daemon(settings: Settings, tell: Callable[[str], None]) -> None:
    """ConfigurationError at once where somebody runs Dagster's daemon on this home without us; that of a UI that was
    killed is about to end, and is waited for."""
    from platform_assets.orchestration.runs.process import running_daemon

    deadline = time.monotonic() + _DAEMON_ENDS_WITHIN_S
    told = False
    while (found := running_daemon(settings.dagster_home)) is not None:
        who, ends = found
        if not ends or time.monotonic() > deadline:
            raise ConfigurationError(
                str(settings.home), f"{who} runs on it already", "End that one first, `dagster dev` or `dg dev`."
            )
        if not told:
            tell(f"{who} is about to end")
            told = True
        time.sleep(0.2)


def _serve(settings: Settings, door: Door, users: Users | None, tell: Callable[[str], None]) -> None:
    from platform_assets.commands.files import files_served
    from platform_assets.commands.setup import prepare_checkout, prepare_view
    from platform_assets.orchestration.runs.details import detailed
    from platform_assets.orchestration.runs.instance import open_instance
    from platform_assets.orchestration.runs.services import workspace
    from platform_assets.orchestration.watch.happened import Happened
    from platform_assets.project.configured import configured_deployment
    from platform_assets.web.server import Server, guarded

    folder = _place(settings, shared=door.shared)
    logins = Logins(folder)
    logins.end_all()  # also of a UI that was killed
    server: list[Server] = []
    (prepare_view if door.shared else prepare_checkout)(tell)
    os.chdir(PROJECT)

    def now(text: str) -> None:
        tell(f"{datetime.now().astimezone():%H:%M:%S} {text}")

    def ended() -> None:
        now("Dagster's daemon has ended; the UI ends with it")
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
        stack.enter_context(files_served(configured_deployment(lambda _: None)[1], folder, door.port + 1, tell))
        tell(f"copy a file into {settings.landing}, and it is taken in within half a minute; details: {details.path}")

    # What died with its machine is settled before anything new is asked for; a view changes nothing.
    log = settings.home / "logs" / ("share.log" if door.shared else "ui.log")
    with ExitStack() as stack, detailed(log) as details, open_instance(settings, settle=not door.shared) as instance:
        told = False
        happened = None if door.shared else Happened(instance, lambda: configured_deployment(lambda _: None)[1])
        with workspace(
            instance, folder / "workspace.yaml", read_only=door.shared, daemon_ended=None if door.shared else ended
        ) as shown:
            app = guarded(shown, door, logins, audit_log(settings.home).record, now, users)
            server.append(Server(app, door, ready))
            try:
                with _repeated(lambda: _look(details, happened, now)):
                    told = server[0].serve_until_told()
            finally:
                logins.end_all()
    if told:
        now("ended")
    else:
        raise PlatformError(
            "The UI has ended by itself.",
            state="Runs under way go on; what was committed stands.",
            remedy="See above for why; start it again: platform ui",
        )


def _look(details: "Details", happened: "Happened | None", tell: Callable[[str], None]) -> None:
    """Keep the log of details short, and tell what has happened."""
    details.bound()
    try:
        for line in happened.lines() if happened is not None else ():
            tell(line)
    except Exception:  # noqa: BLE001 - whatever Dagster's storage raises, the UI goes on
        _LOG.exception("what has happened cannot be told")  # the next look tells it


@contextmanager
def _repeated(work: Callable[[], None]) -> Iterator[None]:
    """Do that work every few seconds, meanwhile and once more at the end."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(_LOOK_S):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        work()


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
