"""The deployment as a Dagster resource: settings are read when a run starts, never at import.

Belongs here: the shell over `engine.deployment`. Elsewhere: what the engine can do itself.
"""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Final

import dagster as dg

from platform_assets.engine.contract.shown import guarding
from platform_assets.engine.deployment import Deployment
from platform_assets.errors import PlatformError, lines, listed
from platform_assets.orchestration.runs.process import PROCESS_TAG, call_process, process_name
from platform_assets.project.configured import configured_deployment

_RETRIES: Final = 4
_FIRST_WAIT_S: Final = 5


def _configured(notify: Callable[[str], None]) -> Deployment:
    return configured_deployment(notify)[1]


class OpensDeployment:
    """Opens the deployment: the one that the environment names, or what `opens` gives, its state untouched.

    tell: hears its progress besides the run's log. left_alone: of files that this process has left where they lie, why.
    """

    def __init__(
        self,
        tell: Callable[[str], None] | None = None,
        opens: Callable[[Callable[[str], None]], Deployment] = _configured,
    ) -> None:
        self._tell = tell
        self._opens = opens
        self.left_alone: dict[str, str] = {}

    def look(self) -> Deployment:
        """The deployment, its state untouched."""
        return self._opens(self._tell or (lambda _: None))

    @contextlib.contextmanager
    def opened(
        self,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
        *,
        feed: str | None = None,
        replaying: bool = False,
    ) -> Iterator[Deployment]:
        """The deployment with its tables prepared, for a step of a run that is about one `feed` or all; but those of a
        feed that it is `replaying`.

        What may pass (a lock, a full disk) is tried again by Dagster, ever later; nothing else is. A person who
        waits at a command line is told at once. What Dagster keeps of an error has no personal data.
        """
        try:
            opened = self._open(context, feed if replaying else None)
            about = [each.contract for each in opened.feeds if feed in (None, each.name)]
            with guarding(about, but=(dg.Failure, dg.RetryRequested)):
                yield opened
        except PlatformError as error:
            if not error.may_pass or self._tell is not None:
                raise dg.Failure(str(error), allow_retries=False) from error
            wait_s = _FIRST_WAIT_S * 2**context.retry_number * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=wait_s) from error

    def _open(
        self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, replaying: str | None
    ) -> Deployment:
        # A run that dies with its machine stays STARTED and keeps its pool slot; this tells who to look for.
        context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: process_name(os.getpid())})
        call_process(f"run {context.run.run_id[:8]}")

        def notify(text: str) -> None:
            context.log.info(lines(text))
            if self._tell is not None:
                self._tell(text)

        deployment = self._opens(notify)
        about = listed(_assets(context), 1)
        deployment.warehouse.call_holder(f"Dagster run {context.run.run_id[:8]} ({about})")
        deployment.prepare(but=None if replaying is None else deployment.feed(replaying))
        return deployment


def _assets(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[str]:
    """The assets that the step is about; raw before its quarantine."""
    if isinstance(context, dg.AssetExecutionContext):
        keys = context.selected_asset_keys or {each.asset_key for each in context.selected_asset_check_keys}
    else:
        keys = {each.asset_key for each in context.selected_asset_check_keys}
    return sorted((key.to_user_string() for key in keys), key=lambda name: (name.startswith("quarantine/"), name))


# What an asset's body asks for: a plain object, since all its settings come from the environment.
DeploymentResource = dg.ResourceParam[OpensDeployment]
