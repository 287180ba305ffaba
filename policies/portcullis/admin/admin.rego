# METADATA
# title: May this admin action be taken
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.admin

import data.portcullis.ctx
import data.portcullis.frontdoor
import data.portcullis.role

default decision := {
	"allow": false,
	"roles": [],
	"epoch": "",
	"revision": 0,
	"config": "",
	"stale": true,
	"reasons": [{"code": "policy_error", "layer": "core"}],
}

# METADATA
# title: The answer to an admin action
# description: >-
#   The action is the permission that it needs, at the scope of `target.tenant`, or global where that is null.
#   Where it hands out a role, `target.grants` says which, and at what scope.
# entrypoint: true
decision := {
	"allow": true,
	"roles": role.granting,
	"epoch": ctx.epoch,
	"revision": ctx.revision,
	"config": ctx.config,
	"stale": ctx.stale,
	"reasons": [],
} if {
	input.kind == null
	ctx.ok == true
	frontdoor.admin == true
	role.permitted == true
} else := {
	"allow": false,
	"roles": [],
	"epoch": ctx.epoch,
	"revision": ctx.revision,
	"config": ctx.config,
	"stale": ctx.stale,
	"reasons": _reasons,
}

_reasons := found if {
	found := _found
	count(found) > 0
} else := [{"code": "policy_error", "layer": "core"}]

_found := ctx.reasons if {
	count(ctx.reasons) > 0
} else := frontdoor.reasons if {
	count(frontdoor.reasons) > 0
} else := role.reasons
