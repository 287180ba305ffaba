# METADATA
# title: A tenant may move only so much money in one call
# description: >-
#   Which tools move money, and how much each tenant may move, is in data.yaml. A tenant that is not listed there
#   has `default_limit`.
package custom.spend_limit

import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: Refuses an amount over the limit, a negative one, and one that is no number
deny contains {"code": "amount_over_limit", "limit": _limit} if {
	_moves_money
	not _within_limit
}

# METADATA
# title: Refuses everything while the limit itself is missing
# description: The rule above reads the limit in its head, and a head that is undefined makes no reason.
deny contains {"code": "limit_missing"} if {
	_moves_money
	not is_number(_limit)
}

_moves_money if ctx.id in data.custom.spend_limit.tools

_within_limit if {
	is_number(ctx.arguments.amount)
	ctx.arguments.amount >= 0
	ctx.arguments.amount <= _limit
}

_limit := object.get(data.custom.spend_limit.limits, input.principal.tenant, data.custom.spend_limit.default_limit)
