# METADATA
# title: Who is let in at all
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.frontdoor

import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The caller may ask for what servers offer
# description: At the front door only a known tenant has an entry; in egress there is one for everybody else.
default ok := false

ok if {
	input.principal.kind in {"jwt", "api_key", "tenant_key", "tenant_token"}
	input.principal.acting_for == null
	ctx.entry.active == true
	object.get(data.portcullis_live.revoked, input.principal.credential.id, false) == false
}

# The one agent of `portcullis stdio`: it has no credential that could be revoked.
ok if {
	input.principal.kind == "local"
	is_null(input.principal.credential)
	input.principal.acting_for == null
	ctx.entry.active == true
}

# A trusted front end that serves many tenants; the role layer wants its permission besides.
ok if {
	_selects
	input.principal.kind == "api_key"
	startswith(input.principal.subject, "service:")
	data.portcullis_data.settings.act_as_on_mcp == true
	ctx.entry.active == true
	_unrevoked
}

ok if {
	input.principal.kind == "anonymous"
	input.principal.acting_for == null
	data.portcullis_data.mode == "egress"
	data.portcullis_data.settings.anonymous == true
	ctx.entry.active == true
}

# METADATA
# title: The caller may ask for an admin action
default admin := false

admin if {
	_authenticated
	input.principal.acting_for == null
	_unrevoked
	not _suspended
}

admin if {
	_authenticated
	_selects
	ctx.entry.active == true
	_unrevoked
}

_authenticated if input.principal.kind in {"jwt", "api_key", "tenant_key", "tenant_token"}

_authenticated if {
	input.principal.kind == "local"
	_about_servers
}

_unrevoked if object.get(data.portcullis_live.revoked, input.principal.credential.id, false) == false

# Whoever has a tenant is of that tenant and of no other.
_selects if {
	is_string(input.principal.acting_for)
	input.principal.tenant == null
	input.principal.kind in {"jwt", "api_key"}
}

_suspended if {
	is_object(ctx.entry)
	not ctx.entry.active
}

# METADATA
# title: Why this layer refuses
reasons contains {"code": "credential_revoked", "layer": "frontdoor"} if {
	data.portcullis_live.revoked[input.principal.credential.id]
}

reasons contains {"code": "anonymous_not_admitted", "layer": "frontdoor"} if {
	not _authenticated
	_closed_to_anonymous
}

reasons contains {"code": "acting_not_admitted", "layer": "frontdoor"} if {
	is_string(input.principal.acting_for)
	_closed_to_acting
}

reasons contains {"code": "no_tenant", "layer": "frontdoor"} if {
	_needs_tenant
	input.principal.tenant == null
	input.principal.acting_for == null
}

reasons contains {"code": "unknown_tenant", "layer": "frontdoor"} if {
	_needs_tenant
	is_string(_asked_for)
	not ctx.entry
}

reasons contains {"code": "tenant_suspended", "layer": "frontdoor"} if _suspended

_closed_to_anonymous if data.portcullis_data.mode == "front_door"

_closed_to_anonymous if data.portcullis_data.settings.anonymous == false

_closed_to_anonymous if not _about_servers

_closed_to_acting if not _selects

_closed_to_acting if {
	_about_servers
	not ok
	ctx.entry.active == true
	_unrevoked
}

# A tenant that is selected must be one, whatever it is selected for.
_needs_tenant if {
	_authenticated
	is_string(input.principal.acting_for)
}

_needs_tenant if {
	data.portcullis_data.mode == "front_door"
	_authenticated
	_about_servers
}

_asked_for := input.principal.tenant if {
	input.principal.acting_for == null
} else := input.principal.acting_for

# What servers offer has a kind; an admin action has none.
_about_servers if is_string(input.kind)
