package portcullis.explain_test

import data.portcullis.explain
import data.portcullis.fixture_test as fixture

_decision(question, custom) := decision if {
	decision := explain.decision with input as question
		with data.custom as custom
		with data.system.bundles as fixture.bundles
		with data.portcullis_data as fixture.front_door
		with data.portcullis_live as fixture.live
}

_refusing(decision) := {layer | some layer, said in decision.layers; not said.ok}

test_shows_what_each_step_leaves_of_a_list if {
	decision := _decision(fixture.listing("acme"), {"p": {"hide": {"bank/pay"}}})
	decision.sets == {
		"offered": {"bank/old", "bank/pay", "bank/refund"},
		"after_scope": {"bank/old", "bank/pay"},
		"withdrawn": {"bank/old"},
		"hidden": {"bank/pay"},
		"visible": set(),
	}
}

test_every_layer_admits_what_is_listed if {
	decision := _decision(fixture.listing("acme"), {})
	_refusing(decision) == set()
	decision.sets.visible == {"bank/pay"}
}

test_shows_the_layer_that_empties_a_list if {
	decision := _decision(fixture.listing("nobody"), {})
	decision.layers.frontdoor == {"ok": false, "reasons": {{"code": "unknown_tenant", "layer": "frontdoor"}}}
	decision.sets == {"offered": set(), "after_scope": set(), "withdrawn": set(), "hidden": set(), "visible": set()}
}

test_shows_every_layer_that_refuses_a_call if {
	_refusing(_decision(fixture.calling("acme", "pay"), {})) == set()
	_refusing(_decision(fixture.calling("acme", "refund"), {})) == {"scope"}
	_refusing(_decision(fixture.calling("acme", "old"), {})) == {"withdrawal"}
	_refusing(_decision(fixture.calling("acme", "pay"), {"p": {"deny": {"no"}}})) == {"guard"}
}

test_has_every_layer_of_the_judgement if {
	object.keys(_decision(fixture.calling("acme", "pay"), {}).layers) == {
		"catalog",
		"ctx",
		"frontdoor",
		"guard",
		"role",
		"scope",
		"withdrawal",
	}
}

test_explains_every_kind if {
	_refusing(_decision(fixture.prompting("reader", "greet"), {})) == set()
	_refusing(_decision(fixture.reading("reader", "file:///books/secret", ["file:///{+path}"]), {})) == {"scope"}
	_decision(fixture.listing_of("reader", "prompts/list", "prompt"), {}).sets.visible == {"library#prompts/greet"}
}

test_explains_an_admin_action_by_the_layers_that_are_asked if {
	decision := _decision(fixture.administering("acme", "mcp_servers:read", "acme"), {})
	object.keys(decision.layers) == {"ctx", "frontdoor", "role"}
	_refusing(decision) == set()
	_refusing(_decision(fixture.administering("acme", "keys:write", "acme"), {})) == {"role"}
}
