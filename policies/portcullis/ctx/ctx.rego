# METADATA
# title: What is asked, by whom, and whether the data may be judged by
# description: >-
#   The only package that custom policy may import. Everything here is undefined or false where the data
#   does not say it; a rule that reads an undefined value does not fire. What the target's name means, the package target works out.
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.ctx

import data.portcullis.target

# METADATA
# title: The data is whole, meant for this mode, and young enough
# description: >-
#   Keys are counted here and read by the layers that need them: comparing a whole document would read every tenant.
default ok := false

ok if {
	input.v == 2
	input.mode == data.portcullis_data.mode
	count(data.portcullis_data) >= 14
	count(data.portcullis_live) >= 8
	data.system.bundles.policy.manifest.revision != ""
	data.system.bundles.custom.manifest.revision != ""
	data.system.bundles.tenants.manifest.revision != ""
	data.system.bundles.live.manifest.revision != ""
	[stale, data.portcullis_data.settings.on_stale] in {[false, "deny"], [false, "serve"], [true, "serve"]}
}

# METADATA
# title: The mode of the signed data
mode := data.portcullis_data.mode

# METADATA
# title: The tenant that is asked for, where it is a known one
# description: The credential's own, or the one that a principal without a tenant has selected.
tenant := input.principal.tenant if data.portcullis_data.tenants[input.principal.tenant]

tenant := input.principal.acting_for if {
	input.principal.tenant == null
	data.portcullis_data.tenants[input.principal.acting_for]
}

# METADATA
# title: What the data says about that tenant, and in egress, where none is needed, about everybody
entry := data.portcullis_data.tenants[input.principal.tenant] if {
	input.principal.acting_for == null
} else := data.portcullis_data.tenants[input.principal.acting_for] if {
	input.principal.tenant == null
} else := data.portcullis_data.everyone if {
	input.principal.acting_for == null
	data.portcullis_data.mode == "egress"
}

# METADATA
# title: The canonical id of the target
# description: >-
#   Undefined in lists, and where the name means nothing to the caller or more than one thing. Of a resource that is
#   read through templates it is the first of theirs.
id := target.found.id

# METADATA
# title: The arguments of the call
arguments := input.target.arguments

# METADATA
# title: Which state of the ledger the live data is of
default epoch := ""

epoch := data.portcullis_live.epoch

# METADATA
# title: The revision of the live data
default revision := 0

revision := data.portcullis_live.revision

# METADATA
# title: Which configuration the data was made from
default config := ""

config := data.portcullis_data.config

# METADATA
# title: What the gateway must hold the caller to
default obligations := {}

obligations := entry.obligations

# METADATA
# title: The live data is older than the operator wants it to be
default stale := true

stale := false if {
	age := input.request.time - data.portcullis_live.generated_at
	age <= data.portcullis_data.settings.max_staleness_seconds

	# A clock that runs backwards hides how old the data is.
	age >= -5
}

# METADATA
# title: Why this layer refuses
reasons contains {"code": "mode_mismatch", "layer": "ctx"} if _mismatched

reasons contains {"code": "data_stale", "layer": "ctx"} if _too_old

# Whatever else keeps this layer from admitting is something that it could not read.
reasons contains {"code": "policy_data_missing", "layer": "ctx"} if {
	not ok
	not _mismatched
	not _too_old
}

_mismatched if input.v != 2

_mismatched if input.mode != data.portcullis_data.mode

_too_old if {
	stale
	is_number(data.portcullis_live.generated_at)
	data.portcullis_data.settings.on_stale == "deny"
}
