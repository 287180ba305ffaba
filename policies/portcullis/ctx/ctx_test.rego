package portcullis.ctx_test

import data.portcullis.ctx
import data.portcullis.fixture_test as fixture

_said := {"ok": ctx.ok, "stale": ctx.stale, "codes": {reason.code | some reason in ctx.reasons}}

_fine := {"ok": true, "stale": false, "codes": set()}

_at(different) := said if {
	said := _said with input as object.get(different, "input", fixture.calling("acme", "pay"))
		with data.system.bundles as object.get(different, "bundles", fixture.bundles)
		with data.portcullis_data as object.get(different, "data", fixture.front_door)
		with data.portcullis_live as object.get(different, "live", fixture.live)
		with time.now_ns as object.get(different, "now", fixture.now)
}

test_whole_young_data_of_the_same_mode_is_fine if _at({}) == _fine

test_each_bundle_is_needed[name] if {
	some name in ["policy", "custom", "tenants", "live"]
	said := _at({"bundles": object.remove(fixture.bundles, [name])})
	said == {"ok": false, "stale": false, "codes": {"policy_data_missing"}}
}

test_a_bundle_without_a_revision_is_not_there[name] if {
	some name in ["policy", "custom", "tenants", "live"]
	not _at({"bundles": object.union(fixture.bundles, {name: {"manifest": {"revision": ""}}})}).ok
}

test_each_key_of_the_tenants_data_is_needed[key] if {
	some key in (object.keys(fixture.front_door) - {"contested"})
	said := _at({"data": object.remove(fixture.front_door, [key])})
	said.ok == false
	"policy_data_missing" in said.codes
}

test_each_key_of_the_live_data_is_needed[key] if {
	some key in object.keys(fixture.live)
	said := _at({"live": object.remove(fixture.live, [key])})
	said.ok == false
	"policy_data_missing" in said.codes
}

test_each_setting_is_needed[key] if {
	some key in object.keys(fixture.front_door.settings)
	settings := object.remove(fixture.front_door.settings, [key])
	_at({"data": object.union(object.remove(fixture.front_door, ["settings"]), {"settings": settings})}).ok == false
}

test_another_mode_is_refused if {
	question := fixture.in_egress(fixture.calling("acme", "pay"))
	_at({"input": question}) == {"ok": false, "stale": false, "codes": {"mode_mismatch"}}
}

test_another_version_of_the_question_is_refused if {
	question := object.union(fixture.calling("acme", "pay"), {"v": 2})
	_at({"input": question}) == {"ok": false, "stale": false, "codes": {"mode_mismatch"}}
}

test_old_data_is_served_and_said_to_be_old if {
	_at({"now": fixture.now + 300000000000}) == {"ok": true, "stale": true, "codes": set()}
}

test_old_data_is_refused_where_the_operator_wants_it_so if {
	strict := object.union(fixture.front_door, {"settings": {"on_stale": "deny"}})
	said := _at({"data": strict, "now": fixture.now + 300000000000})
	said == {"ok": false, "stale": true, "codes": {"data_stale"}}
}

test_data_is_young_until_the_limit if _at({"now": fixture.now + 290000000000}) == _fine

test_data_of_a_clock_ahead_is_stale_after_five_seconds if {
	_at({"now": 1789999995000000000}) == _fine
	_at({"now": 1789999994999999999}) == {"ok": true, "stale": true, "codes": set()}
}

test_epoch_and_revision_are_empty_while_live_is_missing if {
	ctx.epoch == "" with data.portcullis_live as {}
	ctx.revision == 0 with data.portcullis_live as {}
	ctx.epoch == "e1" with data.portcullis_live as fixture.live
	ctx.revision == 7 with data.portcullis_live as fixture.live
}

test_a_name_becomes_the_one_offered_id[name] if {
	some name, id in {"pay": "bank/pay", "refund": "bank/refund"}
	ctx.id == id with input as fixture.calling("acme", name) with data.portcullis_data as fixture.front_door
}

test_a_name_of_two_offered_tools_becomes_none if {
	not ctx.id with input as fixture.calling("acme", "report") with data.portcullis_data as fixture.front_door
}

test_a_name_of_two_tools_becomes_the_one_that_is_offered if {
	ctx.id == "bank/report" with input as fixture.calling("umbra", "report")
		with data.portcullis_data as fixture.front_door
}

test_at_one_server_its_own_name_counts if {
	question := object.union(fixture.calling("acme", "report"), {"view": "server", "target": {"server": "desk"}})
	ctx.id == "desk/report" with input as question with data.portcullis_data as fixture.front_door
}

test_only_a_known_tenant_is_a_tenant if {
	ctx.tenant == "acme" with input as fixture.calling("acme", "pay") with data.portcullis_data as fixture.front_door
	not ctx.tenant with input as fixture.calling("nobody", "pay") with data.portcullis_data as fixture.front_door
	not ctx.tenant with input as fixture.calling(null, "pay") with data.portcullis_data as fixture.front_door
}

test_arguments_are_those_of_the_call if {
	ctx.arguments == {} with input as fixture.calling("acme", "pay")
	not ctx.arguments with input as {"target": {"arguments_omitted": true}}
}
