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
	_codes(_calling, {"user:jo": {"global": {"viewer": {"": false}}}}) == {"tool:list"}
}

test_an_assigned_role_takes_the_place_of_the_default[scope] if {
	some scope in ["global", "tenant:acme"]
	_said(_calling, fixture.front_door, {"user:jo": {scope: {"viewer": {"": true}}}}) == {
		"sees": true,
		"invokes": false,
		"roles": {"viewer"},
	}
	_codes(_calling, {"user:jo": {scope: {"viewer": {"": true}}}}) == {"tool:invoke"}
}

test_config_assigns_as_the_ledger_does if {
	documents := object.union(fixture.front_door, {"rbac": {"groups": {"g": {"global": {"viewer": {"": true}}}}}})
	question := object.union(_calling, {"principal": {"groups": ["g"]}})
	_said(question, documents, {}).roles == {"viewer"}
	_said(_calling, documents, {}).roles == {"developer"}
}

test_a_role_elsewhere_is_none_here if {
	_said(_calling, fixture.front_door, {"user:jo": {"tenant:umbra": {"viewer": {"": true}}}}).roles == {"developer"}
}

test_a_revoked_role_never_falls_back[scope] if {
	some scope in ["global", "tenant:acme"]
	_said(_calling, fixture.front_door, {"user:jo": {scope: {"viewer": {"": false}}}}).roles == set()
}

test_an_assignment_of_an_issuer_is_for_its_subjects_alone if {
	mine := {"user:jo": {"global": {"viewer": {"https://issuer.example": true}}}}
	others := {"user:jo": {"global": {"viewer": {"https://other.example": true}}}}
	_said(_calling, fixture.front_door, mine).roles == {"viewer"}
	_said(_calling, fixture.front_door, others).roles == {"developer"}
}

test_a_role_that_one_issuers_subject_lost_is_kept_by_anothers if {
	bindings := {"user:jo": {"global": {"viewer": {"https://issuer.example": false, "https://other.example": true}}}}
	_said(_calling, fixture.front_door, bindings).roles == set()
	elsewhere := object.union(_calling, {"principal": {"issuer": "https://other.example"}})
	_said(elsewhere, fixture.front_door, bindings).roles == {"viewer"}
	third := object.union(_calling, {"principal": {"issuer": "https://third.example"}})
	_said(third, fixture.front_door, bindings).roles == {"developer"}
}

test_a_group_at_runtime_counts_for_its_members if {
	live := object.union(fixture.live, {"groups": {"g": {"global": {"viewer": {"": true}}}}})
	roles := role.roles with input as object.union(_calling, {"principal": {"groups": ["h", "g"]}})
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as live
	roles == {"viewer"}
}

test_a_tenants_key_has_the_default_role_in_its_tenant if {
	question := object.union(_calling, {"principal": {"kind": "tenant_key", "subject": "service:acme/ci", "issuer": null}})
	_said(question, fixture.front_door, {}) == {"sees": true, "invokes": true, "roles": {"developer"}}
	bound := {"service:acme/ci": {"tenant:acme": {"viewer": {"": true}}, "global": {"admin": {"": true}}}}
	_said(question, fixture.front_door, bound).roles == {"viewer"}
}

_token(question, own) := object.union(question, {"principal": {
	"kind": "tenant_token",
	"subject": "token:t_1",
	"issuer": null,
	"credential": {"id": "t_1", "role": own, "scope": null},
}})

test_a_token_has_the_role_that_it_was_minted_with_and_nothing_besides if {
	bound := {"token:t_1": {"tenant:acme": {"admin": {"": true}}}}
	_said(_token(_calling, "viewer"), fixture.front_door, bound) == {"sees": true, "invokes": false, "roles": {"viewer"}}
	_said(_token(_calling, "developer"), fixture.front_door, {}).invokes
	_said(_token(_calling, null), fixture.front_door, {}).roles == set()
	_granting(_token(_reading("acme"), "developer"), fixture.front_door, {}) == {"developer"}
	_granting(_token(_reading("umbra"), "developer"), fixture.front_door, {}) == set()
}

_permitted(question, bindings) := permitted if {
	permitted := role.permitted with input as question
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as object.union(fixture.live, {"bindings": bindings})
}

test_a_person_has_its_own_tokens_in_its_own_tenant if {
	_permitted(fixture.administering("acme", "tokens:own", "acme"), {})
	_permitted(fixture.administering("acme", "tokens:own", "umbra"), {}) == false
	_permitted(fixture.administering("nobody", "tokens:own", "nobody"), {}) == false
	_permitted(fixture.administering("dormant", "tokens:own", "dormant"), {}) == false
	_permitted(_token(fixture.administering("acme", "tokens:own", "acme"), "developer"), {}) == false
	_permitted(fixture.with_key(fixture.administering("acme", "tokens:own", "acme"), "viewer"), {}) == false
}

test_a_key_reads_the_metrics_of_its_own_tenant if {
	_permitted(fixture.with_key(fixture.administering("acme", "metrics:read", "acme"), "viewer"), {})
	_permitted(fixture.with_key(fixture.administering("acme", "metrics:read", "umbra"), "viewer"), {}) == false
	_permitted(fixture.administering("acme", "metrics:read", "acme"), {}) == false
	_permitted(_token(fixture.administering("acme", "metrics:read", "acme"), "viewer"), {}) == false
}

_handing(role, scope, target) := object.union(
	fixture.administering("acme", "mcp_servers:read", target),
	{"target": {"grants": {"role": role, "scope": scope}}},
)

test_nobody_hands_out_more_than_is_held_there[note] if {
	some note, handed in {
		"less": {"question": _handing("viewer", "tenant:acme", "acme"), "permitted": true},
		"the same": {"question": _handing("developer", "tenant:acme", "acme"), "permitted": true},
		"more": {"question": _handing("keeper", "tenant:acme", "acme"), "permitted": false},
		"everything": {"question": _handing("admin", "tenant:acme", "acme"), "permitted": false},
		"elsewhere": {"question": _handing("viewer", "tenant:umbra", "acme"), "permitted": false},
		"everywhere": {"question": _handing("viewer", "global", "acme"), "permitted": false},
		"what is no role": {"question": _handing("wizard", "tenant:acme", "acme"), "permitted": false},
	}
	_permitted(handed.question, {}) == handed.permitted
}

test_a_wildcard_covers_what_is_under_it_and_not_the_other_way_round if {
	keeper := {"user:jo": {"global": {"keeper": {"": true}}}}
	_permitted(_handing("keeper", "tenant:acme", "acme"), keeper)
	_permitted(_handing("viewer", "tenant:acme", "acme"), keeper) == false
	admin := {"user:jo": {"global": {"admin": {"": true}}}}
	every role in ["admin", "keeper", "frontend", "viewer"] {
		_permitted(_handing(role, "global", null), admin)
	}
}

test_what_is_handed_out_must_be_said[note] if {
	some note, grants in {"a word": "viewer", "no scope": {"role": "viewer"}, "no role": {"scope": "tenant:acme"}}
	_permitted(json.patch(_reading("acme"), [{"op": "replace", "path": "/target/grants", "value": grants}]), {}) == false
}

test_that_nothing_is_handed_out_must_be_said_too if {
	_permitted(_reading("acme"), {})
	_permitted(json.remove(_reading("acme"), [["target", "grants"]]), {}) == false
}

test_to_act_for_a_tenant_needs_the_right_to_it_everywhere if {
	acting := fixture.acting_for(fixture.calling(null, "pay"), "acme")
	_said(acting, fixture.front_door, {}) == {"sees": true, "invokes": true, "roles": {"frontend"}}
	plain := object.union(acting, {"principal": {"credential": {"role": "admin"}}})
	_said(plain, fixture.front_door, {}).invokes
	without := object.union(acting, {"principal": {"credential": {"role": "developer"}}})
	_said(without, fixture.front_door, {}) == {"sees": false, "invokes": false, "roles": {"developer"}}
	local := {"service:front": {"tenant:acme": {"frontend": {"": true}}}}
	_said(object.union(acting, {"principal": {"credential": {"role": null}}}), fixture.front_door, local).sees == false
}

test_who_acts_for_a_tenant_has_no_default_role_there if {
	acting := object.union(
		fixture.acting_for(fixture.calling(null, "pay"), "acme"),
		{"principal": {"credential": {"role": null}}},
	)
	_said(acting, fixture.front_door, {}).roles == set()
	_said(acting, fixture.front_door, {"service:front": {"global": {"frontend": {"": true}}}}).invokes
}

test_everything_is_asked_for_by_its_own_wildcard if {
	question := fixture.administering("acme", "*", null)
	_permitted(question, {"user:jo": {"global": {"keeper": {"": true}}}}) == false
	_permitted(question, {"user:jo": {"tenant:acme": {"admin": {"": true}}}}) == false
	_permitted(question, {"user:jo": {"global": {"admin": {"": true}}}})
}

test_without_all_bindings_nobody_has_a_role_by_them[path] if {
	some path in [["rbac", "bindings"], ["rbac", "groups"]]
	question := object.union(_calling, {"principal": {"groups": ["g"]}})
	invokes := role.invokes with input as question
		with data.portcullis_data as json.remove(fixture.front_door, [path])
		with data.portcullis_live as fixture.live
	invokes == false
}

test_without_all_runtime_bindings_nobody_has_a_role_by_them[key] if {
	some key in ["bindings", "groups"]
	question := object.union(_calling, {"principal": {"groups": ["g"]}})
	invokes := role.invokes with input as question
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as object.remove(fixture.live, [key])
	invokes == false
}

test_the_agent_of_this_machine_has_the_default_role_in_its_tenant_or_what_it_is_given_there if {
	question := fixture.locally(_calling)
	_said(question, fixture.front_door, {}) == {"sees": true, "invokes": true, "roles": {"developer"}}
	_said(question, fixture.front_door, {"service:stdio": {"tenant:acme": {"viewer": {"": true}}}}).roles == {"viewer"}

	# It is of one tenant, like a key that is: what is bound globally does not count.
	_said(question, fixture.front_door, {"service:stdio": {"global": {"admin": {"": true}}}}).roles == set()
	elsewhere := {"service:stdio": {"tenant:umbra": {"admin": {"": true}}}}
	_granting(fixture.locally(_reading("umbra")), fixture.front_door, elsewhere) == set()
}

test_a_wildcard_permits_what_is_under_it if {
	_said(_calling, fixture.front_door, {"user:jo": {"global": {"admin": {"": true}}}}).invokes
	_granting(_reading(null), fixture.front_door, {"user:jo": {"global": {"keeper": {"": true}}}}) == {"keeper"}
	_said(_calling, fixture.front_door, {"user:jo": {"global": {"keeper": {"": true}}}}).sees == false
}

test_a_key_has_its_own_role_and_no_default if {
	_said(fixture.with_key(_calling, "viewer"), fixture.front_door, {}).roles == {"viewer"}
	_said(fixture.with_key(_calling, null), fixture.front_door, {}).roles == {"developer"}
}

test_a_key_bound_to_a_tenant_has_nothing_of_its_principals_global_roles if {
	bindings := {"user:jo": {"global": {"admin": {"": true}}, "tenant:acme": {"viewer": {"": true}}}}
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
	bindings := {"user:jo": {"tenant:umbra": {"keeper": {"": true}}}}
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
	_granting(fixture.anonymously(_reading(null)), fixture.egress, {"anonymous": {"global": {"admin": {"": true}}}}) == set()
}

test_an_anonymous_caller_has_nothing_at_the_front_door if {
	documents := object.union(fixture.front_door, {"settings": {"anonymous": true}})
	question := object.union(fixture.anonymously(_calling), {"mode": "front_door", "principal": {"tenant": "acme"}})
	nothing := {"sees": false, "invokes": false, "roles": set()}
	_said(question, documents, {}) == nothing
	_said(question, documents, {"anonymous": {"global": {"admin": {"": true}}, "tenant:acme": {"admin": {"": true}}}}) == nothing
}

test_an_anonymous_caller_invokes_nothing_by_an_admin_action if {
	question := fixture.anonymously(_reading(null))
	_said(question, fixture.egress, {}) == {"sees": false, "invokes": false, "roles": set()}
}

test_a_question_about_tools_grants_no_admin_action if {
	_granting(_calling, fixture.front_door, {"user:jo": {"global": {"admin": {"": true}}}}) == set()
}
