package portcullis.list_test

import data.portcullis.fixture_test as fixture
import data.portcullis.list

_decision(question, custom, live) := decision if {
	decision := list.decision with input as question
		with data.custom as custom
		with data.system.bundles as fixture.bundles
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as live
		with time.now_ns as fixture.now
}

_answer(different) := object.union(
	{
		"allow": true,
		"ids": [],
		"epoch": "e1",
		"revision": 7,
		"stale": false,
		"reasons": [],
		"obligations": {},
	},
	different,
)

test_lists_what_every_layer_leaves if {
	_decision(fixture.listing("acme"), {}, fixture.live) == _answer({"ids": {"bank/pay"}})
}

test_lists_what_a_withdrawal_at_runtime_leaves if {
	live := object.union(fixture.live, {"withdrawn": {"global": {"bank/pay": {}}}})
	_decision(fixture.listing("acme"), {}, live) == _answer({"ids": set()})
}

test_lists_what_custom_policy_leaves if {
	_decision(fixture.listing("acme"), {"p": {"hide": {"bank/pay"}}}, fixture.live) == _answer({"ids": set()})
	_decision(fixture.listing("acme"), {"p": {"deny": {"no"}}}, fixture.live) == _answer({"ids": {"bank/pay"}})
}

test_says_why_there_is_nothing[code] if {
	some code, question in {
		"no_tenant": fixture.listing(null),
		"unknown_tenant": fixture.listing("nobody"),
		"tenant_suspended": fixture.listing("dormant"),
		"mode_mismatch": fixture.in_egress(fixture.listing("acme")),
		"unknown_target": object.union(fixture.listing("acme"), {"view": "server", "target": {"server": "lost"}}),
	}
	decision := _decision(question, {}, fixture.live)
	decision.allow == false
	decision.ids == []
	{reason.code | some reason in decision.reasons} == {code}
}

test_says_that_no_role_lets_see if {
	live := object.union(fixture.live, {"bindings": {"user:jo": {"global": {}}}})
	reasons := {{"code": "missing_permission", "layer": "role", "permission": "tool:list"}}
	_decision(fixture.listing("acme"), {}, live) == _answer({"allow": false, "reasons": reasons})
}

test_refuses_with_an_error_what_is_no_list if {
	reasons := [{"code": "policy_error", "layer": "core"}]
	_decision(fixture.calling("acme", "pay"), {}, fixture.live) == _answer({"allow": false, "reasons": reasons})
}

test_says_that_no_role_lets_see_at_one_server if {
	live := object.union(fixture.live, {"bindings": {"user:jo": {"global": {}}}})
	question := object.union(fixture.listing("acme"), {"view": "server", "target": {"server": "bank"}})
	reasons := {{"code": "missing_permission", "layer": "role", "permission": "tool:list"}}
	_decision(question, {}, live) == _answer({"allow": false, "reasons": reasons})
}
