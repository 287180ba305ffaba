# METADATA
# title: Runs the cases of this folder against the rules themselves
# description: |
#   A file `<key>.yaml` holds one top-level key, its own name, with a list of cases:
#
#     note     a sentence, unique in its file
#     world    a folder below worlds/: config.yaml, inventory.yaml, and snapshot.json, which sync makes of the two
#     given    what is different in the documents, merged over them (optional)
#     without  paths that are taken out of the documents: lists of keys (optional)
#     input    what is different from the usual question, merged over it
#     expect   what is different from the usual answer, merged over it; the whole answer is compared
#
#   The documents are `portcullis_data`, `portcullis_live` and `bundles` (the manifests). Kind and entrypoint follow
#   from the action; of a completion the kind is said, and what has none is an admin action.
#
#   The same files run over HTTP against a real OPA (test_policy_cases_http.py). They can run through a gateway, too:
#   a case is playable there if it has no `without` and its `given` names nothing but `portcullis_live.withdrawn`
#   and `portcullis_live.revoked`. Then the world's config.yaml is the gateway's, its servers offer inventory.yaml,
#   `given` says which tools to withdraw and which keys to revoke in the ledger, and the principal says which
#   credential to present: kind `jwt` a token (subject without `user:`, tenant, groups), kind `api_key` a key of that
#   principal, tenant and role, kind `anonymous` none. Epoch and revision are then the ledger's.
package cases_test

_files := {
	"absence": data.absence,
	"admin": data.admin,
	"calls": data.calls,
	"custom": data.custom_cases,
	"egress": data.egress,
	"grants": data.grants,
	"kinds": data.kinds,
	"lists": data.lists,
	"roles": data.roles,
	"teams": data.teams,
	"templates": data.templates,
	"tenants": data.tenants,
}

_usual_input := {
	"v": 2,
	"view": "flat",
	"principal": {
		"subject": "user:jo",
		"kind": "jwt",
		"issuer": "https://auth.example.com",
		"tenant": null,
		"acting_for": null,
		"groups": [],
		"scopes": [],
		"credential": {"id": "j_1", "role": null, "scope": null, "expires_at": 1790003600},
	},
	"target": {"name": null, "server": null},
	"request": {"id": "0190a5b4-0000-7000-8000-000000000000", "ip": "192.0.2.7", "time": 1790000000},
	"untrusted": {"client": {}},
}

_usual_answer := {
	"call": {"visible": false, "reasons": [], "obligations": {}},
	"list": {"ids": [], "reasons": [], "obligations": {}},
	"admin": {"roles": [], "reasons": []},
}

_kinds := {
	"tools/list": "tool",
	"tools/call": "tool",
	"prompts/list": "prompt",
	"prompts/get": "prompt",
	"resources/list": "resource",
	"resources/templates/list": "resource",
	"resources/read": "resource",
	"resources/subscribe": "resource",
}

_entrypoint(question) := "admin" if {
	object.get(question, "kind", object.get(_kinds, question.action, null)) == null
} else := "list" if {
	endswith(question.action, "/list")
} else := "call"

_manifests(world) := {
	"policy": {"manifest": {"revision": "r1"}},
	"custom": {"manifest": {"revision": "r1", "metadata": {"packages": data.worlds[world].packages}}},
	"tenants": {"manifest": {"revision": "r1"}},
	"live": {"manifest": {"revision": "r42"}},
}

_documents(case) := json.remove(object.union(whole, object.get(case, "given", {})), object.get(case, "without", [])) if {
	whole := {
		"bundles": _manifests(case.world),
		"portcullis_data": data.worlds[case.world].portcullis_data,
		"portcullis_live": data.worlds[case.world].portcullis_live,
	}
}

_question(case) := object.union(
	object.union(_usual_input, object.union(_grants(_entrypoint(case.input)), {
		"mode": data.worlds[case.world].portcullis_data.mode,
		"kind": object.get(_kinds, case.input.action, null),
	})),
	case.input,
)

_grants(entrypoint) := {"target": {"grants": null}} if {
	entrypoint == "admin"
} else := {}

_answer(case) := object.union(object.union(usual, stamp), case.expect) if {
	usual := _usual_answer[_entrypoint(case.input)]
	stamp := {"epoch": data.worlds[case.world].portcullis_live.epoch, "revision": 42, "config": "c0ffeec0ffeec0ff", "stale": false}
}

# Sets are arrays to whoever asks over HTTP.
_as_sent(decision) := json.unmarshal(json.marshal(decision))

_decision("call") := _as_sent(data.portcullis.call.decision)

_decision("list") := _as_sent(data.portcullis.list.decision)

_decision("admin") := _as_sent(data.portcullis.admin.decision)

# The custom policies of the world `custom` are loaded for all of the worlds.
_decided(case, documents) := decided if {
	count(data.worlds[case.world].packages) > 0
	decided := _decision(_entrypoint(case.input)) with input as _question(case)
		with data.system.bundles as object.get(documents, "bundles", {})
		with data.portcullis_data as object.get(documents, "portcullis_data", {})
		with data.portcullis_live as object.get(documents, "portcullis_live", {})
} else := decided if {
	decided := _decision(_entrypoint(case.input)) with input as _question(case)
		with data.custom as {}
		with data.system.bundles as object.get(documents, "bundles", {})
		with data.portcullis_data as object.get(documents, "portcullis_data", {})
		with data.portcullis_live as object.get(documents, "portcullis_live", {})
}

test_case[sprintf("%s: %s", [file, case.note])] if {
	some file, cases in _files
	some case in cases
	_decided(case, _documents(case)) == _answer(case)
}

test_notes_are_unique[file] if {
	some file, cases in _files
	count({case.note | some case in cases}) == count(cases)
}
