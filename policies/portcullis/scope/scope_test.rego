package portcullis.scope_test

import data.portcullis.fixture_test as fixture
import data.portcullis.scope

_said(question, documents, live) := said if {
	said := {"ok": scope.ok, "codes": {reason.code | some reason in scope.reasons}} with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as live
}

_front(question) := _said(question, fixture.front_door, fixture.live)

_ids(question, documents, live) := ids if {
	ids := scope.kept - scope.denied with input as question
		with data.portcullis_data as documents
		with data.portcullis_live as live
}

_fine := {"ok": true, "codes": set()}

_outside := {"ok": false, "codes": {"not_in_member_scope"}}

_narrowed(question) := object.union(question, {"principal": {"kind": "tenant_token", "credential": {"scope": "5c09e"}}})

_scoped := object.union(fixture.live, {"scopes": {"5c09e": {"bank/refund": true}}})

test_a_deny_list_takes_away if {
	_front(fixture.calling("acme", "refund")) == _outside
	_front(fixture.calling("acme", "pay")) == _fine
	_ids(fixture.listing("acme"), fixture.front_door, fixture.live) == {
		"bank/old",
		"bank/pay",
		"bank/report",
		"desk/report",
	}
}

test_an_allow_list_admits_what_it_names if {
	_front(fixture.calling("umbra", "pay")) == _fine
	_front(fixture.calling("umbra", "refund")) == _outside
	_ids(fixture.listing("umbra"), fixture.front_door, fixture.live) == {"bank/pay"}
}

test_deny_beats_allow if {
	documents := object.union(fixture.front_door, {"tenants": {"umbra": {"tool": {"deny": "pay"}}}})
	_said(fixture.calling("umbra", "pay"), documents, fixture.live) == _outside
	_ids(fixture.listing("umbra"), documents, fixture.live) == set()
}

test_a_list_that_is_missing_admits_nothing[list] if {
	some list in ["allow", "deny"]
	documents := object.union(fixture.front_door, {"tenants": {"umbra": {"tool": {list: "lost"}}}})
	_said(fixture.calling("umbra", "pay"), documents, fixture.live) == _outside
	not _ids(fixture.listing("umbra"), documents, fixture.live)
}

test_a_server_that_is_offered_in_no_known_way_is_not_offered_whole if {
	documents := object.union(fixture.front_door, {"offers": {"both": {"bank": "odd"}}})
	_said(fixture.calling("acme", "pay"), documents, fixture.live) == _outside
}

test_in_egress_an_allow_list_speaks_of_its_own_servers_alone if {
	question := fixture.in_egress(fixture.listing("umbra"))
	_ids(question, fixture.egress, fixture.live) == {"bank/pay", "desk/report"}
}

test_in_egress_nobody_without_a_tenant_is_narrowed if {
	every tenant in [null, "nobody"] {
		_said(fixture.in_egress(fixture.calling(tenant, "bank__refund")), fixture.egress, fixture.live) == _fine
	}
	anonymous := fixture.anonymously(fixture.calling(null, "bank__refund"))
	_said(anonymous, fixture.egress, fixture.live) == _fine
}

test_a_tokens_own_scope_narrows if {
	refused := {"ok": false, "codes": {"not_in_token_scope"}}
	_said(_narrowed(fixture.calling("dormant", "pay")), fixture.front_door, _scoped) == refused
	_said(_narrowed(fixture.calling("dormant", "refund")), fixture.front_door, _scoped) == _fine
	_ids(_narrowed(fixture.listing("dormant")), fixture.front_door, _scoped) == {"bank/refund"}
}

test_a_tokens_own_scope_that_is_not_known_admits_nothing if {
	refused := {"ok": false, "codes": {"not_in_token_scope"}}
	_said(_narrowed(fixture.calling("dormant", "pay")), fixture.front_door, fixture.live) == refused
	not _ids(_narrowed(fixture.listing("dormant")), fixture.front_door, fixture.live)
}

test_a_scope_of_another_kind_admits_nothing[scope] if {
	some scope in ["global", "tenant:umbra", "tenant:acme", ""]
	question := object.union(fixture.calling("umbra", "pay"), {"principal": {"credential": {"scope": scope}}})
	_front(question) == {"ok": false, "codes": {"not_in_token_scope"}}
}

test_a_credential_that_says_nothing_of_its_scope_is_not_admitted if {
	question := json.remove(fixture.calling("umbra", "pay"), [["principal", "credential", "scope"]])
	_front(question).ok == false
}

_path := "file:///{+path}"

test_a_resource_is_read_through_a_template_that_is_left if {
	_front(fixture.reading("reader", "file:///new", [_path])) == _fine
	_front(fixture.reading("scholar", "file:///new", [_path])) == _fine
}

test_every_template_that_matches_must_be_left if {
	_front(fixture.reading("reader", "file:///books/emma", [_path, "file:///books/{name}"])) == _fine
	_front(fixture.reading("scholar", "file:///books/emma", [_path, "file:///books/{name}"])) == _outside
}

test_what_a_list_denies_is_denied_through_a_template if {
	_front(fixture.reading("reader", "file:///books/secret-1", [_path])) == _outside
	_front(fixture.reading("reader", "file:///books/emma", [_path])) == _fine
}

test_a_pattern_that_is_missing_admits_nothing if {
	documents := json.remove(fixture.front_door, [["patterns", "secret"]])
	_said(fixture.reading("reader", "file:///new", [_path]), documents, fixture.live) == _outside
	_said(fixture.reading("reader", "file:///index", []), documents, fixture.live) == _fine
}

test_only_a_clear_uri_is_read_through_a_template[uri] if {
	some uri in [
		"file:///a/../b",
		"file:///a/..",
		"file:///./b",
		"file:///a/.?x",
		"file:///%73ecret",
		"file:///a%2e%2e/b",
		"file:///a%2fb",
		"file:///a%",
		"file:///a%4",
		"file:///a b",
		"file:///a\\..\\b",
		"file:///a//b",
		"file:////b",
		"File:///b",
		"file:///é",
		"file:///{+path}",
		"/b",
		"",
	]
	_front(fixture.reading("reader", uri, [_path])).codes == {"unclear_uri"}
}

test_a_uri_may_be_written_in_many_clear_ways[uri] if {
	some uri in [
		"file:///a",
		"file:///",
		"file:///a%2Fb%20c%C3%A9",
		"file:///.hidden/...",
		"file:///a..b/c.",
		"repo://Owner/Name?x=1&y[]=2#L3",
		"proxy://https://example.com/x",
		"urn:isbn:0451450523",
		"test://template/123/data",
	]
	_front(fixture.reading("reader", uri, [_path])) == _fine
}

test_a_uri_that_is_registered_needs_not_be_clear if {
	odd := "file:///a/../b"
	documents := json.patch(fixture.front_door, [
		{"op": "add", "path": ["flat", "resource", odd], "value": {"server": "library", "id": "library#resources/file:///a/../b"}},
		{"op": "add", "path": ["server_ids", "library", "resource", "library#resources/file:///a/../b"], "value": true},
	])
	_said(fixture.reading("reader", odd, []), documents, fixture.live) == _fine
}

test_completing_a_template_reads_nothing_through_it if {
	question := object.union(fixture.reading("reader", _path, []), {"action": "completion/complete"})
	_front(question) == _fine
}
