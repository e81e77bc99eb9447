//! What both stores promise: every case runs on SQLite and on a Redis of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the parts that the tests share")]

#[path = "store_contract/accounts.rs"]
mod accounts;
#[path = "store_contract/api_keys.rs"]
mod api_keys;
#[path = "store_contract/audit_log.rs"]
mod audit_log;
#[path = "store_contract/credentials.rs"]
mod credentials;
#[path = "store_contract/credits.rs"]
mod credits;
#[path = "store_contract/devices.rs"]
mod devices;
#[path = "store_contract/export_command.rs"]
mod export_command;
#[path = "store_contract/failover.rs"]
mod failover;
#[path = "store_contract/fixture.rs"]
mod fixture;
#[path = "store_contract/forwarder.rs"]
mod forwarder;
#[path = "store_contract/handles.rs"]
mod handles;
#[path = "store_contract/identities.rs"]
mod identities;
#[path = "store_contract/invitations.rs"]
mod invitations;
#[path = "store_contract/ledger.rs"]
mod ledger;
#[path = "store_contract/member_caps.rs"]
mod member_caps;
#[path = "store_contract/members.rs"]
mod members;
#[path = "store_contract/organization_list.rs"]
mod organization_list;
#[path = "store_contract/organization_races.rs"]
mod organization_races;
#[path = "store_contract/organizations.rs"]
mod organizations;
#[path = "store_contract/redis_batches.rs"]
mod redis_batches;
#[path = "store_contract/redis_conditions.rs"]
mod redis_conditions;
#[path = "store_contract/redis_due.rs"]
mod redis_due;
#[path = "store_contract/redis_only.rs"]
mod redis_only;
#[path = "store_contract/redis_opening.rs"]
mod redis_opening;
#[path = "store_contract/redis_user_names.rs"]
mod redis_user_names;
#[path = "store_contract/release.rs"]
mod release;
#[path = "store_contract/remembered.rs"]
mod remembered;
#[path = "store_contract/revocations.rs"]
mod revocations;
#[path = "store_contract/second_factor.rs"]
mod second_factor;
#[path = "store_contract/sessions.rs"]
mod sessions;
#[path = "store_contract/sqlite_conditions.rs"]
mod sqlite_conditions;
#[path = "store_contract/sqlite_only.rs"]
mod sqlite_only;
#[path = "store_contract/sqlite_versions.rs"]
mod sqlite_versions;
#[path = "store_contract/usage.rs"]
mod usage;
#[path = "store_contract/user_list.rs"]
mod user_list;
#[path = "store_contract/user_states.rs"]
mod user_states;
#[path = "store_contract/walk.rs"]
mod walk;

use std::time::Duration;

use auth_service::refunds::RefundLimit;
use auth_service::store::StoreLimits;

use fixture::Fixture;

/// Small bounds, so that the cases reach them.
fn limits() -> StoreLimits {
    StoreLimits {
        hold_ttl: Duration::from_secs(60),
        forget_after: Duration::from_secs(3600),
        max_open_holds: 60,
        max_remembered_requests: 60,
        max_free_requests: 20,
        // More than the cases need that aren't about it.
        refunds: RefundLimit { burst: 1000, every: Duration::from_millis(100) },
        sweep_batch: 16,
        ..StoreLimits::default()
    }
}

/// Makes two tests of each case.
macro_rules! cases {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$module::$name(super::Fixture::sqlite(super::limits()).await).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$module::$name(super::Fixture::redis(super::limits()).await).await;
            })+
        }
    };
}

cases! {
    api_keys::all_secrets_of_a_key_spend_one_balance_within_one_set_of_limits,
    api_keys::refunds_by_any_secret_of_a_key_fill_one_bucket,
    api_keys::the_old_secret_stops_at_its_time_and_not_a_millisecond_later,
    api_keys::no_rotation_makes_a_secret_last_longer,
    api_keys::either_secret_is_refused_everywhere_once_its_revocation_has_answered,
    api_keys::a_rotation_without_grace_ends_the_secrets_before_at_once,
    api_keys::a_lost_answer_is_made_good_by_its_repetition_and_the_lost_secret_is_dead,
    api_keys::of_sixteen_repetitions_at_once_one_secret_is_good,
    api_keys::a_request_id_with_other_fields_is_refused_and_changes_nothing,
    api_keys::a_key_has_a_bound_of_secrets_in_force_and_of_those_that_are_kept,
    api_keys::a_key_with_networks_is_good_from_within_them_alone,
    api_keys::who_asks_must_be_in_force_in_the_step_that_changes_a_key,
    api_keys::of_rotations_and_the_end_of_who_asks_at_once_each_sees_what_came_before_it,
    api_keys::uses_are_noted_by_the_stores_clock_and_go_with_their_secret,
    api_keys::a_key_that_the_release_before_kept_is_listed_checked_rotated_and_revoked,
    api_keys::each_change_of_a_key_is_in_the_audit_log_and_what_it_ends_is_told,
    accounts::a_user_is_found_by_name_and_by_id,
    accounts::a_user_starts_with_their_credits_and_one_ledger_entry,
    accounts::a_user_without_starting_credits_has_an_empty_ledger,
    accounts::a_name_belongs_to_one_user,
    accounts::of_many_users_of_one_name_at_once_one_is_made,
    accounts::a_password_hash_is_replaced_only_if_it_is_the_one_that_was_read,
    accounts::nothing_is_known_of_an_unknown_user_or_account,
    accounts::a_grant_is_made_once_per_request_id,
    accounts::a_grant_above_the_largest_figure_is_refused,
    accounts::grants_that_are_none_write_nothing,
    accounts::the_ledger_is_paged_from_the_newest,
    accounts::the_store_answers_a_ping,
    audit_log::changes_operators_actions_and_attempts_are_one_list_by_time_in_both_directions,
    audit_log::an_event_is_listed_as_it_was_recorded_with_the_names_of_the_users_in_it,
    audit_log::the_pages_of_a_list_have_every_event_once_while_others_are_recorded,
    audit_log::a_list_is_of_one_user_or_action_and_looks_at_a_bounded_number,
    audit_log::a_flood_of_attempts_is_bounded_and_pushes_no_change_out,
    audit_log::a_user_who_changes_keys_without_end_pushes_no_operators_action_out,
    audit_log::what_operators_did_before_they_had_a_log_of_their_own_is_still_listed,
    audit_log::the_oldest_of_each_log_are_dropped_above_the_bound_and_a_token_to_them_goes_on_with_what_is_kept,
    audit_log::a_change_of_users_keys_and_credits_is_recorded_once_and_what_changes_nothing_is_not,
    audit_log::nothing_is_changed_without_its_event,
    credentials::an_api_key_is_listed_as_it_was_made,
    credentials::a_key_is_refused_when_unknown_expired_or_revoked,
    credentials::a_revocation_keeps_its_first_time,
    credentials::a_key_is_good_for_its_scopes_and_models_only,
    credentials::a_caller_is_told_which_models_it_may_name,
    credentials::a_keys_patterns_match_as_those_of_prices_do,
    credentials::what_needs_an_admin_refuses_others,
    credentials::a_disabled_users_credentials_are_refused_and_old_tokens_stay_refused,
    credentials::disabling_or_enabling_again_changes_nothing,
    credentials::a_clock_that_jumped_shuts_a_user_out_only_until_disabled_and_enabled_again,
    credentials::a_token_pays_from_no_account_of_others,
    credentials::an_account_has_a_bound_of_live_keys,
    credentials::a_refused_credential_writes_nothing,
    credentials::a_new_key_leaves_those_that_are_known_what_they_may,
    credentials::keys_that_are_made_and_ended_at_once_are_all_made_and_all_ended,
    credentials::keys_past_their_time_do_not_count_and_are_kept_within_a_bound,
    credentials::a_keys_patterns_count_whatever_case_they_were_kept_in,
    identities::the_first_sign_in_makes_the_user_the_identity_and_the_session_in_one_step,
    identities::sixteen_first_sign_ins_at_once_with_one_identity_make_one_user,
    identities::sixteen_sign_ins_at_once_with_one_proof_begin_one_session,
    identities::a_proof_is_known_until_its_end_and_forgotten_then,
    identities::a_sign_in_with_an_identity_looks_at_disabled_locked_reset_and_unlinked_in_its_own_step,
    identities::a_sign_in_with_an_identity_that_races_a_disable_a_lock_or_an_unlink_leaves_no_session,
    identities::an_identity_is_linked_once_to_one_user_by_a_recent_session_in_force,
    identities::unlinking_ends_the_sessions_that_the_identity_began_and_the_last_way_to_sign_in_stays,
    identities::unlinking_an_identity_ends_what_its_sessions_have_approved_for_devices,
    identities::of_two_users_who_link_one_identity_at_once_one_has_it,
    second_factor::of_sixteen_sign_ins_at_once_with_one_code_one_begins,
    second_factor::of_sixteen_step_ups_at_once_with_one_code_one_is_done,
    second_factor::a_step_up_counts_for_fifteen_minutes_of_the_stores_clock_in_its_own_session_and_a_refresh_does_not_prolong_it,
    second_factor::a_sign_in_without_a_code_begins_nothing_and_one_with_a_code_says_when_it_was_proved,
    second_factor::wrong_codes_count_in_the_store_and_so_for_all_processes,
    second_factor::a_second_factor_that_is_reset_is_gone_with_all_sessions_and_what_the_operator_may_is_looked_at_in_the_same_step,
    second_factor::a_change_of_the_second_factor_that_races_the_end_of_its_session_is_seen_or_sees_it,
    second_factor::neither_a_recovery_code_nor_a_code_is_in_what_the_store_keeps,
    sessions::a_sessions_tokens_are_good_until_it_ends_and_no_longer,
    sessions::a_session_is_listed_as_it_began_and_the_one_used_last_comes_first,
    sessions::sixteen_refreshes_at_once_with_one_token_give_one_success_and_its_lost_reply_twin,
    sessions::a_reused_refresh_token_ends_its_session_and_no_other,
    sessions::a_lost_reply_is_made_good_once_within_thirty_seconds,
    sessions::a_token_with_a_forged_family_changes_nothing,
    sessions::a_session_ends_when_it_is_idle_and_at_its_absolute_end,
    sessions::of_more_than_a_hundred_sessions_the_one_unused_for_longest_ends,
    sessions::a_refresh_changes_nothing_that_a_running_call_depends_on,
    sessions::ending_all_sessions_ends_tokens_that_have_none_and_lets_the_user_sign_in_again,
    user_states::a_refresh_that_races_whatever_ends_its_session_never_wins,
    user_states::a_sign_in_that_races_whatever_ends_all_sessions_leaves_none_that_was_refused,
    user_states::a_login_that_verified_the_old_password_while_it_was_changed_gets_nothing,
    user_states::a_password_change_ends_every_other_session_and_keeps_its_own,
    user_states::a_locked_user_keeps_api_keys_and_has_no_sessions_until_unlocked,
    user_states::operators_disable_and_lock_others_while_they_are_in_force_and_never_themselves,
    user_states::of_two_operators_who_take_each_other_out_at_once_one_is_left,
    user_states::a_refresh_does_not_survive_that_its_user_is_disabled_and_enabled_again,
    user_states::a_reset_password_lets_nobody_in_until_another_was_chosen_with_the_one_time_password,
    user_states::of_many_who_complete_one_reset_at_once_one_does,
    user_states::sessions_that_begin_and_end_at_once_are_all_begun_and_all_ended,
    user_states::each_change_records_its_event_once_and_what_changes_nothing_records_none,
    user_states::a_token_of_an_earlier_release_is_good_beside_sessions_until_it_ends,
    devices::a_device_that_is_approved_gets_one_session_with_what_was_approved,
    devices::a_device_code_is_good_for_nothing_before_it_is_approved_and_after_its_time,
    devices::sixteen_exchanges_at_once_give_one_session,
    devices::a_device_code_that_comes_again_later_ends_the_session_that_it_began_and_begins_none,
    devices::what_ends_the_session_of_who_approved_ends_the_approval_and_gives_the_device_nothing,
    devices::an_approval_that_races_whatever_ends_its_session_gives_nothing_that_outlives_it,
    devices::an_exchange_that_races_whatever_ends_the_approval_gives_no_session_that_outlives_it,
    devices::of_an_approval_and_a_denial_at_once_the_denial_counts_unless_it_was_refused,
    devices::of_two_users_who_approve_one_device_at_once_one_has_it,
    devices::whoever_is_disabled_locked_or_signed_out_approves_nothing,
    devices::questions_that_come_too_early_are_told_to_slow_down_also_at_once,
    devices::ten_thousand_sign_ins_are_kept_and_room_comes_with_the_end_of_the_oldest,
    devices::a_code_that_is_taken_is_given_to_nobody_else,
    devices::each_step_of_a_device_is_in_the_audit_log_once_and_anybodys_beginnings_push_out_no_change,
    devices::no_code_of_a_device_is_kept_but_as_a_hash_and_the_user_code_no_longer_than_it_counts,
    organizations::an_organization_is_made_with_its_first_owner_an_account_without_credits_and_a_place_in_the_walk,
    organizations::a_repetition_of_making_an_organization_makes_no_other,
    organizations::a_user_makes_ten_organizations_at_most_though_they_leave_them_and_sixteen_at_once_are_no_more,
    organizations::a_user_is_a_member_of_a_hundred_organizations_at_most,
    organizations::members_and_owners_may_do_what_is_theirs_strangers_nothing_and_operators_all,
    organizations::what_an_operator_does_is_recorded_as_an_operators_and_what_owners_do_is_not,
    organizations::who_asks_must_be_in_force_in_the_step_that_changes_an_organization,
    organizations::a_disabled_user_is_added_as_one_who_is_not_there_and_a_member_only_once,
    organizations::a_disabled_member_has_nothing_on_the_organizations_account_from_the_next_call_on,
    organizations::a_membership_ends_with_its_keys_and_a_revocation_and_the_keys_stay_dead_when_it_begins_anew,
    organizations::the_last_owner_who_can_act_neither_leaves_nor_becomes_a_member_and_a_locked_or_disabled_one_counts_as_none,
    organizations::a_cap_is_set_for_members_and_service_accounts_alone_and_is_in_their_rights_at_once,
    organizations::a_service_account_outlives_its_maker_and_its_keys_end_with_it,
    organizations::an_organization_has_a_hundred_service_accounts_at_most_and_each_a_name_of_its_own,
    organization_list::the_pages_of_all_organizations_have_each_once_whoever_is_a_member_and_end,
    invitations::an_invitation_makes_one_member_with_what_it_says_and_is_good_once,
    invitations::an_invitation_is_good_for_nothing_at_its_end_and_once_it_is_withdrawn_by_id_or_by_its_code,
    invitations::whether_a_code_is_an_invitations_is_found_among_its_organizations_alone,
    invitations::an_invitation_counts_only_while_whoever_made_it_may_invite,
    invitations::whoever_accepts_an_invitation_must_be_in_force_then,
    invitations::an_organization_has_a_hundred_open_invitations_at_most_and_those_that_are_over_take_no_place,
    organization_races::adding_a_member_while_they_are_disabled_leaves_no_live_row,
    organization_races::of_sixteen_who_redeem_one_invitation_at_once_one_is_a_member,
    organization_races::one_user_who_redeems_sixteen_invitations_at_once_is_a_member_once,
    organization_races::an_invitation_that_is_withdrawn_while_it_is_redeemed_makes_a_member_or_is_withdrawn_and_not_both,
    organization_races::an_invitation_whose_maker_goes_while_it_is_redeemed_makes_a_member_before_that_or_none,
    organization_races::two_owners_who_leave_at_once_leave_one,
    organization_races::an_owner_who_leaves_while_the_other_one_is_disabled_leaves_one_who_could_act_then,
    organization_races::a_change_of_role_beside_a_removal_brings_nobody_back,
    organization_races::a_member_who_is_removed_while_they_make_a_key_leaves_no_live_key,
    organization_races::whoever_asks_and_is_taken_out_at_once_changes_nothing_after_that,
    organization_races::of_sixteen_who_make_service_accounts_of_one_name_at_once_one_does,
    organization_races::sixty_members_who_are_added_at_once_are_all_members,
    credits::none_held_is_not_found,
    credits::a_check_holds_the_worst_case,
    credits::held_and_the_same_attempt_is_the_same_grant,
    credits::held_and_another_attempt_is_in_progress,
    credits::held_is_extended_and_never_back,
    credits::held_is_settled_for_its_usage_and_never_more_than_held,
    credits::held_is_refunded_when_nothing_was_generated,
    credits::settled_answers_its_record,
    credits::refunded_answers_its_record_and_lets_another_attempt_hold,
    credits::expired_charges_recorded_tokens_and_answers_its_record,
    credits::expired_is_settled_late_for_what_is_still_due,
    credits::settled_late_takes_at_most_what_is_available,
    credits::settled_late_answers_its_record,
    credits::the_same_settle_ten_times_is_one_charge,
    credits::the_same_request_twice_at_once_is_one_hold,
    credits::another_fingerprint_under_a_request_id_is_refused,
    credits::too_few_credits_hold_a_part_or_nothing,
    credits::more_due_holds_than_one_operation_sweeps_is_retryable,
    credits::an_operation_resolves_what_is_due_on_its_own_account_whoever_else_has_holds,
    credits::the_slow_walk_resolves_all_that_is_due,
    credits::open_holds_have_a_bound,
    remembered::above_the_bound_the_oldest_resolved_request_is_forgotten_and_none_is_refused,
    remembered::a_forgotten_request_may_be_held_again_at_once_though_nothing_has_removed_it,
    remembered::a_request_that_is_refunded_and_held_again_without_end_is_one_request,
    remembered::a_late_settle_is_remembered_from_then_on,
    handles::a_handle_that_was_altered_in_any_field_settles_and_extends_nothing_and_the_hold_stays,
    remembered::what_costs_nothing_leaves_no_ledger_entry_but_for_an_expiry_and_few_records,
    remembered::an_account_whose_calls_come_to_nothing_waits_until_its_bucket_fills,
    remembered::the_slow_walk_forgets_all_whose_time_is_over,
    credits::a_receipt_tells_what_became_of_a_request,
    credits::fifty_at_once_on_ten_credits_are_ten,
    credits::a_model_name_may_hold_any_printable_character,
    credits::large_figures_stay_exact,
    user_list::users_are_listed_by_name_page_by_page_and_each_once,
    user_list::a_prefix_lists_those_whose_names_begin_with_it_and_nobody_else,
    user_list::users_who_are_added_while_a_list_is_read_keep_nobody_from_it_and_bring_nobody_twice,
    user_list::a_page_of_a_state_that_few_are_in_looks_at_so_many_and_says_where_to_go_on,
    walk::every_account_has_its_turn_in_the_walk_however_much_waits_on_others,
    walk::the_walk_comes_back_to_what_it_left_before_the_next_one_begins,
    walk::accounts_that_are_added_during_a_walk_keep_it_from_none_of_those_before,
    walk::the_walk_forgets_what_a_lowered_bound_leaves_above_it,
    credits::holds_whose_time_is_over_take_no_place,
    credits::a_call_above_the_bound_is_refused_costs_nothing_and_leaves_other_accounts_alone,
    revocations::what_is_revoked_is_told_once_and_in_its_order_from_any_place_on,
    revocations::whoever_waits_is_woken_by_what_is_revoked_and_by_nothing_else_before_their_time,
    revocations::behind_a_place_of_another_store_there_is_a_gap,
    revocations::a_hold_whose_key_is_revoked_or_whose_user_is_disabled_is_not_extended_and_is_settled_all_the_same,
    revocations::a_hold_is_extended_whatever_becomes_of_other_credentials_and_when_its_own_time_is_over,
    revocations::a_token_of_before_its_users_tokens_were_made_invalid_extends_nothing,
    revocations::a_hold_that_does_not_say_what_it_was_made_with_is_extended_and_settled_as_before,
    revocations::an_extend_beside_a_revocation_is_answered_either_way_and_after_it_refused,
    release::released_holds_go_back_whole_and_a_repetition_says_the_same,
    release::a_released_request_id_may_be_held_by_another_attempt_and_not_by_the_same,
    release::a_release_never_makes_a_hold_and_writes_nothing_where_nothing_is_held,
    release::a_release_that_overtook_its_check_finds_the_hold_when_it_comes_again,
    release::a_hold_is_released_whatever_became_of_its_credential,
    release::what_was_settled_or_has_expired_is_left_as_it_is,
    release::of_many_releases_and_settles_at_once_one_resolves_the_hold,
    members::an_organization_pays_for_its_members_by_token_and_by_key_and_for_nobody_else,
    members::a_disable_a_lock_and_a_log_out_hold_on_an_organizations_account_from_the_next_call_on_in_every_process,
    members::a_removed_member_is_refused_from_the_next_call_on_and_what_they_hold_is_settled_and_not_extended,
    members::a_hold_of_an_organization_is_extended_until_its_users_own_state_or_place_changes_against_it,
    members::a_service_account_spends_by_its_key_within_its_cap_and_outlives_who_made_it,
    members::keys_of_an_organization_are_changed_by_whose_they_are_and_revoked_by_owners_too,
    members::one_members_keys_take_no_place_of_anothers,
    members::no_key_is_made_in_an_organization_by_whom_was_disabled_or_removed_before_it,
    member_caps::a_cap_stops_one_member_at_what_they_hold_and_spent_and_nobody_else,
    member_caps::of_what_is_left_of_a_cap_a_part_is_held_or_nothing_where_the_whole_is_required,
    member_caps::where_the_account_has_too_little_that_is_said_and_not_the_cap,
    member_caps::a_cap_that_is_set_in_mid_month_counts_what_was_spent_and_one_below_that_lets_nothing_through,
    member_caps::with_the_turn_of_the_month_a_cap_begins_anew_and_what_is_held_goes_along,
    member_caps::the_first_call_of_a_month_is_the_settle_of_one_that_the_last_month_left,
    member_caps::a_clock_that_goes_back_over_the_turn_of_the_month_and_on_again_lets_nobody_spend_twice_in_between,
    member_caps::an_expiry_and_a_late_settle_count_when_they_come_and_the_late_one_beyond_the_cap,
    member_caps::a_request_that_is_repeated_counts_once_and_is_answered_though_the_cap_is_reached,
    member_caps::a_release_gives_back_to_the_cap_what_an_attempt_held,
    member_caps::sixteen_at_once_with_a_cap_for_five_are_five_whoever_they_come_to,
    member_caps::what_those_who_are_gone_spent_is_kept_for_a_month_and_a_service_accounts_no_longer_than_it_holds,
    member_caps::a_service_account_that_goes_while_its_calls_come_and_end_has_all_of_them_settled,
    member_caps::of_a_users_own_account_nothing_is_counted,
    ledger::folding_leaves_balances_grants_receipts_and_the_numbers_of_entries_right,
    ledger::pages_end_with_the_checkpoint_and_stay_right_when_it_is_made_between_two_of_them,
    ledger::an_entry_exactly_as_old_as_the_retention_is_kept_and_folded_a_millisecond_later,
    ledger::without_a_retention_all_is_written_and_nothing_is_folded,
    ledger::two_exports_at_once_write_and_fold_every_entry_and_the_store_folds_it_once,
    ledger::calls_go_on_while_the_ledger_is_folded_and_none_of_their_entries_is_lost,
    ledger::what_can_not_be_written_is_not_folded,
    ledger::a_fold_of_what_is_not_the_oldest_writes_nothing_and_the_same_fold_twice_is_one,
    usage::usage_is_summed_by_the_stores_days_once_for_each_call_and_says_what_an_export_took,
    export_command::the_command_exports_what_is_old_beside_those_who_use_the_store,
    export_command::without_a_retention_the_command_writes_all_to_standard_output_and_folds_nothing,
    export_command::standard_output_that_is_read_to_its_end_is_folded_whether_it_is_a_pipe_or_a_file,
    export_command::a_pipe_whose_reader_goes_away_ends_the_command_before_it_folds_what_was_not_read,
    export_command::standard_output_that_keeps_nothing_is_refused_before_anything_is_folded,
    export_command::an_account_that_contradicts_itself_is_passed_over_and_named_and_all_others_are_exported,
    export_command::a_named_pipe_that_nobody_reads_does_not_keep_a_signal_from_ending_the_command,
    export_command::a_process_that_is_killed_between_writing_and_folding_leaves_entries_written_twice_and_none_lost,
    export_command::a_signal_ends_the_command_and_what_was_not_written_is_not_folded,
    export_command::a_file_that_can_not_be_written_is_refused_with_what_to_do_and_nothing_is_folded,
    export_command::a_file_is_appended_to_and_a_line_that_broke_off_spoils_no_other,
    export_command::a_file_that_another_export_writes_to_is_waited_for,
}
