package portcullis.scope_test

import data.portcullis.fixture_test as fixture
import data.portcullis.scope

_said(question, documents, live) := said if {
	said := {"ok": scope.ok, "codes": {reason.code | some reason in scope.reasons}} with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as live
}

_ids(question, documents, live) := ids if {
	ids := scope.ids with input as question with data.portcullis_data as documents with data.portcullis_live as live
}

_fine := {"ok": true, "codes": set()}

_outside := {"ok": false, "codes": {"not_in_member_scope"}}

_narrowed(question) := object.union(question, {"principal": {"credential": {"scope": "5c09e"}}})

_scoped := object.union(fixture.live, {"scopes": {"5c09e": {"bank/refund": true}}})

test_a_deny_list_takes_away if {
	_said(fixture.calling("acme", "refund"), fixture.front_door, fixture.live) == _outside
	_said(fixture.calling("acme", "pay"), fixture.front_door, fixture.live) == _fine
	_ids(fixture.listing("acme"), fixture.front_door, fixture.live) == {"bank/old", "bank/pay"}
}

test_an_allow_list_admits_what_it_names if {
	_said(fixture.calling("umbra", "pay"), fixture.front_door, fixture.live) == _fine
	_said(fixture.calling("umbra", "refund"), fixture.front_door, fixture.live) == _outside
	_ids(fixture.listing("umbra"), fixture.front_door, fixture.live) == {"bank/pay"}
}

test_a_list_that_is_missing_admits_nothing[list] if {
	some list in ["allow", "deny"]
	documents := object.union(fixture.front_door, {"tenants": {"acme": {list: "lost"}}})
	_said(fixture.calling("acme", "pay"), documents, fixture.live) == _outside
	not _ids(fixture.listing("acme"), documents, fixture.live)
}

test_in_egress_a_member_list_speaks_of_its_own_servers_alone if {
	question := fixture.in_egress(fixture.listing("umbra"))
	_ids(question, fixture.egress, fixture.live) == {"bank/pay", "desk/report"}
}

test_in_egress_nobody_without_a_tenant_is_narrowed if {
	every tenant in [null, "nobody"] {
		_said(fixture.in_egress(fixture.calling(tenant, "bank__refund")), fixture.egress, fixture.live) == _fine
	}
}

test_a_credentials_own_scope_narrows if {
	refused := {"ok": false, "codes": {"not_in_token_scope"}}
	_said(_narrowed(fixture.calling("dormant", "pay")), fixture.front_door, _scoped) == refused
	_said(_narrowed(fixture.calling("dormant", "refund")), fixture.front_door, _scoped) == _fine
	_ids(_narrowed(fixture.listing("dormant")), fixture.front_door, _scoped) == {"bank/refund"}
}

test_a_credentials_own_scope_that_is_not_known_admits_nothing if {
	refused := {"ok": false, "codes": {"not_in_token_scope"}}
	_said(_narrowed(fixture.calling("dormant", "pay")), fixture.front_door, fixture.live) == refused
	not _ids(_narrowed(fixture.listing("dormant")), fixture.front_door, fixture.live)
}

test_where_a_keys_role_counts_is_no_narrowing[scope] if {
	some scope in ["global", "tenant:umbra"]
	question := object.union(fixture.calling("umbra", "pay"), {"principal": {"credential": {"scope": scope}}})
	_said(question, fixture.front_door, fixture.live) == _fine
}

test_another_tenants_scope_admits_nothing if {
	question := object.union(fixture.calling("umbra", "pay"), {"principal": {"credential": {"scope": "tenant:acme"}}})
	not _said(question, fixture.front_door, fixture.live).ok
}
