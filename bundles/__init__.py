"""The policy administration point: turns config and ledger into signed OPA bundles and knows who applied them."""
