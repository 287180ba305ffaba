# METADATA
# title: Which tools are visible
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.list

import data.portcullis.ctx
import data.portcullis.frontdoor
import data.portcullis.guard
import data.portcullis.role
import data.portcullis.scope
import data.portcullis.withdrawal

default decision := {
	"allow": false,
	"ids": [],
	"epoch": "",
	"revision": 0,
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
	"stale": ctx.stale,
	"reasons": [],
	"obligations": {},
} if {
	input.action == "tools/list"
	ctx.ok
	frontdoor.ok
	role.ok
	guard.whole
	ids
} else := {
	"allow": false,
	"ids": [],
	"epoch": ctx.epoch,
	"revision": ctx.revision,
	"stale": ctx.stale,
	"reasons": _reasons,
	"obligations": {},
}

# METADATA
# title: Every visible id, by the same sets that a call is held against
ids := (scope.ids - withdrawal.ids) - guard.hidden

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
	not data.portcullis_data.server_ids[input.target.server]
} else := role.reasons | guard.concealments
