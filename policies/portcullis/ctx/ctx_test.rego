package portcullis.ctx_test

import data.portcullis.ctx
import data.portcullis.fixture_test as fixture

_said := {"ok": ctx.ok, "stale": ctx.stale, "codes": {reason.code | some reason in ctx.reasons}}

_fine := {"ok": true, "stale": false, "codes": set()}

_missing := {"ok": false, "stale": false, "codes": {"policy_data_missing"}}

_at(different) := said if {
	said := _said with input as object.get(different, "input", fixture.calling("acme", "pay"))
		with data.system.bundles as object.get(different, "bundles", fixture.bundles)
		with data.portcullis_data as object.get(different, "data", fixture.front_door)
		with data.portcullis_live as object.get(different, "live", fixture.live)
}

_after(seconds) := object.union(
	fixture.calling("acme", "pay"),
	{"request": {"time": fixture.live.generated_at + seconds}},
)

test_whole_young_data_of_the_same_mode_is_fine if _at({}) == _fine

test_each_bundle_is_needed[name] if {
	some name in ["policy", "custom", "tenants", "live"]
	_at({"bundles": object.remove(fixture.bundles, [name])}) == _missing
}

test_a_bundle_without_a_revision_is_not_there[name] if {
	some name in ["policy", "custom", "tenants", "live"]
	_at({"bundles": object.union(fixture.bundles, {name: {"manifest": {"revision": ""}}})}) == _missing
}

test_each_key_of_the_tenants_data_is_needed[key] if {
	some key in object.keys(fixture.front_door)
	said := _at({"data": object.remove(fixture.front_door, [key])})
	said.ok == false
	said.codes == {"policy_data_missing"}
}

test_each_key_of_the_live_data_is_needed[key] if {
	some key in object.keys(fixture.live)
	said := _at({"live": object.remove(fixture.live, [key])})
	said.ok == false
	said.codes == {"policy_data_missing"}
}

_without_setting(key) := object.union(
	object.remove(fixture.front_door, ["settings"]),
	{"settings": object.remove(fixture.front_door.settings, [key])},
)

test_what_says_whether_old_data_is_served_is_needed if _at({"data": _without_setting("on_stale")}) == _missing

test_while_nothing_says_how_old_data_may_be_all_of_it_is_old if {
	_at({"data": _without_setting("max_staleness_seconds")}).stale == true
}

test_another_mode_is_refused if {
	question := fixture.in_egress(fixture.calling("acme", "pay"))
	_at({"input": question}) == {"ok": false, "stale": false, "codes": {"mode_mismatch"}}
}

test_another_version_of_the_question_is_refused if {
	question := object.union(fixture.calling("acme", "pay"), {"v": 1})
	_at({"input": question}) == {"ok": false, "stale": false, "codes": {"mode_mismatch"}}
}

test_old_data_is_served_and_said_to_be_old if {
	_at({"input": _after(301)}) == {"ok": true, "stale": true, "codes": set()}
}

test_old_data_is_refused_where_the_operator_wants_it_so if {
	strict := object.union(fixture.front_door, {"settings": {"on_stale": "deny"}})
	said := _at({"data": strict, "input": _after(301)})
	said == {"ok": false, "stale": true, "codes": {"data_stale"}}
}

test_no_other_word_says_that_old_data_may_be_served[word] if {
	some word in ["Serve", "", true, null]
	odd := object.union(fixture.front_door, {"settings": {"on_stale": word}})
	_at({"data": odd}) == _missing
}

test_data_is_young_until_the_limit if _at({"input": _after(300)}) == _fine

test_data_of_a_clock_ahead_is_stale_after_five_seconds if {
	_at({"input": _after(-5)}) == _fine
	_at({"input": _after(-6)}) == {"ok": true, "stale": true, "codes": set()}
}

test_a_question_that_says_no_time_is_judged_by_data_that_may_be_old if {
	_at({"input": object.remove(fixture.calling("acme", "pay"), ["request"])}).stale == true
}

test_epoch_revision_and_config_are_empty_while_data_is_missing if {
	ctx.epoch == "" with data.portcullis_live as {}
	ctx.revision == 0 with data.portcullis_live as {}
	ctx.config == "" with data.portcullis_data as {}
	ctx.epoch == "e1" with data.portcullis_live as fixture.live
	ctx.revision == 7 with data.portcullis_live as fixture.live
	ctx.config == "c0ffeec0ffeec0ff" with data.portcullis_data as fixture.front_door
}

_tenant(question, documents) := {"tenant": tenant, "active": active} if {
	tenant := ctx.tenant with input as question with data.portcullis_data as documents
	active := ctx.entry.active with input as question with data.portcullis_data as documents
}

test_only_a_known_tenant_is_a_tenant if {
	_tenant(fixture.calling("acme", "pay"), fixture.front_door) == {"tenant": "acme", "active": true}
	not _tenant(fixture.calling("nobody", "pay"), fixture.front_door)
	not _tenant(fixture.calling(null, "pay"), fixture.front_door)
}

test_whoever_has_no_tenant_may_be_acting_for_one if {
	_tenant(fixture.acting_for(fixture.calling(null, "pay"), "acme"), fixture.front_door).tenant == "acme"
	not _tenant(fixture.acting_for(fixture.calling(null, "pay"), "nobody"), fixture.front_door)
}

test_nobody_is_of_one_tenant_and_acts_for_another if {
	both := object.union(fixture.calling("acme", "pay"), {"principal": {"acting_for": "umbra"}})
	not ctx.entry with input as both with data.portcullis_data as fixture.front_door
}

test_who_acts_for_nobody_says_so if {
	silent := json.remove(fixture.calling("acme", "pay"), [["principal", "acting_for"]])
	not ctx.entry with input as silent with data.portcullis_data as fixture.front_door
}

test_in_egress_everybody_else_has_the_entry_of_everybody[tenant] if {
	some tenant in [null, "nobody"]
	entry := ctx.entry with input as fixture.in_egress(fixture.calling(tenant, "pay"))
		with data.portcullis_data as fixture.egress
	entry == fixture.egress.everyone
}

test_arguments_are_those_of_the_call if {
	ctx.arguments == {} with input as fixture.calling("acme", "pay")
	not ctx.arguments with input as {"target": {"arguments_omitted": true}}
}

test_obligations_are_those_of_the_tenant if {
	ctx.obligations == {"limits": {"requests_per_minute": 60}} with input as fixture.calling("acme", "pay")
		with data.portcullis_data as fixture.front_door
	ctx.obligations == {} with input as fixture.calling("nobody", "pay") with data.portcullis_data as fixture.front_door
}
