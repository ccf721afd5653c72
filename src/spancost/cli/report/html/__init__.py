"""`spancost report --html`: one page with plots that asks nobody for anything."""
