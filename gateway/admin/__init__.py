"""The admin role: health, metrics, and the JSON API behind the inspection commands, on loopback with a
token."""
