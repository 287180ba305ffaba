# METADATA
# title: May this call be made, and what of which server is it
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.call

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
	"visible": false,
	"id": null,
	"epoch": "",
	"revision": 0,
	"config": "",
	"stale": true,
	"reasons": [{"code": "policy_error", "layer": "core"}],
	"obligations": {},
}

# METADATA
# title: The answer to a call
# description: Whatever reaches a server on behalf of the caller is a call, and every layer must admit it.
# entrypoint: true
decision := {
	"allow": true,
	"visible": true,
	"id": target.found.id,
	"epoch": data.portcullis_live.epoch,
	"revision": data.portcullis_live.revision,
	"config": data.portcullis_data.config,
	"stale": ctx.stale,
	"reasons": [],
	"obligations": ctx.entry.obligations,
} if {
	ctx.ok == true
	frontdoor.ok == true
	catalog.ok == true
	scope.ok == true
	withdrawal.ok == true
	role.invokes == true
	guard.ok == true
} else := {
	"allow": false,
	"visible": visible,
	"id": _id,
	"epoch": ctx.epoch,
	"revision": ctx.revision,
	"config": ctx.config,
	"stale": ctx.stale,
	"reasons": _reasons,
	"obligations": ctx.obligations,
}

# METADATA
# title: Every layer but those that look at the arguments lets the caller know of it
default visible := false

visible if {
	ctx.ok
	frontdoor.ok
	catalog.ok
	scope.ok
	withdrawal.ok
	role.ok
	guard.shown
}

default _id := null

_id := target.found.id if catalog.ok

_reasons := found if {
	found := _found
	count(found) > 0
} else := [{"code": "policy_error", "layer": "core"}]

# The first layer that everything behind it depends on speaks alone.
_found := role.reasons | guard.reasons if {
	visible
} else := ctx.reasons if {
	count(ctx.reasons) > 0
} else := frontdoor.reasons if {
	count(frontdoor.reasons) > 0
} else := catalog.reasons if {
	count(catalog.reasons) > 0
} else := ((scope.reasons | withdrawal.reasons) | role.reasons) | guard.concealments
