# METADATA
# title: What the caller's roles permit; roles and bindings are data
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.role

import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The caller may see tools
default ok := false

ok if invokes

ok if {
	some role in roles
	data.portcullis_data.rbac.roles[role]["tool:list"]
}

# METADATA
# title: The caller may call tools
default invokes := false

# The two commonest callers first, because working out all roles takes a fifth of a decision: whoever has the default
# role and nothing else, and keys with a role of their own. Neither has a role here that `roles` has not.
invokes if {
	_plain
	is_string(data.portcullis_data.settings.default_role)
	data.portcullis_data.rbac.roles[data.portcullis_data.settings.default_role]["tool:invoke"]
}

invokes if {
	_about_tools
	_own_role
	data.portcullis_data.rbac.roles[input.principal.credential.role]["tool:invoke"]
}

invokes if {
	some role in roles
	some permission in ["tool:invoke", "tool:*", "*"]
	data.portcullis_data.rbac.roles[role][permission]
}

# Callers without a credential may use what is offered in egress, and nothing else.
invokes if {
	input.principal.kind == "anonymous"
	ctx.mode == "egress"
	data.portcullis_data.settings.anonymous == true
	_about_tools
}

# METADATA
# title: The roles of the caller that permit the admin action, at its scope
granting contains role if {
	not _about_tools
	some role in roles
	some permission in [input.action, concat("", [split(input.action, ":")[0], ":*"]), "*"]
	data.portcullis_data.rbac.roles[role][permission]
}

# METADATA
# title: The roles that the caller has at the scopes of this question
roles contains role if {
	some bindings in _bindings
	some scope in _scopes
	some role, binding in bindings[scope]
	_applies(binding)
}

roles contains input.principal.credential.role if {
	_own_role
	_own_scope in _scopes
}

roles contains role if {
	_default_applies
	not _own_role
	not _assigned
	role := data.portcullis_data.settings.default_role
	is_string(role)
}

# Nothing at all is bound to the caller or to one of its groups, where the default role counts.
_plain if {
	input.principal.kind == "jwt"
	_about_tools
	is_object(ctx.entry)
	not data.portcullis_data.rbac.bindings[input.principal.subject]
	not data.portcullis_live.bindings[input.principal.subject]
	not _group_bound
}

_group_bound if {
	some group in input.principal.groups
	name := concat(":", ["group", group])
	_of_group(name)
}

_of_group(name) if data.portcullis_data.rbac.bindings[name]

_of_group(name) if data.portcullis_live.bindings[name]

_about_tools if input.action == "tools/call"

_about_tools if input.action == "tools/list"

# What config and admins have bound to the caller and to its groups, each by scope.
_bindings contains data.portcullis_data.rbac.bindings[input.principal.subject]

_bindings contains data.portcullis_live.bindings[input.principal.subject]

_bindings contains data.portcullis_data.rbac.bindings[concat(":", ["group", group])] if {
	some group in input.principal.groups
}

_bindings contains data.portcullis_live.bindings[concat(":", ["group", group])] if {
	some group in input.principal.groups
}

# A binding that names an issuer is for that issuer's subjects and groups only.
_applies(binding) if {
	is_object(binding)
	not binding.issuer
}

_applies(binding) if binding.issuer == input.principal.issuer

# The scopes at which a role counts for this question. A key that is bound to a tenant counts there only.
_scopes := ["global", _asked] if {
	input.principal.kind == "jwt"
} else := ["global"] if {
	input.principal.kind == "jwt"
} else := [_asked] if {
	input.principal.kind in {"api_key", "local"}
	_asked == _own
} else := [] if {
	input.principal.kind in {"api_key", "local"}
	is_string(input.principal.tenant)
} else := ["global", _asked] if {
	input.principal.kind == "api_key"
} else := ["global"] if {
	input.principal.kind == "api_key"
}

_own := concat(":", ["tenant", input.principal.tenant]) if is_string(input.principal.tenant)

_asked := _own if {
	_about_tools
} else := concat(":", ["tenant", input.target.tenant]) if {
	is_string(input.target.tenant)
}

_own_role if {
	input.principal.kind == "api_key"
	is_string(input.principal.credential.role)
}

_own_scope := _own if {
	input.principal.kind == "api_key"
} else := "global" if {
	input.principal.kind == "api_key"
}

# At the front door the default role counts in the caller's own tenant, in egress wherever the caller may look.
_default_applies if {
	_about_tools
	input.principal.kind in {"api_key", "jwt", "local"}
	is_object(ctx.entry)
}

_default_applies if {
	count(_scopes) > 0
	is_object(ctx.entry)
	_asked == _own
}

_default_applies if {
	count(_scopes) > 0
	ctx.mode == "egress"
}

# Whoever was assigned anything where this caller may look never falls back. An empty scope is what a role
# that was revoked leaves behind.
_assigned if {
	some bindings in _bindings
	some scope in _lookout
	count(bindings[scope]) == 0
}

_assigned if {
	some bindings in _bindings
	some scope in _lookout
	some binding in bindings[scope]
	_applies(binding)
}

_lookout contains "global"

_lookout contains _own

_lookout contains _asked

# METADATA
# title: Why this layer refuses
reasons contains {"code": "missing_permission", "layer": "role", "permission": "tool:list"} if {
	_about_tools
	not ok
}

reasons contains {"code": "missing_permission", "layer": "role", "permission": "tool:invoke"} if {
	input.action == "tools/call"
	ok
	not invokes
}

reasons contains {"code": "missing_permission", "layer": "role", "permission": input.action} if {
	not _about_tools
	count(granting) == 0
}
