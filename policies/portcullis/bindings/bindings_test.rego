package portcullis.bindings_test

import data.portcullis.bindings
import data.portcullis.fixture_test as fixture

_here := "tenant:acme"

_held(question, bound, scope) := roles if {
	roles := bindings.at(scope) with input as question
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as object.union(fixture.live, {"bindings": bound})
}

_person := fixture.calling("acme", "pay")

_nobody := fixture.calling(null, "pay")

test_a_scope_is_a_tenants_or_everybodys if {
	bindings.scope_of("tenant:a") == "tenant:tenant:a"
	bindings.scope_of(null) == "global"
}

test_what_is_held_everywhere_is_held_at_every_tenant_and_not_the_other_way_round if {
	bound := {"user:jo": {"global": {"viewer": {"": true}}, "tenant:acme": {"keeper": {"": true}}}}
	_held(_person, bound, _here) == {"viewer", "keeper"}
	_held(_person, bound, "tenant:umbra") == {"viewer"}
	_held(_person, bound, "global") == {"viewer"}
}

test_among_several_issuers_what_names_none_is_no_persons_and_still_a_keys if {
	several := object.union(fixture.front_door, {"settings": {"several_issuers": true}})
	bound := {"user:jo": {"tenant:acme": {"keeper": {"": true}}}}
	bindings.at(_here) == set() with input as _person
		with data.portcullis_data as several
		with data.portcullis_live as object.union(fixture.live, {"bindings": bound})
	bindings.at(_here) == {"keeper"} with input as fixture.with_key(_person, null)
		with data.portcullis_data as several
		with data.portcullis_live as object.union(fixture.live, {"bindings": bound})
}

test_a_person_may_hold_roles_in_other_tenants_and_a_key_may_not if {
	bound := {"user:jo": {"tenant:umbra": {"keeper": {"": true}}}}
	_held(_person, bound, "tenant:umbra") == {"keeper"}
	_held(fixture.with_key(_person, null), bound, "tenant:umbra") == set()
}

test_a_key_of_a_tenant_holds_what_is_bound_there_and_its_own_role if {
	bound := {"user:jo": {"global": {"admin": {"": true}}, "tenant:acme": {"keeper": {"": true}}}}
	_held(fixture.with_key(_person, "viewer"), bound, _here) == {"keeper", "viewer"}
	_held(fixture.with_key(_person, "viewer"), bound, "global") == set()
}

test_a_key_of_no_tenant_holds_its_own_role_everywhere if {
	_held(fixture.with_key(_nobody, "viewer"), {}, "global") == {"viewer"}
	_held(fixture.with_key(_nobody, "viewer"), {}, _here) == {"viewer"}
}

test_a_key_whose_role_is_none_falls_back_as_a_person_does if {
	_held(fixture.with_key(_person, null), {}, _here) == {"developer"}
	_held(fixture.with_key(_person, "wizard"), {}, _here) == {"wizard"}
}

test_the_default_is_held_at_home_and_nowhere_else if {
	_held(_person, {}, _here) == {"developer"}
	_held(_person, {}, "tenant:umbra") == set()
	_held(_person, {}, "global") == set()
	_held(_nobody, {}, "global") == set()
}

test_whoever_lost_a_role_has_no_default[scope] if {
	some scope in ["global", _here]
	_held(_person, {"user:jo": {scope: {"viewer": {"": false}}}}, _here) == set()
}

test_what_was_lost_elsewhere_is_no_matter_here if {
	_held(_person, {"user:jo": {"tenant:umbra": {"viewer": {"": false}}}}, _here) == {"developer"}
}

test_a_role_of_another_issuers_subject_is_neither_held_nor_lost if {
	_held(_person, {"user:jo": {_here: {"viewer": {"https://other.example": true}}}}, _here) == {"developer"}
	_held(_person, {"user:jo": {_here: {"viewer": {"https://other.example": false}}}}, _here) == {"developer"}
	_held(_person, {"user:jo": {_here: {"viewer": {"https://issuer.example": false}}}}, _here) == set()
}

test_somebody_else_is_somebody_else if {
	_held(_person, {"user:jojo": {_here: {"admin": {"": true}}}}, _here) == {"developer"}
}

test_without_the_groups_of_the_ledger_nobody_holds_anything_by_them if {
	roles := bindings.at(_here) with input as _person
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as object.remove(fixture.live, ["groups"])
	roles == set()
}
