"""The policy decision point as the gateway sees it: the question, the client, the strict answer, the engine."""
