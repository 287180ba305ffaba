package portcullis.guard_test

import data.portcullis.fixture_test as fixture
import data.portcullis.guard

_said(packages, custom, question) := said if {
	said := {
		"ok": guard.ok,
		"shown": guard.shown,
		"reasons": guard.reasons,
		"concealments": guard.concealments,
	} with input as question
		with data.custom as custom
		with data.system.bundles as fixture.bundles_with(packages)
		with data.portcullis_data as fixture.front_door
}

_question := fixture.calling("acme", "pay")

_fine := {"ok": true, "shown": true, "reasons": set(), "concealments": set()}

_missing := {"code": "policy_data_missing", "layer": "guard"}

test_without_custom_policy_nothing_is_taken if _said({}, {}, _question) == _fine

test_without_custom_policy_arguments_need_not_be_known if {
	_said({}, {}, json.remove(_question, [["target", "arguments"]])) == _fine
}

test_a_policy_that_says_nothing_takes_nothing if {
	_said({"p": ["deny", "hide"]}, {"p": {"deny": set(), "hide": set()}}, _question) == _fine
}

test_a_denial_refuses_a_tool_that_may_be_seen[note] if {
	some note, reason in {"object": {"code": "no", "limit": 3}, "text": "no", "number": 3, "nameless": {"limit": 3}}
	said := _said({"p": ["deny"]}, {"p": {"deny": {reason}}}, _question)
	said.ok == false
	said.shown == true
	said.reasons == {object.union(_expected[note], {"layer": "custom", "policy": "p"})}
}

_expected := {
	"object": {"code": "no", "limit": 3},
	"text": {"code": "no"},
	"number": {"code": "policy_error"},
	"nameless": {"code": "policy_error"},
}

test_a_denial_cannot_say_who_it_is if {
	reason := {"code": "no", "layer": "role", "policy": "q"}
	said := _said({"p": ["deny"]}, {"p": {"deny": {reason}}}, _question)
	said.reasons == {{"code": "no", "layer": "custom", "policy": "p"}}
}

test_a_hidden_tool_is_not_shown if {
	said := _said({"p": ["hide"]}, {"p": {"hide": {"bank/pay"}}}, _question)
	said.ok == false
	said.shown == false
	said.concealments == {{"code": "hidden", "layer": "custom", "policy": "p"}}
}

test_another_hidden_tool_changes_nothing if {
	_said({"p": ["hide"]}, {"p": {"hide": {"bank/refund"}}}, _question) == _fine
}

test_a_package_that_the_manifest_does_not_name_still_narrows if {
	_said({}, {"p": {"deny": {"no"}}}, _question).ok == false
	_said({}, {"p": {"hide": {"bank/pay"}}}, _question).shown == false
}

test_a_promise_that_is_not_kept_shows_nothing[note] if {
	some note, custom in {
		"no package": {},
		"no rule": {"p": {"hide": set()}},
		"no set": {"p": {"deny": true}},
		"array": {"p": {"deny": []}},
	}
	said := _said({"p": ["deny"]}, custom, _question)
	said.shown == false
	said.ok == false
	said.concealments == {_missing}
}

test_a_promise_that_cannot_be_kept_shows_nothing[note] if {
	some note, rules in {"nothing": [], "misspelt": ["denny"], "text": "deny"}
	_said({"p": rules}, {"p": {"deny": set(), "denny": set()}}, _question).shown == false
}

test_without_a_manifest_nothing_is_shown if {
	shown := guard.shown with input as _question
		with data.system.bundles as {}
		with data.portcullis_data as fixture.front_door
	shown == false
}

test_arguments_that_were_left_out_refuse if {
	question := json.patch(_question, [
		{"op": "remove", "path": "/target/arguments"},
		{"op": "add", "path": "/target/arguments_omitted", "value": true},
	])
	said := _said({"p": ["deny"]}, {"p": {"deny": set()}}, question)
	said.ok == false
	said.shown == true
	said.reasons == {{"code": "arguments_omitted", "layer": "guard"}}
}

test_arguments_that_were_never_sent_refuse[note] if {
	some note, question in {
		"absent": json.remove(_question, [["target", "arguments"]]),
		"null": object.union(_question, {"target": {"arguments": null}}),
		"text": object.union(_question, {"target": {"arguments": "x"}}),
	}
	said := _said({"p": ["deny"]}, {"p": {"deny": set()}}, question)
	said.ok == false
	said.shown == true
	said.reasons == {_missing}
}

test_a_question_without_what_custom_policy_reads_shows_nothing if {
	said := _said({"p": ["hide"]}, {"p": {"hide": set()}}, object.remove(_question, ["untrusted"]))
	said.shown == false
	said.concealments == {_missing}
	_said({}, {}, object.remove(_question, ["untrusted"])) == _fine
}

_path := "file:///{+path}"

_books := fixture.reading("reader", "file:///books/emma", [_path, "file:///books/{name}"])

test_what_is_hidden_is_not_read_through_a_template[id] if {
	some id in [
		"library#resources/file:///{+path}",
		"library#resources/file:///books/{name}",
		"library#resources/file:///books/emma",
	]
	said := _said({"p": ["hide"]}, {"p": {"hide": {id}}}, _books)
	said.ok == false
	said.shown == false
	said.concealments == {{"code": "hidden", "layer": "custom", "policy": "p"}}
}

test_a_resource_that_several_templates_match_is_not_asked_about if {
	said := _said({"p": ["deny"]}, {"p": {"deny": set()}}, _books)
	said.ok == false
	said.shown == true
	said.reasons == {{"code": "ambiguous_name", "layer": "guard"}}
	_said({"p": ["deny"]}, {"p": {"deny": set()}}, fixture.reading("reader", "file:///new", [_path])) == _fine
	_said({}, {}, _books) == _fine
}

test_prompts_are_hidden_and_denied_like_tools if {
	question := fixture.prompting("reader", "greet")
	_said({"p": ["hide"]}, {"p": {"hide": {"library#prompts/greet"}}}, question).shown == false
	_said({"p": ["deny"]}, {"p": {"deny": {"no"}}}, question).ok == false
}

test_arguments_that_are_there_and_left_out_at_once_refuse if {
	question := object.union(_question, {"target": {"arguments_omitted": true}})
	_said({"p": ["deny"]}, {"p": {"deny": set()}}, question).ok == false
}
