package portcullis.withdrawal_test

import data.portcullis.fixture_test as fixture
import data.portcullis.withdrawal

_said(question, documents, live) := said if {
	said := {"ok": withdrawal.ok, "reasons": withdrawal.reasons, "taken": withdrawal.taken} with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as live
}

_live(overlay) := object.union(fixture.live, {"withdrawn": overlay})

_reason(scope, origin) := {"code": "withdrawn", "layer": "withdrawal", "scope": scope, "origin": origin}

test_what_nobody_took_away_is_left if {
	said := _said(fixture.calling("acme", "pay"), fixture.front_door, fixture.live)
	said == {"ok": true, "reasons": set(), "taken": {"bank/old", "desk/report"}}
}

test_config_withdraws_for_all if {
	said := _said(fixture.calling("acme", "old"), fixture.front_door, fixture.live)
	said == {"ok": false, "reasons": {_reason("global", "config")}, "taken": {"bank/old", "desk/report"}}
}

test_config_withdraws_for_one_tenant if {
	question := fixture.at_server(fixture.calling("acme", "report"), "desk")
	_said(question, fixture.front_door, fixture.live).reasons == {_reason("tenant", "config")}
	_said(object.union(question, {"principal": {"tenant": "dormant"}}), fixture.front_door, fixture.live).ok
}

test_an_operator_withdraws_for_all if {
	said := _said(fixture.calling("acme", "pay"), fixture.front_door, _live({"global": {"bank/pay": {"by": "user:root"}}}))
	said.ok == false
	said.reasons == {_reason("global", "runtime")}
	said.taken == {"bank/old", "bank/pay", "desk/report"}
}

test_an_operator_withdraws_for_one_tenant if {
	live := _live({"tenant": {"acme": {"bank/pay": {}}}})
	_said(fixture.calling("acme", "pay"), fixture.front_door, live).reasons == {_reason("tenant", "runtime")}
	_said(fixture.calling("umbra", "pay"), fixture.front_door, live).ok
	_said(fixture.calling("umbra", "pay"), fixture.front_door, live).taken == {"bank/old"}
}

test_what_is_withdrawn_from_a_tenant_is_so_for_whoever_acts_for_it if {
	live := _live({"tenant": {"acme": {"bank/pay": {}}}})
	acting := fixture.acting_for(fixture.calling(null, "pay"), "acme")
	_said(acting, fixture.front_door, live).reasons == {_reason("tenant", "runtime")}
	_said(acting, fixture.front_door, live).taken == {"bank/old", "bank/pay", "desk/report"}
	_said(acting, fixture.front_door, fixture.live).ok
}

test_every_overlay_that_withdraws_is_named if {
	live := _live({"global": {"bank/old": {}}, "tenant": {"acme": {"bank/old": {}}}})
	_said(fixture.calling("acme", "old"), fixture.front_door, live).reasons == {
		_reason("global", "config"),
		_reason("global", "runtime"),
		_reason("tenant", "runtime"),
	}
}

test_without_a_tenant_only_what_is_withdrawn_for_all_counts if {
	said := _said(fixture.anonymously(fixture.calling(null, "bank__pay")), fixture.egress, fixture.live)
	said == {"ok": true, "reasons": set(), "taken": {"bank/old"}}
}

test_prompts_and_resources_are_withdrawn_by_their_ids if {
	live := _live({"global": {"library#prompts/greet": {}, "library#resources/file:///index": {}}})
	_said(fixture.prompting("reader", "greet"), fixture.front_door, live).ok == false
	_said(fixture.reading("reader", "file:///index", []), fixture.front_door, live).ok == false
	_said(fixture.reading("reader", "file:///terms", []), fixture.front_door, live).ok
}

_path := "file:///{+path}"

test_a_template_that_is_withdrawn_reads_nothing if {
	live := _live({"tenant": {"reader": {"library#resources/file:///books/{name}": {}}}})
	books := [_path, "file:///books/{name}"]
	said := _said(fixture.reading("reader", "file:///books/emma", books), fixture.front_door, live)
	said.ok == false
	said.reasons == {_reason("tenant", "runtime")}
	_said(fixture.reading("reader", "file:///books/emma", [_path]), fixture.front_door, live).ok
}

test_what_is_withdrawn_is_not_read_through_a_template if {
	live := _live({"global": {"library#resources/file:///new": {}}})
	said := _said(fixture.reading("reader", "file:///new", [_path]), fixture.front_door, live)
	said.ok == false
	said.reasons == {_reason("global", "runtime")}
	_said(fixture.reading("reader", "file:///newer", [_path]), fixture.front_door, live).ok
}

test_a_missing_overlay_leaves_nothing[note] if {
	some note, question in {
		"tool": fixture.calling("acme", "pay"),
		"acting": fixture.acting_for(fixture.calling(null, "pay"), "acme"),
		"resource": fixture.reading("reader", "file:///index", []),
	}
	every path in [["withdrawn"], ["withdrawn", "global"], ["withdrawn", "tenant"]] {
		_ok(question, json.remove(fixture.front_door, [path]), fixture.live) == false
		_ok(question, fixture.front_door, json.remove(fixture.live, [path])) == false
	}
}

test_without_a_target_nothing_is_kept if {
	_ok(fixture.listing("acme"), fixture.front_door, fixture.live) == false
}

_ok(question, documents, live) := ok if {
	ok := withdrawal.ok with input as question with data.portcullis_data as documents with data.portcullis_live as live
}
