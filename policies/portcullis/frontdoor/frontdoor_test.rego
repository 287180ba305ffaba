package portcullis.frontdoor_test

import data.portcullis.fixture_test as fixture
import data.portcullis.frontdoor

_said := {"ok": frontdoor.ok, "admin": frontdoor.admin, "codes": {reason.code | some reason in frontdoor.reasons}}

_at(question, documents, live) := said if {
	said := _said with input as question
		with data.system.bundles as fixture.bundles
		with data.portcullis_data as documents
		with data.portcullis_live as live
		with time.now_ns as fixture.now
}

_front(question) := _at(question, fixture.front_door, fixture.live)

_egress(question) := _at(question, fixture.egress, fixture.live)

test_a_known_active_tenant_is_let_in if {
	_front(fixture.calling("acme", "pay")) == {"ok": true, "admin": true, "codes": set()}
}

test_the_agent_of_this_machine_is_let_in_as_its_tenant_and_only_as_a_known_one if {
	_front(fixture.locally(fixture.calling("acme", "pay"))).ok
	_front(fixture.locally(fixture.calling("nobody", "pay"))).codes == {"unknown_tenant"}
	_front(fixture.locally(fixture.calling("dormant", "pay"))).codes == {"tenant_suspended"}
	_egress(fixture.in_egress(fixture.locally(fixture.calling("acme", "bank__pay")))).ok
}

test_no_tenant_is_turned_away_from_tools_alone if {
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
