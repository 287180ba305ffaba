package portcullis.admin_test

import data.portcullis.admin
import data.portcullis.fixture_test as fixture

_decision(question, bindings) := decision if {
	decision := admin.decision with input as question
		with data.system.bundles as fixture.bundles
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as object.union(fixture.live, {"bindings": bindings})
}

_withdrawing(target) := fixture.administering(null, "mcp_servers:lifecycle", target)

_answer(different) := object.union(
	{"allow": false, "roles": [], "epoch": "e1", "revision": 7, "config": "c0ffeec0ffeec0ff", "stale": false, "reasons": []},
	different,
)

_refused := _answer({"reasons": {{
	"code": "missing_permission",
	"layer": "role",
	"permission": "mcp_servers:lifecycle",
}}})

test_admits_by_every_role_that_permits if {
	bindings := {"user:jo": {"global": {"admin": {"": true}, "viewer": {"": true}}, "tenant:acme": {"keeper": {"": true}}}}
	_decision(_withdrawing("acme"), bindings) == _answer({"allow": true, "roles": {"admin", "keeper"}})
	_decision(_withdrawing(null), bindings) == _answer({"allow": true, "roles": {"admin"}})
}

test_refuses_whom_no_role_permits if {
	_decision(_withdrawing(null), {}) == _refused
	_decision(_withdrawing("acme"), {"user:jo": {"tenant:umbra": {"keeper": {"": true}}}}) == _refused
}

test_refuses_a_caller_without_a_credential if {
	question := object.union(fixture.anonymously(_withdrawing(null)), {"mode": "front_door"})
	reasons := {{"code": "anonymous_not_admitted", "layer": "frontdoor"}}
	_decision(question, {"anonymous": {"global": {"admin": {"": true}}}}) == _answer({"reasons": reasons})
}

test_refuses_data_of_another_mode if {
	reasons := {{"code": "mode_mismatch", "layer": "ctx"}}
	_decision(fixture.in_egress(_withdrawing(null)), {}) == _answer({"reasons": reasons})
}

test_refuses_with_an_error_a_question_about_tools if {
	reasons := [{"code": "policy_error", "layer": "core"}]
	_decision(fixture.calling("acme", "pay"), {}) == _answer({"reasons": reasons})
}

test_refuses_who_acts_for_a_tenant_without_the_right if {
	question := object.union(fixture.acting_for(_withdrawing("acme"), "acme"), {"principal": {"credential": {"role": "keeper"}}})
	reasons := {{"code": "missing_permission", "layer": "role", "permission": "tenant:act_as"}}
	_decision(question, {}) == _answer({"reasons": reasons})
	_decision(fixture.acting_for(_withdrawing("acme"), "acme"), {}).reasons == {{
		"code": "missing_permission",
		"layer": "role",
		"permission": "mcp_servers:lifecycle",
	}}
}

test_refuses_to_hand_out_more_than_is_held if {
	question := object.union(_withdrawing(null), {"target": {"grants": {"role": "admin", "scope": "global"}}})
	reasons := {{"code": "exceeds_own_rights", "layer": "role"}}
	_decision(question, {"user:jo": {"global": {"keeper": {"": true}}}}) == _answer({"reasons": reasons})
	_decision(question, {"user:jo": {"global": {"admin": {"": true}}}}).allow
}
