# METADATA
# title: Nobody charges more than a hundred, nor with words in the memo that are refused
package custom.amounts

import data.portcullis.ctx
import future.keywords.not

deny contains {"code": "amount_over_limit", "limit": 100} if {
	ctx.id == "payments/charge"
	not ctx.arguments.amount <= 100
}

deny contains "memo_refused" if contains(ctx.arguments.memo, "bribe")

# What is no reason still denies.
deny contains 42 if ctx.arguments.memo == "nonsense"
