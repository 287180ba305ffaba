package portcullis.frontdoor_test

import data.portcullis.fixture_test as fixture
import data.portcullis.frontdoor

_said := {"ok": frontdoor.ok, "admin": frontdoor.admin, "codes": {reason.code | some reason in frontdoor.reasons}}

_at(question, documents, live) := said if {
	said := _said with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as live
}

_front(question) := _at(question, fixture.front_door, fixture.live)

_egress(question) := _at(question, fixture.egress, fixture.live)

test_a_known_active_tenant_is_let_in[kind] if {
	some kind in ["jwt", "api_key", "tenant_key", "tenant_token"]
	question := object.union(fixture.calling("acme", "pay"), {"principal": {"kind": kind}})
	_front(question) == {"ok": true, "admin": true, "codes": set()}
}

test_the_agent_of_this_machine_is_let_in_as_its_tenant_and_only_as_a_known_one if {
	_front(fixture.locally(fixture.calling("acme", "pay"))).ok
	_front(fixture.locally(fixture.calling("nobody", "pay"))).codes == {"unknown_tenant"}
	_front(fixture.locally(fixture.calling("dormant", "pay"))).codes == {"tenant_suspended"}
	_front(fixture.locally(fixture.calling(null, "pay"))).codes == {"no_tenant"}
	_egress(fixture.in_egress(fixture.locally(fixture.calling("acme", "bank__pay")))).ok
}

test_the_agent_of_this_machine_administers_nothing if {
	said := _front(fixture.locally(fixture.administering("acme", "mcp_servers:read", "acme")))
	said.admin == false
	said.codes == {"anonymous_not_admitted"}
}

test_an_agent_of_this_machine_with_a_credential_is_none if {
	question := object.union(fixture.calling("acme", "pay"), {"principal": {"kind": "local"}})
	_front(question).ok == false
}

test_no_tenant_is_turned_away_from_what_servers_offer_alone if {
	_front(fixture.calling(null, "pay")) == {"ok": false, "admin": true, "codes": {"no_tenant"}}
	_front(fixture.administering(null, "mcp_servers:read", null)).codes == set()
}

test_an_unknown_tenant_is_turned_away if {
	_front(fixture.calling("nobody", "pay")) == {"ok": false, "admin": true, "codes": {"unknown_tenant"}}
}

test_a_suspended_tenant_is_turned_away_everywhere if {
	said := {"ok": false, "admin": false, "codes": {"tenant_suspended"}}
	_front(fixture.calling("dormant", "pay")) == said
	_egress(fixture.in_egress(fixture.calling("dormant", "bank__pay"))) == said
}

test_a_revoked_credential_is_turned_away_everywhere if {
	revoked := object.union(fixture.live, {"revoked": {"j_1": true}})
	said := {"ok": false, "admin": false, "codes": {"credential_revoked"}}
	_at(fixture.calling("acme", "pay"), fixture.front_door, revoked) == said
	_at(fixture.in_egress(fixture.calling(null, "bank__pay")), fixture.egress, revoked) == said
}

test_a_credential_that_nobody_could_revoke_is_turned_away if {
	question := object.union(fixture.calling("acme", "pay"), {"principal": {"credential": null}})
	said := _front(question)
	said.ok == false
	said.admin == false
}

test_another_credential_revoked_changes_nothing if {
	_at(fixture.calling("acme", "pay"), fixture.front_door, object.union(fixture.live, {"revoked": {"j_2": true}})).ok
}

test_an_anonymous_caller_is_let_in_by_egress_where_the_config_says_so if {
	question := fixture.anonymously(fixture.calling(null, "bank__pay"))
	_egress(question) == {"ok": true, "admin": false, "codes": set()}
	closed := object.union(fixture.egress, {"settings": {"anonymous": false}})
	_at(question, closed, fixture.live) == {"ok": false, "admin": false, "codes": {"anonymous_not_admitted"}}
}

test_an_anonymous_caller_is_never_let_in_by_the_front_door if {
	question := object.union(fixture.anonymously(fixture.calling(null, "pay")), {"mode": "front_door"})
	open := object.union(fixture.front_door, {"settings": {"anonymous": true}})
	_at(question, open, fixture.live) == {"ok": false, "admin": false, "codes": {"anonymous_not_admitted"}}
}

test_egress_needs_no_tenant_and_takes_an_unknown_one_for_none if {
	_egress(fixture.in_egress(fixture.calling(null, "bank__pay"))).ok
	_egress(fixture.in_egress(fixture.calling("nobody", "bank__pay"))).ok
}

test_a_kind_of_credential_that_is_not_known_is_turned_away if {
	question := object.union(fixture.calling("acme", "pay"), {"principal": {"kind": "certificate"}})
	_front(question) == {"ok": false, "admin": false, "codes": {"anonymous_not_admitted"}}
	_egress(fixture.in_egress(question)).ok == false
}

_acting := fixture.acting_for(fixture.calling(null, "pay"), "acme")

_acting_admin := fixture.acting_for(fixture.administering(null, "tokens:write", "acme"), "acme")

_turned_away := {"ok": false, "admin": true, "codes": {"acting_not_admitted"}}

test_a_service_without_a_tenant_acts_for_one_where_the_config_says_so if {
	_front(_acting) == {"ok": true, "admin": true, "codes": set()}
	closed := object.union(fixture.front_door, {"settings": {"act_as_on_mcp": false}})
	_at(_acting, closed, fixture.live) == _turned_away
	_at(_acting_admin, closed, fixture.live).admin
}

test_only_the_key_of_a_service_acts_for_a_tenant_on_mcp[note] if {
	some note, different in {"a person": {"kind": "jwt"}, "the key of a person": {"subject": "user:jo"}}
	_front(object.union(_acting, {"principal": different})) == _turned_away
	_front(object.union(_acting_admin, {"principal": different})).admin
}

test_nobody_else_acts_for_anybody[note] if {
	some note, different in {
		"of another tenant": {"tenant": "umbra"},
		"a tenant's key": {"kind": "tenant_key"},
		"a token": {"kind": "tenant_token"},
	}
	said := _front(object.union(_acting_admin, {"principal": different}))
	said.admin == false
	"acting_not_admitted" in said.codes
}

test_a_tenant_that_is_acted_for_must_be_known_and_active if {
	_front(fixture.acting_for(_acting, "nobody")) == {"ok": false, "admin": false, "codes": {"unknown_tenant"}}
	_front(fixture.acting_for(_acting_admin, "nobody")) == {"ok": false, "admin": false, "codes": {"unknown_tenant"}}
	_front(fixture.acting_for(_acting, "dormant")) == {"ok": false, "admin": false, "codes": {"tenant_suspended"}}
}
