# METADATA
# title: What operators took away, for everybody or for one tenant, in config or at runtime
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.withdrawal

import data.portcullis.target

# METADATA
# title: The target is withdrawn by none of the four overlays
default ok := false

# The usual, written out because a function costs as much as two of its lines.
ok if {
	input.kind == "tool"
	input.principal.acting_for == null
	id := target.found.id
	tenant := input.principal.tenant
	object.get(data.portcullis_data.withdrawn.global, id, null) == null
	object.get(data.portcullis_live.withdrawn.global, id, null) == null
	object.get(data.portcullis_data.withdrawn.tenant, [tenant, id], null) == null
	object.get(data.portcullis_live.withdrawn.tenant, [tenant, id], null) == null
}

ok if {
	count(_ids) > 0
	every id in _ids {
		_kept(id)
	}
}

# METADATA
# title: Every id that is withdrawn for the caller
taken := (object.keys(data.portcullis_data.withdrawn.global) | object.keys(data.portcullis_live.withdrawn.global)) | (object.keys(object.get(data.portcullis_data.withdrawn.tenant, _tenant, {})) | object.keys(object.get(data.portcullis_live.withdrawn.tenant, _tenant, {})))

_kept(id) if {
	object.get(data.portcullis_data.withdrawn.global, id, null) == null
	object.get(data.portcullis_live.withdrawn.global, id, null) == null
	object.get(data.portcullis_data.withdrawn.tenant, [_tenant, id], null) == null
	object.get(data.portcullis_live.withdrawn.tenant, [_tenant, id], null) == null
}

# Nothing is withdrawn from a tenant without a name.
_tenant := input.principal.tenant if input.principal.acting_for == null

_tenant := input.principal.acting_for if input.principal.tenant == null

# METADATA
# title: Why this layer refuses
reasons contains _reason("global", "config") if data.portcullis_data.withdrawn.global[_ids[_]]

reasons contains _reason("global", "runtime") if data.portcullis_live.withdrawn.global[_ids[_]]

reasons contains _reason("tenant", "config") if data.portcullis_data.withdrawn.tenant[_tenant][_ids[_]]

reasons contains _reason("tenant", "runtime") if data.portcullis_live.withdrawn.tenant[_tenant][_ids[_]]

# What is read through a template is withdrawn by its own URI, too.
_ids contains target.found.id

_ids contains target.concrete

_ids contains id if {
	input.kind == "resource"
	some id in target.registered
}

_reason(scope, origin) := {"code": "withdrawn", "layer": "withdrawal", "scope": scope, "origin": origin}
