# METADATA
# title: What the member lists and the credential's own scope leave of the offer
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.scope

import data.portcullis.catalog
import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The target is within the member lists and the credential's scope
default ok := false

ok if {
	_member
	_token
}

# METADATA
# title: The ids that are left of the catalog's
ids := (_narrowed - _denied_ids) & _token_ids if _token_ids

ids := _narrowed - _denied_ids if _unscoped

_member if {
	id := ctx.id
	entry := ctx.entry
	_allowed
	is_object(data.portcullis_data.sets[entry.deny])
	not data.portcullis_data.sets[entry.deny][id]
}

_member if {
	ctx.id
	entry := ctx.entry
	_allowed
	not entry.deny
}

# Without a known tenant there are no member lists; the front door refuses such a caller on its own.
_member if {
	ctx.mode == "egress"
	ctx.id
	not ctx.entry
}

_allowed if data.portcullis_data.sets[ctx.entry.allow][ctx.id]

_allowed if {
	is_object(ctx.entry)
	not ctx.entry.allow
}

# In egress a tenant's allow list speaks only of the servers that it is a member of.
_allowed if {
	ctx.mode == "egress"
	members_offer := data.portcullis_data.offers[ctx.entry.offer]
	ctx.id
	not members_offer[ctx.id]
}

_token if _unscoped

_token if data.portcullis_live.scopes[input.principal.credential.scope][ctx.id]

# No credential, or one that is not narrowed. `global` and `tenant:<own>` say where a key's role counts.
_unscoped if is_null(input.principal.credential)

_unscoped if input.principal.credential.scope == null

_unscoped if input.principal.credential.scope == "global"

_unscoped if {
	is_string(input.principal.tenant)
	input.principal.credential.scope == concat(":", ["tenant", input.principal.tenant])
}

_narrowed := catalog.ids if {
	is_object(data.portcullis_data.tenants)
	not ctx.entry.allow
}

_narrowed := catalog.ids & object.keys(data.portcullis_data.sets[ctx.entry.allow]) if ctx.mode == "front_door"

# The same in egress, where not all that is offered is offered by the tenant's own servers.
_narrowed := catalog.ids - (members_offer - allowed) if {
	ctx.mode == "egress"
	members_offer := object.keys(data.portcullis_data.offers[ctx.entry.offer])
	allowed := object.keys(data.portcullis_data.sets[ctx.entry.allow])
}

_denied_ids := set() if {
	is_object(data.portcullis_data.tenants)
	not ctx.entry.deny
}

_denied_ids := object.keys(data.portcullis_data.sets[ctx.entry.deny])

_token_ids := object.keys(data.portcullis_live.scopes[input.principal.credential.scope])

# METADATA
# title: Why this layer refuses
reasons contains {"code": "not_in_member_scope", "layer": "scope"} if not _member

reasons contains {"code": "not_in_token_scope", "layer": "scope"} if not _token
