# METADATA
# title: What is offered to the caller, before anything is taken away
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.catalog

import data.portcullis.ctx
import data.portcullis.target
import future.keywords.not

# METADATA
# title: The target is something of one server, and that server is offered
default ok := false

ok if {
	input.kind == "tool"
	how in {"all", "listed"}
}

ok if {
	input.kind == "prompt"
	how in {"all", "listed"}
}

ok if {
	input.kind == "resource"
	how in {"all", "listed"}
	_readable
}

# METADATA
# title: How the target's server is offered to the caller
# description: All of it, or where a list says what is allowed, what is listed.
how := data.portcullis_data.offers[ctx.entry[input.kind].offer][target.found.server]

_readable if target.direct

_readable if {
	is_object(_server)
	not _server.deny_patterns
}

# What a list of the server denies is denied through its templates, too.
_readable if {
	denied := data.portcullis_data.patterns[_server.deny_patterns]
	not regex.match(denied, target.concrete)
}

_server := data.portcullis_data.servers[target.found.server]

# METADATA
# title: Every offered id of what is listed
offered := union({object.keys(data.portcullis_data.server_ids[server][section]) |
	some server, _ in data.portcullis_data.offers[ctx.entry[input.kind].offer]
}) if {
	input.view == "flat"
}

offered := object.keys(data.portcullis_data.server_ids[target.view_server][section]) if input.view == "server"

# METADATA
# title: Offered ids whose flat name another offered id has too
# description: The sync service says which; looking for them in each list would cost more than the rest of it.
ambiguous := object.keys(data.portcullis_data.sets[ctx.entry[input.kind].drop]) if input.view == "flat"

ambiguous := set() if input.view == "server"

# METADATA
# title: Which section of a server's ids the question is about
section := "template" if {
	input.action == "resources/templates/list"
} else := input.kind

# METADATA
# title: Why this layer refuses
reasons contains {"code": "ambiguous_name", "layer": "catalog"} if _ambiguous

reasons contains {"code": "unknown_target", "layer": "catalog"} if {
	not ok
	not _ambiguous
}

_ambiguous if count({candidate.server | some candidate in target.candidates}) > 1
