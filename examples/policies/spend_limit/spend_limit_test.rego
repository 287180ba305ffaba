package custom.spend_limit_test

import data.custom.spend_limit

test_an_amount_up_to_the_limit_is_not_denied if {
	count(spend_limit.deny) == 0 with input as _paying("tenant:a", {"amount": 500})
		with data.portcullis.ctx.id as "payments/charge"
}

test_an_amount_over_the_limit_is_denied if {
	spend_limit.deny == {{"code": "amount_over_limit", "limit": 500}} with input as _paying("tenant:a", {"amount": 500.01})
		with data.portcullis.ctx.id as "payments/charge"
}

test_each_tenant_has_its_own_limit if {
	count(spend_limit.deny) == 0 with input as _paying("tenant:b", {"amount": 501})
		with data.portcullis.ctx.id as "payments/refund"
}

test_a_tenant_without_a_limit_of_its_own_has_the_default if {
	spend_limit.deny == {{"code": "amount_over_limit", "limit": 100}} with input as _paying("tenant:z", {"amount": 101})
		with data.portcullis.ctx.id as "payments/charge"
}

test_a_caller_without_a_tenant_has_the_default if {
	spend_limit.deny == {{"code": "amount_over_limit", "limit": 100}} with input as _paying(null, {"amount": 101})
		with data.portcullis.ctx.id as "payments/charge"
}

test_a_bad_amount_is_denied[note] if {
	some note, arguments in {
		"missing": {},
		"negative": {"amount": -1},
		"text": {"amount": "5"},
		"null": {"amount": null},
	}
	spend_limit.deny == {{"code": "amount_over_limit", "limit": 500}} with input as _paying("tenant:a", arguments)
		with data.portcullis.ctx.id as "payments/charge"
}

test_a_missing_limit_denies_instead_of_falling_silent if {
	{"code": "limit_missing"} in spend_limit.deny with input as _paying("tenant:z", {"amount": 1})
		with data.portcullis.ctx.id as "payments/charge"
		with data.custom.spend_limit.default_limit as null
}

test_other_tools_are_left_alone if {
	count(spend_limit.deny) == 0 with input as _paying("tenant:a", {"amount": 100000})
		with data.portcullis.ctx.id as "payments/report"
}

_paying(tenant, arguments) := {"principal": {"tenant": tenant}, "target": {"arguments": arguments}}
