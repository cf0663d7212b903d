"""The REST interface: one file a resource. Every module here with a `router` is served under /api/v1."""
