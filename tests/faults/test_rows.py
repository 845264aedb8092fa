"""Every fault that we say we survive is injected somewhere: which test is about which fault."""

import ast
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
# Rows that other parts of the product answer for: pages, servers.
NOT_OURS: Final = {52}
# Row of the list of faults: what happens, and the tests in which it does.
FAULTS: Final[dict[int, tuple[str, str]]] = {
    1: (
        "killed at every named point",
        "faults/test_kills: test_a_run_killed_at_any_point_is_made_good_by_the_next "
        "test_a_restatement_killed_at_any_point_is_the_old_or_the_new "
        "test_many_kills_at_a_point_lose_and_double_nothing; "
        "unit/store/test_release: test_a_publish_killed_at_any_step_leaves_whole_releases; "
        "faults/test_discovery: test_a_tick_that_dies_before_its_cursor_is_kept_is_made_good_by_the_next; "
        "unit/load/test_replay: test_a_replay_that_is_killed_goes_on_where_it_stopped",
    ),
    2: (
        "killed at random",
        "faults/test_kills: test_random_kills_lose_and_double_nothing "
        "test_many_random_kills_lose_and_double_nothing "
        "test_many_restatements_under_kill_are_each_the_old_or_the_new; "
        "integration/test_killed_runs: test_killed_while_it_reads_and_while_it_releases_it_still_converges",
    ),
    3: ("SIGTERM", "faults/test_kills: test_a_run_that_is_told_to_stop_leaves_nothing_and_frees_the_lock"),
    4: (
        "the whole tree killed",
        "faults/test_whole_tree: test_two_kills_of_everything_lose_and_double_nothing "
        "test_many_kills_of_everything_lose_and_double_nothing "
        "test_a_run_that_is_killed_alone_is_noticed_and_its_file_offered_again; "
        "integration/test_launcher: "
        "test_a_run_that_nobody_will_begin_is_failed_and_one_that_somebody_might_is_not "
        "test_a_run_whose_process_is_killed_is_found_dead_and_its_slot_is_free",
    ),
    5: (
        "the daemon restarted in the middle of a tick",
        "faults/test_whole_tree: "
        "test_a_daemon_that_dies_in_the_middle_of_a_tick_leaves_no_process_and_loses_nothing; "
        "faults/test_discovery: test_a_tick_that_dies_before_its_cursor_is_kept_is_made_good_by_the_next",
    ),
    6: ("a sensor's cursor lost", "faults/test_whole_tree: test_a_lost_cursor_brings_no_row_twice"),
    7: (
        "DAGSTER_HOME deleted",
        "faults/test_warehouse: test_without_anything_that_dagster_knew_no_delivery_loads_twice",
    ),
    8: (
        "an old warehouse restored",
        "unit/load/test_replay: test_an_older_warehouse_gets_what_it_lacks_before_anything_new "
        "test_a_lost_warehouse_comes_back_from_the_archive",
    ),
    9: (
        "two runs of one feed, two feeds at once",
        "faults/test_kills: test_two_runs_of_one_feed_load_everything_once; "
        "faults/test_warehouse: test_two_feeds_at_once_wait_for_each_other_and_load_everything",
    ),
    10: (
        "another process holds the file",
        "faults/test_storage: test_a_warehouse_that_is_held_too_long_is_named_with_its_holder "
        "test_a_warehouse_that_is_let_go_is_waited_for",
    ),
    11: (
        "warehouse corrupt",
        "faults/test_storage: test_a_damaged_warehouse_is_refused_and_never_replaced_in_silence",
    ),
    12: ("torn log", "faults/test_warehouse: test_what_a_torn_log_has_lost_comes_back_from_the_archive"),
    13: (
        "dbt killed midway",
        "faults/test_kills: test_what_a_deleted_model_has_left_is_not_released "
        "test_what_a_killed_build_has_left_is_swept_before_the_next "
        "test_readers_of_releases_never_fail_whatever_is_published; "
        "integration/test_killed_runs: test_killed_while_it_reads_and_while_it_releases_it_still_converges",
    ),
    14: ("disk full", "faults/test_storage: test_a_full_disk_stops_the_run_and_the_next_converges"),
    15: ("RLIMIT_FSIZE", "faults/test_storage: test_a_file_size_limit_stops_the_run_and_the_next_converges"),
    16: (
        "memory limit below the file's size",
        "faults/test_warehouse: test_a_delivery_larger_than_the_memory_limit_loads_or_fails_cleanly; "
        "faults/test_storage: test_a_large_delivery_loads_in_bounded_memory",
    ),
    17: (
        "clock a day off, change of summer time",
        "faults/test_warehouse: test_a_clock_that_jumps_a_day_changes_no_order_and_no_outcome "
        "test_data_from_a_clock_that_was_a_day_ahead_is_late_when_it_is; "
        "unit/load/test_ingest: test_data_is_due_by_the_shops_clock test_fresh_means_new_data_not_a_new_run "
        "test_a_clock_that_was_set_back_does_not_keep_files_waiting",
    ),
    18: (
        "read-only warehouse or landing folder",
        "faults/test_storage: test_state_that_may_not_be_written_is_named; "
        "faults/test_discovery: test_a_landing_folder_on_a_read_only_disk_loads",
    ),
    19: (
        "unreadable file",
        "faults/test_storage: test_what_may_not_be_read_is_quarantined_and_others_go_on",
    ),
    20: (
        "links out of the landing folder",
        "unit/load/test_ingest: test_links_pipes_and_folders_are_quarantined_unopened; "
        "faults/test_discovery: test_a_file_that_becomes_a_pipe_or_a_link_before_it_is_claimed_is_not_followed",
    ),
    21: (
        "pipes, devices, folders named like deliveries",
        "unit/load/test_ingest: test_links_pipes_and_folders_are_quarantined_unopened; "
        "faults/test_discovery: test_a_device_is_quarantined_unopened "
        "test_a_file_that_becomes_a_device_before_it_is_claimed_is_not_read",
    ),
    22: (
        "`..` and absolute paths in declarations",
        "faults/test_discovery: test_patterns_that_leave_the_landing_folder_are_refused_by_name",
    ),
    23: (
        "overwritten while being read",
        "faults/test_storage: test_a_file_that_is_overwritten_again_and_again_is_one_version_or_the_other",
    ),
    24: (
        "truncated while being read",
        "faults/test_storage: test_a_file_that_changes_while_it_is_claimed_is_left_for_the_next_run; "
        "faults/test_discovery: test_a_file_that_is_cut_off_while_it_is_copied_is_not_claimed "
        "test_what_is_left_of_a_file_that_was_cut_off_waits_and_is_then_named",
    ),
    25: (
        "half-written, then finished",
        "unit/load/test_ingest: test_a_half_written_delivery_waits_and_loads_once_whole_or_never "
        "test_a_file_that_does_not_settle_is_left_alone",
    ),
    26: (
        "cut off exactly at a line's end",
        "unit/sources/test_landing: test_a_delivery_with_another_count_is_quarantined_and_stays_so_in_a_replay "
        "test_a_file_waits_for_its_sidecar; "
        "unit/anomalies/test_volume: test_real_deliveries_raise_no_alarm_and_half_of_them_cut_in_half_do; "
        "faults/test_warehouse: test_a_delivery_cut_off_at_a_line_end_holds_the_release_until_it_is_whole",
    ),
    27: ("truncated gzip", "faults/test_content: test_a_damaged_gzip_is_quarantined_before_any_row"),
    28: (
        "gzip with a flipped bit or a wrong checksum",
        "faults/test_content: test_a_damaged_gzip_is_quarantined_before_any_row; "
        "unit/readers/test_readers_containers: test_with_any_bit_flipped_it_is_never_read_as_something_else",
    ),
    29: (
        "decompression bomb",
        "faults/test_content: test_a_decompression_bomb_is_refused_in_bounded_memory; "
        "unit/readers/test_readers_containers: test_a_bomb_of_many_members_is_one_too",
    ),
    30: ("a line without end", "faults/test_content: test_an_endless_line_is_refused_in_bounded_memory"),
    31: ("empty file", "unit/load/test_ingest: test_a_delivery_without_rows_follows_the_declared_policy"),
    32: ("header only", "unit/load/test_ingest: test_a_delivery_without_rows_follows_the_declared_policy"),
    33: ("NUL bytes", "faults/test_content: test_only_the_broken_row_is_rejected"),
    34: (
        "byte-order marks, UTF-16, Latin-1",
        "faults/test_content: test_encodings_are_declared_or_the_byte_is_named",
    ),
    35: (
        "headers in other order, renamed, twice",
        "unit/contract/test_contract: test_headers_match_by_name_whatever_their_order_and_case "
        "test_a_header_that_could_mean_two_things_is_refused_with_the_difference",
    ),
    36: (
        "missing and new columns",
        "unit/load/test_ingest: test_an_unknown_column_fails_adds_or_is_rescued_as_declared "
        "test_a_missing_column_quarantines_with_the_difference",
    ),
    37: ("ragged rows", "faults/test_content: test_only_the_broken_row_is_rejected"),
    38: ("mixed line ends", "faults/test_content: test_line_ends_of_every_kind_in_one_file_load"),
    39: ("quotes gone wrong", "faults/test_content: test_only_the_broken_row_is_rejected"),
    40: ("numbers that are none", "faults/test_content: test_only_the_broken_row_is_rejected"),
    41: ("dates of another form", "faults/test_content: test_only_the_broken_row_is_rejected"),
    42: (
        "local times that happen twice or never",
        "unit/contract/test_cast: test_local_times_are_instants_unless_they_happen_twice_or_never "
        "test_the_hours_around_a_change_of_the_clocks",
    ),
    43: (
        "5,000 columns",
        "faults/test_content: test_five_thousand_columns_load_or_are_over_the_declared_cap",
    ),
    44: (
        "100,000 files",
        "faults/test_discovery: test_a_tick_is_quick_and_its_cursor_small_whatever_lies_there",
    ),
    45: (
        "hostile file names",
        "faults/test_discovery: test_files_of_hostile_names_are_each_just_that_file; "
        "unit/load/test_ingest: test_a_name_that_is_not_unicode_loads_once",
    ),
    46: (
        "SQL in names and values",
        "faults/test_content: test_sql_in_added_columns_and_in_values_is_text; "
        "unit/load/test_ingest: test_sql_in_column_names_and_values_is_inert",
    ),
    47: (
        "formulas in exports",
        "unit/store/test_quarantine: test_an_export_runs_in_no_spreadsheet test_a_cell_that_begins_a_formula_is_inert",
    ),
    48: (
        "HTML and Markdown in what pages show",
        "unit/orchestration/test_feed_metadata: test_text_from_outside_is_only_shown "
        "test_a_line_end_does_not_end_the_cell",
    ),
    49: (
        "webhook down, failing, slow",
        "faults/test_alert_faults: test_an_hour_without_the_webhook_loses_nothing "
        "test_a_slow_channel_delays_neither_us_nor_another_and_is_given_up "
        "test_what_will_never_work_is_said_and_still_tried_now_and_then "
        "test_a_server_that_asks_us_to_wait_is_left_alone_for_so_long_but_never_for_ever "
        "test_killed_at_any_statement_the_next_tick_tells_what_was_not_told "
        "test_whatever_happens_everybody_hears_of_every_cause_and_of_its_end_in_order",
    ),
    50: (
        "webhook redirects, or leads inside",
        "faults/test_alert_faults: test_a_redirect_is_a_failure_and_not_followed "
        "test_a_name_that_leads_inside_is_not_contacted test_plain_http_never_leaves_this_machine "
        "test_certificates_must_be_trusted; "
        "unit/alerts/test_alerts: test_a_channel_that_cannot_be_used_is_refused_at_the_start_without_its_url",
    ),
    51: (
        "a canary secret in every setting",
        "faults/test_alert_faults: test_no_secret_is_written_down_whatever_fails; "
        "integration/test_alerts_command: test_a_run_writes_no_secret_of_alerts_down",
    ),
    53: (
        "the same bytes again",
        "faults/test_content: test_redelivered_renamed_and_touched_bytes_bring_no_row; "
        "faults/test_kills: test_a_thousand_redeliveries_bring_no_row; "
        "faults/test_discovery: test_a_folder_that_is_taken_away_and_put_back_loads_nothing_twice; "
        "unit/load/test_ingest: test_a_touched_file_is_a_duplicate_of_itself",
    ),
    54: (
        "same name, new content",
        "unit/load/test_ingest: test_new_content_under_a_known_name_replaces_the_old_rows; "
        "faults/test_kills: test_a_restatement_killed_at_any_point_is_the_old_or_the_new",
    ),
    55: ("late file with an old time", "unit/load/test_ingest: test_a_late_file_with_an_old_mtime_loads"),
    56: (
        "one poisonous file among many",
        "unit/load/test_ingest: test_one_poisonous_file_among_many_is_quarantined_alone "
        "test_rows_already_in_the_transaction_go_with_a_delivery_found_bad_late",
    ),
    57: ("numbers of other habits", "faults/test_content: test_only_the_broken_row_is_rejected"),
    58: (
        "preambles, footers, several tables",
        "unit/readers/test_readers_text: test_what_is_declared_of_a_file_holds; "
        "unit/readers/test_dialect: test_a_preamble_is_suspected_where_the_names_come_later; "
        "faults/test_content: test_a_preamble_or_a_second_table_is_declared_or_named",
    ),
    59: (
        "workbooks that merge, hide, hang or crash",
        "unit/readers/test_readers_excel: test_rows_covered_by_a_merge_are_malformed "
        "test_several_sheets_are_refused_unless_one_is_declared "
        "test_a_parser_that_hangs_bloats_or_crashes_is_stopped_and_the_delivery_refused "
        "test_a_workbook_that_crashes_its_parser_lets_others_load",
    ),
    60: (
        "restated files of a feed whose headers differ",
        "unit/load/test_slots: test_restated_files_with_other_headers_load_each_once",
    ),
    61: (
        "log rotation",
        "unit/load/test_slots: test_rotation_loses_no_row_whatever_the_names_sort_as "
        "test_rotation_into_packed_files_loses_no_row test_names_that_are_swapped_keep_their_rows_and_places",
    ),
    62: (
        "changes without an event, runs that came to nothing, storage lost",
        "faults/test_level: test_what_was_missed_cancelled_killed_broken_changed_or_lost_is_made_good "
        "test_whatever_happens_in_the_end_all_is_released_or_one_incident_says_why; "
        "unit/runs/test_automation: test_a_model_whose_code_changed_is_made_and_released_without_a_delivery "
        "test_a_check_that_passes_at_last_lets_through_what_it_held "
        "test_what_a_person_cancelled_waits_for_a_person_or_for_new_data test_dagsters_storage_lost_costs_nothing",
    ),
    63: (
        "accepted data in no release",
        "unit/watch/test_problems: test_accepted_rows_that_a_cancelled_run_left_are_told_after_half_an_hour "
        "test_where_something_else_says_why_nothing_more_is_told",
    ),
    64: (
        "a run that built nothing; Re-execute of one that was cancelled",
        "unit/watch/test_problems: test_a_copy_that_builds_nothing_ends_no_incident; "
        "unit/watch/test_failures: test_a_run_that_was_to_make_a_failed_asset_and_made_nothing_mends_nothing; "
        "unit/orchestration/test_sensors: test_a_run_that_is_executed_again_does_what_the_one_before_had_left",
    ),
    65: (
        "a stray quarantined file beside a missing delivery",
        "unit/watch/test_problems: test_a_missing_delivery_is_told_unless_the_very_file_is_quarantined; "
        "unit/promises/test_promise: test_only_the_very_file_stands_for_a_missing_delivery",
    ),
    66: (
        "numbers in workbooks",
        "unit/readers/test_readers_excel: test_a_number_is_what_the_file_says_to_the_last_bit "
        "test_a_number_beyond_doubles_stays_as_it_is_written",
    ),
    67: (
        "Parquet that ends or fills a process",
        "unit/readers/test_readers_parquet: test_whatever_the_parser_does_its_delivery_alone_is_quarantined "
        "test_a_panic_of_polars_quarantines_its_delivery_alone test_an_encrypted_file_is_refused_as_one "
        "test_rows_that_hardly_take_room_are_bounded",
    ),
    68: (
        "a record that lost a delimiter, a byte-order mark in the middle",
        "unit/readers/test_readers_text: test_with_a_delimiter_lost_or_too_many_every_row_that_loads_was_written_so "
        "test_csv_records_keep_their_fields_and_lines",
    ),
    69: (
        "a remedy that loads damaged rows",
        "unit/load/test_remedies: test_a_remedy_that_is_followed_loads_what_was_delivered "
        "test_what_does_not_help_is_not_told",
    ),
    76: (
        "a live run of another namespace or host",
        "unit/runs/test_process: test_a_run_in_another_namespace_is_unknown_and_left_alone "
        "test_seen_from_another_namespace_our_run_is_left_alone",
    ),
    79: (
        "an altered copy in the archive",
        "unit/load/test_slots: test_a_damaged_copy_is_not_restored_and_stops_no_other",
    ),
    77: (
        "retyped feeds, times beyond the calendar, torn manifests",
        "unit/load/test_retyped: test_columns_of_other_types_are_the_affair_of_their_feeds "
        "test_a_column_of_another_type_is_made_anew_from_the_archive; "
        "unit/sources/test_landing: test_a_time_beyond_the_calendar_is_as_good_as_any "
        "test_a_file_loads_whatever_has_stood_there_before; "
        "unit/store/test_release: test_a_torn_manifest_stops_nobody test_a_link_that_leads_nowhere_is_no_release",
    ),
    80: (
        "two releases at once",
        "unit/store/test_release: test_two_who_publish_do_not_disturb_each_other "
        "test_a_publish_killed_at_any_step_leaves_whole_releases",
    ),
}


def test_every_fault_has_a_test() -> None:
    assert set(range(1, 60)) <= set(FAULTS) | NOT_OURS <= set(range(1, 84))


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: f"{row} {FAULTS[row][0]}")
def test_the_tests_of_a_fault_exist(row: int) -> None:
    for group in FAULTS[row][1].split("; "):
        module, _, names = group.partition(": ")
        tree = ast.parse((TESTS / f"{module}.py").read_text())
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert set(names.split()) <= there
