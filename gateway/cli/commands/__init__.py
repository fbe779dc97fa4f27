"""One file per command; each registers itself with one `@app.command(...)` or `app.add_typer(...)`."""
