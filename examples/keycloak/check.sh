#!/usr/bin/env bash
# Asks the running Keycloak for tokens and the running gateway for lists, and fails if one answer is not as promised.
set -euo pipefail
gateway=${1:-http://127.0.0.1:8000}
realm=http://127.0.0.1:8180/realms/portcullis
list='{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'

token() { curl -sf "$realm/protocol/openid-connect/token" "$@" | jq -r .access_token; }
agent() { token -d grant_type=client_credentials -d client_id="$1" -d client_secret="$1-secret"; }
person() { token -d grant_type=password -d client_id=people -d username="$1" -d password="$1-password" -d scope=openid; }
listed() { # the names of the tools, or the status where there is no list
    curl -s -w '\n%{http_code}' "$gateway/mcp" -H "Authorization: Bearer $1" -H "Content-Type: application/json" -d "$list" |
        jq -rRs 'split("\n") | if .[1] == "200" then (.[0] | fromjson | [.result.tools[].name] | sort | join(" ")) else .[1] end'
}
expect() { # who, what is expected, what was answered
    if [ "$2" = "$3" ]; then echo "ok   $1: $3"; else echo "FAIL $1: $3, and not $2"; exit 1; fi
}

expect "agent-a, of tenant:a" "charge" "$(listed "$(agent agent-a)")"
expect "agent-b, of tenant:b" "charge refund" "$(listed "$(agent agent-b)")"
expect "jo, a person of tenant:a" "charge" "$(listed "$(person jo)")"
expect "a client as Keycloak makes it, without our audience" "401" "$(listed "$(agent stock)")"
