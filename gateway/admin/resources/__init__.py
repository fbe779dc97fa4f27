"""One file per resource; each registers itself with one `@resource(...)` (see `gateway.admin.resource`)."""
