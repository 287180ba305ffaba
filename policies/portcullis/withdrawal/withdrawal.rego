# METADATA
# title: What operators took away, for everybody or for one tenant, in config or at runtime
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.withdrawal

import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The target is withdrawn by none of the four overlays
default ok := false

ok if {
	id := ctx.id
	configured := data.portcullis_data.withdrawn
	live := data.portcullis_live.withdrawn
	is_object(configured.global)
	not configured.global[id]
	is_object(configured.tenant)
	not configured.tenant[ctx.tenant][id]
	is_object(live.global)
	not live.global[id]
	is_object(live.tenant)
	not live.tenant[ctx.tenant][id]
}

# METADATA
# title: Every id that is withdrawn for the caller
ids := (_configured | _live) | (_configured_for_tenant | _live_for_tenant)

_configured := object.keys(data.portcullis_data.withdrawn.global)

_live := object.keys(data.portcullis_live.withdrawn.global)

_configured_for_tenant := object.keys(data.portcullis_data.withdrawn.tenant[ctx.tenant])

_configured_for_tenant := set() if {
	is_object(data.portcullis_data.withdrawn.tenant)
	not data.portcullis_data.withdrawn.tenant[ctx.tenant]
}

_live_for_tenant := object.keys(data.portcullis_live.withdrawn.tenant[ctx.tenant])

_live_for_tenant := set() if {
	is_object(data.portcullis_live.withdrawn.tenant)
	not data.portcullis_live.withdrawn.tenant[ctx.tenant]
}

# METADATA
# title: Why this layer refuses
reasons contains _reason("global", "config") if data.portcullis_data.withdrawn.global[ctx.id]

reasons contains _reason("global", "runtime") if data.portcullis_live.withdrawn.global[ctx.id]

reasons contains _reason("tenant", "config") if data.portcullis_data.withdrawn.tenant[ctx.tenant][ctx.id]

reasons contains _reason("tenant", "runtime") if data.portcullis_live.withdrawn.tenant[ctx.tenant][ctx.id]

_reason(scope, origin) := {"code": "withdrawn", "layer": "withdrawal", "scope": scope, "origin": origin}
