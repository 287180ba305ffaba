package portcullis.withdrawal_test

import data.portcullis.fixture_test as fixture
import data.portcullis.withdrawal

_said(question, documents, live) := said if {
	said := {"ok": withdrawal.ok, "reasons": withdrawal.reasons, "ids": withdrawal.ids} with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as live
}

_live(overlay) := object.union(fixture.live, {"withdrawn": overlay})

_reason(scope, origin) := {"code": "withdrawn", "layer": "withdrawal", "scope": scope, "origin": origin}

test_a_tool_that_nobody_took_away_is_left if {
	said := _said(fixture.calling("acme", "pay"), fixture.front_door, fixture.live)
	said == {"ok": true, "reasons": set(), "ids": {"bank/old", "desk/report"}}
}

test_config_withdraws_for_all if {
	said := _said(fixture.calling("acme", "old"), fixture.front_door, fixture.live)
	said == {"ok": false, "reasons": {_reason("global", "config")}, "ids": {"bank/old", "desk/report"}}
}

test_config_withdraws_for_one_tenant if {
	question := object.union(fixture.calling("acme", "report"), {"view": "server", "target": {"server": "desk"}})
	_said(question, fixture.front_door, fixture.live).reasons == {_reason("tenant", "config")}
	_said(object.union(question, {"principal": {"tenant": "dormant"}}), fixture.front_door, fixture.live).ok
}

test_an_operator_withdraws_for_all if {
	said := _said(fixture.calling("acme", "pay"), fixture.front_door, _live({"global": {"bank/pay": {"by": "user:root"}}}))
	said.ok == false
	said.reasons == {_reason("global", "runtime")}
	said.ids == {"bank/old", "bank/pay", "desk/report"}
}

test_an_operator_withdraws_for_one_tenant if {
	live := _live({"tenant": {"acme": {"bank/pay": {}}}})
	_said(fixture.calling("acme", "pay"), fixture.front_door, live).reasons == {_reason("tenant", "runtime")}
	_said(fixture.calling("umbra", "pay"), fixture.front_door, live).ok
	_said(fixture.calling("umbra", "pay"), fixture.front_door, live).ids == {"bank/old"}
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
	said == {"ok": true, "reasons": set(), "ids": {"bank/old"}}
}

test_a_missing_overlay_leaves_nothing[path] if {
	some path in [["withdrawn"], ["withdrawn", "global"], ["withdrawn", "tenant"]]
	question := fixture.calling("acme", "pay")
	every ok in [
		_ok(question, json.remove(fixture.front_door, [path]), fixture.live),
		_ok(question, fixture.front_door, json.remove(fixture.live, [path])),
	] {
		ok == false
	}
}

_ok(question, documents, live) := ok if {
	ok := withdrawal.ok with input as question with data.portcullis_data as documents with data.portcullis_live as live
}
