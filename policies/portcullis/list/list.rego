# METADATA
# title: What of a kind is visible
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.list

import data.portcullis.catalog
import data.portcullis.ctx
import data.portcullis.frontdoor
import data.portcullis.guard
import data.portcullis.role
import data.portcullis.scope
import data.portcullis.target
import data.portcullis.withdrawal

default decision := {
	"allow": false,
	"ids": [],
	"epoch": "",
	"revision": 0,
	"config": "",
	"stale": true,
	"reasons": [{"code": "policy_error", "layer": "core"}],
	"obligations": {},
}

# METADATA
# title: The answer to a list
# entrypoint: true
decision := {
	"allow": true,
	"ids": ids,
	"epoch": data.portcullis_live.epoch,
	"revision": data.portcullis_live.revision,
	"config": data.portcullis_data.config,
	"stale": ctx.stale,
	"reasons": [],
	"obligations": ctx.entry.obligations,
} if {
	input.kind == {
		"tools/list": "tool",
		"prompts/list": "prompt",
		"resources/list": "resource",
		"resources/templates/list": "resource",
	}[input.action]
	ctx.ok == true
	frontdoor.ok == true
	role.ok == true
	guard.whole == true
} else := {
	"allow": false,
	"ids": [],
	"epoch": ctx.epoch,
	"revision": ctx.revision,
	"config": ctx.config,
	"stale": ctx.stale,
	"reasons": _reasons,
	"obligations": ctx.obligations,
}

# METADATA
# title: Every visible id, by the same sets that a call is held against
ids := scope.kept - (((catalog.ambiguous | scope.denied) | withdrawal.taken) | guard.hidden) if {
	ctx.entry[input.kind]
} else := set() if {
	# Of this kind nothing is offered at all.
	is_object(ctx.entry)
	not ctx.entry[input.kind]
}

_reasons := found if {
	found := _found
	count(found) > 0
} else := [{"code": "policy_error", "layer": "core"}]

_found := ctx.reasons if {
	count(ctx.reasons) > 0
} else := frontdoor.reasons if {
	count(frontdoor.reasons) > 0
} else := {{"code": "unknown_target", "layer": "catalog"}} if {
	input.view == "server"
	not target.view_server
} else := role.reasons | guard.concealments
