"""Values of HTTP: header fields, request targets, chunks, URLs, and addresses that are allowed."""
