package portcullis.catalog_test

import data.portcullis.catalog
import data.portcullis.fixture_test as fixture

_ok(question, documents) := ok if {
	ok := catalog.ok with input as question with data.portcullis_data as documents
}

_codes(question) := codes if {
	codes := {reason.code | some reason in catalog.reasons} with input as question
		with data.portcullis_data as fixture.front_door
}

_ids(question, documents) := ids if {
	ids := catalog.ids with input as question with data.portcullis_data as documents
}

_at_server(question, server) := object.union(question, {"view": "server", "target": {"server": server}})

test_an_offered_tool_is_in_the_catalog if {
	_ok(fixture.calling("acme", "pay"), fixture.front_door)
	_codes(fixture.calling("acme", "pay")) == set()
}

test_a_tool_that_nobody_offers_is_unknown if {
	not _ok(fixture.calling("acme", "nothing"), fixture.front_door)
	_codes(fixture.calling("acme", "nothing")) == {"unknown_target"}
}

test_a_name_of_two_offered_tools_is_ambiguous if {
	not _ok(fixture.calling("acme", "report"), fixture.front_door)
	_codes(fixture.calling("acme", "report")) == {"ambiguous_name"}
}

test_the_list_leaves_out_both_tools_of_one_name if {
	_ids(fixture.listing("acme"), fixture.front_door) == {"bank/old", "bank/pay", "bank/refund"}
}

test_the_list_keeps_a_name_whose_rival_is_not_offered if {
	_ids(fixture.listing("umbra"), fixture.front_door) == {"bank/old", "bank/pay", "bank/refund", "bank/report"}
}

test_rivals_are_found_where_sync_does_not_name_them if {
	documents := object.remove(fixture.front_door, ["contested"])
	_ids(fixture.listing("acme"), documents) == {"bank/old", "bank/pay", "bank/refund"}
}

test_one_server_has_all_of_its_names if {
	_ids(_at_server(fixture.listing("acme"), "desk"), fixture.front_door) == {"desk/report"}
	_ok(_at_server(fixture.calling("acme", "report"), "desk"), fixture.front_door)
}

test_a_server_that_is_not_offered_has_none if {
	_ids(_at_server(fixture.listing("umbra"), "desk"), fixture.front_door) == set()
	not _ok(_at_server(fixture.calling("umbra", "report"), "desk"), fixture.front_door)
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
