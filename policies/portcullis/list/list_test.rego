package portcullis.list_test

import data.portcullis.fixture_test as fixture
import data.portcullis.list

_decision(question, custom, live) := decision if {
	decision := list.decision with input as question
		with data.custom as custom
		with data.system.bundles as fixture.bundles
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as live
}

_limits := {"obligations": {"limits": {"requests_per_minute": 60}}}

_answer(different) := object.union(
	{
		"allow": true,
		"ids": [],
		"epoch": "e1",
		"revision": 7,
		"config": "c0ffeec0ffeec0ff",
		"stale": false,
		"reasons": [],
		"obligations": {},
	},
	different,
)

test_lists_what_every_layer_leaves if {
	_decision(fixture.listing("acme"), {}, fixture.live) == _answer(object.union({"ids": {"bank/pay"}}, _limits))
}

test_lists_what_a_withdrawal_at_runtime_leaves if {
	live := object.union(fixture.live, {"withdrawn": {"global": {"bank/pay": {}}}})
	_decision(fixture.listing("acme"), {}, live) == _answer(object.union({"ids": set()}, _limits))
}

test_lists_what_custom_policy_leaves if {
	_decision(fixture.listing("acme"), {"p": {"hide": {"bank/pay"}}}, fixture.live) == _answer(object.union({"ids": set()}, _limits))
	_decision(fixture.listing("acme"), {"p": {"deny": {"no"}}}, fixture.live) == _answer(object.union({"ids": {"bank/pay"}}, _limits))
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
	live := object.union(fixture.live, {"bindings": {"user:jo": {"global": {"viewer": {"": false}}}}})
	reasons := {{"code": "missing_permission", "layer": "role", "permission": "tool:list"}}
	_decision(fixture.listing("acme"), {}, live) == _answer(object.union({"allow": false, "reasons": reasons}, _limits))
}

test_refuses_with_an_error_what_is_no_list if {
	reasons := [{"code": "policy_error", "layer": "core"}]
	_decision(fixture.calling("acme", "pay"), {}, fixture.live) == _answer(object.union({"allow": false, "reasons": reasons}, _limits))
}

test_says_that_no_role_lets_see_at_one_server if {
	live := object.union(fixture.live, {"bindings": {"user:jo": {"global": {"viewer": {"": false}}}}})
	question := object.union(fixture.listing("acme"), {"view": "server", "target": {"server": "bank"}})
	reasons := {{"code": "missing_permission", "layer": "role", "permission": "tool:list"}}
	_decision(question, {}, live) == _answer(object.union({"allow": false, "reasons": reasons}, _limits))
}

test_lists_each_kind_by_its_own_action[action] if {
	some action, expected in {
		"prompts/list": {"kind": "prompt", "ids": {"library#prompts/greet"}},
		"resources/list": {
			"kind": "resource",
			"ids": {"library#resources/file:///index", "library#resources/file:///terms"},
		},
		"resources/templates/list": {
			"kind": "resource",
			"ids": {"library#resources/file:///books/{name}", "library#resources/file:///{+path}"},
		},
	}
	question := fixture.listing_of("reader", action, expected.kind)
	_decision(question, {}, fixture.live) == _answer({"ids": expected.ids})
}

test_refuses_a_list_of_another_kind[action] if {
	some action in ["prompts/list", "resources/list", "resources/templates/list", "tools/lists"]
	decision := _decision(fixture.listing_of("reader", action, "tool"), {}, fixture.live)
	decision.allow == false
	decision.ids == []
}

test_lists_nothing_of_a_kind_that_is_not_offered if {
	decision := _decision(fixture.listing_of("acme", "prompts/list", "prompt"), {}, fixture.live)
	decision == _answer(object.union({"ids": set()}, _limits))
}
