"""What a GraphQL document asks for: its mutations, and what they are about; never a value."""

import pytest

from platform_assets.web.operations import Mutation, changes, mutations

LAUNCH = "mutation LaunchX($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename } }"


def test_a_launch_names_job_and_assets_and_no_config() -> None:
    params = {
        "runConfigData": "ops: {x: {config: {password: canary, runId: canary}}}",
        "selector": {"jobName": "__ASSET_JOB", "assetSelection": [{"path": ["raw", "a"]}, {"path": ["raw", "b"]}]},
        "executionMetadata": {"tags": [{"key": "who", "value": "canary"}], "rootRunId": "r1"},
    }
    (found,) = mutations(LAUNCH, {"p": params}, "LaunchX")
    assert found.what == "launch run"
    assert found.about == {"job": "__ASSET_JOB", "asset": ["raw/a", "raw/b"], "run": "r1"}


def test_values_written_into_the_document_are_found_too() -> None:
    (found,) = mutations('mutation { deletePipelineRun(runId: "r7") { __typename } }', {}, None)
    assert (found.what, found.about) == ("delete pipeline run", {"run": "r7"})


def test_fragments_aliases_and_several_at_once_are_seen() -> None:
    query = """
        fragment F on Mutation { ...F c: wipeAssets(assetPartitionRanges: [{assetKey: {path: ["a"]}}]) { __typename } }
        mutation M { a: terminateRun(runId: "1") { __typename } ... on Mutation { b: terminateRun(runId: "2") {
            __typename } } ...F ...F }
    """
    found = mutations(query, {}, None)
    assert [(each.what, each.about) for each in found] == [
        ("terminate run", {"run": "1"}), ("terminate run", {"run": "2"}), ("wipe assets", {"asset": "a"}),
    ]  # fmt: skip


def test_the_operation_that_is_named_is_the_one_that_is_done() -> None:
    query = 'mutation A { terminateRun(runId: "1") { __typename } } mutation B { deleteRun(runId: "2") { __typename } }'
    assert [each.name for each in mutations(query, {}, "B")] == ["deleteRun"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ version }", False),
        ("query mutation { version }", False),
        ("query Q { version } mutation M { setNuxSeen }", True),
        ("mutation{setNuxSeen}", True),
        ("\ufeffmutation,,,{setNuxSeen}", True),
        ("# query\nmutation{setNuxSeen}", True),
        ("no GraphQL {", True),
        ("{" * 5000, True),
    ],
)
def test_a_document_with_a_mutation_changes_something(query: str, expected: bool) -> None:
    assert changes(query) is expected


def test_names_are_cut_and_few() -> None:
    (found,) = mutations("mutation($ids: [String!]!) { terminateRuns(runIds: $ids) { __typename } }",
                         {"ids": ["x" * 1000, *map(str, range(100))]}, None)  # fmt: skip
    runs = found.about["run"]
    assert isinstance(runs, list)
    assert (len(runs), len(runs[0])) == (20, 200)


def test_a_name_reads_as_words() -> None:
    assert Mutation("freeConcurrencySlotsForRun", "it", {}).what == "free concurrency slots for run"
