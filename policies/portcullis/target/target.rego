# METADATA
# title: What the target's name means to the caller
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.target

import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The target's server and canonical id
# description: >-
#   Undefined in lists, and where the name means nothing to the caller, or means something at more than one server.
#   Whether it is offered at all, says the catalog.
found := record if {
	# The usual: a tool that one server alone has under this name, and a tenant that brings no server along.
	input.action == "tools/call"
	input.kind == "tool"
	input.view == "flat"
	ctx.entry.own == {}
	record := data.portcullis_data.flat.tool[input.target.name]
	record.id
} else := {"server": view_server, "id": id} if {
	input.action == "tools/call"
	input.kind == "tool"
	input.view == "server"
	id := _id(view_server, "tool", input.target.name)
	data.portcullis_data.server_ids[view_server].tool[id] == true
} else := {"server": server, "id": min(registered)} if {
	servers := {candidate.server | some candidate in candidates}
	count(servers) == 1
	some server in servers
}

# METADATA
# title: What the server has registered that the target is; more than one where several templates match
registered := {candidate.id | some candidate in candidates}

# METADATA
# title: The canonical id that a resource has if it is registered by its own URI
concrete := _id(found.server, "resource", input.target.name) if {
	input.kind == "resource"
	is_string(input.target.name)
}

# METADATA
# title: The target is registered by its own name, and not reached through a template
default direct := false

direct if input.kind in {"tool", "prompt"}

direct if data.portcullis_data.server_ids[found.server].resource[concrete]

# What completes is the template itself; nothing is read through it.
direct if input.action == "completion/complete"

# METADATA
# title: The server that the view is of
# description: >-
#   The tenant's own, or a shared one; undefined where both are of this name, for then it means neither.
view_server := input.target.server if {
	input.view == "server"
	ctx.entry.own == {}
	data.portcullis_data.offers[ctx.entry[input.kind].offer][input.target.server]
} else := server if {
	input.view == "server"
	count(_view_servers) == 1
	some server in _view_servers
}

_view_servers contains input.target.server if data.portcullis_data.offers[ctx.entry[input.kind].offer][input.target.server]

_view_servers contains server if {
	is_string(input.target.server)
	server := concat(":", [ctx.tenant, input.target.server])
	data.portcullis_data.offers[ctx.entry[input.kind].offer][server]
}

# METADATA
# title: What the name may be, at each server that is offered to the caller
candidates contains candidate if {
	input.view == "flat"
	some [section, name] in _asked
	some candidate in _homes(_record(section, name))
	_counts(section, candidate.server)
}

candidates contains {"server": view_server, "id": id} if {
	some [section, name] in _asked
	id := _id(view_server, section, name)
	data.portcullis_data.server_ids[view_server][section][id]
	_counts(section, view_server)
}

# Under which names it may be registered: a resource also by a template that its URI matches.
_asked contains [input.kind, input.target.name] if {
	is_string(input.target.name)
	input.kind in {
		"tools/call": {"tool"},
		"prompts/get": {"prompt"},
		"resources/read": {"resource"},
		"resources/subscribe": {"resource"},
		"completion/complete": {"prompt", "resource"},
	}[input.action]
}

_asked contains ["template", template] if {
	input.kind == "resource"
	input.action in {"resources/read", "resources/subscribe"}
	some template in input.target.templates
	is_string(template)
}

_asked contains ["template", input.target.name] if {
	input.kind == "resource"
	input.action == "completion/complete"
	is_string(input.target.name)
}

# What a tenant brings along stands beside the shared names that it meets.
_record(section, name) := ctx.entry.own[section][name] if {
	ctx.entry.own != {}
} else := data.portcullis_data.flat[section][name] if {
	is_object(ctx.entry.own)
}

_homes(record) := {record} if {
	record.id
} else := {{"server": server, "id": rival} | some server, rival in record.rivals}

_counts(section, server) if {
	data.portcullis_data.offers[ctx.entry[input.kind].offer][server]
	section != "template"
}

# A URI that the server has itself is never reached through one of its templates: it may be denied, or withdrawn.
_counts("template", server) if {
	data.portcullis_data.offers[ctx.entry[input.kind].offer][server]
	own := _id(server, "resource", input.target.name)
	object.get(data.portcullis_data.server_ids, [server, "resource", own], false) == false
	object.get(data.portcullis_data.servers, [server, "withheld", own], false) == false
}

_id(server, section, name) := concat(_separators[section], [server, name])

_separators := {"tool": "/", "prompt": "#prompts/", "resource": "#resources/", "template": "#resources/"}
