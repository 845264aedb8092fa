"""The shared view: read-only, and without configuration, logs and downloads, by whatever way they are asked for."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from guarded import JSON, TOKEN, Guarded, serving
from websockets.sync.client import connect
from websockets.typing import Subprotocol

CANARY = "c4n4ry-config"
RUN_ID = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with serving(tmp_path_factory.mktemp("shared"), shared=True) as made:
        run = dg.DagsterRun(
            job_name="daily", run_id=RUN_ID, run_config={"ops": {"x": CANARY}}, status=dg.DagsterRunStatus.FAILURE
        )
        made.instance.add_run(run)
        made.instance.report_engine_event(f"said {CANARY}", run)
        made.users.add("anna", "correct horse battery")
        yield made


@pytest.fixture
def headers(server: Guarded) -> dict[str, str | None]:
    token = server.logins.begin("ui:anna", server.host, server.users.proof("anna") or "")
    return server.as_page(f"platform_{server.door.port}={token}")


REPOSITORY = 'repositoryName: "y", repositoryLocationName: "z"'
RUN = f'runOrError(runId: "{RUN_ID}") {{ ... on Run {{ %s }} }}'


@pytest.mark.parametrize(
    "query",
    [
        "{ %s }" % (RUN % "status runConfigYaml runConfig"),
        "query A { %s } fragment F on Run { x: runConfigYaml y: runConfig }" % (RUN % "status ...F"),
        "{ instance { info hasInfo executablePath runQueueConfig { tagConcurrencyLimitsYaml } runLauncher { name } } }",
        "{ runsOrError { ... on Runs { results { status runConfigYaml } } } }",
        "{ pipelineRunsOrError { ... on Runs { results { status runConfigYaml } } } }",
    ],
)
def test_configuration_is_blank(server: Guarded, headers: dict[str, str | None], query: str) -> None:
    answer = server.graphql(query, headers)
    assert answer.status == 200, answer.text
    assert CANARY not in answer.text
    assert str(server.instance.root_directory) not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        RUN % "eventConnection { events { ... on MessageEvent { message } } }",
        RUN % 'capturedLogs(fileKey: "x") { stdout }',
        f'logsForRun(runId: "{RUN_ID}") {{ ... on EventConnection {{ events {{ __typename }} }} }}',
        'capturedLogs(logKey: ["a"]) { stdout }',
        'capturedLogsMetadata(logKey: ["a"]) { stdoutLocation }',
        f'runConfigSchemaOrError(selector: {{pipelineName: "x", {REPOSITORY}}}) {{ __typename }}',
        f"utilizedEnvVarsOrError(repositorySelector: {{{REPOSITORY}}}) {{ __typename }}",
        f"allTopLevelResourceDetailsOrError(repositorySelector: {{{REPOSITORY}}}) {{ __typename }}",
    ],
)
def test_logs_the_launchpad_and_the_environment_are_refused(
    server: Guarded, headers: dict[str, str | None], query: str
) -> None:
    for text in (f"{{ {query} }}", f"query A {{ ...F }} fragment F on Query {{ z: {query} }}"):
        answer = server.graphql(text, headers)
        assert answer.status == 403
        assert "not shown in the shared view" in answer.json["errors"][0]["message"]


def test_run_logs_come_by_no_subscription(server: Guarded, headers: dict[str, str | None]) -> None:
    sent = {key: str(headers[key]) for key in ("cookie", "origin")}
    with connect(f"{server.origin.replace('http', 'ws')}/graphql", additional_headers=sent,
                 subprotocols=[Subprotocol("graphql-ws")], proxy=None) as line:  # fmt: skip
        for at, query in enumerate(
            (
                f'pipelineRunLogs(runId: "{RUN_ID}") {{ __typename }}',
                'capturedLogs(logKey: ["a"]) { stdout }',
            )
        ):
            message = {"type": "start", "id": str(at), "payload": {"query": f"subscription {{ {query} }}"}}
            line.send(json.dumps(message))
            answer = str(line.recv(timeout=10))
            assert "not shown in the shared view" in answer
            assert CANARY not in answer


@pytest.mark.parametrize(
    "path", [f"/download_debug/{RUN_ID}", "/logs/a/compute_logs/b.out", "/notebook?path=x", "/dagit/notebook", "/logs/"]
)
def test_downloads_are_refused(server: Guarded, headers: dict[str, str | None], path: str) -> None:
    answer = server.ask("GET", path, cookie=headers["cookie"])
    assert (answer.status, CANARY in answer.text) == (403, False)


@pytest.mark.parametrize("name", ["setNuxSeen", "logTelemetry", "reloadWorkspace", "deleteRun"])
def test_no_mutation_is_let_through(server: Guarded, headers: dict[str, str | None], name: str) -> None:
    """Dagster's own read-only mode lets two of them through."""
    assert server.graphql(f"query A {{ version }} mutation B {{ {name} }}", headers).status == 403


def test_a_token_looks_on_only_too(server: Guarded) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}", "content_type": JSON}
    assert server.graphql("mutation { setNuxSeen }", bearer).status == 403
    assert server.ask("POST", "/report_asset_materialization/forged", "{}", **bearer).status == 403
    assert not server.changed()
