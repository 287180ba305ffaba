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
# title: The caller may ask about tools
default ok := false

ok if {
	ctx.mode == "front_door"
	ctx.ok
	_authenticated
	ctx.entry.active == true
	_unrevoked
}

ok if {
	ctx.mode == "egress"
	ctx.ok
	_known
	_unrevoked
	not _suspended
}

# METADATA
# title: The caller may ask for an admin action
default admin := false

admin if {
	ctx.ok
	_authenticated
	_unrevoked
	not _suspended
}

# In egress nobody needs a tenant, but a suspended one is told apart from none.
_suspended if {
	is_object(ctx.entry)
	not ctx.entry.active
}

_known if _authenticated

_known if {
	input.principal.kind == "anonymous"
	data.portcullis_data.settings.anonymous == true
}

_authenticated if input.principal.kind == "jwt"

_authenticated if input.principal.kind == "api_key"

_authenticated if input.principal.kind == "local"

_unrevoked if {
	is_object(data.portcullis_live.revoked)
	not data.portcullis_live.revoked[input.principal.credential.id]
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

reasons contains {"code": "no_tenant", "layer": "frontdoor"} if {
	_needs_tenant
	input.principal.tenant == null
}

reasons contains {"code": "unknown_tenant", "layer": "frontdoor"} if {
	_needs_tenant
	is_string(input.principal.tenant)
	not ctx.entry
}

reasons contains {"code": "tenant_suspended", "layer": "frontdoor"} if _suspended

_closed_to_anonymous if ctx.mode == "front_door"

_closed_to_anonymous if data.portcullis_data.settings.anonymous == false

_closed_to_anonymous if not _about_tools

_needs_tenant if {
	ctx.mode == "front_door"
	_authenticated
	_about_tools
}

_about_tools if input.action in {"tools/call", "tools/list"}
