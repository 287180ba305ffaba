package portcullis.catalog_test

import data.portcullis.catalog
import data.portcullis.fixture_test as fixture

_said(question, documents) := said if {
	said := {"ok": catalog.ok, "codes": {reason.code | some reason in catalog.reasons}} with input as question
		with data.portcullis_data as documents
}

_front(question) := _said(question, fixture.front_door)

_ids(question, documents) := ids if {
	ids := catalog.offered - catalog.ambiguous with input as question with data.portcullis_data as documents
}

_fine := {"ok": true, "codes": set()}

_unknown := {"ok": false, "codes": {"unknown_target"}}

_ambiguous := {"ok": false, "codes": {"ambiguous_name"}}

test_what_is_offered_is_in_the_catalog if {
	_front(fixture.calling("acme", "pay")) == _fine
	_front(fixture.prompting("reader", "greet")) == _fine
	_front(fixture.reading("reader", "file:///index", [])) == _fine
	_front(fixture.calling("guild", "draw")) == _fine
}

test_what_nobody_offers_is_unknown if _front(fixture.calling("acme", "nothing")) == _unknown

test_what_is_offered_to_others_is_unknown if {
	_front(fixture.calling("reader", "pay")) == _unknown
	_front(fixture.prompting("acme", "greet")) == _unknown
	_front(fixture.calling("acme", "draw")) == _unknown
	_front(fixture.reading("acme", "file:///index", [])) == _unknown
}

test_a_name_of_two_offered_servers_is_ambiguous if {
	_front(fixture.calling("acme", "report")) == _ambiguous
	_front(fixture.calling("guild", "pay")) == _ambiguous
	_front(fixture.reading("scholar", "file:///terms", [])) == _ambiguous
}

test_an_offer_that_is_missing_offers_nothing if {
	documents := object.union(fixture.front_door, {"tenants": {"acme": {"tool": {"offer": "lost"}}}})
	_said(fixture.calling("acme", "pay"), documents) == _unknown
	_ids(fixture.listing("acme"), documents) == set()
}

test_what_a_server_denies_is_not_read_through_its_template if {
	_front(fixture.reading("reader", "file:///staff/x", ["file:///{+path}"])) == _unknown
	_front(fixture.reading("reader", "file:///other", ["file:///{+path}"])) == _fine
}

test_a_pattern_that_is_missing_lets_nothing_through if {
	documents := json.remove(fixture.front_door, [["patterns", "staff"]])
	_said(fixture.reading("reader", "file:///other", ["file:///{+path}"]), documents) == _unknown
}

test_the_list_leaves_out_both_of_one_name if {
	_ids(fixture.listing("acme"), fixture.front_door) == {"bank/old", "bank/pay", "bank/refund"}
	_ids(fixture.listing("guild"), fixture.front_door) == {
		"bank/old",
		"bank/refund",
		"bank/report",
		"guild:desk/draw",
	}
}

test_the_list_keeps_a_name_whose_rival_is_not_offered if {
	_ids(fixture.listing("umbra"), fixture.front_door) == {"bank/old", "bank/pay", "bank/refund", "bank/report"}
}

test_what_is_ambiguous_must_be_said if {
	documents := object.union(fixture.front_door, {"tenants": {"umbra": {"tool": {"drop": "lost"}}}})
	not _ids(fixture.listing("umbra"), documents)
}

test_one_server_has_all_of_its_names if {
	_ids(fixture.at_server(fixture.listing("acme"), "desk"), fixture.front_door) == {"desk/report"}
	_ids(fixture.at_server(fixture.listing("guild"), "desk"), fixture.front_door) == {
		"guild:desk/draw",
		"guild:desk/pay",
	}
}

test_a_server_that_is_not_offered_has_none if {
	not _ids(fixture.at_server(fixture.listing("umbra"), "desk"), fixture.front_door)
	_front(fixture.at_server(fixture.calling("umbra", "report"), "desk")) == _unknown
}

test_each_list_is_of_its_own_section[action] if {
	some action, ids in {
		"prompts/list": {"library#prompts/greet"},
		"resources/list": {"library#resources/file:///index", "library#resources/file:///terms"},
		"resources/templates/list": {
			"library#resources/file:///books/{name}",
			"library#resources/file:///{+path}",
		},
	}
	kind := {"prompts/list": "prompt"}
	question := fixture.listing_of("reader", action, object.get(kind, action, "resource"))
	_ids(question, fixture.front_door) == ids
}

test_egress_offers_the_same_to_everybody if {
	every tenant in ["acme", "nobody", null] {
		_ids(fixture.in_egress(fixture.listing(tenant)), fixture.egress) == {
			"bank/old",
			"bank/pay",
			"bank/refund",
			"bank/report",
			"desk/report",
		}
	}
}
