package portcullis.call_test

import data.portcullis.call
import data.portcullis.fixture_test as fixture

_decision(question, live) := decision if {
	decision := call.decision with input as question
		with data.custom as {}
		with data.system.bundles as fixture.bundles
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as live
}

test_admits_what_every_layer_admits if {
	_decision(fixture.calling("acme", "pay"), fixture.live) == {
		"allow": true,
		"visible": true,
		"id": "bank/pay",
		"epoch": "e1",
		"revision": 7,
		"config": "c0ffeec0ffeec0ff",
		"stale": false,
		"reasons": [],
		"obligations": {"limits": {"requests_per_minute": 60}},
	}
}

test_shows_what_may_be_seen_and_not_called if {
	live := object.union(fixture.live, {"bindings": {"user:jo": {"global": {"viewer": {"": true}}}}})
	_decision(fixture.calling("acme", "pay"), live) == {
		"allow": false,
		"visible": true,
		"id": "bank/pay",
		"epoch": "e1",
		"revision": 7,
		"config": "c0ffeec0ffeec0ff",
		"stale": false,
		"reasons": {{"code": "missing_permission", "layer": "role", "permission": "tool:invoke"}},
		"obligations": {"limits": {"requests_per_minute": 60}},
	}
}

test_names_the_tool_that_it_hides if {
	decision := _decision(fixture.calling("acme", "refund"), fixture.live)
	decision.visible == false
	decision.id == "bank/refund"
	decision.reasons == {{"code": "not_in_member_scope", "layer": "scope"}}
}

test_has_no_id_for_what_does_not_exist if {
	decision := _decision(fixture.calling("acme", "nothing"), fixture.live)
	decision.id == null
	decision.reasons == {{"code": "unknown_target", "layer": "catalog"}}
}

test_refuses_what_is_no_call[note] if {
	some note, question in {
		"a list": fixture.listing("acme"),
		"a list with a name": object.union(fixture.calling("acme", "pay"), {"action": "tools/list"}),
		"another kind": object.union(fixture.calling("acme", "pay"), {"kind": "prompt"}),
		"no kind": object.union(fixture.calling("acme", "pay"), {"kind": null}),
		"an admin action": fixture.administering("acme", "mcp_servers:read", "acme"),
	}
	decision := _decision(question, fixture.live)
	decision.allow == false
	decision.visible == false
	decision.id == null
}

test_admits_every_kind_by_its_own_action[note] if {
	some note, question in {
		"prompt": fixture.prompting("reader", "greet"),
		"resource": fixture.reading("reader", "file:///index", []),
		"template": fixture.reading("reader", "file:///new", ["file:///{+path}"]),
		"subscription": object.union(
			fixture.reading("reader", "file:///index", []),
			{"action": "resources/subscribe"},
		),
		"completion": object.union(fixture.prompting("reader", "greet"), {"action": "completion/complete"}),
		"own": fixture.calling("guild", "draw"),
		"acting": fixture.acting_for(fixture.calling(null, "pay"), "acme"),
	}
	_decision(question, fixture.live).allow == true
}

test_refuses_without_any_data_in_full_shape if {
	decision := call.decision with input as fixture.calling("acme", "pay")
		with data.system.bundles as {}
		with data.portcullis_data as {}
		with data.portcullis_live as {}
	decision == {
		"allow": false,
		"visible": false,
		"id": null,
		"epoch": "",
		"revision": 0,
		"config": "",
		"stale": true,
		"reasons": {{"code": "policy_data_missing", "layer": "ctx"}},
		"obligations": {},
	}
}
