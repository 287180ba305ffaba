package portcullis.role_test

import data.portcullis.fixture_test as fixture
import data.portcullis.role

_said(question, documents, bindings) := said if {
	said := {"sees": role.ok, "invokes": role.invokes, "roles": role.roles} with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as object.union(fixture.live, {"bindings": bindings})
}

_granting(question, documents, bindings) := granting if {
	granting := role.granting with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as object.union(fixture.live, {"bindings": bindings})
}

_codes(question, bindings) := codes if {
	codes := {reason.permission | some reason in role.reasons} with input as question
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as object.union(fixture.live, {"bindings": bindings})
}

_calling := fixture.calling("acme", "pay")

_reading(target) := fixture.administering("acme", "mcp_servers:read", target)

test_somebody_never_assigned_anything_has_the_default_role if {
	_said(_calling, fixture.front_door, {}) == {"sees": true, "invokes": true, "roles": {"developer"}}
}

test_no_default_role_where_it_is_switched_off if {
	documents := object.union(fixture.front_door, {"settings": {"default_role": null}})
	_said(_calling, documents, {}) == {"sees": false, "invokes": false, "roles": set()}
	_codes(_calling, {"user:jo": {"global": {}}}) == {"tool:list"}
}

test_an_assigned_role_takes_the_place_of_the_default[scope] if {
	some scope in ["global", "tenant:acme"]
	_said(_calling, fixture.front_door, {"user:jo": {scope: {"viewer": {}}}}) == {
		"sees": true,
		"invokes": false,
		"roles": {"viewer"},
	}
	_codes(_calling, {"user:jo": {scope: {"viewer": {}}}}) == {"tool:invoke"}
}

test_config_assigns_as_the_ledger_does if {
	documents := object.union(fixture.front_door, {"rbac": {"bindings": {"group:g": {"global": {"viewer": {}}}}}})
	question := object.union(_calling, {"principal": {"groups": ["g"]}})
	_said(question, documents, {}).roles == {"viewer"}
	_said(_calling, documents, {}).roles == {"developer"}
}

test_a_role_elsewhere_is_none_here if {
	_said(_calling, fixture.front_door, {"user:jo": {"tenant:umbra": {"viewer": {}}}}).roles == {"developer"}
}

test_a_revoked_role_never_falls_back[scope] if {
	some scope in ["global", "tenant:acme"]
	_said(_calling, fixture.front_door, {"user:jo": {scope: {}}}).roles == set()
}

test_an_assignment_of_an_issuer_is_for_its_subjects_alone if {
	mine := {"user:jo": {"global": {"viewer": {"issuer": "https://issuer.example"}}}}
	others := {"user:jo": {"global": {"viewer": {"issuer": "https://other.example"}}}}
	_said(_calling, fixture.front_door, mine).roles == {"viewer"}
	_said(_calling, fixture.front_door, others).roles == {"developer"}
}

test_a_wildcard_permits_what_is_under_it if {
	_said(_calling, fixture.front_door, {"user:jo": {"global": {"admin": {}}}}).invokes
	_granting(_reading(null), fixture.front_door, {"user:jo": {"global": {"keeper": {}}}}) == {"keeper"}
	_said(_calling, fixture.front_door, {"user:jo": {"global": {"keeper": {}}}}).sees == false
}

test_a_key_has_its_own_role_and_no_default if {
	_said(fixture.with_key(_calling, "viewer"), fixture.front_door, {}).roles == {"viewer"}
	_said(fixture.with_key(_calling, null), fixture.front_door, {}).roles == {"developer"}
}

test_a_key_bound_to_a_tenant_has_nothing_of_its_principals_global_roles if {
	bindings := {"user:jo": {"global": {"admin": {}}, "tenant:acme": {"viewer": {}}}}
	_said(fixture.with_key(_calling, null), fixture.front_door, bindings).roles == {"viewer"}
}

test_a_key_bound_to_a_tenant_administers_that_tenant_alone if {
	_granting(fixture.with_key(_reading("acme"), "admin"), fixture.front_door, {}) == {"admin"}
	_granting(fixture.with_key(_reading("umbra"), "admin"), fixture.front_door, {}) == set()
	_granting(fixture.with_key(_reading(null), "admin"), fixture.front_door, {}) == set()
}

test_a_key_bound_to_none_administers_everywhere[target] if {
	some target in ["acme", null]
	question := object.union(_reading(target), {"principal": {"tenant": null}})
	_granting(fixture.with_key(question, "admin"), fixture.front_door, {}) == {"admin"}
}

test_a_key_bound_to_none_in_egress_has_its_roles_there if {
	question := fixture.with_key(fixture.in_egress(fixture.calling(null, "bank__pay")), "viewer")
	_said(question, fixture.egress, {}).roles == {"viewer"}
}

test_a_role_at_a_tenant_administers_that_tenant_alone if {
	bindings := {"user:jo": {"tenant:umbra": {"keeper": {}}}}
	_granting(_reading("umbra"), fixture.front_door, bindings) == {"keeper"}
	_granting(_reading("acme"), fixture.front_door, bindings) == {"developer"}
	_granting(_reading(null), fixture.front_door, bindings) == set()
}

test_the_default_role_administers_the_own_tenant_alone_at_the_front_door if {
	_granting(_reading("acme"), fixture.front_door, {}) == {"developer"}
	_granting(_reading("umbra"), fixture.front_door, {}) == set()
	_granting(_reading(null), fixture.front_door, {}) == set()
	_granting(fixture.administering("nobody", "mcp_servers:read", "nobody"), fixture.front_door, {}) == set()
	_codes(_reading(null), {}) == {"mcp_servers:read"}
}

test_the_default_role_administers_anywhere_in_egress[target] if {
	some target in ["acme", "umbra", null]
	_granting(fixture.in_egress(_reading(target)), fixture.egress, {}) == {"developer"}
}

test_in_egress_somebody_without_a_tenant_has_the_default_role if {
	_said(fixture.in_egress(fixture.calling(null, "bank__pay")), fixture.egress, {}).invokes
}

test_an_anonymous_caller_has_tools_in_egress_and_nothing_else if {
	question := fixture.anonymously(fixture.calling(null, "bank__pay"))
	_said(question, fixture.egress, {}) == {"sees": true, "invokes": true, "roles": set()}
	closed := object.union(fixture.egress, {"settings": {"anonymous": false}})
	_said(question, closed, {}) == {"sees": false, "invokes": false, "roles": set()}
	_granting(fixture.anonymously(_reading(null)), fixture.egress, {"anonymous": {"global": {"admin": {}}}}) == set()
}

test_an_anonymous_caller_has_nothing_at_the_front_door if {
	documents := object.union(fixture.front_door, {"settings": {"anonymous": true}})
	question := object.union(fixture.anonymously(_calling), {"mode": "front_door", "principal": {"tenant": "acme"}})
	nothing := {"sees": false, "invokes": false, "roles": set()}
	_said(question, documents, {}) == nothing
	_said(question, documents, {"anonymous": {"global": {"admin": {}}, "tenant:acme": {"admin": {}}}}) == nothing
}

test_an_anonymous_caller_invokes_nothing_by_an_admin_action if {
	question := fixture.anonymously(_reading(null))
	_said(question, fixture.egress, {}) == {"sees": false, "invokes": false, "roles": set()}
}

test_a_question_about_tools_grants_no_admin_action if {
	_granting(_calling, fixture.front_door, {"user:jo": {"global": {"admin": {}}}}) == set()
}

test_the_agent_of_this_machine_has_the_default_role_in_its_tenant_or_what_it_is_given_there if {
	question := fixture.locally(_calling)
	_said(question, fixture.front_door, {}) == {"sees": true, "invokes": true, "roles": {"developer"}}
	_said(question, fixture.front_door, {"service:stdio": {"tenant:acme": {"viewer": {}}}}).roles == {"viewer"}

	# It is of one tenant, like a key that is: what is bound globally does not count.
	_said(question, fixture.front_door, {"service:stdio": {"global": {"admin": {}}}}).roles == set()
	_granting(fixture.locally(_reading("umbra")), fixture.front_door, {"service:stdio": {"tenant:umbra": {"admin": {}}}}) == set()
}
