package portcullis.target_test

import data.portcullis.fixture_test as fixture
import data.portcullis.target

_means(question) := _meaning(question, fixture.front_door)

_meaning(question, documents) := {"server": server, "id": id, "direct": direct} if {
	server := target.found.server with input as question with data.portcullis_data as documents
	id := target.found.id with input as question with data.portcullis_data as documents
	direct := target.direct with input as question with data.portcullis_data as documents
}

_bank(id) := {"server": "bank", "id": id, "direct": true}

test_a_name_that_one_server_has_is_its_id[name] if {
	some name, id in {"pay": "bank/pay", "refund": "bank/refund"}
	_means(fixture.calling("acme", name)) == _bank(id)
}

test_a_name_that_two_offered_servers_have_is_nobodys if not _means(fixture.calling("acme", "report"))

test_a_name_of_two_servers_is_the_one_that_is_offered if {
	_means(fixture.calling("umbra", "report")) == _bank("bank/report")
}

test_a_name_of_a_tenants_own_server_is_its_id if {
	_means(fixture.calling("guild", "draw")) == {"server": "guild:desk", "id": "guild:desk/draw", "direct": true}
	not _means(fixture.calling("acme", "draw"))
}

test_a_name_that_a_tenants_own_server_shares_is_nobodys if {
	not _means(fixture.calling("guild", "pay"))
	_means(fixture.calling("guild", "refund")) == _bank("bank/refund")
}

test_names_of_a_tenants_own_servers_that_meet_are_nobodys if {
	rivals := {"rivals": {"guild:desk": "guild:desk/draw", "guild:shop": "guild:shop/draw"}}
	documents := json.patch(fixture.front_door, [
		{"op": "replace", "path": "/tenants/guild/own/tool/draw", "value": rivals},
		{"op": "add", "path": "/offers/guild/guild:shop", "value": "all"},
	])
	not _meaning(fixture.calling("guild", "draw"), documents)
	alone := json.remove(documents, [["offers", "guild", "guild:shop"]])
	_meaning(fixture.calling("guild", "draw"), alone).id == "guild:desk/draw"
}

test_a_prompt_is_no_tool if {
	_means(fixture.prompting("reader", "greet")).id == "library#prompts/greet"
	not _means(fixture.calling("reader", "greet"))
	not _means(fixture.prompting("acme", "pay"))
}

test_an_action_of_another_kind_means_nothing[action] if {
	some action in ["prompts/get", "tools/list", "resources/read", "completion/complete", "mcp_servers:read", ""]
	not _means(object.union(fixture.calling("acme", "pay"), {"action": action}))
}

test_at_one_server_its_own_name_counts if {
	_means(fixture.at_server(fixture.calling("acme", "report"), "desk")).id == "desk/report"
	_means(fixture.at_server(fixture.prompting("reader", "greet"), "library")).id == "library#prompts/greet"
}

test_at_one_server_nothing_of_another_is_meant if {
	not _means(fixture.at_server(fixture.calling("acme", "pay"), "desk"))
	not _means(fixture.at_server(fixture.calling("umbra", "report"), "desk"))
	not _means(fixture.at_server(fixture.calling("acme", "report"), null))
}

test_a_tenants_own_server_is_at_its_own_name if {
	_means(fixture.at_server(fixture.calling("guild", "pay"), "desk")).id == "guild:desk/pay"
	not _means(fixture.at_server(fixture.calling("acme", "pay"), "guild:desk"))
}

test_a_name_of_an_own_and_a_shared_server_is_neither if {
	documents := object.union(fixture.front_door, {"offers": {"guild": {"desk": "all"}}})
	not _meaning(fixture.at_server(fixture.calling("guild", "pay"), "desk"), documents)
	not _meaning(fixture.at_server(fixture.calling("guild", "report"), "desk"), documents)
}

test_a_tenants_key_of_a_server_is_no_detour_to_it if {
	_means(fixture.at_server(fixture.calling("guild", "draw"), "guild:desk")).id == "guild:desk/draw"
}

_path := "file:///{+path}"

_book := "file:///books/{name}"

_library(id, direct) := {"server": "library", "id": concat("#resources/", ["library", id]), "direct": direct}

test_a_resource_is_meant_by_its_uri if {
	_means(fixture.reading("reader", "file:///index", [])) == _library("file:///index", true)
	not _means(fixture.reading("reader", "file:///nothing", []))
}

test_a_uri_that_two_offered_servers_have_is_nobodys if {
	not _means(fixture.reading("scholar", "file:///terms", []))
	_means(fixture.reading("reader", "file:///terms", [])) == _library("file:///terms", true)
}

test_a_resource_is_reached_through_a_template_that_matches if {
	_means(fixture.reading("reader", "file:///new", [_path])) == _library(_path, false)
	not _means(fixture.reading("reader", "file:///new", ["lost:///{x}"]))
	not _means(fixture.reading("acme", "file:///new", [_path]))
}

test_of_several_templates_of_one_server_all_are_meant if {
	question := fixture.reading("reader", "file:///books/emma", [_path, _book])
	_means(question) == _library(_book, false)
	found := target.registered with input as question with data.portcullis_data as fixture.front_door
	found == {"library#resources/file:///books/{name}", "library#resources/file:///{+path}"}
}

test_a_uri_that_a_server_has_is_not_reached_through_its_template if {
	_means(fixture.reading("reader", "file:///terms", [_path])) == _library("file:///terms", true)
	not _means(fixture.reading("reader", "file:///payroll", [_path]))
}

test_templates_of_two_servers_are_nobodys if {
	not _means(fixture.reading("scholar", "file:///new", [_path, "old:///{name}"]))
	_means(fixture.reading("scholar", "file:///new", [_path])) == _library(_path, false)
}

test_a_uri_of_one_server_that_another_ones_template_matches_is_nobodys if {
	not _means(fixture.reading("scholar", "file:///index", ["old:///{name}"]))
	_means(fixture.reading("scholar", "file:///index", [_path])) == _library("file:///index", true)
}

test_a_template_is_not_read_as_such if not _means(fixture.reading("reader", _path, []))

test_a_completion_is_of_a_prompt_or_of_a_template if {
	completing := {"action": "completion/complete", "target": {"templates": []}}
	_means(object.union(fixture.prompting("reader", "greet"), completing)).id == "library#prompts/greet"
	_means(object.union(fixture.reading("reader", _path, []), completing)) == _library(_path, true)
	_means(object.union(fixture.reading("reader", "file:///index", []), completing)) == _library("file:///index", true)
	not _means(object.union(fixture.calling("acme", "pay"), completing))
}

test_templates_that_match_complete_nothing if {
	question := object.union(
		fixture.reading("reader", "file:///new", [_path]),
		{"action": "completion/complete"},
	)
	not _means(question)
}

test_at_one_server_its_templates_are_reached if {
	question := fixture.at_server(fixture.reading("scholar", "old:///x", ["old:///{name}"]), "archive")
	_means(question) == {"server": "archive", "id": "archive#resources/old:///{name}", "direct": false}
	not _means(fixture.at_server(fixture.reading("reader", "file:///payroll", [_path]), "library"))
	_means(fixture.at_server(fixture.reading("reader", "file:///terms", [_path]), "library")).direct
}
